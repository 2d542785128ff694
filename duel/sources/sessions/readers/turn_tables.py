"""Tables with a row a turn, as SWE-chat holds real sessions: `session_id`, `turn_number`, `role`, `turn_type`.

The rows of a session stand together. A tool's row holds its call, and its result where the set has it.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from duel.conversation.model import AgentCall, AgentReply, Said, Session
from duel.conversation.native_calls import waiting_for
from duel.conversation.values import joined, loaded, seconds, table, text
from duel.sources.sessions.log import Log

_TEXTS = ("content", "text", "message", "prompt", "response")
_RESULTS = ("tool_result", "tool_output", "output", "result")


def recognizes(sample: list[dict[str, Any]]) -> bool:
    return any(
        {"session_id", "turn_number"} <= record.keys() and record.keys() & {"role", "turn_type"} for record in sample
    )


def read(log: Log, all_branches: bool = False) -> Iterator[Session]:
    for key, rows in groupby(log.values(), lambda row: str(row.get("session_id"))):
        session = Session("turn-tables", key)
        for row in sorted(rows, key=lambda row: n if isinstance(n := row.get("turn_number"), int) else 0):
            session.saw(seconds(row.get("timestamp")))
            session.repo = session.repo or text(row, "repo", "repository")
            session.model = text(row, "model") or session.model
            _add(row, session)
        yield session.tally()


def _add(row: dict[str, Any], session: Session) -> None:
    kind = text(row, "turn_type") or text(row, "role")
    last = session.last
    if kind in ("user_prompt", "user", "human"):
        session.entries.append(Said(text(row, *_TEXTS)))
    elif kind.startswith("tool") and not text(row, "tool_name") and isinstance(last, AgentReply):
        if call := waiting_for(last.calls, text(row, "tool_call_id")):
            call.result = text(row, *_TEXTS, *_RESULTS)
    elif kind.startswith("tool"):
        if not isinstance(last, AgentReply):
            session.entries.append(last := AgentReply())
        given = table(loaded(row.get("tool_input_json")))
        given = given or {k: row[k] for k in ("command", "file_path") if isinstance(row.get(k), str)}
        call = AgentCall(text(row, "tool_call_id"), text(row, "tool_name"), given)
        call.result = next((row[name] for name in _RESULTS if isinstance(row.get(name), str)), None)
        call.is_error = row.get("is_error") is True
        last.calls.append(call)
    elif kind in ("assistant_response", "assistant_thinking", "assistant"):
        if not isinstance(last, AgentReply) or last.calls:
            session.entries.append(last := AgentReply())
        if kind == "assistant_thinking":
            last.thinking = text(row, *_TEXTS)
        else:
            last.text = joined(last.text, text(row, *_TEXTS))
    elif not session.refusal:
        session.refusal, session.detail = "unknown-role", f"a row has the type {kind[:40]!r}"
