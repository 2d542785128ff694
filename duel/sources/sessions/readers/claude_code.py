"""Claude Code: `~/.claude/projects/<folder>/<session>.jsonl`, sub-agents in `<session>/subagents/agent-<id>.jsonl`.

Also what `claude -p --output-format stream-json` prints. User and assistant lines form a tree by `parentUuid`, which
also passes through progress and system lines; a compaction is bridged by `logicalParentUuid`. One API response is
spread over several lines with one `message.id`, with results of parallel calls between them; calls and results are
paired by their ids. What the person rewound is another branch.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from duel.conversation.model import AgentReply, Said, Session
from duel.conversation.record_files import Hole
from duel.conversation.values import parts, seconds, table, tables, text
from duel.sources.sessions.log import (
    Log,
    SessionBuilder,
    SessionReader,
    TreeEntry,
    any_record,
    branches,
    mended,
    path_to,
)

_MESSAGES = {"user", "assistant"}
# Lines that hold no message. Any other unknown type is noted by its name.
_SILENT = frozenset(
    "progress file-history-snapshot queue-operation summary ai-title custom-title last-prompt mode permission-mode"
    " bridge-session result stream_event rate_limit_event".split()
)
# What is kept of the harness's own notes of a tool's run: they may hold whole files several times.
_OUTCOME = ("originalFile", "userModified", "isImage", "backgroundTaskId")
# What the harness writes in the person's name about its own commands; the model is told not to answer it.
_LOCAL_COMMAND = re.compile(r"<local-command-(?:stdout|stderr|caveat)>|Caveat: The messages below were generated")
# A command of the person's own: a stored prompt, which follows in a meta line. Built-in commands have no such line.
_COMMAND = re.compile(r"<command-name>\s*(/?[^<\s]+)\s*</command-name>")
_COMMAND_ARGUMENTS = re.compile(r"<command-args>(.*?)</command-args>", re.DOTALL)
# The sub-agent of a side-chain line that names none.
_INLINE = "inline"


@dataclass(slots=True)
class _Line(TreeEntry):
    """One line of the tree; only those of user and assistant keep their record."""

    folder: str = ""
    side: str = ""  # the sub-agent's id on side-chain lines; "" on the main chain
    queued: bool = False
    """Typed while the agent worked: it belongs to the branch that it came in on, whether or not a line names it."""

    @property
    def role(self) -> str:
        return text(self.record, "type")

    @property
    def response(self) -> str:
        return text(self.message, "id") or self.key

    @property
    def message(self) -> dict[str, Any]:
        return table(self.record.get("message"))

    @property
    def hidden(self) -> bool:
        """Written by the harness: meta text, a compaction's summary, an API error."""
        flags = ("isMeta", "isCompactSummary", "isVisibleInTranscriptOnly")
        return any(map(self.record.get, flags)) or self.message.get("model") == "<synthetic>"

    def blocks(self, kind: str) -> Iterable[dict[str, Any]]:
        return (block for block in tables(self.message.get("content")) if block.get("type") == kind)


def _read(log: Log, all_branches: bool = False) -> Iterator[Session]:
    """The branch that the last message stands on, then, on request, each that tells something new; then sub-agents."""
    head: dict[str, Any] = {"compactions": 0}
    lines = mended(_lines(log, head))
    tree = {line.key: line for line in lines}
    for line in lines:
        # Old versions wrote sub-agents into the main file without an id: their first line's stands for it.
        if line.side == _INLINE:
            line.side = next((tree[key].side for key in path_to(tree, line.parent) if tree[key].side), line.key)
        if (above := tree.get(line.parent or "")) and above.hole:  # a hole is a part of what hangs on it
            above.side = above.side or line.side
    said = [line for line in lines if line.record or line.hole]
    main = [line for line in said if not line.side]
    if any(line.record for line in main):
        last = next((line for line in reversed(main) if line.record and not line.queued), main[-1])
        for branch, keys in branches(tree, last.key, all_branches, lambda way: _with_siblings(main, set(way))):
            kept = set(keys)
            session = _session([line for line in main if line.key in kept], head, log)
            session.branch = branch
            yield session
    for side in dict.fromkeys(line.side for line in said if line.side):
        yield _session([line for line in said if line.side == side], head, log)


