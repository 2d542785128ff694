"""OpenHands events: version 0 (`action`/`observation`), version 1 (`kind`); one JSON list, JSON lines, or a folder.

An observation names the action that caused it (version 0: `cause`, version 1: `tool_call_id`). Parallel calls are
several events of one response. Rows of the Hub's OpenHands sets are lists of messages, not events.
"""

from collections.abc import Iterator
from typing import Any

from duel.conversation.model import AgentCall, AgentReply, Lost, Said, Session
from duel.conversation.native_calls import calls_of
from duel.conversation.record_files import Hole
from duel.conversation.values import joined, parts, seconds, table, tables, text
from duel.sources.sessions.log import Log, SessionReader, any_record

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
    events = _Events(session, log)
    for event in log.entries():
        if isinstance(event, Hole):
            session.entries.append(Lost("an event that cannot be read"))
            continue
        session.saw(seconds(event.get("timestamp")))
        (events.version_1 if "kind" in event else events.version_0)(event)
    yield session.tally()


class _Events:
    """Adds events to one session."""

    def __init__(self, session: Session, log: Log) -> None:
        self.session, self.log, self.entries = session, log, session.entries
        self.calls: dict[str, AgentCall] = {}
        self.replies: dict[str, AgentReply] = {}

    def version_1(self, event: dict[str, Any]) -> None:
        kind = text(event, "kind")
        if kind == "SystemPromptEvent":
            self.session.system = parts([table(event.get("system_prompt"))])[0] or text(event, "system_prompt")
            self.session.tools = [tool for tool in tables(event.get("tools")) if "function" in tool]
        elif kind == "MessageEvent":
            spoken, images = parts(table(event.get("llm_message")).get("content"))
            is_agent = event.get("source") == "agent"
            self.entries.append(AgentReply(spoken.strip()) if is_agent else Said(spoken, images))
        elif kind == "ActionEvent":
            # The model's own call where it is kept, else the parsed action.
            own = calls_of({"tool_calls": event.get("tool_call")}, "")
            parsed = {k: v for k, v in table(event.get("action")).items() if k != "kind" and v is not None}
            given = own[0].arguments if own and own[0].arguments else parsed
            call = AgentCall(text(event, "tool_call_id"), text(event, "tool_name"), given)
            self._called(event, text(event, "llm_response_id"), parts(event.get("thought"))[0], call)
        elif kind in ("ObservationEvent", "AgentErrorEvent", "UserRejectObservation"):
            observation = table(event.get("observation"))
            content: Any = observation.get("content", observation.get("output"))
            if kind != "ObservationEvent":
                content = text(event, "error", "rejection_reason")
            failed = kind != "ObservationEvent" or _failed(observation)
            answered = self._answered(text(event, "tool_call_id"), content, failed)
            if answered is not None and kind == "UserRejectObservation":
                answered.obstacle = "rejected by the person"
        elif kind == "Condensation":
            self.session.compactions += 1
        elif kind not in _SILENT_KINDS:
            self.log.note(f"unknown entry type `{kind}`")

    def version_0(self, event: dict[str, Any]) -> None:
        action, observation = text(event, "action"), text(event, "observation")
        arguments = table(event.get("args"))
        if observation and observation not in _SILENT:
            extras = table(event.get("extras"))
            failed = observation == "error" or _failed({**extras, **table(extras.get("metadata"))})
            self._answered(f"event {event.get('cause')}", text(event, "content"), failed)
        elif action == "system":
            self.session.system = text(arguments, "content")
            self.session.tools = tables(arguments.get("tools"))
        elif action == "message" and event.get("source") == "user":
            images = arguments.get("image_urls")
            self.entries.append(Said(text(arguments, "content"), len(images) if isinstance(images, list) else 0))
        elif action == "message":
            self.entries.append(AgentReply(text(arguments, "content").strip()))
        elif action and action not in _SILENT and event.get("source") == "agent":
            response = text(table(table(event.get("tool_call_metadata")).get("model_response")), "id")
            self._called(event, response, text(arguments, "thought"), _call(event, action, arguments))
        elif (action or observation) not in _SILENT:
            self.log.note(f"unknown entry type `{action or observation}`")

    def _called(self, event: dict[str, Any], response: str, thought: str, call: AgentCall) -> None:
        """Calls of one response are one reply, whatever events stand between them."""
        reply = self.replies.get(response) if response else None
        if reply is None:
            reply = AgentReply(thinking=text(event, "reasoning_content"))
            self.entries.append(reply)
            if response:
                self.replies[response] = reply
        reply.text = joined(reply.text, thought.strip())
        reply.calls.append(call)
        self.calls[call.id] = self.calls[f"event {event.get('id')}"] = call

    def _answered(self, key: str, content: Any, failed: bool) -> AgentCall | None:
        call = self.calls.get(key)
        if call is None:
            self.log.note("result without a call")
            return None
        call.result, call.images = parts(content)
        call.is_error = failed
        return call


def _call(event: dict[str, Any], action: str, arguments: dict[str, Any]) -> AgentCall:
    """The model's own call where the response is kept, else the event's action by its tool's name."""
    metadata = table(event.get("tool_call_metadata"))
    key = text(metadata, "tool_call_id") or f"event {event.get('id')}"
    for choice in tables(table(metadata.get("model_response")).get("choices")):
        for call in calls_of(table(choice.get("message")), ""):
            if call.id == key and not call.obstacle:
                return call
    own = {name: value for name, value in arguments.items() if name != "thought" and value is not None}
    return AgentCall(key, text(metadata, "function_name") or _TOOLS.get(action, action), own)


def _failed(observation: dict[str, Any]) -> bool:
    code = observation.get("exit_code")
    return observation.get("is_error") is True or (isinstance(code, int) and code > 0)


FORMATS = {"openhands": SessionReader(any_record(_is_event), _read)}
