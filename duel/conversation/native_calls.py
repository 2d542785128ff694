"""Calls and results that are keys or parts of messages, in every spelling: OpenAI, Anthropic, ShareGPT, Dolci."""

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any

from duel.conversation.model import AgentCall
from duel.conversation.values import loaded, table, tables, text

BAD_ARGUMENTS = "the arguments are not an object"
_PYTHON_NAME = re.compile(r"\s*([A-Za-z_][\w.\-/ ]*?)\s*\(")
_CALL_PARTS = {"tool_use", "tool_call", "toolCall", "function_call"}


def calls_of(message: Mapping[str, Any], prefix: str) -> list[AgentCall]:
    """The calls of one message; a call without an id gets one that opens with `prefix`."""
    raw = [*_listed(message.get("tool_calls")), *_listed(message.get("function_call"))]
    for part in tables(message.get("content")):
        if text(part, "type") in _CALL_PARTS:
            raw += _listed(part.get("value")) or [part]
    calls = []
    for order, one in enumerate(raw, 1):
        function = table(loaded(one.get("function"))) or one
        keys = (key for key in ("arguments", "input", "parameters") if function.get(key) is not None)
        given = function.get(next(keys, ""), "")
        arguments, name = loaded(given) if given != "" else {}, text(function, "name")
        if not name and not one.get("function"):
            continue
        call = AgentCall(text(one, "id", "call_id") or f"{prefix}{order}", name, {})
        if isinstance(arguments, dict) and name:
            # Where rows were merged into one table, keys that this call never had stand there as null.
            call.arguments = {key: value for key, value in arguments.items() if value is not None}
        else:
            call.obstacle = BAD_ARGUMENTS
        calls.append(call)
    if isinstance(source := message.get("function_calls"), str):
        calls += python_calls(source, prefix)
    return calls


def _listed(value: Any) -> list[dict[str, Any]]:
    value = loaded(value)
    return [one for item in (value if isinstance(value, list) else [value]) if (one := table(loaded(item)))]


def waiting_for(calls: Sequence[AgentCall], identity: str) -> AgentCall | None:
    """The first call without a result that has this id, or of all where the result names none.

    Two calls of one response may carry one id: their results come in their order.
    """
    open_calls = (call for call in calls if call.result is None)
    return next((call for call in open_calls if not identity or call.id == identity), None)


def split_result(content: str, count: int) -> list[str]:
    """The results of `count` parallel calls that were written as one JSON list; [] where they cannot be told apart."""
    import orjson

    value = loaded(content)
    if not isinstance(value, list) or len(value) != count:
        return []
    held = [table(item).get("content", item) for item in value]
    return [one if isinstance(one, str) else orjson.dumps(one).decode() for one in held]


def python_calls(source: str, prefix: str) -> list[AgentCall]:
    """The calls of a text like `get_weather(city="Rome"), …` (ToolACE, Dolci); [] where it holds anything else.

    Arguments are parsed as literals and never evaluated. Names may hold blanks ("Market Trends API").
    """
    calls: list[AgentCall] = []
    position = 0
    while found := _PYTHON_NAME.match(source, position):
        arguments, end = _arguments(source, found.end())
        if arguments is None:
            return []
        calls.append(AgentCall(f"{prefix}{len(calls)}", found[1], arguments))
        separator = re.compile(r"\s*[,;\n]?\s*").match(source, end)
        position = separator.end() if separator else end
    return calls if position >= len(source.rstrip()) else []


def _arguments(source: str, start: int) -> tuple[dict[str, object] | None, int]:
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
