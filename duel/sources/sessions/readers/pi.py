"""pi and OpenClaw: session files of pi's session manager, OpenClaw's database and bundle, which hold the same entries.

Versions 1 (linear), 2 and 3 (a tree by `parentId`); the active branch ends on the last entry with an id. Compactions
are entries of their own: the whole way is kept and the cut is counted.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from duel.conversation import record_files
from duel.conversation.model import Said, Session
from duel.conversation.record_files import FileRecord, Hole
from duel.conversation.values import parts, seconds, table, tables, text
from duel.sources.sessions.session_formats import Log, SessionBuilder, SessionTree, TreeEntry, reads

# Entries that are no part of the conversation. Any other unknown type is noted by its name.
_SILENT = {"model_change", "thinking_level_change", "label", "session_info", "custom"}
# The database knows the active branch; large events are packed.
_EVENTS = "SELECT e.event_json, e.event_zstd, e.event_utf8_bytes, e.seq FROM transcript_events e"
_EVERY = f"{_EVENTS} WHERE e.session_id = ? ORDER BY e.seq"
_ACTIVE = (
    f"{_EVENTS} JOIN session_transcript_active_events a ON a.session_id = e.session_id AND a.event_seq = e.seq"
    " WHERE e.session_id = ? ORDER BY a.active_position"
)


def _is_pi(sample: list[dict[str, Any]]) -> bool:
    opens = any(r.get("type") == "session" and "id" in r and "timestamp" in r for r in sample)
    return opens and not any("sessionId" in record for record in sample)


@reads("pi", _is_pi, "~/.pi/agent/sessions")
def _branches(log: Log, all_branches: bool = False, records: Iterable[FileRecord] | None = None) -> Iterator[Session]:
    header: dict[str, Any] = {}
    entries: list[TreeEntry] = []
    for number, record in enumerate(log.entries() if records is None else records):
        previous = entries[-1].key if entries else None
        if isinstance(record, Hole):
            entries.append(TreeEntry(f"hole {number}", previous, record))
        elif record.get("type") == "session":
            header = header or record
        else:
            parent = record.get("parentId") if "parentId" in record else previous
            key = text(record, "id") or f"entry {number}"
            entries.append(TreeEntry(key, parent if isinstance(parent, str) else None, record))
    leaf = next((entry.key for entry in reversed(entries) if not isinstance(entry.record, Hole)), None)
    tree = SessionTree(entries)
    for branch, keys in tree.branches(leaf, all_branches) if leaf is not None else ():
        session = Session("pi", text(header, "id") or log.path.stem, branch=branch)
        session.folder, session.model = text(header, "cwd"), text(header, "modelId")
        builder = SessionBuilder(session, log)
        for entry in builder.records(tree[key].record for key in keys):
            _add(entry, builder)
        yield session.tally()


def _add(entry: dict[str, Any], builder: SessionBuilder) -> None:
    session, notes, message = builder.session, builder.log.notes, table(entry.get("message"))
    kind, role, content = text(entry, "type"), text(message, "role"), message.get("content")
    if kind in _SILENT:
        return
    if kind == "compaction":
        session.compactions += 1
    elif kind == "custom_message":
        session.entries.append(Said(*parts(entry.get("content"))))
    elif kind == "branch_summary":
        notes["summary of a branch that was left"] += 1
    elif kind != "message":
        notes[f"unknown entry type `{kind}`"] += 1
    elif role in ("user", "custom", "hookMessage"):
        session.entries.append(Said(*parts(content)))
    elif role == "assistant":
        # pi itself leaves aborted and failed messages out of what the model sees next.
        reply = builder.reply()
        reply.cut = text(message, "stopReason") in ("aborted", "error")
        builder.add_blocks(reply, content, session.folder, seconds(entry.get("timestamp")))
        session.counts["aborted replies"] += reply.cut
        session.model = text(message, "model") or session.model
    elif role == "toolResult":
        # A tool that is not pi's own may fail without the flag and say so in its details.
        details = table(message.get("details"))
        status = details.get("status")
        call = builder.answer(text(message, "toolCallId"), content, message.get("isError") is True or status == "error")
        if call and (status == "running" or call.arguments.get("background") is True):
            call.obstacle = "runs in the background"
        # The first versions wrote "$" where a call said "$$" (JavaScript's replace): what was written is what counts.
        shown = [line for line in text(details, "diff").split("\n") if line.startswith("+")]
        if call and "$$" in (new := text(call.arguments, "newText")) and shown and "$$" not in "\n".join(shown):
            call.arguments["newText"] = new.replace("$$", "$")
    elif role == "bashExecution":
        session.entries.append(Said(f"Ran `{text(message, 'command')}`\n\n{text(message, 'output')}".rstrip()))
    else:
        hidden = role in ("compactionSummary", "branchSummary")
        notes["hidden message (summary)" if hidden else f"unknown message role `{role}`"] += 1


def _is_openclaw(sample: list[dict[str, Any]]) -> bool:
    first = sample[0] if sample else {}
    named = {"transcript_events", "session_transcript_active_events"} <= set(first.get("tables") or ())
    return named or bool(_bundled(first))


@reads("openclaw", _is_openclaw, "~/.openclaw/agents")
def _openclaw(log: Log, all_branches: bool = False) -> Iterator[Session]:
    """`agents/<id>/agent/openclaw-agent.sqlite`, and the bundle of `sessions export-trajectory`, a folder of files."""
    if log.is_database:
        for (key,) in log.query("SELECT DISTINCT session_id FROM transcript_events ORDER BY session_id"):
            for session in _branches(log, all_branches, _stored(log, str(key), all_branches)):
                session.format, session.id = "openclaw", str(key)
                yield session
        return
    document, folder = next(log.values(), {}), log.path.parent
    prompt, listed = (
        file.read_bytes() if (file := folder / name).is_file() else b"" for name in ("system-prompt.txt", "tools.json")
    )
    for session in _branches(log, all_branches, _bundled(document)):
        session.format, session.system = "openclaw", prompt.decode("utf-8", "replace").strip()
        tools = record_files.parsed(listed)
        session.tools = tables(tools if isinstance(tools, list) else table(tools).get("tools"))
        yield session


def _stored(log: Log, session: str, all_branches: bool) -> Iterator[FileRecord]:
    import pyarrow

    for plain, packed, size, number in log.query(_EVERY if all_branches else _ACTIVE, session):
        try:
            raw = plain.encode() if isinstance(plain, str) else bytes(pyarrow.decompress(packed, int(size), "zstd"))
        except (pyarrow.ArrowException, OSError, TypeError, ValueError):
            raw = b""
        event = record_files.parsed(raw)
        yield event if isinstance(event, dict) else Hole(int(number))


def _bundled(document: dict[str, Any]) -> list[dict[str, Any]]:
    entries = next((tables(document[k]) for k in ("entries", "branch", "events") if tables(document.get(k))), [])
    if not any(text(entry, "type") == "message" and "message" in entry for entry in entries):
        return []
    header = table(document.get("header") or document.get("session"))
    return [{**header, "type": "session"}, *entries] if header else entries
