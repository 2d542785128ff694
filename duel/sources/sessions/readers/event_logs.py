"""Logs with an event a record: Codex (items of the Responses API), opencode (its database, its export), OpenHands.

OpenHands' version 0 has `action`/`observation`, version 1 `kind`; an observation names the action that caused it
(`cause`, `tool_call_id`), parallel calls are events of one response.
"""

import shlex
from collections.abc import Iterator
from typing import Any

from duel.conversation.model import AgentCall, AgentReply, Lost, Said, Session
from duel.conversation.values import calls_of, joined, loaded, parts, seconds, table, tables, text
from duel.sources.sessions.session_formats import Log, SessionBuilder, any_record, reads

_ENVELOPES = ("session_meta", "response_item")  # of Codex
# What Codex says in the person's name.
_HARNESS = ("<environment_context>", "<user_instructions>", "# AGENTS.md instructions", "<turn_aborted>")
_SHELLS = {"shell", "local_shell", "container.exec", "exec_command"}
# opencode's names of tools and arguments that others have by another.
_OPENCODE = {"read": "Read", "write": "Write", "edit": "Edit", "glob": "Glob", "grep": "Grep"}
_KEYS = {"filePath": "file_path", "oldString": "old_string", "newString": "new_string", "replaceAll": "replace_all"}
# Version 0's names of actions that are tool calls, where the model's call itself is not kept.
_ACTIONS = {"run": "bash", "edit": "str_replace_editor", "run_ipython": "execute_ipython_cell"}
_SILENT = frozenset(
    "state agent_state_changed change_agent_state null recall system condensation ConversationStateUpdateEvent"
    " PauseEvent CondensationRequest TokenEvent LLMCompletionLogEvent".split()
)


@reads("codex", any_record(lambda r: r.get("type") in _ENVELOPES and "payload" in r), "~/.codex/sessions")
def _codex(log: Log, all_branches: bool = False) -> Iterator[Session]:
    session = Session("codex", log.path.name.split(".")[0])
    builder = SessionBuilder(session, log)
    for record in builder.records():
        kind, payload = text(record, "type"), table(record.get("payload"))
        if kind == "session_meta":
            session.id, session.folder = text(payload, "id") or session.id, text(payload, "cwd")
            session.git_branch = text(table(payload.get("git")), "branch")
        elif kind == "turn_context":
            session.model = text(payload, "model") or session.model
            session.folder = session.folder or text(payload, "cwd")
        elif kind == "compacted":
            session.compactions += 1
        elif kind == "response_item":
            _add_item(payload, builder)
        elif kind != "event_msg":
            log.notes[f"unknown entry type `{kind}`"] += 1
    yield session.tally()


def _add_item(item: dict[str, Any], builder: SessionBuilder) -> None:
    session, kind, last = builder.session, text(item, "type"), builder.session.last
    # The reply that an item goes on with: reasoning comes before words, words before calls.
    going_on = last if isinstance(last, AgentReply) and not last.answered else AgentReply()
    reply = going_on if kind.endswith("_call") or not (going_on.calls or going_on.text) else AgentReply()
    spoken, images = parts(item.get("content"))
    if kind == "message" and item.get("role") == "assistant":
        reply.text = spoken.strip()
    elif kind == "message" and item.get("role") == "user" and not spoken.lstrip().startswith(_HARNESS):
        session.entries.append(Said(spoken, images))
        return
    elif kind == "reasoning":
        reply.thinking = "\n\n".join(text(part, "text") for part in tables(item.get("summary")))
    elif kind.endswith("_call"):
        builder.call(reply, _codex_call(item, session.folder))
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
        return
    else:
        hidden = "hidden message (instructions, environment)"
        builder.log.notes[hidden if kind == "message" else f"unknown item `{kind}`"] += 1
        return
    if reply is not last:
        session.entries.append(reply)


def _codex_call(item: dict[str, Any], folder: str) -> AgentCall:
    name = text(item, "name") or text(item, "type").removesuffix("_call")
    given = table(loaded(item.get("arguments") or item.get("action") or {}))
    arguments = {"input": item["input"]} if "input" in item else given
    name, words = "bash" if name in _SHELLS else name, arguments.get("command")
    if name == "bash" and isinstance(words, list) and all(isinstance(word, str) for word in words):
        script = words[2] if len(words) == 3 and words[1] in ("-lc", "-c") else shlex.join(words)
        arguments = {**arguments, "command": script}
    return AgentCall(text(item, "call_id", "id"), name, arguments, folder)


def _is_opencode(sample: list[dict[str, Any]]) -> bool:
    first = sample[0] if sample else {}
    if "tables" in first:
        return {"session", "message", "part"} <= set(first["tables"])
    return "info" in first and any("parts" in m for m in tables(first.get("messages")))


@reads("opencode", _is_opencode, "~/.local/share/opencode")
def _opencode(log: Log, all_branches: bool = False) -> Iterator[Session]:
    if log.is_database:
        for key, folder in log.query("SELECT id, directory FROM session ORDER BY id"):
            session = Session("opencode", str(key), folder=str(folder or ""))
            for message, info in log.query("SELECT id, data FROM message WHERE session_id = ? ORDER BY id", key):
                held = log.query("SELECT data FROM part WHERE message_id = ? ORDER BY id", message)
                _add_opencode(table(loaded(info)), [table(loaded(part)) for (part,) in held], session)
            yield session.tally()
        return
    for document in log.values():
        info = table(document.get("info"))
        session = Session("opencode", text(info, "id"), folder=text(info, "directory"))
        for message in tables(document.get("messages")):
            _add_opencode(table(message.get("info")), tables(message.get("parts")), session)
        yield session.tally()