def _lines(log: Log, head: dict[str, Any]) -> Iterator[_Line]:
    """The lines that take part in the tree; what the others tell of the session goes into `head`."""
    previous: str | None = None
    folder = ""  # a line that does not say where it was written was written where the one before it was
    for number, record in enumerate(log.entries()):
        if isinstance(record, Hole):
            yield _Line(f"hole {number}", previous, hole=True)
            previous = f"hole {number}"
            continue
        kind, attachment = text(record, "type"), table(record.get("attachment"))
        folder = text(record, "cwd") or folder
        for name, *spellings in (("sessionId", "sessionId", "session_id"), ("gitBranch", "gitBranch")):
            head[name] = head.get(name) or text(record, *spellings)
        queued = attachment.get("type") == "queued_command" and attachment.get("commandMode", "prompt") == "prompt"
        if queued:
            record |= {"type": "user", "message": {"role": "user", "content": attachment.get("prompt")}}
        elif kind == "system":
            head["compactions"] += record.get("subtype") == "compact_boundary"
        elif attachment.get("type") == "prompt_snapshot":
            prompt = attachment.get("systemPrompt")
            head["system"] = "\n\n".join(map(str, prompt)) if isinstance(prompt, list) else str(prompt or "")
            head["tools"] = [_tool(tool) for tool in tables(attachment.get("tools"))]
        elif kind == "attachment":
            log.note(f"attachment `{attachment.get('type')}`")
        elif kind not in _SILENT | _MESSAGES:
            log.note(f"unknown entry type `{kind}`")
        if "uuid" in record or kind in _MESSAGES or queued:
            # A line that does not name its parent at all (other tools' files) follows the one before it.
            parent = record.get("parentUuid") or record.get("logicalParentUuid")
            parent = previous if "parentUuid" not in record else parent if isinstance(parent, str) else None
            line = _Line(text(record, "uuid") or f"line {number}", parent, folder=folder, queued=queued)
            if queued or (kind in _MESSAGES and isinstance(record.get("message"), dict)):
                outcome = record.get("toolUseResult")
                if isinstance(outcome, dict):
                    record["toolUseResult"] = {name: outcome[name] for name in _OUTCOME if name in outcome}
                line.record = record
                inline = text(record, "agentId") or _INLINE if record.get("isSidechain") else ""
                line.side = inline or text(record, "parent_tool_use_id")
            yield line
            previous = line.key if "uuid" in record or not queued else previous


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = {"name": text(tool, "name"), "description": text(tool, "description")}
    return {"type": "function", "function": {**function, "parameters": table(tool.get("schema"))}}


def _with_siblings(lines: list[_Line], on_path: set[str]) -> set[str]:
    """The lines of a path, with the other lines of its API responses and the results of all their calls."""
    responses = {line.response for line in lines if line.key in on_path and line.role == "assistant"}
    replies = [line for line in lines if line.role == "assistant" and line.response in responses]
    calls = {text(block, "id") for line in replies for block in line.blocks("tool_use")}
    return {line.key for line in replies} | {
        line.key
        for line in lines
        if line.key in on_path
        or (line.queued and line.parent in on_path)
        or any(text(block, "tool_use_id") in calls for block in line.blocks("tool_result"))
    }


def _session(lines: list[_Line], head: dict[str, Any], log: Log) -> Session:
    side, models = lines[0].side, (text(line.message, "model") for line in lines)
    session = Session(
        "claude-code",
        head.get("sessionId") or log.path.stem,
        task_id=lines[0].key if not lines[0].key.startswith("line ") else "",
        agent=side,
        folder=next((line.folder for line in lines if line.folder), ""),
        git_branch=head.get("gitBranch", ""),
        model=next((model for model in models if model not in ("", "<synthetic>")), ""),
    )
    if not side:
        session.system, session.tools = head.get("system", ""), head.get("tools", [])
        session.compactions = head["compactions"]
    builder = SessionBuilder(session, log)
    command = ""  # the line of a stored command whose text is still to come
    for line in lines:
        moment = seconds(line.record.get("timestamp"))
        session.saw(moment)
        if line.hole:
            builder.lose()
        elif line.role == "assistant" and line.hidden:
            log.note("error message of the harness")
        elif line.role == "assistant":
            reply = builder.reply(line.response)
            for call in builder.add_blocks(reply, line.message.get("content"), line.folder, moment):
                if call.arguments.get("run_in_background"):
                    call.obstacle = "runs in the background"
        else:
            for block in line.blocks("tool_result"):
                _answer(block, line.record.get("toolUseResult"), builder)
            command = _add_said(line, session, command, log)
    return session.tally()


def _answer(block: dict[str, Any], outcome: Any, builder: SessionBuilder) -> None:
    call = builder.answer(text(block, "tool_use_id"), block.get("content"), block.get("is_error") is True)
    if call is None:
        return
    told = table(outcome)
    call.images += told.get("isImage") is True and not call.images
    call.before = text(told, "originalFile") if isinstance(told.get("originalFile"), str) else None
    if outcome == "User rejected tool use":
        call.obstacle = "rejected by the person"
    elif told.get("userModified") is True:
        call.obstacle = "changed by the person"
    elif told.get("backgroundTaskId"):
        call.obstacle = "runs in the background"


def _add_said(line: _Line, session: Session, command: str, log: Log) -> str:
    """Add what a person said; returns the line of a stored command if this is one, so that its text can follow."""
    content = line.message.get("content")
    if isinstance(content, list) and not any(b.get("type") in ("text", "image") for b in tables(content)):
        return command
    spoken, images = parts([b for b in tables(content) if b.get("type") != "tool_result"] or content)
    last, name = session.last, _COMMAND.search(spoken)
    is_local = _LOCAL_COMMAND.match(spoken)
    if line.hidden and command and command == line.parent and isinstance(last, Said) and not is_local:
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
