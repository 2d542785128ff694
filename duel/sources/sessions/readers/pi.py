"""pi and OpenClaw: session files of pi's session manager, versions 1 (linear), 2 and 3 (a tree by `parentId`).

The first line is a header without a parent. The leaf is the last entry with an id; the way from it to the root is the
active branch. Compactions stay in the file as entries of their own: the whole way is kept and the cut is counted.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from duel.conversation.model import AgentCall, AgentReply, Hunk, Lost, Said, Session
from duel.conversation.native_calls import add_blocks
from duel.conversation.record_files import Hole, Record
from duel.conversation.values import parts, seconds, table, text
from duel.sources.sessions import tree
from duel.sources.sessions.log import Log

FOLDERS = ("~/.pi/agent/sessions",)

# Entries that are no part of the conversation. Any other unknown type is noted by its name.
_SILENT = {"model_change", "thinking_level_change", "label", "session_info", "custom"}
# One line of the diff in an edit's details: sign, line number (of the old file, but for "+"), text.
_DIFF_LINE = re.compile(r"([ +-])\s*(\d+) (.*)", re.DOTALL)
_DIFF_GAP = re.compile(r"\s*\.\.\.\s*")


def recognizes(sample: list[dict[str, Any]]) -> bool:
    return any(r.get("type") == "session" and "id" in r and "timestamp" in r for r in sample) and not any(
        "sessionId" in record for record in sample
    )


def read(log: Log, all_branches: bool = False) -> Iterator[Session]:
    yield from branches(log.entries(), log, all_branches)


def branches(records: Iterable[Record], log: Log, all_branches: bool = False) -> Iterator[Session]:
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
    session = Session(
        "pi", text(header, "id") or log.path.stem, folder=text(header, "cwd"), model=text(header, "modelId")
    )
    calls: dict[str, AgentCall] = {}
    for entry in entries:
        kind = text(entry, "type")
        session.saw(seconds(entry.get("timestamp")))
        if kind == "message":
            _add(table(entry.get("message")), seconds(entry.get("timestamp")), session, calls, log)
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
    role = text(message, "role")
    if role in ("user", "custom", "hookMessage"):
        session.entries.append(Said(*parts(message.get("content"))))
    elif role == "assistant":
        # pi itself leaves aborted and failed messages out of what the model sees next.
        reply = AgentReply(cut=text(message, "stopReason") in ("aborted", "error"))
        calls.update({c.id: c for c in add_blocks(reply, message.get("content"), session.folder, at, log.note)})
        session.entries.append(reply)
        session.counts["aborted replies"] += reply.cut
        session.model = text(message, "model") or session.model
    elif role == "toolResult":
        _attach(message, calls, log)
    elif role == "bashExecution":
        session.entries.append(Said(f"Ran `{text(message, 'command')}`\n\n{text(message, 'output')}".rstrip()))
    elif role in ("compactionSummary", "branchSummary"):
        log.note("hidden message (summary)")
    else:
        log.note(f"unknown message role `{role}`")


def _attach(message: dict[str, Any], calls: dict[str, AgentCall], log: Log) -> None:
    call = calls.get(text(message, "toolCallId"))
    if call is None:
        log.note("result without a call")
        return
    details = table(message.get("details"))
    call.result, call.images = parts(message.get("content"))
    # A tool that is not pi's own may fail without the flag and say so in its details.
    call.is_error = message.get("isError") is True or details.get("status") == "error"
    call.hunks = numbered_diff(text(details, "diff"))
    if details.get("status") == "running" or call.arguments.get("background") is True:
        call.obstacle = "runs in the background"


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
        hunk = Hunk(old, old + shift, tuple(sign + content for sign, _, content in run))
        counters = {"-": old, "+": old + shift}
        for sign, number, _ in run:
            if sign != " " and number != counters[sign]:
                return ()
            for side in "-+" if sign == " " else sign:
                counters[side] += 1
        hunks.append(hunk)
        shift = counters["+"] - counters["-"]
    return tuple(hunks)


def _runs(diff: str) -> Iterator[list[tuple[str, int, str]]]:
    """The lines between the gaps of a numbered diff as (sign, number, text); nothing where one line is no such line."""
    run: list[tuple[str, int, str]] = []
    runs = [run]
    for line in diff.split("\n") if diff else []:
        if found := _DIFF_LINE.fullmatch(line):
            run.append((found[1], int(found[2]), found[3]))
        elif _DIFF_GAP.fullmatch(line):
            runs.append(run := [])
        else:
            return
    yield from runs
