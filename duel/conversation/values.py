"""Outside data, read without trust: text, tables, JSON inside text, content as parts, moments, calls and results."""

import ast
import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import orjson

from duel.conversation.model import AgentCall

BAD_ARGUMENTS = "the arguments are not an object"
_PYTHON_NAME = re.compile(r"\s*([A-Za-z_][\w.\-/ ]*?)\s*\(")
_CALL_PARTS = {"tool_use", "tool_call", "toolCall", "function_call"}
_UNREADABLE = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError)  # what `ast` raises of hostile text


def text(source: Mapping[str, Any], *names: str) -> str:
    """The first of `names` in `source` that is a text with anything in it; "" where none is."""
    return next((value for name in names if isinstance(value := source.get(name), str) and value), "")


def table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def tables(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def joined(*texts: str) -> str:
    return "\n\n".join(filter(None, texts))


def rewritten(value: Any, change: Callable[[str], str], keys: bool = True) -> Any:
    """A value of JSON with every text in it changed, those of its keys as well unless `keys` is False."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(str(key)) if keys else key: rewritten(item, change, keys) for key, item in value.items()}
    return [rewritten(item, change, keys) for item in value] if isinstance(value, list) else value


def parts(content: Any) -> tuple[str, int]:
    """(text, number of images) of a message's content: a text, or a list of blocks."""
    if isinstance(content, str):
        return content, 0
    texts, images = [], 0
    for block in content if isinstance(content, list) else []:
        if isinstance(block, str):
            texts.append(block)
        elif "image" in (kind := text(table(block), "type")):
            images += 1
        elif kind in ("", "text", "input_text", "output_text") and (said := text(table(block), "text", "value")):
            texts.append(said)
    return "\n".join(texts), images


def seconds(moment: Any) -> float | None:
    """Seconds since 1970 of an ISO 8601 text or of a number of (milli)seconds; None where it is neither."""
    try:
        if isinstance(moment, (int, float)) and not isinstance(moment, bool):
            return float(moment) / 1000 if moment > 1e11 else float(moment)
        read = datetime.fromisoformat(moment)
    except (ValueError, TypeError, OverflowError):
        return None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def loaded(value: Any) -> Any:
    """The value of a JSON text, or of a Python literal that JSON can hold; None of other texts. Others as they are."""
    if not isinstance(value, str):
        return value
    with contextlib.suppress(ValueError):
        return orjson.loads(value)
    with contextlib.suppress(*_UNREADABLE):
        return _as_json(ast.literal_eval(value)) if value.lstrip()[:1] in ("{", "[") else None
    return None


def _as_json(literal: Any) -> Any:
    """A Python literal as JSON reads it back: keys are text, tuples are lists. Raises TypeError for sets and bytes."""
    return orjson.loads(orjson.dumps(literal, option=orjson.OPT_NON_STR_KEYS))


def calls_of(message: Mapping[str, Any], prefix: str) -> list[AgentCall]:
    """The calls of one message; a call without an id gets one that opens with `prefix`."""
    raw = [*listed(message.get("tool_calls")), *listed(message.get("function_call"))]
    for part in tables(message.get("content")):
        if text(part, "type") in _CALL_PARTS:
            raw += listed(part.get("value")) or [part]
    calls = []
    for order, one in enumerate(raw, 1):
        function = table(loaded(one.get("function"))) or one
        keys = (key for key in ("arguments", "input", "parameters") if function.get(key) is not None)
        given = function.get(next(keys, ""), "")
        arguments, name = loaded(given) if given != "" else {}, text(function, "name")
        if name or one.get("function"):
            is_bad = not name or not isinstance(arguments, dict)
            # Where rows were merged into one table, keys that this call never had stand there as null.
            given = {} if is_bad else {key: value for key, value in arguments.items() if value is not None}
            call = AgentCall(text(one, "id", "call_id") or f"{prefix}{order}", name, given)
            call.obstacle = BAD_ARGUMENTS if is_bad else ""
            calls.append(call)
    if isinstance(source := message.get("function_calls"), str):
        calls += python_calls(source, prefix)
    return calls


def listed(value: Any) -> list[dict[str, Any]]:
    """The objects of a list of objects or JSON texts, of its JSON text, or the one object that it is."""
    value = loaded(value)
    return [one for item in (value if isinstance(value, list) else [value]) if (one := table(loaded(item)))]


def python_calls(source: str, prefix: str) -> list[AgentCall]:
    """The calls of a text like `get_weather(city="Rome"), …` (ToolACE, Dolci), never evaluated; [] where it is none."""

    def keywords(given: str) -> Any:
        with contextlib.suppress(*_UNREADABLE):
            call = ast.parse(f"f({given})", mode="eval").body
            if isinstance(call, ast.Call) and not call.args:
                return _as_json({word.arg: ast.literal_eval(word.value) for word in call.keywords})
        return None

    calls: list[AgentCall] = []
    rest = source.strip()
    while rest and (found := _PYTHON_NAME.match(rest)):
        # A parenthesis inside a string does not close the call: the shortest that parses does.
        ends = [close.start() for close in islice(re.finditer(r"\)", rest[found.end() :]), 64)]
        pieces = (rest[found.end() :][:end] for end in ends)
        arguments, size = next(((read, len(p)) for p in pieces if (read := keywords(p)) is not None), (None, 0))
        if arguments is None:
            return []
        calls.append(AgentCall(f"{prefix}{len(calls)}", found[1], arguments))
        rest = re.sub(r"\A\s*[,;\n]?\s*", "", rest[found.end() + size + 1 :])
    return calls if not rest else []


def waiting_for(calls: Sequence[AgentCall], identity: str) -> AgentCall | None:
    """The first call without a result that has this id (two may share one), or of all where the result names none."""
    open_calls = (call for call in calls if call.result is None)
    return next((call for call in open_calls if not identity or call.id == identity), None)


def split_result(content: str, count: int) -> list[str]:
    """The results of `count` parallel calls that were written as one JSON list; [] where they cannot be told apart."""
    value = loaded(content)
    held = [table(item).get("content", item) for item in value] if isinstance(value, list) else []
    return [one if isinstance(one, str) else orjson.dumps(one).decode() for one in held] if len(held) == count else []
