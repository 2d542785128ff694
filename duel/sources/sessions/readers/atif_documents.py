"""ATIF, the Agent Trajectory Interchange Format (Harbor RFC 0001), of any version; our own export comes back in."""

from collections.abc import Iterator
from typing import Any

from duel.conversation.model import AgentCall, AgentReply, Lost, Said, Session
from duel.conversation.native_calls import waiting_for
from duel.conversation.values import joined, loaded, parts, seconds, table, tables, text
from duel.sources.sessions.log import Log, SessionReader, any_record


def _read(log: Log, all_branches: bool = False) -> Iterator[Session]:
    for number, document in enumerate(log.values()):
        agent, extra = table(document.get("agent")), table(loaded(document.get("extra")))
        session = Session("atif", text(document, "trajectory_id") or text(document, "session_id") or log.name)
        session.model, session.row = text(agent, "model_name"), number
        session.tools = [table(loaded(tool)) for tool in agent.get("tool_definitions") or ()]
        session.instance_id, session.repo = text(extra, "instance_id"), text(extra, "repo")
        session.license = text(extra, "license")
        for step in tables(document.get("steps")):
            session.saw(seconds(step.get("timestamp")))
            _add(step, session)
        yield session.tally()


def _add(step: dict[str, Any], session: Session) -> None:
    spoken, images = parts(step.get("message"))
    source = text(step, "source")
    if source == "system":
        session.system = joined(session.system, spoken)
        return
    if source != "agent":
        session.entries.append(Said(spoken, images))
        return
    calls = [
        AgentCall(text(call, "tool_call_id"), text(call, "function_name"), table(loaded(call.get("arguments"))))
        for call in tables(step.get("tool_calls"))
    ]
    session.entries.append(AgentReply(spoken.strip(), calls, text(step, "reasoning_content")))
    for result in tables(table(step.get("observation")).get("results")):
        call = waiting_for(calls, text(result, "source_call_id"))
        if call is None:
            session.entries.append(Lost("result without a call"))
        else:
            call.result, call.images = parts(result.get("content") or "")


FORMATS = {
    "atif-documents": SessionReader(any_record(lambda row: text(row, "schema_version").startswith("ATIF")), _read)
}
