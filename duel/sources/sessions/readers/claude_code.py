"""Claude Code: `~/.claude/projects/<folder>/<session>.jsonl`, sub-agents in `<session>/subagents/agent-<id>.jsonl`.

Also what `claude -p --output-format stream-json` prints.

A line is an event. User and assistant lines form a tree by `parentUuid`, which also passes through progress and system
lines, so all ids are indexed before walking; a compaction is bridged by `logicalParentUuid`. One API response is spread
over several lines with one `message.id`, with results of parallel calls between them; calls and results are paired by
their ids. What the person rewound is another branch.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from duel.conversation.model import AgentCall, AgentReply, Hunk, Lost, Said, Session
from duel.conversation.native_calls import add_blocks
from duel.conversation.record_files import Hole
from duel.conversation.values import parts, seconds, table, tables, text
from duel.sources.sessions import tree
from duel.sources.sessions.log import Log, SessionReader, any_record

_MESSAGES = {"user", "assistant"}
# Lines that hold no message. Any other unknown type is noted by its name.
_SILENT = frozenset(
    "progress file-history-snapshot queue-operation summary ai-title custom-title last-prompt mode permission-mode"
    " bridge-session result stream_event rate_limit_event".split()
)
# What the harness writes in the person's name about its own commands; the model is told not to answer it.
_LOCAL_COMMAND = re.compile(r"<local-command-(?:stdout|stderr|caveat)>|Caveat: The messages below were generated")
# A command of the person's own: a stored prompt, which follows in a meta line. Built-in commands have no such line.
_COMMAND = re.compile(r"<command-name>\s*(/?[^<\s]+)\s*</command-name>")
_COMMAND_ARGUMENTS = re.compile(r"<command-args>(.*?)</command-args>", re.DOTALL)
_INTERRUPTED = "[Request interrupted by user"
# The sub-agent of a side-chain line that names none.
_INLINE = "inline"
_REJECTED = "User rejected tool use"


@dataclass(slots=True)
class _Line:
    """One user or assistant line, without what no reader needs."""

    key: str
    parent: str | None
    role: str = "lost"  # a line that cannot be read
    message: dict[str, Any] = field(default_factory=dict)
    outcome: Any = None  # `toolUseResult`: what the harness itself noted of a tool's run
    folder: str = ""
    moment: float | None = None
    hidden: bool = False  # written by the harness: meta text, a compaction's summary, an API error
    side: str = ""  # the sub-agent's id on side-chain lines; "" on the main chain
    queued: bool = False
    """Typed while the agent worked: it belongs to the branch that it came in on, whether or not a line names it."""

    @property
    def message_id(self) -> str:
        return text(self.message, "id") or self.key


def _read(log: Log, all_branches: bool = False) -> Iterator[Session]:
    """The branch that the last message stands on, then, on request, each that tells something new; then sub-agents."""
    lines, parents, head = _index(log)
    main = [line for line in lines if not line.side]
    if any(line.role != "lost" for line in main):
        last = next((line for line in reversed(main) if line.role != "lost" and not line.queued), main[-1])
        for branch, keys in tree.branches(parents, last.key, all_branches, lambda way: _with_siblings(main, set(way))):
            kept = set(keys)
            session = _session([line for line in main if line.key in kept], head, log)
            session.branch = branch
            yield session
    for chain in _side_chains([line for line in lines if line.side], parents):
        yield _session(chain, head, log)


def _index(log: Log) -> tuple[list[_Line], dict[str, str | None], dict[str, Any]]:
    """(message lines, parent of every line with an id, what the session says of itself)."""
    lines: list[_Line] = []
    parents: dict[str, str | None] = {}
    head: dict[str, Any] = {"compactions": 0}
    previous: str | None = None
    hole = ""  # the last line that cannot be read
    before: dict[str, tuple[str, str | None]] = {}
    folder = ""  # a line that does not say where it was written was written where the one before it was
    for number, record in enumerate(log.entries()):
        if isinstance(record, Hole):
            hole = f"hole {number}"
            parents[hole], previous = previous, hole
            lines.append(_Line(hole, parents[hole]))
            continue
        kind = text(record, "type")
        folder = text(record, "cwd") or folder
        key = text(record, "uuid") or f"line {number}"
        if "uuid" in record or kind in _MESSAGES:
            # A line that does not name its parent at all (other tools' files) follows the one before it.
            parent = record.get("parentUuid") or record.get("logicalParentUuid")
            parents[key] = previous if "parentUuid" not in record else parent if isinstance(parent, str) else None
            before[key], previous = (hole, previous), key
        for name, *spellings in (("sessionId", "sessionId", "session_id"), ("gitBranch", "gitBranch")):
            if name not in head and text(record, *spellings):
                head[name] = text(record, *spellings)
        if kind in _MESSAGES and isinstance(record.get("message"), dict):
            lines.append(_line(record, key, parents[key], folder))
        elif kind == "system":
            head["compactions"] += record.get("subtype") == "compact_boundary"
        elif kind == "attachment" and (queued := _queued(record)):
            lines.append(_line(queued, key, parents.setdefault(key, previous), folder))
            lines[-1].queued = True
        elif kind == "attachment":
            _attachment(table(record.get("attachment")), head, log)
        elif kind not in _SILENT:
            log.note(f"unknown entry type `{kind}`")
    _bridge(lines, parents, before)
    return lines, parents, head


def _bridge(lines: list[_Line], parents: dict[str, str | None], before: dict[str, tuple[str, str | None]]) -> None:
    """Hang a line whose parent the log lacks on the hole in front of it, so that what it follows is not forgotten."""
    known = {line.key: line for line in lines}
    for key in [key for key, parent in parents.items() if parent is not None and parent not in parents]:
        hole, previous = before.get(key, ("", None))
        if not hole:
            hole = f"hole before {key}"
            parents[hole], known[hole] = previous, _Line(hole, previous)
            lines.insert(next((i for i, line in enumerate(lines) if line.key == key), 0), known[hole])
        parents[key] = hole
        if key in known:
            known[key].parent, known[hole].side = hole, known[key].side


def _queued(record: dict[str, Any]) -> dict[str, Any]:
    """What the person typed while the agent worked, as a line of theirs; {} for any other attachment."""
    attachment = table(record.get("attachment"))
    if attachment.get("type") != "queued_command" or attachment.get("commandMode", "prompt") != "prompt":
        return {}
    return {**record, "type": "user", "message": {"role": "user", "content": attachment.get("prompt")}}


def _line(record: dict[str, Any], key: str, parent: str | None, folder: str) -> _Line:
    message, outcome = record["message"], record.get("toolUseResult")
    if isinstance(outcome, dict):
        kept = ("originalFile", "structuredPatch", "userModified", "isImage", "backgroundTaskId")
        outcome = {name: outcome[name] for name in kept if name in outcome}
    hidden = any(record.get(flag) for flag in ("isMeta", "isCompactSummary", "isVisibleInTranscriptOnly"))
    hidden = hidden or message.get("model") == "<synthetic>"
    inline = (text(record, "agentId") or _INLINE) if record.get("isSidechain") else ""
    side, moment = inline or text(record, "parent_tool_use_id"), seconds(record.get("timestamp"))
    return _Line(key, parent, record["type"], message, outcome, folder, moment, hidden, side)


def _attachment(attachment: dict[str, Any], head: dict[str, Any], log: Log) -> None:
    if attachment.get("type") != "prompt_snapshot":
        log.note(f"attachment `{attachment.get('type')}`")
        return
    prompt = attachment.get("systemPrompt")
    head["system"] = "\n\n".join(map(str, prompt)) if isinstance(prompt, list) else str(prompt or "")
    head["tools"] = []
    for tool in tables(attachment.get("tools")):
        function = {name: text(tool, name) for name in ("name", "description")}
        head["tools"].append({"type": "function", "function": {**function, "parameters": table(tool.get("schema"))}})


def _side_chains(lines: list[_Line], parents: dict[str, str | None]) -> list[list[_Line]]:
    """Sub-agents' lines, one list a sub-agent. Old versions wrote them into the main file, without an agent id."""
    chains: dict[str, list[_Line]] = {}
    chain_of: dict[str, str] = {}
    for line in lines:
        way = tree.path(parents, line.parent) if line.parent else []
        chain = next((chain_of[key] for key in reversed(way) if key in chain_of), line.side or line.key)
        chain_of[line.key] = line.side = line.side if line.side != _INLINE else chain if chain != _INLINE else line.key
        chains.setdefault(line.side, []).append(line)
    return list(chains.values())


