"""Codex CLI: `~/.codex/sessions/YYYY/MM/DD/rollout-*.jsonl`, a line an item of the Responses API in an envelope.

`event_msg` lines repeat what the items say. Reasoning is sealed but for its summary. Older files have no envelope.
"""

import shlex
from collections.abc import Iterator
from typing import Any

from duel.conversation.model import AgentCall, AgentReply, Lost, Said, Session
from duel.conversation.native_calls import waiting_for
from duel.conversation.record_files import Hole
from duel.conversation.values import loaded, parts, seconds, table, tables, text
from duel.sources.sessions.log import Log, SessionReader

_ITEMS = {"message", "reasoning", "function_call", "function_call_output", "local_shell_call", "custom_tool_call"}
# What the harness says in the person's name.
_HARNESS = ("<environment_context>", "<user_instructions>", "# AGENTS.md instructions", "<turn_aborted>")
_SHELLS = {"shell", "local_shell", "container.exec", "exec_command"}


def _recognizes(sample: list[dict[str, Any]]) -> bool:
    kinds = {text(record, "type") for record in sample}
    enveloped = any(r.get("type") in ("session_meta", "response_item") and "payload" in r for r in sample)
    return enveloped or (any("record_type" in record for record in sample) and bool(_ITEMS & kinds))


def _read(log: Log, all_branches: bool = False) -> Iterator[Session]:
    session = Session("codex", log.path.name.split(".")[0])
    for record in log.entries():
        if isinstance(record, Hole):
            session.entries.append(Lost("a broken line in the log"))
            continue
        session.saw(seconds(record.get("timestamp")))
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
            _add(payload, session, log)
        elif kind not in ("event_msg", ""):
            log.note(f"unknown entry type `{kind}`")
    yield session.tally()


def _add(item: dict[str, Any], session: Session, log: Log) -> None:
    kind = text(item, "type")
    if kind == "message":
        spoken, images = parts(item.get("content"))
        if item.get("role") == "assistant":
            _reply(session).text = spoken.strip()
        elif item.get("role") == "user" and not spoken.lstrip().startswith(_HARNESS):
            session.entries.append(Said(spoken, images))
        else:
            log.note("hidden message (instructions, environment)")
    elif kind == "reasoning":
        _reply(session).thinking = "\n\n".join(text(part, "text") for part in tables(item.get("summary")))
    elif kind.endswith("_output"):
        call = waiting_for(session.calls[-64:], text(item, "call_id"))
        if call is None:
            session.entries.append(Lost("result without a call"))
        else:
            call.result, call.is_error = _output(item.get("output"))
    elif kind.endswith("_call"):
        _reply(session, kind).calls.append(_call(item, session))
    else:
        log.note(f"unknown item `{kind}`")


def _reply(session: Session, kind: str = "") -> AgentReply:
    """The reply that an item opens or goes on with: reasoning comes before words, words before calls."""
    last = session.last
    if isinstance(last, AgentReply) and not last.results and (kind or not (last.calls or last.text)):
        return last
    session.entries.append(AgentReply())
    return session.replies[-1]


def _call(item: dict[str, Any], session: Session) -> AgentCall:
    key, name = text(item, "call_id", "id"), text(item, "name") or text(item, "type").removesuffix("_call")
    given = loaded(item.get("arguments") or item.get("action") or {})
    arguments = table(given) if "input" not in item else {"input": item["input"]}
    words = arguments.get("command")
    name = "bash" if name in _SHELLS else name
    if name == "bash" and isinstance(words, list) and all(isinstance(word, str) for word in words):
        script = words[2] if len(words) == 3 and words[1] in ("-lc", "-c") else shlex.join(words)
        arguments = {**arguments, "command": script}
    return AgentCall(key, name, arguments, session.folder)


def _output(output: Any) -> tuple[str, bool]:
    """(what a tool printed, whether it failed): text, parts, or JSON with an exit code."""
    held = table(loaded(output))
    if isinstance(held.get("output"), str):
        return held["output"], table(held.get("metadata")).get("exit_code", 0) not in (0, None)
    said = parts(output)[0] if not isinstance(output, dict) else str(output.get("content") or "")
    return said, said.startswith("exec error") or table(output).get("success") is False


FORMATS = {"codex": SessionReader(_recognizes, _read, ("~/.codex/sessions",))}
