"""Actions that stand in a reply's text: which dialect a conversation speaks, and what only looks like an action."""

import importlib
import pkgutil
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from duel.conversation import dialects
from duel.conversation.model import AgentReply

# Tried in this order where two find equally many actions: the more particular sign first.
_ORDER = ("bash_block", "function_tags", "hermes", "execute_tags", "terminus_2", "python_calls", "ticks")
_THINKING = re.compile(r"\A\s*<think(?:ing)?>(.*?)</think(?:ing)?>\s*", re.DOTALL)
_ACTION = re.compile(
    r"</?(?:execute\w*|solution|tool_call|function_calls?|invoke|action)\b|<function=|<\|(?:python_tag|tool_call\w*)\|>"
    r"|^\s*(?:Action|Act|Action Input|Command): ?\S|^```(?:bash|sh|shell|sql|tool_code|mswea_bash_command)\s*$"
    r"|\A\s*\[?\{\s*\"(?:name|commands|keystrokes|action|tool|function|tool_calls)\""
    r"|\A\s*\[[A-Za-z_][\w. ]*\(.*\)\]\s*\Z",
    re.MULTILINE,
)


@cache
def names() -> tuple[str, ...]:
    found = [module.name for module in pkgutil.iter_modules(dialects.__path__)]
    return tuple(sorted(found, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)))


@cache
def dialect(name: str) -> Any:
    return importlib.import_module(f"{dialects.__name__}.{name}")


def spoken(replies: Iterable[str]) -> str:
    """The dialect in which most of the replies hold an action; "" where none does."""
    texts = [without_thinking(reply)[0] for reply in replies]
    counts = {name: sum(bool(_calls(name, reply)) for reply in texts) for name in names()}
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] else ""


def reply_in(name: str, content: str, number: int) -> AgentReply:
    """A reply with the actions of this dialect as calls; "" knows no actions."""
    rest, thinking = without_thinking(content) if name != "bash_block" else (content, "")
    reply = (dialect(name).find(rest, number) if name else None) or AgentReply(rest.strip())
    reply.thinking = thinking
    return reply


def without_thinking(content: str) -> tuple[str, str]:
    """(the text behind a `<think>` block in front, what stands in the block)."""
    found = _THINKING.match(content)
    return (content[found.end() :], found[1].strip()) if found else (content, "")


def looks_like_action(prose: str) -> bool:
    """True for text that some agent's harness would have run, and that may therefore never be taken for a thought."""
    return bool(_ACTION.search(prose))


def _calls(name: str, content: str) -> bool:
    reply = dialect(name).find(content, 0)
    return reply is not None and bool(reply.calls or reply.verbatim)
