"""Calls written as Python expressions: `[get_weather(city="Rome"), …]` (ToolACE), a line a call (Dolci).

Arguments are parsed as literals and never evaluated. Names may hold blanks ("Market Trends API").
"""

import ast
import re

from duel.conversation.model import AgentCall, AgentReply

_NAME = re.compile(r"\s*([A-Za-z_][\w.\-/ ]*?)\s*\(")


def find(content: str, number: int) -> AgentReply | None:
    """A reply that is nothing but a list of calls."""
    stripped = content.strip()
    if not (stripped.startswith("[") and stripped.endswith("]")):
        return None
    calls = calls_in(stripped[1:-1], f"call_{number}_")
    return AgentReply("", calls) if calls else None


def calls_in(source: str, prefix: str) -> list[AgentCall]:
    """The calls of a text that holds nothing else; [] where it holds anything else."""
    calls: list[AgentCall] = []
    position = 0
    while found := _NAME.match(source, position):
        arguments, end = _arguments(source, found.end())
        if arguments is None:
            return []
        calls.append(AgentCall(f"{prefix}{len(calls)}", found[1], arguments))
        separator = re.compile(r"\s*[,;\n]?\s*").match(source, end)
        position = separator.end() if separator else end
    return calls if position >= len(source.rstrip()) else []


def _arguments(source: str, start: int) -> tuple[dict[str, object] | None, int]:
    """The keyword arguments up to the parenthesis that closes, and where it stands; None where they are no literals."""
    end = start - 1
    for _ in range(64):  # a parenthesis inside a string does not close the call: the shortest that parses does
        end = source.find(")", end + 1)
        if end < 0:
            break
        try:
            call = ast.parse(f"f({source[start:end]})", mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            continue
        if not isinstance(call, ast.Call) or call.args:
            break
        try:
            return {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}, end + 1
        except (ValueError, TypeError):
            break
    return None, start
