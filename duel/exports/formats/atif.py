"""ATIF-v1.7, the Agent Trajectory Interchange Format (Harbor RFC 0001), as Harbor and the Agent Data Protocol read it.

Harbor takes 1.0 to 1.8, the Agent Data Protocol only 1.7, and the two name a step's cost differently: so version 1.7
and no cost. One trajectory a line. Every model forbids keys that the format does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from duel.conversation import dialogue
from duel.conversation.model import AgentCall, AgentReply, Entry, Said
from duel.errors import ItemError
from duel.exports.example import Example, Turns, recorded_calls
from duel.exports.formats.base import FORMATS, Format, Row, Shape, as_object, provenance

VERSION = "ATIF-v1.7"


class Agent(Shape):
    """Who acted."""

    name: str
    version: str
    model_name: str | None = None
    tool_definitions: list[dict[str, Any]]


class ToolCall(Shape):
    """One action."""

    tool_call_id: str
    function_name: str
    arguments: dict[str, Any]


class ObservationResult(Shape):
    """What one action brought back."""

    source_call_id: str
    content: str


class Observation(Shape):
    """What a step's actions brought back."""

    results: list[ObservationResult]


class Step(Shape):
    """One message of the system or the user, or one agent turn with its calls and their results."""

    step_id: int = Field(ge=1)
    source: Literal["system", "user", "agent"]
    message: str
    model_name: str | None = None
    tool_calls: list[ToolCall] | None = None
    observation: Observation | None = None


class Trajectory(Shape):
    """The document. `extra` holds where it comes from and, for a duel's turn, that only the last step was chosen."""

    schema_version: Literal["ATIF-v1.7"]
    session_id: str
    trajectory_id: str
    agent: Agent
    steps: list[Step] = Field(min_length=1)
    extra: dict[str, Any]


def write(example: Example) -> Row:
    """One trajectory."""
    entries = dialogue.parse(example.messages)
    steps = [_step(number, entry) for number, entry in enumerate(entries, start=1)]
    if example.model and not example.recorded:
        steps[-1]["model_name"] = example.model
    name, _, version = (example.agent or "unknown").rpartition("-")
    agent: Row = {"name": name or version, "version": version if name else "unknown"}
    if example.model and example.recorded:
        agent["model_name"] = example.model
    return {
        "schema_version": VERSION,
        "session_id": example.instance_id or example.id,
        "trajectory_id": example.id,
        "agent": {**agent, "tool_definitions": dialogue.tools_for(entries, example.tools)},
        "steps": steps,
        "extra": {**provenance(example), "learn": "every step" if example.recorded else "last step"},
    }


def read(row: Mapping[str, Any]) -> Turns:
    """The turns of a trajectory."""
    entries: list[Entry] = []
    for step in row["steps"]:
        if step["source"] != "agent":
            entries.append(Said(step["message"], role=step["source"]))
            continue
        results = {
            result["source_call_id"]: result["content"]
            for result in (step.get("observation") or {}).get("results") or ()
        }
        calls = [
            AgentCall(
                call["tool_call_id"],
                call["function_name"],
                as_object(call["arguments"]),
                result=results.get(call["tool_call_id"]),
            )
            for call in step.get("tool_calls") or ()
        ]
        entries.append(AgentReply(step["message"], calls))
    return Turns(entries)


def document(row: Mapping[str, Any]) -> Row:
    """A row as the document that ATIF's readers take: no nulls, objects as objects."""

    def clean(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {
                k: clean(as_object(v) if k in {"arguments", "extra"} else v) for k, v in value.items() if v is not None
            }
        return [clean(part) for part in value] if isinstance(value, list) else value

    cleaned: Row = clean(row)
    cleaned["agent"]["tool_definitions"] = [as_object(tool) for tool in cleaned["agent"]["tool_definitions"]]
    return cleaned


def _step(number: int, entry: Entry) -> Row:
    if isinstance(entry, Said):
        return {"step_id": number, "source": entry.role, "message": entry.text}
    step: Row = {"step_id": number, "source": "agent", "message": entry.text}
    if entry.calls:
        step["tool_calls"] = [
            {"tool_call_id": call.id, "function_name": call.name, "arguments": dict(call.arguments)}
            for call in entry.calls
        ]
    if entry.results:
        step["observation"] = {"results": [{"source_call_id": r.id, "content": r.text} for r in entry.results]}
    return step


def _check(row: Mapping[str, Any]) -> None:
    """Ids unique over the document, results of the same step's calls, steps without gaps."""
    ids: set[str] = set()
    for number, step in enumerate(row["steps"], start=1):
        calls = [call["tool_call_id"] for call in step.get("tool_calls") or ()]
        results = [result["source_call_id"] for result in (step.get("observation") or {}).get("results") or ()]
        if step["step_id"] != number:
            raise ItemError("step-ids", "step ids must count from 1 without a gap")
        if len({*calls, *ids}) != len(calls) + len(ids):
            raise ItemError("repeated-call-id", "a call id repeats")
        if not set(results) <= set(calls):
            raise ItemError("orphan-tool-result", "a result names no call of its step")
        ids.update(calls)


ATIF = Format(
    name="atif",
    summary="Agent Trajectory Interchange Format 1.7, for Harbor and the Agent Data Protocol",
    schema=Trajectory,
    rows_of=recorded_calls,
    write=write,
    read=read,
    check=_check,
    purpose="Harbor and the Agent Data Protocol",
)
FORMATS.add(ATIF.name, ATIF)