def _add_opencode(info: dict[str, Any], held: list[dict[str, Any]], session: Session) -> None:
    for moment in ("created", "completed"):
        session.saw(seconds(table(info.get("time")).get(moment)))
    reply = AgentReply(cut=bool(info.get("error")))
    for part in held:
        kind, state, tool = text(part, "type"), table(part.get("state")), text(part, "tool")
        if kind == "text" and not part.get("synthetic"):
            reply.text = joined(reply.text, text(part, "text").strip())
        elif kind == "reasoning":
            reply.thinking = joined(reply.thinking, text(part, "text").strip())
        elif kind == "tool":
            given = {_KEYS.get(name, name): value for name, value in table(state.get("input")).items()}
            call = AgentCall(text(part, "callID"), _OPENCODE.get(tool, tool), given, session.folder)
            call.at, call.is_error = seconds(table(state.get("time")).get("start")), state.get("status") == "error"
            if call.is_error or state.get("status") == "completed":
                call.result = text(state, "error" if call.is_error else "output")
            reply.calls.append(call)
    if info.get("role") == "user":
        session.entries.append(Said(reply.text, sum(text(p, "mime").startswith("image/") for p in held)))
    else:
        session.model = text(info, "modelID") or session.model
        session.entries.append(reply)


def _is_openhands(r: dict[str, Any]) -> bool:
    named = text(r, "kind").endswith(("Event", "Observation")) or "action" in r or "observation" in r
    return named and text(r, "source") in ("user", "agent", "environment")


@reads("openhands", any_record(_is_openhands))
def _openhands(log: Log, all_branches: bool = False) -> Iterator[Session]:
    session = Session("openhands", log.path.stem if log.path.stem != "events" else log.path.parent.name)
    builder = SessionBuilder(session, log)
    for event in builder.records():
        (_version_1 if "kind" in event else _version_0)(event, builder)
    yield session.tally()


def _version_1(event: dict[str, Any], builder: SessionBuilder) -> None:
    session, kind = builder.session, text(event, "kind")
    if kind == "SystemPromptEvent":
        session.system = parts([table(event.get("system_prompt"))])[0] or text(event, "system_prompt")
        session.tools = [tool for tool in tables(event.get("tools")) if "function" in tool]
    elif kind == "MessageEvent":
        _add_message(event, *parts(table(event.get("llm_message")).get("content")), builder)
    elif kind == "ActionEvent":
        parsed = {k: v for k, v in table(event.get("action")).items() if k != "kind" and v is not None}
        call = AgentCall(text(event, "tool_call_id"), text(event, "tool_name"), parsed)
        own = calls_of({"tool_calls": event.get("tool_call")}, "")  # the model's own call, where it is kept
        call.arguments = own[0].arguments if own and own[0].arguments else parsed
        _add_call(event, text(event, "llm_response_id"), parts(event.get("thought"))[0], call, builder)
    elif kind == "ObservationEvent":
        observation = table(event.get("observation"))
        content = observation.get("content", observation.get("output"))
        builder.answer(text(event, "tool_call_id"), content, _failed(observation))
    elif kind in ("AgentErrorEvent", "UserRejectObservation"):
        answered = builder.answer(text(event, "tool_call_id"), text(event, "error", "rejection_reason"), True)
        if answered and kind == "UserRejectObservation":
            answered.obstacle = "rejected by the person"
    elif kind == "Condensation":
        session.compactions += 1
    elif kind not in _SILENT:
        builder.log.notes[f"unknown entry type `{kind}`"] += 1


def _version_0(event: dict[str, Any], builder: SessionBuilder) -> None:
    session, given = builder.session, table(event.get("args"))
    action, observation = text(event, "action"), text(event, "observation")
    if observation and observation not in _SILENT:
        extras = table(event.get("extras"))
        failed = observation == "error" or _failed({**extras, **table(extras.get("metadata"))})
        builder.answer(f"event {event.get('cause')}", text(event, "content"), failed)
    elif action == "system":
        session.system, session.tools = text(given, "content"), tables(given.get("tools"))
    elif action == "message":
        images = given.get("image_urls")
        _add_message(event, text(given, "content"), len(images) if isinstance(images, list) else 0, builder)
    elif action and action not in _SILENT and event.get("source") == "agent":
        metadata = table(event.get("tool_call_metadata"))
        response = table(metadata.get("model_response"))
        key = text(metadata, "tool_call_id") or f"event {event.get('id')}"
        arguments = {name: value for name, value in given.items() if name != "thought" and value is not None}
        call = AgentCall(key, text(metadata, "function_name") or _ACTIONS.get(action, action), arguments)
        messages = [table(choice.get("message")) for choice in tables(response.get("choices"))]
        own = (c for message in messages for c in calls_of(message, "") if c.id == key and not c.obstacle)
        _add_call(event, text(response, "id"), text(given, "thought"), next(own, call), builder)
    elif (action or observation) not in _SILENT:
        builder.log.notes[f"unknown entry type `{action or observation}`"] += 1


def _add_message(event: dict[str, Any], spoken: str, images: int, builder: SessionBuilder) -> None:
    is_agent = event.get("source") == "agent"
    builder.session.entries.append(AgentReply(spoken.strip()) if is_agent else Said(spoken, images))


def _add_call(event: dict[str, Any], response: str, thought: str, call: AgentCall, builder: SessionBuilder) -> None:
    reply = builder.reply(response)
    reply.thinking = reply.thinking or text(event, "reasoning_content")
    reply.text = joined(reply.text, thought.strip())
    builder.call(reply, call)
    builder.calls[f"event {event.get('id')}"] = call


def _failed(observation: dict[str, Any]) -> bool:
    code = observation.get("exit_code")
    return observation.get("is_error") is True or (isinstance(code, int) and code > 0)
