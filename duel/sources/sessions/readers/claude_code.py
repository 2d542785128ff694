"""Claude Code: `~/.claude/projects/<folder>/<session>.jsonl`, its sub-agents, what `claude -p` prints as a stream.

Lines form a tree by `parentUuid`, bridged over a compaction by `logicalParentUuid`; one API response is spread over
several lines with one `message.id`, with results of parallel calls between them. What the person rewound is another
branch.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from duel.conversation.model import AgentReply, Said, Session
from duel.conversation.record_files import Hole
from duel.conversation.values import parts, seconds, table, tables, text
from duel.sources.sessions.session_formats import Log, SessionBuilder, SessionTree, TreeEntry, any_record, reads

_MESSAGES = {"user", "assistant"}
# Lines that hold no message. Any other unknown type is noted by its name.
_SILENT = frozenset(
    "progress file-history-snapshot queue-operation summary ai-title custom-title last-prompt mode permission-mode"
    " bridge-session result stream_event rate_limit_event".split()
)
_KNOWN = _MESSAGES | _SILENT | {"system", "attachment"}
_NAMES_ITS_SESSION = {"sessionId", "session_id", "leafUuid", "isSnapshotUpdate"}
_IS_CLAUDE_CODE = any_record(lambda line: text(line, "type") in _KNOWN and line.keys() & _NAMES_ITS_SESSION)
# What is kept of the harness's own notes of a tool's run: they may hold whole files several times.
_OUTCOME = ("originalFile", "userModified", "isImage", "backgroundTaskId")
# Written by the harness: meta text, a compaction's summary; an API error has the model `<synthetic>`.
_HIDDEN = ("isMeta", "isCompactSummary", "isVisibleInTranscriptOnly")
# What the harness writes in the person's name about its own commands; the model is told not to answer it.
_LOCAL_COMMAND = re.compile(r"<local-command-(?:stdout|stderr|caveat)>|Caveat: The messages below were generated")
# A command of the person's own: a stored prompt, which follows in a meta line. Built-in commands have no such line.
_COMMAND = re.compile(r"<command-name>\s*(/?[^<\s]+)\s*</command-name>")
_COMMAND_ARGUMENTS = re.compile(r"<command-args>(.*?)</command-args>", re.DOTALL)
_INLINE = "inline"  # the sub-agent of a side-chain line that names none


@dataclass(slots=True)
class _Line(TreeEntry):
    """One line of the tree; those of user and assistant keep their record, the others an empty one."""

    folder: str = ""
    side: str = ""  # the sub-agent's id on side-chain lines; "" on the main chain
    queued: bool = False
    """Typed while the agent worked: it belongs to the branch that it came in on, whether or not a line names it."""

    @property
    def told(self) -> dict[str, Any]:
        return table(self.record)

    @property
    def message(self) -> dict[str, Any]:
        return table(self.told.get("message"))

    @property
    def response(self) -> str:
        """The API response that it is a part of; "" for what is no assistant's."""
        return text(self.message, "id") or self.key if self.told.get("type") == "assistant" else ""

    def ids(self, kind: str, name: str) -> list[str]:
        return [text(block, name) for block in tables(self.message.get("content")) if block.get("type") == kind]


