"""Codex CLI: `~/.codex/sessions/YYYY/MM/DD/rollout-*.jsonl`, a line an item of the Responses API in an envelope.

`event_msg` lines repeat what the items say. Reasoning is sealed but for its summary. Older files have no envelope.
"""

import shlex
from collections.abc import Iterator
from typing import Any

from duel.conversation.model import AgentCall, AgentReply, Lost, Said, Session
from duel.conversation.values import loaded, parts, table, tables, text
from duel.sources.sessions.log import Log, SessionBuilder, SessionReader

_ITEMS = {"message", "reasoning", "function_call", "function_call_output", "local_shell_call", "custom_tool_call"}
# What the harness says in the person's name.
_HARNESS = ("<environment_context>", "<user_instructions>", "# AGENTS.md instructions", "<turn_aborted>")
_SHELLS = {"shell", "local_shell", "container.exec", "exec_command"}


def _recognizes(sample: list[dict[str, Any]]) -> bool:
    enveloped = any(r.get("type") in ("session_meta", "response_item") and "payload" in r for r in sample)
    bare = any("record_type" in r for r in sample) and any(text(r, "type") in _ITEMS for r in sample)
    return enveloped or bare


def _read(log: Log, all_branches: bool = False) -> Iterator[Session]:
    session = Session("codex", log.path.name.split(".")[0])
    builder = SessionBuilder(session, log)
    for record in builder.records():
        kind = text(record, "type")
        payload = table(record.get("payload")) if "payload" in record else record
        if kind == "session_meta" or (not kind and "id" in record):
            session.id = text(payload, "id") or session.id
            session.folder = text(payload, "cwd")
            session.git_branch = text(table(payload.get("git")), "branch")
        elif kind == "turn_context":
            session.model = text(payload, "model") or session.model
            session.folder = session.folder or text(payload, "cwd")
        elif kind == "compacted":
            session.compactions += 1
        elif kind == "response_item" or kind in _ITEMS:
            _add(payload, builder)
        elif kind not in ("event_msg", ""):
            log.note(f"unknown entry type `{kind}`")
    yield session.tally()


def _add(item: dict[str, Any], builder: SessionBuilder) -> None:
    session, kind = builder.session, text(item, "type")
    spoken, images = parts(item.get("content"))
    if kind == "message" and item.get("role") == "assistant":
        _reply(session).text = spoken.strip()
    elif kind == "message" and item.get("role") == "user" and not spoken.lstrip().startswith(_HARNESS):
        session.entries.append(Said(spoken, images))
    elif kind == "message":
        builder.log.note("hidden message (instructions, environment)")
    elif kind == "reasoning":
        _reply(session).thinking = "\n\n".join(text(part, "text") for part in tables(item.get("summary")))
    elif kind.endswith("_output"):
        # Text, parts, or JSON with an exit code.
        output = item.get("output")
        held = table(loaded(output))
        content, failed = held.get("output"), table(held.get("metadata")).get("exit_code", 0) not in (0, None)
        if not isinstance(content, str):
            content = str(output.get("content") or "") if isinstance(output, dict) else parts(output)[0]
            failed = content.startswith("exec error") or table(output).get("success") is False
        if builder.answer(text(item, "call_id"), content, failed) is None:
            session.entries.append(Lost("result without a call"))  # what follows may rest on it
    elif kind.endswith("_call"):
        call = _call(item, session.folder)
        builder.calls[call.id] = call
        _reply(session, goes_on=True).calls.append(call)
    else:
        builder.log.note(f"unknown item `{kind}`")


def _reply(session: Session, goes_on: bool = False) -> AgentReply:
    """The reply that an item opens or goes on with: reasoning comes before words, words before calls."""
    last = session.last
    if isinstance(last, AgentReply) and not last.results and (goes_on or not (last.calls or last.text)):
        return last
    session.entries.append(reply := AgentReply())
    return reply


def _call(item: dict[str, Any], folder: str) -> AgentCall:
    name = text(item, "name") or text(item, "type").removesuffix("_call")
    given = loaded(item.get("arguments") or item.get("action") or {})
    arguments = table(given) if "input" not in item else {"input": item["input"]}
    words = arguments.get("command")
    name = "bash" if name in _SHELLS else name
    if name == "bash" and isinstance(words, list) and all(isinstance(word, str) for word in words):
        script = words[2] if len(words) == 3 and words[1] in ("-lc", "-c") else shlex.join(words)
        arguments = {**arguments, "command": script}
    return AgentCall(text(item, "call_id", "id"), name, arguments, folder)


FORMATS = {"codex": SessionReader(_recognizes, _read, ("~/.codex/sessions",))}
