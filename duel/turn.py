"""One agent turn: its thought, its bash block, and whether it is well-formed training text."""

import re
from typing import Literal

from duel import wordlists

# How mini-swe-agent v1 finds an action; v2 uses the second label. What the harness would run is what counts here.
BLOCK = re.compile(r"```(?:bash|mswea_bash_command)[^\S\n]*\n((?:.*?\n)??)```", re.DOTALL)
# A fence that is opened and never closed: a reply that was cut, or that never ends its action.
_OPENING = re.compile(r"```(?:bash|mswea_bash_command)[^\S\n]*(?:\n|$)")
# Tool tokens that leak into the content, as Kimi writes them (and other families' spellings of the same).
_LEAKED_TOKENS = re.compile(
    r"<\|(?:tool_calls?_section_(?:begin|end)|tool_call_(?:begin|end|argument_begin)|tool_sep|tool▁\w+|im_start|im_end"
    r"|start_header_id|eot_id|python_tag)\|>|<｜tool[▁_]\w+｜>|</?tool_call>|\[TOOL_CALLS\]"
)


def blocks(text: str) -> list[str]:
    return [match.strip("\n") for match in BLOCK.findall(text)]


def command(text: str) -> str:
    """The command of the first bash block, which is the one a lenient harness runs; "" where there is none."""
    return next(iter(blocks(text)), "")


def thought(text: str) -> str:
    """What stands before the first bash block, without the `THOUGHT:` label."""
    match = BLOCK.search(text)
    return re.sub(r"^\s*THOUGHT:\s*", "", text[: match.start()] if match else text).strip()


def format_problem(text: str, finish_reason: str = "stop") -> str:
    """Why `text` is not one well-formed turn, as a short slug; "" where it is.

    Slugs: `cut`, `empty`, `leaked-tool-tokens`, `no-block`, `open-block`, `several-blocks`, `empty-block`.
    """
    if finish_reason == "length":
        return "cut"
    if not text.strip():
        return "empty"
    if _LEAKED_TOKENS.search(text):
        return "leaked-tool-tokens"
    if _OPENING.search(BLOCK.sub("", text)):  # a fence inside a command (a patch of a README) opens nothing
        return "open-block"
    found = blocks(text)
    if len(found) != 1:
        return "several-blocks" if found else "no-block"
    return "" if found[0].strip() else "empty-block"


def format_ok(text: str, finish_reason: str = "stop") -> bool:
    return not format_problem(text, finish_reason)


def aside(text: str, to: Literal["overseer", "reviewer"], seen: str = "") -> str:
    """The words of a turn that answer somebody whom the conversation does not show, but for those in `seen`; or ""."""
    seen, kinds = seen.lower(), wordlists.table("asides")
    found = (match[0] for match in re.finditer(f"{kinds['anyone']}|{kinds[to]}", text, re.IGNORECASE))
    return next((words for words in found if words.lower() not in seen), "")
