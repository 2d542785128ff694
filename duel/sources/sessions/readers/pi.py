"""pi and OpenClaw: session files of pi's session manager, OpenClaw's database and bundle, which hold the same entries.

Versions 1 (linear), 2 and 3 (a tree by `parentId`). The first line is a header without a parent. The leaf is the last
entry with an id; the way from it to the root is the active branch. Compactions stay in the file as entries of their
own: the whole way is kept and the cut is counted.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from duel.conversation import record_files
from duel.conversation.model import AgentCall, AgentReply, Hunk, Lost, Said, Session
from duel.conversation.native_calls import add_blocks
from duel.conversation.record_files import Hole, Record
from duel.conversation.values import parts, seconds, table, tables, text
from duel.errors import ItemError
from duel.sources.sessions import tree
from duel.sources.sessions.log import Log, SessionReader

# Entries that are no part of the conversation. Any other unknown type is noted by its name.
_SILENT = {"model_change", "thinking_level_change", "label", "session_info", "custom"}
# One line of the diff in an edit's details: sign, line number (of the old file, but for "+"), text.
_DIFF_LINE = re.compile(r"([ +-])\s*(\d+) (.*)", re.DOTALL)
_DIFF_GAP = re.compile(r"\s*\.\.\.\s*")
# The database knows the active branch; large events are packed.
_EVENTS = "SELECT e.event_json, e.event_zstd, e.event_utf8_bytes, e.seq FROM transcript_events e"
_EVERY = f"{_EVENTS} WHERE e.session_id = ? ORDER BY e.seq"
_ACTIVE = (
    f"{_EVENTS} JOIN session_transcript_active_events a ON a.session_id = e.session_id AND a.event_seq = e.seq"
    " WHERE e.session_id = ? ORDER BY a.active_position"
)
_TRACE = "openclaw-trajectory"


def _is_pi(sample: list[dict[str, Any]]) -> bool:
    return any(r.get("type") == "session" and "id" in r and "timestamp" in r for r in sample) and not any(
        "sessionId" in record for record in sample
    )


def _branches(records: Iterable[Record], log: Log, all_branches: bool) -> Iterator[Session]:
    header: dict[str, Any] = {}
    entries: dict[str, dict[str, Any]] = {}
    parents: dict[str, str | None] = {}
    previous: str | None = None
    leaf: str | None = None
    hole = ""
    for number, record in enumerate(records):
        if isinstance(record, Hole):
            hole = f"hole {number}"
            entries[hole], parents[hole], previous = {"type": "lost"}, previous, hole
            continue
        if record.get("type") == "session":
            header = header or record
            continue
        key = text(record, "id") or f"entry {number}"
        parent = record.get("parentId") if "parentId" in record else previous
        entries[key], parents[key] = record, parent if isinstance(parent, str) else None
        if parents[key] is not None and parents[key] not in parents and hole:
            parents[key] = hole
        leaf = previous = key
    for branch, keys in tree.branches(parents, leaf, all_branches) if leaf is not None else ():
        session = _session([entries[key] for key in keys], header, log)
        session.branch = branch
        yield session


def _session(entries: list[dict[str, Any]], header: dict[str, Any], log: Log) -> Session:
    key = text(header, "id") or log.path.stem
    session = Session("pi", key, folder=text(header, "cwd"), model=text(header, "modelId"))
    calls: dict[str, AgentCall] = {}
    for entry in entries:
        kind, at = text(entry, "type"), seconds(entry.get("timestamp"))
        session.saw(at)
        if kind == "message":
            _add(table(entry.get("message")), at, session, calls, log)
        elif kind == "lost":
            session.entries.append(Lost("a broken line in the log"))
        elif kind == "compaction":
            session.compactions += 1
        elif kind == "custom_message":
            session.entries.append(Said(*parts(entry.get("content"))))
        elif kind == "branch_summary":
            log.note("summary of a branch that was left")
        elif kind not in _SILENT:
            log.note(f"unknown entry type `{kind}`")
    return session.tally()


def _add(message: dict[str, Any], at: float | None, session: Session, calls: dict[str, AgentCall], log: Log) -> None:
    role, content = text(message, "role"), message.get("content")
    if role in ("user", "custom", "hookMessage"):
        session.entries.append(Said(*parts(content)))
    elif role == "assistant":
        # pi itself leaves aborted and failed messages out of what the model sees next.
        reply = AgentReply(cut=text(message, "stopReason") in ("aborted", "error"))
        calls.update({c.id: c for c in add_blocks(reply, content, session.folder, at, log.note)})
        session.entries.append(reply)
        session.counts["aborted replies"] += reply.cut
        session.model = text(message, "model") or session.model
    elif role == "toolResult" and (call := calls.get(text(message, "toolCallId"))):
        details = table(message.get("details"))
        call.result, call.images = parts(content)
        # A tool that is not pi's own may fail without the flag and say so in its details.
        call.is_error = message.get("isError") is True or details.get("status") == "error"
        call.hunks = numbered_diff(text(details, "diff"))
        if details.get("status") == "running" or call.arguments.get("background") is True:
            call.obstacle = "runs in the background"
    elif role == "bashExecution":
        session.entries.append(Said(f"Ran `{text(message, 'command')}`\n\n{text(message, 'output')}".rstrip()))
    else:
        summary = "hidden message (summary)" if role in ("compactionSummary", "branchSummary") else ""
        log.note("result without a call" if role == "toolResult" else summary or f"unknown message role `{role}`")


def numbered_diff(diff: str) -> tuple[Hunk, ...]:
    """The hunks of a diff whose lines carry their numbers; () where the numbers do not add up.

    Only the numbers of changed lines are looked at: old versions counted the context in front of a change from 1.
    """
    hunks: list[Hunk] = []
    shift = 0  # lines that the hunks so far have added
    for run in _runs(diff):
        changed = next((i for i, (sign, _, _) in enumerate(run) if sign != " "), None)
        if changed is None:
            continue
        sign, number, _ = run[changed]
        old = number - changed - (shift if sign == "+" else 0)
        counters = {"-": old, "+": old + shift}
        for sign, number, _ in run:
            if sign != " " and number != counters[sign]:
                return ()
            for side in "-+" if sign == " " else sign:
                counters[side] += 1
        hunks.append(Hunk(old, old + shift, tuple(sign + content for sign, _, content in run)))
        shift = counters["+"] - counters["-"]
    return tuple(hunks)


def _runs(diff: str) -> list[list[tuple[str, int, str]]]:
    """The lines between the gaps of a numbered diff as (sign, number, text); nothing where one line is no such line."""
    runs: list[list[tuple[str, int, str]]] = [[]]
    for line in diff.split("\n") if diff else []:
        if found := _DIFF_LINE.fullmatch(line):
            runs[-1].append((found[1], int(found[2]), found[3]))
        elif _DIFF_GAP.fullmatch(line):
            runs.append([])
        else:
            return []
    return runs


def _is_openclaw(sample: list[dict[str, Any]]) -> bool:
    first = sample[0] if sample else {}
    named = {"transcript_events", "session_transcript_active_events"} <= set(first.get("tables") or ())
    return named or bool(_bundled(first)) or text(first, "traceSchema") == _TRACE


def _openclaw(log: Log, all_branches: bool = False) -> Iterator[Session]:
    """`agents/<id>/agent/openclaw-agent.sqlite`, and the bundle of `sessions export-trajectory`.

    The bundle has the entries in `session-branch.json`, and in `system-prompt.txt` and `tools.json` what the model was
    given.
    """
    if log.is_database:
        for (key,) in list(log.query("SELECT DISTINCT session_id FROM transcript_events ORDER BY session_id")):
            for session in _branches(_stored(log, str(key), all_branches), log, all_branches):
                session.format, session.id = "openclaw", str(key)
                yield session
        return
    document = next(log.values(), {})
    if text(document, "traceSchema") == _TRACE:
        if not (log.path.parent / "session-branch.json").is_file():
            raise ItemError("not-a-session", "a bundle's events without its session-branch.json", where=log.name)
        return
    for session in _branches(_bundled(document), log, all_branches):
        session.format = "openclaw"
        session.system = _beside(log.path, "system-prompt.txt").decode("utf-8", "replace").strip()
        tools = record_files.parsed(_beside(log.path, "tools.json") or b"[]")
        session.tools = tables(tools if isinstance(tools, list) else table(tools).get("tools"))
        yield session


def _stored(log: Log, session: str, all_branches: bool) -> Iterator[Record]:
    for plain, packed, size, number in list(log.query(_EVERY if all_branches else _ACTIVE, session)):
        event = record_files.parsed(plain.encode() if isinstance(plain, str) else _unpacked(packed, size))
        yield event if isinstance(event, dict) else Hole(int(number))


def _unpacked(packed: Any, size: Any) -> bytes:
    import pyarrow

    try:
        return bytes(pyarrow.decompress(packed, int(size), "zstd"))
    except (pyarrow.ArrowException, OSError, TypeError, ValueError):
        return b""


def _bundled(document: dict[str, Any]) -> list[dict[str, Any]]:
    entries = next((tables(document[k]) for k in ("entries", "branch", "events") if tables(document.get(k))), [])
    if not any(text(entry, "type") == "message" and "message" in entry for entry in entries):
        return []
    header = table(document.get("header") or document.get("session"))
    return [{**header, "type": "session"}, *entries] if header else entries


def _beside(path: Path, name: str) -> bytes:
    file = path.parent / name
    return file.read_bytes() if file.is_file() else b""


FORMATS = {
    "openclaw": SessionReader(_is_openclaw, _openclaw, ("~/.openclaw/agents",)),
    "pi": SessionReader(
        _is_pi, lambda log, all_branches=False: _branches(log.entries(), log, all_branches), ("~/.pi/agent/sessions",)
    ),
}
