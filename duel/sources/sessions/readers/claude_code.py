"""Claude Code: `~/.claude/projects/<folder>/<session>.jsonl`, sub-agents in `<session>/subagents/agent-<id>.jsonl`.

Also what `claude -p --output-format stream-json` prints. User and assistant lines form a tree by `parentUuid`, which
also passes through progress and system lines, so all ids are indexed before walking; a compaction is bridged by
`logicalParentUuid`. One API response is spread over several lines with one `message.id`, with results of parallel calls
between them; calls and results are paired by their ids. What the person rewound is another branch.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from duel.conversation.model import AgentReply, Said, Session
from duel.conversation.native_calls import add_blocks
from duel.conversation.record_files import Hole
from duel.conversation.values import parts, seconds, table, tables, text
from duel.sources.sessions.log import Log, SessionBuilder, SessionReader, any_record, branches, path_to

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
# The sub-agent of a side-chain line that names none.
_INLINE = "inline"


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

    def blocks(self, kind: str) -> Iterable[dict[str, Any]]:
        return (block for block in tables(self.message.get("content")) if block.get("type") == kind)


def _read(log: Log, all_branches: bool = False) -> Iterator[Session]:
    """The branch that the last message stands on, then, on request, each that tells something new; then sub-agents."""
    lines, parents, head = _index(log)
    main = [line for line in lines if not line.side]
    if any(line.role != "lost" for line in main):
        last = next((line for line in reversed(main) if line.role != "lost" and not line.queued), main[-1])
        for branch, keys in branches(parents, last.key, all_branches, lambda way: _with_siblings(main, set(way))):
            kept = set(keys)
            session = _session([line for line in main if line.key in kept], head, log)
            session.branch = branch
            yield session
    # Sub-agents' lines, one list a sub-agent. Old versions wrote them into the main file, without an agent id.
    chains: dict[str, list[_Line]] = {}
    chain_of: dict[str, str] = {}
    for line in lines:
        if line.side:
            way = path_to(parents, line.parent)
            chain = next((chain_of[key] for key in reversed(way) if key in chain_of), line.side)
            line.side = line.side if line.side != _INLINE else chain if chain != _INLINE else line.key
            chain_of[line.key] = line.side
            chains.setdefault(line.side, []).append(line)
    for side in chains.values():
        yield _session(side, head, log)


def _index(log: Log) -> tuple[list[_Line], dict[str, str | None], dict[str, Any]]:
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
        kind, attachment = text(record, "type"), table(record.get("attachment"))
        folder = text(record, "cwd") or folder
        key = text(record, "uuid") or f"line {number}"
        queued = attachment.get("type") == "queued_command" and attachment.get("commandMode", "prompt") == "prompt"
        if "uuid" in record or kind in _MESSAGES or queued:
            # A line that does not name its parent at all (other tools' files) follows the one before it.
            parent = record.get("parentUuid") or record.get("logicalParentUuid")
            parents[key] = previous if "parentUuid" not in record else parent if isinstance(parent, str) else None
            if "uuid" in record or not queued:
                before[key], previous = (hole, previous), key
        for name, *spellings in (("sessionId", "sessionId", "session_id"), ("gitBranch", "gitBranch")):
            if name not in head and text(record, *spellings):
                head[name] = text(record, *spellings)
        if kind in _MESSAGES and isinstance(record.get("message"), dict):
            lines.append(_line(record, key, parents[key], folder))
        elif kind == "system":
            head["compactions"] += record.get("subtype") == "compact_boundary"
        elif queued:
            said = {**record, "type": "user", "message": {"role": "user", "content": attachment.get("prompt")}}
            lines.append(_line(said, key, parents[key], folder))
            lines[-1].queued = True
        elif attachment.get("type") == "prompt_snapshot":
            prompt = attachment.get("systemPrompt")
            head["system"] = "\n\n".join(map(str, prompt)) if isinstance(prompt, list) else str(prompt or "")
            head["tools"] = [_tool(tool) for tool in tables(attachment.get("tools"))]
        elif kind == "attachment":
            log.note(f"attachment `{attachment.get('type')}`")
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


def _line(record: dict[str, Any], key: str, parent: str | None, folder: str) -> _Line:
    message, outcome = record["message"], record.get("toolUseResult")
    if isinstance(outcome, dict):
        kept = ("originalFile", "userModified", "isImage", "backgroundTaskId")
        outcome = {name: outcome[name] for name in kept if name in outcome}
    hidden = any(record.get(flag) for flag in ("isMeta", "isCompactSummary", "isVisibleInTranscriptOnly"))
    hidden = hidden or message.get("model") == "<synthetic>"
    inline = (text(record, "agentId") or _INLINE) if record.get("isSidechain") else ""
    side, moment = inline or text(record, "parent_tool_use_id"), seconds(record.get("timestamp"))
    return _Line(key, parent, record["type"], message, outcome, folder, moment, hidden, side)


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = {"name": text(tool, "name"), "description": text(tool, "description")}
    return {"type": "function", "function": {**function, "parameters": table(tool.get("schema"))}}


def _with_siblings(lines: list[_Line], on_path: set[str]) -> set[str]:
    """The lines of a path, with the other lines of its API responses and the results of all their calls."""
    responses = {line.message_id for line in lines if line.key in on_path and line.role == "assistant"}
    replies = [line for line in lines if line.role == "assistant" and line.message_id in responses]
    calls = {text(block, "id") for line in replies for block in line.blocks("tool_use")}
    return {line.key for line in replies} | {
        line.key
        for line in lines
        if line.key in on_path
        or (line.queued and line.parent in on_path)
        or any(text(block, "tool_use_id") in calls for block in line.blocks("tool_result"))
    }


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
    builder = SessionBuilder(session, log)
    command = ""  # the line of a stored command whose text is still to come
    for line in lines:
        session.saw(line.moment)
        if line.role == "lost":
            builder.lose()
        elif line.role == "assistant" and line.hidden:
            log.note("error message of the harness")
        elif line.role == "assistant":
            reply = builder.reply(line.message_id)
            for call in add_blocks(reply, line.message.get("content"), line.folder, line.moment, log.note):
                builder.calls[call.id] = call
                if call.arguments.get("run_in_background"):
                    call.obstacle = "runs in the background"
        else:
            for block in line.blocks("tool_result"):
                _answer(block, line.outcome, builder)
            command = _add_said(line, session, command, log)
    return session.tally()


def _answer(block: dict[str, Any], outcome: Any, builder: SessionBuilder) -> None:
    call = builder.answer(text(block, "tool_use_id"), block.get("content"), block.get("is_error") is True)
    if call is None:
        return
    if outcome == "User rejected tool use":
        call.obstacle = "rejected by the person"
    outcome = table(outcome)
    call.images += outcome.get("isImage") is True and not call.images
    if outcome.get("userModified") is True:
        call.obstacle = "changed by the person"
    elif outcome.get("backgroundTaskId"):
        call.obstacle = "runs in the background"
    before = outcome.get("originalFile")
    call.before = before if isinstance(before, str) else None


def _add_said(line: _Line, session: Session, command: str, log: Log) -> str:
    """Add what a person said; returns the line of a stored command if this is one, so that its text can follow."""
    content = line.message.get("content")
    if isinstance(content, list) and not any(b.get("type") in ("text", "image") for b in tables(content)):
        return command
    spoken, images = parts([b for b in tables(content) if b.get("type") != "tool_result"] or content)
    last, name = session.last, _COMMAND.search(spoken)
    is_local, follows = _LOCAL_COMMAND.match(spoken), bool(command) and command == line.parent
    if line.hidden and follows and isinstance(last, Said) and not is_local:
        last.text = f"{last.text}\n\n{spoken.strip()}"
    elif line.hidden:
        log.note("hidden message (meta, summary)")
    elif is_local:
        log.note("output of a local command")
    elif name and "<command-message>" in spoken and not spoken.lstrip().startswith("<command-message>"):
        log.note("local command")
    elif name:
        arguments = _COMMAND_ARGUMENTS.search(spoken)
        session.entries.append(Said(f"{name[1]} {arguments[1].strip() if arguments else ''}".strip()))
        return line.key
    else:
        if spoken.startswith("[Request interrupted by user"):
            session.counts["interruptions"] += 1
            if isinstance(last, AgentReply) and not last.calls:
                last.cut = True
        session.entries.append(Said(spoken, images))
    return ""


_NAMES_ITS_SESSION = {"sessionId", "session_id", "leafUuid", "isSnapshotUpdate"}
_KNOWN = _MESSAGES | _SILENT | {"system", "attachment"}
_recognizes = any_record(lambda line: text(line, "type") in _KNOWN and line.keys() & _NAMES_ITS_SESSION)
FORMATS = {"claude-code": SessionReader(_recognizes, _read, ("~/.claude/projects",))}
