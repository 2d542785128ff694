"""The text of a reply: its parts joined, its thought taken off, and nothing in it that no file can hold."""

import re
from typing import Any

# Some models emit only the closing tag: the answer is what follows the last one.
_THOUGHT_END = "</think>"
_THOUGHT_START = "<think>"
_FENCE = re.compile(r"(?m)^[ \t]*```")
_QUOTES = frozenset("\"'`")
# Types of content parts that are thought; every other part with a text is the answer.
_THOUGHT_PARTS = frozenset({"thinking", "reasoning", "thought", "reasoning_text"})


def clean(text: str) -> str:
    """`text` with halves of surrogate pairs joined or replaced, line ends as `\\n`, and no byte-order mark.

    An emoji may arrive as two escapes in two events; a half that stays alone can be written to no UTF-8 file.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        text = text.removeprefix("\ufeff")
    return text.replace("\r\n", "\n") if "\r" in text else text


def content_parts(content: Any) -> tuple[str, str]:
    """(answer, thought) of a message's content: a string, or a list of typed parts as Mistral and others send it."""
    if isinstance(content, str):
        return content, ""
    answer: list[str] = []
    thought: list[str] = []
    for part in content if isinstance(content, list) else []:
        if isinstance(part, str):
            answer.append(part)
        elif isinstance(part, dict):
            kind = part.get("type")
            texts = [part[name] for name in ("text", "thinking", "reasoning") if isinstance(part.get(name), str | list)]
            said = texts[0] if texts else ""
            told = thought if isinstance(kind, str) and kind in _THOUGHT_PARTS else answer
            told.append(said if isinstance(said, str) else "".join(content_parts(said)))
    return "".join(answer), "".join(thought)


def split_thought(content: str) -> tuple[str, str]:
    """(answer, thought): the answer follows the last `</think>`; a thought that never closes leaves no answer.

    A tag that stands in quotes or in a code block is part of the text, and a JSON object has no thought before it.
    """
    start = content.lstrip()
    end = content.rfind(_THOUGHT_END)
    while end >= 0 and (start.startswith("{") or _is_text(content, end)):
        end = content.rfind(_THOUGHT_END, 0, end)
    if end >= 0:
        thought, answer = content[:end], content[end + len(_THOUGHT_END) :]
        return answer.lstrip("\n"), thought.lstrip().removeprefix(_THOUGHT_START).strip("\n")
    if start.startswith(_THOUGHT_START):
        return "", start.removeprefix(_THOUGHT_START).strip("\n")
    return content, ""


def _is_text(content: str, start: int) -> bool:
    """True if the tag at `start` is quoted, or inside a code block that closes after it."""
    end = start + len(_THOUGHT_END)
    before, after = content[start - 1 : start], content[end : end + 1]
    if before == after and before in _QUOTES:
        return True
    # An odd count on both sides: a block is open here. A thought may break off inside a block of its own.
    return len(_FENCE.findall(content[:start])) % 2 == 1 and len(_FENCE.findall(content[end:])) % 2 == 1
