"""OpenHands events: version 0 (`action`/`observation`), version 1 (`kind`); one JSON list, JSON lines, or a folder.

An observation names the action that caused it (version 0: `cause`, version 1: `tool_call_id`). Parallel calls are
several events of one response. Rows of the Hub's OpenHands sets are lists of messages, not events.
"""

from collections.abc import Iterator
from typing import Any

from duel.conversation.model import AgentCall, AgentReply, Said, Session
from duel.conversation.native_calls import calls_of
from duel.conversation.values import joined, parts, table, tables, text
from duel.sources.sessions.log import Log, SessionBuilder, SessionReader, any_record

# Version 0's own names of actions that are tool calls, where the model's call itself is not kept.
_TOOLS = {"run": "bash", "edit": "str_replace_editor", "run_ipython": "execute_ipython_cell"}
_SILENT = {"state", "agent_state_changed", "change_agent_state", "null", "recall", "system", "condensation"}
_SILENT_KINDS = frozenset(
    "ConversationStateUpdateEvent PauseEvent CondensationRequest TokenEvent LLMCompletionLogEvent".split()
)


def _is_event(r: dict[str, Any]) -> bool:
    named = text(r, "kind").endswith(("Event", "Observation")) or "action" in r or "observation" in r
    return named and text(r, "source") in ("user", "agent", "environment")


def _read(log: Log, all_branches: bool = False) -> Iterator[Session]:
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
        spoken, images = parts(table(event.get("llm_message")).get("content"))
        is_agent = event.get("source") == "agent"
        session.entries.append(AgentReply(spoken.strip()) if is_agent else Said(spoken, images))
    elif kind == "ActionEvent":
        # The model's own call where it is kept, else the parsed action.
        own = calls_of({"tool_calls": event.get("tool_call")}, "")
        parsed = {k: v for k, v in table(event.get("action")).items() if k != "kind" and v is not None}
        given = own[0].arguments if own and own[0].arguments else parsed
        call = AgentCall(text(event, "tool_call_id"), text(event, "tool_name"), given)
        _called(event, text(event, "llm_response_id"), parts(event.get("thought"))[0], call, builder)
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
    elif kind not in _SILENT_KINDS:
        builder.log.note(f"unknown entry type `{kind}`")


def _version_0(event: dict[str, Any], builder: SessionBuilder) -> None:
    session, arguments = builder.session, table(event.get("args"))
    action, observation = text(event, "action"), text(event, "observation")
    if observation and observation not in _SILENT:
        extras = table(event.get("extras"))
        failed = observation == "error" or _failed({**extras, **table(extras.get("metadata"))})
        builder.answer(f"event {event.get('cause')}", text(event, "content"), failed)
    elif action == "system":
        session.system, session.tools = text(arguments, "content"), tables(arguments.get("tools"))
    elif action == "message" and event.get("source") == "user":
        images = arguments.get("image_urls")
        session.entries.append(Said(text(arguments, "content"), len(images) if isinstance(images, list) else 0))
    elif action == "message":
        session.entries.append(AgentReply(text(arguments, "content").strip()))
    elif action and action not in _SILENT and event.get("source") == "agent":
        metadata = table(event.get("tool_call_metadata"))
        response = table(metadata.get("model_response"))
        key = text(metadata, "tool_call_id") or f"event {event.get('id')}"
        own = {name: value for name, value in arguments.items() if name != "thought" and value is not None}
        call = AgentCall(key, text(metadata, "function_name") or _TOOLS.get(action, action), own)
        messages = [table(choice.get("message")) for choice in tables(response.get("choices"))]
        kept = (c for message in messages for c in calls_of(message, "") if c.id == key and not c.obstacle)
        # The model's own call where the response is kept.
        _called(event, text(response, "id"), text(arguments, "thought"), next(kept, call), builder)
    elif (action or observation) not in _SILENT:
        builder.log.note(f"unknown entry type `{action or observation}`")


def _called(event: dict[str, Any], response: str, thought: str, call: AgentCall, builder: SessionBuilder) -> None:
    reply = builder.reply(response)
    reply.thinking = reply.thinking or text(event, "reasoning_content")
    reply.text = joined(reply.text, thought.strip())
    reply.calls.append(call)
    builder.calls[call.id] = builder.calls[f"event {event.get('id')}"] = call


def _failed(observation: dict[str, Any]) -> bool:
    code = observation.get("exit_code")
    return observation.get("is_error") is True or (isinstance(code, int) and code > 0)


FORMATS = {"openhands": SessionReader(any_record(_is_event), _read)}
