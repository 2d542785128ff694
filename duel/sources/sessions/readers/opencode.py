"""opencode: its database (`opencode.db`), and what `opencode export` prints."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from duel.conversation.model import AgentCall, AgentReply, Said, Session
from duel.conversation.values import loaded, seconds, table, tables, text
from duel.sources.sessions.log import Log, SessionReader

# Its names of tools that others have by another.
_TOOLS = {"bash": "bash", "read": "Read", "write": "Write", "edit": "Edit", "glob": "Glob", "grep": "Grep"}
_KEYS = {"filePath": "file_path", "oldString": "old_string", "newString": "new_string", "replaceAll": "replace_all"}

_Message: TypeAlias = tuple[dict[str, Any], list[dict[str, Any]]]


def _recognizes(sample: list[dict[str, Any]]) -> bool:
    first = sample[0] if sample else {}
    if "tables" in first:
        return {"session", "message", "part"} <= set(first["tables"])
    return "info" in first and any("parts" in m for m in tables(first.get("messages")))


def _read(log: Log, all_branches: bool = False) -> Iterator[Session]:
    if log.is_database:
        for key, folder in log.query("SELECT id, directory FROM session ORDER BY id"):
            yield _session(str(key), str(folder or ""), _stored(log, key))
        return
    for document in log.values():
        messages = [(table(m.get("info")), tables(m.get("parts"))) for m in tables(document.get("messages"))]
        info = table(document.get("info"))
        yield _session(text(info, "id"), text(info, "directory"), messages)


def _stored(log: Log, session: str) -> Iterator[_Message]:
    for key, data in log.query("SELECT id, data FROM message WHERE session_id = ? ORDER BY id", session):
        parts = log.query("SELECT data FROM part WHERE message_id = ? ORDER BY id", key)
        yield table(loaded(data)), [table(loaded(part)) for (part,) in parts]


def _session(key: str, folder: str, messages: Iterable[_Message]) -> Session:
    session = Session("opencode", key, folder=folder)
    for info, parts in messages:
        for moment in ("created", "completed"):
            session.saw(seconds(table(info.get("time")).get(moment)))
        told: dict[str, list[str]] = {"text": [], "reasoning": []}
        calls = []
        for part in parts:
            kind, state = text(part, "type"), table(part.get("state"))
            if kind in told and not (kind == "text" and part.get("synthetic")):
                told[kind].append(text(part, "text").strip())
            elif kind == "tool":
                given = {_KEYS.get(name, name): value for name, value in table(state.get("input")).items()}
                tool = text(part, "tool")
                call = AgentCall(text(part, "callID"), _TOOLS.get(tool, tool), given, folder)
                call.at = seconds(table(state.get("time")).get("start"))
                call.is_error = state.get("status") == "error"
                if call.is_error or state.get("status") == "completed":
                    call.result = text(state, "error" if call.is_error else "output")
                calls.append(call)
        spoken, thinking = map("\n\n".join, told.values())
        if info.get("role") == "user":
            session.entries.append(Said(spoken, sum(text(p, "mime").startswith("image/") for p in parts)))
        else:
            session.model = text(info, "modelID") or session.model
            session.entries.append(AgentReply(spoken, calls, thinking, cut=bool(info.get("error"))))
    return session.tally()


FORMATS = {"opencode": SessionReader(_recognizes, _read, ("~/.local/share/opencode",))}