def _with_siblings(lines: list[_Line], on_path: set[str]) -> set[str]:
    """The lines of a path, with the other lines of its API responses and the results of all their calls."""
    responses = {line.message_id for line in lines if line.key in on_path and line.role == "assistant"}
    replies = [line for line in lines if line.role == "assistant" and line.message_id in responses]
    calls = {text(block, "id") for line in replies for block in _blocks(line, "tool_use")}
    return {line.key for line in replies} | {
        line.key
        for line in lines
        if line.key in on_path
        or (line.queued and line.parent in on_path)
        or any(text(block, "tool_use_id") in calls for block in _blocks(line, "tool_result"))
    }


def _blocks(line: _Line, kind: str) -> Iterable[dict[str, Any]]:
    return (block for block in tables(line.message.get("content")) if block.get("type") == kind)


def _session(lines: list[_Line], head: dict[str, Any], log: Log) -> Session:
    side = lines[0].side
    session = Session(
        "claude-code",
        head.get("sessionId") or log.path.stem,
        task_id=lines[0].key if not lines[0].key.startswith("line ") else "",
        agent=side,
        folder=next((line.folder for line in lines if line.folder), ""),
        git_branch=head.get("gitBranch", ""),
        model=next((found for line in lines if (found := text(line.message, "model")) not in ("", "<synthetic>")), ""),
        system="" if side else head.get("system", ""),
        tools=[] if side else head.get("tools", []),
        compactions=0 if side else head["compactions"],
    )
    replies: dict[str, AgentReply] = {}
    calls: dict[str, AgentCall] = {}
    command = ""  # the line of a stored command whose text is still to come
    for line in lines:
        session.saw(line.moment)
        if line.role == "lost":
            session.entries.append(Lost("a broken line in the log"))
        elif line.role == "assistant" and line.hidden:
            log.note("error message of the harness")
        elif line.role == "assistant":
            _add_reply(line, session, replies, calls, log)
        elif line.role == "user":
            for block in _blocks(line, "tool_result"):
                _attach(block, line, calls, log)
            command = _add_said(line, session, command, log)
    return session.tally()


