"""ATIF-v1.7, the Agent Trajectory Interchange Format (Harbor RFC 0001), as Harbor and the Agent Data Protocol read it.

Harbor takes 1.0 to 1.8, the Agent Data Protocol only 1.7, and the two name a step's cost differently: so version 1.7
and no cost. One trajectory a line. Every model forbids keys that the format does not know.
"""

from collections.abc import Mapping
from typing import Any, Literal

from duel.conversation import dialogue
from duel.conversation.model import AgentCall, AgentReply, Entry, Said
from duel.errors import ItemError
from duel.exports.example import Example, Turns, recorded_calls
from duel.exports.formats.base import Format, Row, add, as_object, provenance, shape

DOCUMENT = {
    "schema_version": Literal["ATIF-v1.7"],
    "session_id": str,
    "trajectory_id": str,
    "agent": {"name": str, "version": str, "model_name?": str, "tool_definitions": [dict[str, Any]]},
    "steps": [
        {  # one message of the system or the user, or one agent turn with its calls and their results
            "step_id": int,
            "source": Literal["system", "user", "agent"],
            "message": str,
            "model_name?": str,
            "tool_calls?": [{"tool_call_id": str, "function_name": str, "arguments": dict[str, Any]}],
            "observation?": {"results": [{"source_call_id": str, "content": str}]},
        },
        ...,
    ],
    "extra": dict[str, Any],
}
"""`extra` holds where it comes from and, for a duel's turn, that only the last step was chosen."""


def write(example: Example) -> Row:
    entries = dialogue.parse(example.messages)
    steps = [_step(number, entry) for number, entry in enumerate(entries, start=1)]
    name, _, version = (example.agent or "unknown").rpartition("-")
    agent: Row = {"name": name or version, "version": version if name else "unknown"}
    if example.model:
        (agent if example.recorded else steps[-1])["model_name"] = example.model
    return {
        "schema_version": "ATIF-v1.7",
        "session_id": example.instance_id or example.id,
        "trajectory_id": example.id,
        "agent": {**agent, "tool_definitions": dialogue.tools_for(entries, example.tools)},
        "steps": steps,
        "extra": {**provenance(example), "learn": "every step" if example.recorded else "last step"},
    }


def read(row: Mapping[str, Any]) -> Turns:
    entries: list[Entry] = []
    for step in row["steps"]:
        if step["source"] != "agent":
            entries.append(Said(step["message"], role=step["source"]))
            continue
        calls = [
            AgentCall(call["tool_call_id"], call["function_name"], as_object(call["arguments"]))
            for call in step.get("tool_calls") or ()
        ]
        results = {result["source_call_id"]: result["content"] for result in _results(step)}
        for call in calls:
            call.result = results.get(call.id)
        entries.append(AgentReply(step["message"], calls))
    return Turns(entries)


def _results(step: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return (step.get("observation") or {}).get("results") or []


def _step(number: int, entry: Entry) -> Row:
    source = entry.role if isinstance(entry, Said) else "agent"
    step: Row = {"step_id": number, "source": source, "message": entry.text}
    if isinstance(entry, AgentReply) and entry.calls:
        step["tool_calls"] = [
            {"tool_call_id": call.id, "function_name": call.name, "arguments": dict(call.arguments)}
            for call in entry.calls
        ]
    if isinstance(entry, AgentReply) and entry.results:
        step["observation"] = {"results": [{"source_call_id": r.id, "content": r.text} for r in entry.results]}
    return step


def _check(row: Mapping[str, Any]) -> None:
    """Ids unique over the document, results of the same step's calls, steps without gaps."""
    ids: set[str] = set()
    for number, step in enumerate(row["steps"], start=1):
        calls = [call["tool_call_id"] for call in step.get("tool_calls") or ()]
        if step["step_id"] != number:
            raise ItemError("step-ids", "step ids must count from 1 without a gap")
        if len({*calls, *ids}) != len(calls) + len(ids):
            raise ItemError("repeated-call-id", "a call id repeats")
        if not {result["source_call_id"] for result in _results(step)} <= set(calls):
            raise ItemError("orphan-tool-result", "a result names no call of its step")
        ids.update(calls)


add(
    Format(
        "atif",
        "Agent Trajectory Interchange Format 1.7, for Harbor and the Agent Data Protocol",
        shape("AtifDocument", DOCUMENT),
        recorded_calls,
        write,
        read,
        _check,
        purpose="Harbor and the Agent Data Protocol",
    )
)