@reads("claude-code", _IS_CLAUDE_CODE, "~/.claude/projects")
def _read(log: Log, all_branches: bool = False) -> Iterator[Session]:
    """The branch that the last message stands on, then, on request, each that tells something new; then sub-agents."""
    head: dict[str, Any] = {"compactions": 0}
    tree = SessionTree(_lines(log, head))
    for line in tree.values():
        # Old versions wrote sub-agents into the main file without an id: their first line's stands for it.
        if line.side == _INLINE:
            line.side = next((tree[key].side for key in tree.path_to(line.parent) if tree[key].side), line.key)
        above = tree.get(line.parent or "")
        if above and isinstance(above.record, Hole):  # a hole is a part of what hangs on it
            above.side = above.side or line.side
    said = [line for line in tree.values() if line.record]
    main = [line for line in said if not line.side]
    if any(line.told for line in main):
        last = next((line for line in reversed(main) if line.told and not line.queued), main[-1])
        for branch, keys in tree.branches(last.key, all_branches, lambda way: _with_siblings(main, set(way))):
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
            yield _Line(f"hole {number}", previous, record)
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
            functions = [
                {"name": text(t, "name"), "description": text(t, "description"), "parameters": table(t.get("schema"))}
                for t in tables(attachment.get("tools"))
            ]
            head["tools"] = [{"type": "function", "function": function} for function in functions]
        elif kind == "attachment":
            log.notes[f"attachment `{attachment.get('type')}`"] += 1
        elif kind not in _SILENT | _MESSAGES:
            log.notes[f"unknown entry type `{kind}`"] += 1
        if "uuid" in record or kind in _MESSAGES or queued:
            # A line that does not name its parent at all (other tools' files) follows the one before it.
            parent = record.get("parentUuid") or record.get("logicalParentUuid")
            parent = previous if "parentUuid" not in record else parent if isinstance(parent, str) else None
            line = _Line(text(record, "uuid") or f"line {number}", parent, {}, folder, queued=queued)
            if queued or (kind in _MESSAGES and isinstance(record.get("message"), dict)):
                outcome = record.get("toolUseResult")
                if isinstance(outcome, dict):
                    record["toolUseResult"] = {name: outcome[name] for name in _OUTCOME if name in outcome}
                line.record = record
                inline = text(record, "agentId") or _INLINE if record.get("isSidechain") else ""
                line.side = inline or text(record, "parent_tool_use_id")
            yield line
            previous = line.key if "uuid" in record or not queued else previous


def _with_siblings(lines: list[_Line], on_path: set[str]) -> set[str]:
    """The lines of a path, with the other lines of its API responses and the results of all their calls."""
    responses = {line.response for line in lines if line.key in on_path and line.response}
    replies = [line for line in lines if line.response in responses]
    calls = {call for line in replies for call in line.ids("tool_use", "id")}
    return {line.key for line in replies} | {
        line.key
        for line in lines
        if line.key in on_path
        or (line.queued and line.parent in on_path)
        or not calls.isdisjoint(line.ids("tool_result", "tool_use_id"))
    }


def _session(lines: list[_Line], head: dict[str, Any], log: Log) -> Session:
    first, models = lines[0], (text(line.message, "model") for line in lines)
    session = Session(
        "claude-code",
        head.get("sessionId") or log.path.stem,
        task_id=first.key if not first.key.startswith("line ") else "",
        agent=first.side,
        folder=next((line.folder for line in lines if line.folder), ""),
        git_branch=head.get("gitBranch", ""),
        model=next((model for model in models if model not in ("", "<synthetic>")), ""),
    )
    if not first.side:
        session.system, session.tools = head.get("system", ""), head.get("tools", [])
        session.compactions = head["compactions"]
    builder = SessionBuilder(session, log)
    command = ""  # the line of a stored command whose text is still to come
    for line in lines:
        for record in builder.records([line.record]):  # there is none where it is a hole
            by_harness = any(map(record.get, _HIDDEN)) or line.message.get("model") == "<synthetic>"
            if not line.response:
                for block in tables(line.message.get("content")):
                    if block.get("type") == "tool_result":
                        _answer(block, record.get("toolUseResult"), builder)
                command = _add_said(line, by_harness, command, builder)
            elif by_harness:
                log.notes["error message of the harness"] += 1
            else:
                reply, at = builder.reply(line.response), seconds(record.get("timestamp"))
                for call in builder.add_blocks(reply, line.message.get("content"), line.folder, at):
                    if call.arguments.get("run_in_background"):
                        call.obstacle = "runs in the background"
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


def _add_said(line: _Line, by_harness: bool, command: str, builder: SessionBuilder) -> str:
    """Add what a person said; returns the line of a stored command if this is one, so that its text can follow."""
    session, notes, content = builder.session, builder.log.notes, line.message.get("content")
    if isinstance(content, list) and not any(b.get("type") in ("text", "image") for b in tables(content)):
        return command
    spoken, images = parts([b for b in tables(content) if b.get("type") != "tool_result"] or content)
    last, name, is_local = session.last, _COMMAND.search(spoken), _LOCAL_COMMAND.match(spoken)
    if by_harness and command and command == line.parent and isinstance(last, Said) and not is_local:
        last.text = f"{last.text}\n\n{spoken.strip()}"
    elif by_harness:
        notes["hidden message (meta, summary)"] += 1
    elif is_local:
        notes["output of a local command"] += 1
    elif name and "<command-message>" in spoken and not spoken.lstrip().startswith("<command-message>"):
        notes["local command"] += 1
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
