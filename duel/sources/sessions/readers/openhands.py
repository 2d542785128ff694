"""OpenHands events: version 0 (`action`/`observation`), version 1 (`kind`); one JSON list, JSON lines, or a folder.

An observation names the action that caused it (version 0: `cause`, version 1: `tool_call_id`). Parallel calls are
several events of one response. Rows of the Hub's OpenHands sets are lists of messages, not events.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from duel.conversation.model import AgentCall, AgentReply, Lost, Said, Session
from duel.conversation.record_files import Hole
from duel.conversation.values import parts, seconds, table, tables, text
from duel.sources.sessions.log import Log

# Version 0's own names of actions that are tool calls, where the model's call itself is not kept.
_TOOLS = {"run": "bash", "edit": "str_replace_editor", "run_ipython": "execute_ipython_cell"}
_SILENT = {"state", "agent_state_changed", "change_agent_state", "null", "recall", "system", "condensation"}
_SILENT_KINDS = {
    "ConversationStateUpdateEvent",
    "PauseEvent",
    "CondensationRequest",
    "TokenEvent",
    "LLMCompletionLogEvent",
}


def recognises(sample: list[dict[str, Any]]) -> bool:
    """True for events with a source and either a kind, an action or an observation."""
    return any(
        text(r, "source") in ("user", "agent", "environment")
        and (text(r, "kind").endswith(("Event", "Observation")) or "action" in r or "observation" in r)
        for r in sample
    )


def read(log: Log, all_branches: bool = False) -> Iterator[Session]:
    """The one conversation of a file or folder of events."""
    session = Session("openhands", log.path.stem if log.path.stem != "events" else log.path.parent.name)
    calls: dict[str, AgentCall] = {}
    replies: dict[str, AgentReply] = {}
    for event in log.entries():
        if isinstance(event, Hole):
            session.entries.append(Lost("an event that cannot be read"))
            continue
        session.saw(seconds(event.get("timestamp")))
        add: Callable[..., None] = _version_1 if "kind" in event else _version_0
        add(event, session, replies, calls, log)
    yield session.tally()


# -- version 1 ---------------------------------------------------------------------------------------------------------


def _version_1(
    event: dict[str, Any], session: Session, replies: dict[str, AgentReply], calls: dict[str, AgentCall], log: Log
) -> None:
    kind = text(event, "kind")
    if kind == "SystemPromptEvent":
        session.system = parts([table(event.get("system_prompt"))])[0] or text(event, "system_prompt")
        session.tools = [tool for tool in tables(event.get("tools")) if "function" in tool]
    elif kind == "MessageEvent":
        message = table(event.get("llm_message"))
        spoken, images = parts(message.get("content"))
        is_agent = event.get("source") == "agent"
        session.entries.append(AgentReply(spoken.strip()) if is_agent else Said(spoken, images))
    elif kind == "ActionEvent":
        _add_call(event, text(event, "llm_response_id"), _thought(event), _call_1(event), session, replies, calls)
    elif kind in ("ObservationEvent", "AgentErrorEvent", "UserRejectObservation"):
        call = calls.get(text(event, "tool_call_id"))
        if call is None:
            log.note("result without a call")
            return
        observation = table(event.get("observation"))
        content: Any = observation.get("content", observation.get("output"))
        if kind != "ObservationEvent":
            content = text(event, "error", "rejection_reason")
        call.result, call.images = parts(content)
        call.is_error = kind != "ObservationEvent" or _failed(observation)
        call.obstacle = "rejected by the person" if kind == "UserRejectObservation" else call.obstacle
    elif kind == "Condensation":
        session.compactions += 1
    elif kind not in _SILENT_KINDS:
        log.note(f"unknown entry type `{kind}`")


def _thought(event: dict[str, Any]) -> str:
    return parts(event.get("thought"))[0].strip()


def _call_1(event: dict[str, Any]) -> AgentCall:
    """The model's own call where it is kept, else the parsed action."""
    import orjson

    function = table(table(event.get("tool_call")).get("function")) or table(event.get("tool_call"))
    arguments: Any = {k: v for k, v in table(event.get("action")).items() if k != "kind" and v is not None}
    if isinstance(function.get("arguments"), str):
        with contextlib.suppress(ValueError):
            arguments = table(orjson.loads(function["arguments"])) or arguments
    return AgentCall(text(event, "tool_call_id"), text(event, "tool_name"), arguments)


# -- version 0 ---------------------------------------------------------------------------------------------------------


def _version_0(
    event: dict[str, Any], session: Session, replies: dict[str, AgentReply], calls: dict[str, AgentCall], log: Log
) -> None:
    action, observation = text(event, "action"), text(event, "observation")
    arguments = table(event.get("args"))
    if observation and observation not in _SILENT:
        call = calls.get(f"event {event.get('cause')}")
        if call is None:
            log.note("result without a call")
            return
        extras = table(event.get("extras"))
        call.result = text(event, "content")
        call.is_error = observation == "error" or _failed({**extras, **table(extras.get("metadata"))})
    elif action == "system":
        session.system = text(arguments, "content")
        session.tools = tables(arguments.get("tools"))
    elif action == "message" and event.get("source") == "user":
        images = arguments.get("image_urls")
        session.entries.append(Said(text(arguments, "content"), len(images) if isinstance(images, list) else 0))
    elif action == "message":
        session.entries.append(AgentReply(text(arguments, "content").strip()))
    elif action and action not in _SILENT and event.get("source") == "agent":
        response = text(table(table(event.get("tool_call_metadata")).get("model_response")), "id")
        call = _call_0(event, action, arguments)
        _add_call(event, response, text(arguments, "thought"), call, session, replies, calls)
    elif (action or observation) not in _SILENT:
        log.note(f"unknown entry type `{action or observation}`")


def _call_0(event: dict[str, Any], action: str, arguments: dict[str, Any]) -> AgentCall:
    """The model's own call where the response is kept, else the event's action by its tool's name."""
    import orjson

    metadata = table(event.get("tool_call_metadata"))
    key = text(metadata, "tool_call_id") or f"event {event.get('id')}"
    for choice in tables(table(metadata.get("model_response")).get("choices")):
        for call in tables(table(choice.get("message")).get("tool_calls")):
            if call.get("id") == key:
                try:
                    own = orjson.loads(text(table(call.get("function")), "arguments"))
                except ValueError:
                    break
                return AgentCall(key, text(table(call.get("function")), "name"), table(own))
    own = {name: value for name, value in arguments.items() if name != "thought" and value is not None}
    return AgentCall(key, text(metadata, "function_name") or _TOOLS.get(action, action), own)


# -- both --------------------------------------------------------------------------------------------------------------


def _add_call(
    event: dict[str, Any],
    response: str,
    thought: str,
    call: AgentCall,
    session: Session,
    replies: dict[str, AgentReply],
    calls: dict[str, AgentCall],
) -> None:
    """Calls of one response are one reply, whatever events stand between them."""
    reply = replies.get(response) if response else None
    if reply is None:
        reply = AgentReply(thinking=text(event, "reasoning_content"))
        session.entries.append(reply)
        if response:
            replies[response] = reply
    reply.text = "\n\n".join(filter(None, (reply.text, thought.strip())))
    reply.calls.append(call)
    calls[call.id] = call
    calls[f"event {event.get('id')}"] = call


def _failed(observation: dict[str, Any]) -> bool:
    code = observation.get("exit_code")
    return observation.get("is_error") is True or (isinstance(code, int) and code > 0)
