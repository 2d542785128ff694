"""OpenClaw of today: `agents/<id>/agent/openclaw-agent.sqlite`, and the bundle of `sessions export-trajectory`.

Both hold pi's entries. The database knows the active branch; large events are packed. The bundle has the entries in
`session-branch.json`, and in `system-prompt.txt` and `tools.json` what the model was given.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from duel.conversation import record_files
from duel.conversation.model import Session
from duel.conversation.record_files import Hole, Record
from duel.conversation.values import table, tables, text
from duel.errors import ItemError
from duel.sources.sessions.log import Log
from duel.sources.sessions.readers import pi

FOLDERS = ("~/.openclaw/agents",)
_TRACE = "openclaw-trajectory"


def recognizes(sample: list[dict[str, Any]]) -> bool:
    first = sample[0] if sample else {}
    named = {"transcript_events", "session_transcript_active_events"} <= set(first.get("tables") or ())
    return named or bool(_entries(first)) or text(first, "traceSchema") == _TRACE


def read(log: Log, all_branches: bool = False) -> Iterator[Session]:
    if log.is_database:
        for (key,) in list(log.query("SELECT DISTINCT session_id FROM transcript_events ORDER BY session_id")):
            for session in pi.branches(_stored(log, str(key), all_branches), log, all_branches):
                session.format, session.id = "openclaw", str(key)
                yield session
        return
    document = next(log.values(), {})
    if text(document, "traceSchema") == _TRACE:
        if not (log.path.parent / "session-branch.json").is_file():
            raise ItemError("not-a-session", "a bundle's events without its session-branch.json", where=log.name)
        return
    for session in pi.branches(_entries(document), log, all_branches):
        session.format = "openclaw"
        session.system = _beside(log.path, "system-prompt.txt").decode("utf-8", "replace").strip()
        tools = record_files.parsed(_beside(log.path, "tools.json") or b"[]")
        session.tools = tables(tools if isinstance(tools, list) else table(tools).get("tools"))
        yield session


def _stored(log: Log, session: str, all_branches: bool) -> Iterator[Record]:
    active = (
        "SELECT e.event_json, e.event_zstd, e.event_utf8_bytes, e.seq FROM transcript_events e"
        " JOIN session_transcript_active_events a ON a.session_id = e.session_id AND a.event_seq = e.seq"
        " WHERE e.session_id = ? ORDER BY a.active_position"
    )
    every = (
        "SELECT event_json, event_zstd, event_utf8_bytes, seq FROM transcript_events WHERE session_id = ? ORDER BY seq"
    )
    for plain, packed, size, number in list(log.query(every if all_branches else active, session)):
        raw = plain.encode() if isinstance(plain, str) else _unpacked(packed, size)
        event = record_files.parsed(raw)
        yield event if isinstance(event, dict) else Hole(int(number))


def _unpacked(packed: Any, size: Any) -> bytes:
    import pyarrow

    try:
        return bytes(pyarrow.decompress(packed, int(size), "zstd"))
    except (pyarrow.ArrowException, OSError, TypeError, ValueError):
        return b""


def _entries(document: dict[str, Any]) -> list[dict[str, Any]]:
    entries = next((tables(document[k]) for k in ("entries", "branch", "events") if tables(document.get(k))), [])
    if not any(text(entry, "type") == "message" and "message" in entry for entry in entries):
        return []
    header = table(document.get("header") or document.get("session"))
    return [{**header, "type": "session"}, *entries] if header else entries


def _beside(path: Path, name: str) -> bytes:
    file = path.parent / name
    return file.read_bytes() if file.is_file() else b""