def _add_reply(
    line: _Line, session: Session, replies: dict[str, AgentReply], calls: dict[str, AgentCall], log: Log
) -> None:
    reply = replies.get(line.message_id)
    if reply is None:
        reply = replies[line.message_id] = AgentReply()
        session.entries.append(reply)
    for call in add_blocks(reply, line.message.get("content"), line.folder, line.moment, log.note):
        calls[call.id] = call
        if call.arguments.get("run_in_background"):
            call.obstacle = "runs in the background"


def _attach(block: dict[str, Any], line: _Line, calls: dict[str, AgentCall], log: Log) -> None:
    call = calls.get(text(block, "tool_use_id"))
    if call is None:
        log.note("result without a call")
        return
    call.result, call.images = parts(block.get("content"))
    call.is_error = block.get("is_error") is True
    outcome = line.outcome
    if isinstance(outcome, str):
        call.obstacle = "rejected by the person" if outcome == _REJECTED else call.obstacle
        return
    outcome = table(outcome)
    call.images += outcome.get("isImage") is True and not call.images
    if outcome.get("userModified") is True:
        call.obstacle = "changed by the person"
    elif outcome.get("backgroundTaskId"):
        call.obstacle = "runs in the background"
    call.before = text(outcome, "originalFile") if isinstance(outcome.get("originalFile"), str) else None
    call.hunks = tuple(
        Hunk(int(hunk.get("oldStart") or 0), int(hunk.get("newStart") or 0), tuple(map(str, hunk.get("lines") or ())))
        for hunk in tables(outcome.get("structuredPatch"))
    )


def _add_said(line: _Line, session: Session, command: str, log: Log) -> str:
    """Add what a person said; returns the line of a stored command if this is one, so that its text can follow."""
    content = line.message.get("content")
    if isinstance(content, list) and not any(b.get("type") in ("text", "image") for b in tables(content)):
        return command
    spoken, images = parts([b for b in tables(content) if b.get("type") != "tool_result"] or content)
    last = session.last
    if line.hidden:
        if command and command == line.parent and isinstance(last, Said) and not _LOCAL_COMMAND.match(spoken):
            last.text = f"{last.text}\n\n{spoken.strip()}"
        else:
            log.note("hidden message (meta, summary)")
        return ""
    if _LOCAL_COMMAND.match(spoken):
        log.note("output of a local command")
        return ""
    if name := _COMMAND.search(spoken):
        if "<command-message>" in spoken and not spoken.lstrip().startswith("<command-message>"):
            log.note("local command")
            return ""
        arguments = _COMMAND_ARGUMENTS.search(spoken)
        spoken = f"{name[1]} {arguments[1].strip() if arguments else ''}".strip()
        session.entries.append(Said(spoken))
        return line.key
    if spoken.startswith(_INTERRUPTED):
        session.counts["interruptions"] += 1
        if isinstance(last, AgentReply) and not last.calls:
            last.cut = True
    session.entries.append(Said(spoken, images))
    return ""


_NAMES_ITS_SESSION = {"sessionId", "session_id", "leafUuid", "isSnapshotUpdate"}
_KNOWN = _MESSAGES | _SILENT | {"system", "attachment"}
_recognizes = any_record(lambda line: text(line, "type") in _KNOWN and line.keys() & _NAMES_ITS_SESSION)
FORMATS = {"claude-code": SessionReader(_recognizes, _read, ("~/.claude/projects",))}
