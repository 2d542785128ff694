"""Calls and results that are keys or parts of messages, in every spelling: OpenAI, Anthropic, ShareGPT, Dolci."""

import ast
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from duel.conversation.model import AgentCall
from duel.conversation.values import as_json, loaded, table, tables, text

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
    rest = source.strip()
    while rest and (found := _PYTHON_NAME.match(rest)):
        # A parenthesis inside a string does not close the call: the shortest that parses does.
        ends = [close.start() for close in islice(re.finditer(r"\)", rest[found.end() :]), 64)]
        pieces = (rest[found.end() :][:end] for end in ends)
        arguments, size = next(((given, len(p)) for p in pieces if (given := _keywords(p)) is not None), (None, 0))
        if arguments is None:
            return []
        calls.append(AgentCall(f"{prefix}{len(calls)}", found[1], arguments))
        rest = re.sub(r"\A\s*[,;\n]?\s*", "", rest[found.end() + size + 1 :])
    return calls if not rest else []


def _keywords(source: str) -> dict[str, Any] | None:
    try:
        call = ast.parse(f"f({source})", mode="eval").body
        if isinstance(call, ast.Call) and not call.args:
            return dict(as_json({word.arg: ast.literal_eval(word.value) for word in call.keywords}))
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        pass
    return None
