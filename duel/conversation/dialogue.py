"""A chat as an agent's steps: what was said, which calls were made (in a bash block, or native), what came back."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from duel import turn
from duel.conversation.model import AgentCall, AgentReply, Entry, Lost, Said, Session, calls_made
from duel.conversation.values import calls_of, joined, table, text, waiting_for
from duel.errors import ItemError
from duel.records import Message

BASH = "bash"
_COMMAND = {"type": "string", "description": "The command to run."}
BASH_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": BASH,
        "description": "Run one bash command in the repository and return what it prints.",
        "parameters": {"type": "object", "properties": {"command": _COMMAND}, "required": ["command"]},
    },
}
_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


def is_native(messages: Iterable[Message]) -> bool:
    return any(message.role == "tool" or calls_in(message) for message in messages)


def calls_in(message: Message) -> list[AgentCall]:
    extra = message.model_extra
    return calls_of({**extra, "content": message.content}, "call_") if extra else []


def action(said: str) -> tuple[str, str] | None:
    """(thought, command) of a turn with exactly one bash block; None where no harness would run it for sure."""
    found = turn.blocks(said)
    if len(found) != 1 or not found[0].strip():
        return None
    match = turn.BLOCK.search(said)
    return joined(turn.thought(said), said[match.end() :].strip() if match else ""), found[0]


def parse(messages: Sequence[Message]) -> list[Entry]:
    """The steps of a conversation. Raises ItemError where calls and results cannot be told apart or matched.

    A turn of the bash protocol without exactly one block ran nothing that is known: its text stays whole, and what
    follows is a message of the user.
    """
    native = is_native(messages)
    entries: list[Entry] = []
    waiting: list[AgentCall] = []  # calls of the turn before, which the next messages answer
    for message in messages:
        if message.role == "assistant":
            reply = AgentReply(message.content, calls_in(message))
            if not native and (found := action(message.content)):
                reply = AgentReply(found[0], [AgentCall("", BASH, {"command": found[1]})])
            elif any(call.obstacle for call in reply.calls):
                raise ItemError("bad-arguments", "a tool call needs a name and an object of arguments")
            entries.append(reply)
            waiting = reply.calls
        elif message.role == "tool":
            call = waiting_for(waiting, str((message.model_extra or {}).get("tool_call_id") or ""))
            if call is None:
                raise ItemError("orphan-tool-result", "a tool result names no call of the turn before it")
            call.result = message.content
        elif waiting and not native and message.role == "user":
            waiting[0].result, waiting = message.content, []
        else:
            entries.append(Said(message.content, role=message.role))
            waiting = []
    for order, call in enumerate(calls_made(entries), start=1):
        call.id = f"call_{order}"
    return entries


def to_messages(entries: Iterable[Entry | Lost]) -> list[Message]:
    """The same conversation with native tool calls: `arguments` an object, results as tool messages with ids."""
    return [Message.model_validate(message) for message in _chat(entries)]


def native_chat(session: Session) -> list[dict[str, Any]]:
    """A whole session with its own tool calls, up to the first hole in it.

    Calls that never came back are left out but for those that end it; replies with nothing in between are one.
    """
    entries: list[Entry | Lost] = [Said(session.system, role="system")] if session.system else []
    for entry in session.entries:
        if not isinstance(entry, AgentReply):
            entries.append(entry)
        elif not entry.cut:
            ends = entry is session.entries[-1] and not entry.answered
            calls = [call for call in entry.calls if ends or call.result is not None]
            before, prose = entries[-1] if entries else None, entry.text
            if isinstance(before, AgentReply) and not before.calls:
                entries.pop()
                prose = joined(before.text, prose)
            if prose or calls:
                entries.append(AgentReply(prose, calls))
    return _chat(entries)


def _chat(entries: Iterable[Entry | Lost]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for entry in entries:
        if isinstance(entry, Lost):
            break
        if isinstance(entry, Said):
            messages.append({"role": entry.role, "content": entry.text})
            continue
        functions = ((call.id, {"name": call.name, "arguments": dict(call.arguments)}) for call in entry.calls)
        made = [{"id": identity, "type": "function", "function": function} for identity, function in functions]
        messages.append({"role": "assistant", "content": entry.text} | ({"tool_calls": made} if made else {}))
        told = ({"tool_call_id": call.id, "name": call.name, "content": call.result} for call in entry.answered)
        messages += [{"role": "tool", **result} for result in told]
    return messages


def tools_for(entries: Iterable[Entry], declared: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    schemas = {text(table(tool.get("function")), "name"): dict(tool) for tool in declared}
    seen: dict[str, dict[str, str]] = {}
    for call in calls_made(entries):
        kinds = seen.setdefault(call.name, {})
        for key, value in call.arguments.items():
            kind = _JSON_TYPES.get(type(value), "")
            kinds[key] = kind if kinds.get(key, kind) == kind else ""
    for name, kinds in seen.items():
        if name == BASH and set(kinds) <= {"command"}:
            schemas.setdefault(name, BASH_TOOL)
        elif name not in schemas:
            properties = {key: {"type": kind} if kind else {} for key, kind in sorted(kinds.items())}
            parameters = {"type": "object", "properties": properties}
            schemas[name] = {"type": "function", "function": {"name": name, "parameters": parameters}}
    return list(schemas.values()) or [BASH_TOOL]
