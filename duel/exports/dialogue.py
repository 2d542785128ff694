"""A chat as an agent's steps: what was said, which calls were made, what came back.

Two protocols become one shape: the bash block of mini-swe-agent (the action stands in the text, the observation is the
next user message) and native tool calls. Call ids are numbered anew, so that they are unique and every result names
its call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from duel import turn
from duel.errors import ItemError
from duel.records import Message

BASH = "bash"
BASH_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": BASH,
        "description": "Run one bash command in the repository and return what it prints.",
        "parameters": {
            "type": "object",
            "properties": {"command": {"type": "string", "description": "The command to run."}},
            "required": ["command"],
        },
    },
}


@dataclass(frozen=True)
class Said:
    """A message of the system or the user that is no observation."""

    role: str
    text: str


@dataclass(frozen=True)
class Call:
    """One action: a tool and its arguments."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """What came back from the call `id`."""

    id: str
    text: str


@dataclass(frozen=True)
class Turn:
    """One agent turn: its text without the action, its calls, and what came back, in the order of the calls."""

    text: str
    calls: tuple[Call, ...] = ()
    results: tuple[Result, ...] = ()


Entry: TypeAlias = Said | Turn


def is_native(messages: Iterable[Message]) -> bool:
    """True where tool calls are keys of the messages and not bash blocks in their text."""
    return any(message.role == "tool" or native_calls(message) for message in messages)


def native_calls(message: Message) -> list[Mapping[str, Any]]:
    """The `tool_calls` of a message as it came; [] where it has none."""
    calls = (message.model_extra or {}).get("tool_calls")
    return [call for call in calls if isinstance(call, Mapping)] if isinstance(calls, list) else []


def action(text: str) -> tuple[str, str] | None:
    """(thought, command) of a turn with exactly one bash block; None where no harness would run it for sure."""
    found = turn.blocks(text)
    if len(found) != 1 or not found[0].strip():
        return None
    match = turn.BLOCK.search(text)
    after = text[match.end() :].strip() if match else ""
    return "\n\n".join(part for part in (turn.thought(text), after) if part), found[0]


def parse(messages: Sequence[Message]) -> list[Entry]:
    """The steps of a conversation. Raises ItemError where calls and results cannot be told apart or matched.

    A turn of the bash protocol without exactly one block ran nothing that is known: its text stays whole, and what
    follows is a message of the user.
    """
    read = _read_native if is_native(messages) else _read_bash
    entries: list[Entry] = []
    position = numbered = 0
    while position < len(messages):
        message = messages[position]
        if message.role == "assistant":
            entry, position = read(messages, position, numbered)
            numbered += len(entry.calls)
            entries.append(entry)
        elif message.role == "tool":
            raise ItemError("orphan-tool-result", "a tool result follows no call")
        else:
            entries.append(Said(message.role, message.content))
            position += 1
    return entries


def to_messages(entries: Iterable[Entry]) -> list[Message]:
    """The same conversation with native tool calls: `arguments` an object, results as tool messages with ids."""
    messages: list[dict[str, Any]] = []
    for entry in entries:
        if isinstance(entry, Said):
            messages.append({"role": entry.role, "content": entry.text})
            continue
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": dict(call.arguments)}}
            for call in entry.calls
        ]
        messages.append({"role": "assistant", "content": entry.text} | ({"tool_calls": calls} if calls else {}))
        names = {call.id: call.name for call in entry.calls}
        messages += [
            {"role": "tool", "content": result.text, "tool_call_id": result.id, "name": names[result.id]}
            for result in entry.results
        ]
    return [Message.model_validate(message) for message in messages]


def tools_for(entries: Iterable[Entry], declared: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """The function schemas of every tool that is called: the declared ones, else what the calls themselves show."""
    schemas = {_name_of(tool): dict(tool) for tool in declared}
    seen: dict[str, dict[str, str]] = {}
    for entry in entries:
        for call in entry.calls if isinstance(entry, Turn) else ():
            kinds = seen.setdefault(call.name, {})
            for key, value in call.arguments.items():
                kinds[key] = _json_type(value) if kinds.get(key, _json_type(value)) == _json_type(value) else ""
    for name, kinds in seen.items():
        if name == BASH and set(kinds) <= {"command"}:
            schemas.setdefault(name, BASH_TOOL)
        elif name not in schemas:
            properties = {key: {"type": kind} if kind else {} for key, kind in sorted(kinds.items())}
            parameters = {"type": "object", "properties": properties}
            schemas[name] = {"type": "function", "function": {"name": name, "parameters": parameters}}
    return list(schemas.values()) or [BASH_TOOL]


def _read_bash(messages: Sequence[Message], position: int, numbered: int) -> tuple[Turn, int]:
    text = messages[position].content
    found = action(text)
    if found is None:
        return Turn(text), position + 1
    thought, command = found
    call = Call(f"call_{numbered + 1}", BASH, {"command": command})
    if position + 1 < len(messages) and messages[position + 1].role == "user":
        return Turn(thought, (call,), (Result(call.id, messages[position + 1].content),)), position + 2
    return Turn(thought, (call,)), position + 1


def _read_native(messages: Sequence[Message], position: int, numbered: int) -> tuple[Turn, int]:
    message = messages[position]
    raw = native_calls(message)
    calls = tuple(_call(call, f"call_{numbered + order}") for order, call in enumerate(raw, start=1))
    end = position + 1
    while end < len(messages) and messages[end].role == "tool":
        end += 1
    results = _matched(raw, calls, messages[position + 1 : end])
    return Turn(message.content, calls, results), end


def _call(raw: Mapping[str, Any], number: str) -> Call:
    function = raw.get("function")
    function = function if isinstance(function, Mapping) else raw
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError:
            raise ItemError("bad-arguments", "the arguments of a tool call are not JSON") from None
    if not isinstance(arguments or {}, Mapping) or not isinstance(function.get("name"), str):
        raise ItemError("bad-arguments", "a tool call needs a name and an object of arguments")
    return Call(number, function["name"], dict(arguments or {}))


def _matched(
    raw: Sequence[Mapping[str, Any]], calls: Sequence[Call], messages: Sequence[Message]
) -> tuple[Result, ...]:
    """Results in the order of the calls they name; where no id is given, the order decides."""
    waiting = {str(call.get("id") or order): new.id for order, (call, new) in enumerate(zip(raw, calls, strict=True))}
    found: dict[str, Result] = {}
    for order, message in enumerate(messages):
        key = str((message.model_extra or {}).get("tool_call_id") or order)
        if key not in waiting:
            raise ItemError("orphan-tool-result", "a tool result names no call of the turn before it")
        identity = waiting.pop(key)
        found[identity] = Result(identity, message.content)
    return tuple(found[call.id] for call in calls if call.id in found)


def _name_of(tool: Mapping[str, Any]) -> str:
    function = tool.get("function")
    return str(function.get("name", "")) if isinstance(function, Mapping) else ""


def _json_type(value: object) -> str:
    kinds: list[tuple[type | tuple[type, ...], str]] = [
        (bool, "boolean"),
        (int, "integer"),
        (float, "number"),
        (str, "string"),
        (list, "array"),
        (Mapping, "object"),
    ]
    return next((name for kind, name in kinds if isinstance(value, kind)), "")
