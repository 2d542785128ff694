"""Whole trajectories as steps: ATIF and CodeAct, one trajectory a line.

ATIF-v1.7 is the Agent Trajectory Interchange Format (Harbor RFC 0001). Harbor takes 1.0 to 1.8, the Agent Data Protocol
only 1.7, and the two name a step's cost differently: so version 1.7 and no cost. Every model forbids unknown keys.

CodeAct's steps are columns, for its action is bash, where CodeActInstruct has Python in `<execute>` tags. That keeps
successful trajectories with at least one clean execution; `has_error_recovery` is stricter.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from duel.conversation import dialogue
from duel.conversation.model import AgentCall, AgentReply, Entry, Said
from duel.exports import recovery
from duel.exports.example import Example, Turns
from duel.exports.formats import Row, add, as_object, present, provenance, require


def write_atif(example: Example) -> Row:
    entries = dialogue.parse(example.messages)
    steps: list[Row] = []
    for number, entry in enumerate(entries, start=1):
        source = entry.role if isinstance(entry, Said) else "agent"
        steps.append({"step_id": number, "source": source, "message": entry.text})
        if isinstance(entry, AgentReply) and entry.calls:
            steps[-1]["tool_calls"] = [
                {"tool_call_id": call.id, "function_name": call.name, "arguments": dict(call.arguments)}
                for call in entry.calls
            ]
        if isinstance(entry, AgentReply) and entry.results:
            results = [{"source_call_id": r.id, "content": r.text} for r in entry.results]
            steps[-1]["observation"] = {"results": results}
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


def read_atif(row: Mapping[str, Any]) -> Turns:
    entries: list[Entry] = []
    for step in row["steps"]:
        if step["source"] != "agent":
            entries.append(Said(step["message"], role=step["source"]))
            continue
        results = {result["source_call_id"]: result["content"] for result in _results(step)}
        calls = [
            AgentCall(call["tool_call_id"], call["function_name"], as_object(call["arguments"]))
            for call in step.get("tool_calls") or ()
        ]
        for call in calls:
            call.result = results.get(call.id)
        entries.append(AgentReply(step["message"], calls))
    return Turns(entries)


def _results(step: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return (step.get("observation") or {}).get("results") or []


def _check_atif(row: Mapping[str, Any]) -> None:
    """Ids unique over the document, results of the same step's calls, steps without gaps."""
    ids: set[str] = set()
    for number, step in enumerate(row["steps"], start=1):
        calls = [call["tool_call_id"] for call in step.get("tool_calls") or ()]
        require(step["step_id"] == number, "step-ids", "step ids must count from 1 without a gap")
        require(len({*calls, *ids}) == len(calls) + len(ids), "repeated-call-id", "a call id repeats")
        known = {result["source_call_id"] for result in _results(step)} <= set(calls)
        require(known, "orphan-tool-result", "a result names no call of its step")
        ids.update(calls)


def write_codeact(example: Example) -> Row:
    entries = dialogue.parse(example.messages)
    seen = recovery.examine(example)
    steps: list[Row] = [
        {
            "step": number,
            **present(vars(step), "turn", "thought", "tool", "action"),
            "observation": step.observation,
            "return_code": step.shown.code,
            "error": step.shown.kind,
            "said": [],
        }
        for number, step in enumerate(seen.steps)
    ]
    prompt: list[Row] = []
    turn, told = -1, False
    for entry in entries:
        if isinstance(entry, AgentReply):
            turn, told = turn + 1, not entry.calls
            continue
        if told and entry.role == "user":  # the observation of a turn that ran nothing
            told = False
            continue
        last = next((step for step in reversed(steps) if step["turn"] == turn), None)
        (last["said"] if last else prompt).append({"role": entry.role, "content": entry.text})
    return {
        **provenance(example),
        "prompt": prompt,
        "steps": steps,
        "outcome": seen.outcome,
        "outcome_evidence": seen.evidence,
        "has_error_recovery": bool(seen.spans),
        "error_recovery_spans": [asdict(span) for span in seen.spans],
    }


def read_codeact(row: Mapping[str, Any]) -> Turns:
    entries: list[Entry] = [Said(message["content"], role=message["role"]) for message in row["prompt"]]
    numbered = 0
    by_turn: dict[int, list[Mapping[str, Any]]] = {}
    for step in row["steps"]:
        by_turn.setdefault(step["turn"], []).append(step)
    for steps in by_turn.values():
        calls: list[AgentCall] = []
        for step in [step for step in steps if step["tool"]]:
            numbered += 1
            calls.append(AgentCall(f"call_{numbered}", step["tool"], _arguments(step)))
            calls[-1].result = step["observation"]
        entries.append(AgentReply(steps[0]["thought"], calls))
        if not calls and steps[0]["observation"] is not None:
            entries.append(Said(steps[0]["observation"]))
        entries += [Said(message["content"], role=message["role"]) for message in steps[-1]["said"]]
    return Turns(entries)


def _arguments(step: Mapping[str, Any]) -> dict[str, Any]:
    """A bash action is the command itself; with further arguments, and of any other tool, it is their JSON."""
    if step["tool"] != dialogue.BASH:
        return dict(json.loads(step["action"]))
    try:
        given = json.loads(step["action"]) if step["action"].startswith("{") else None
    except ValueError:  # a group of commands, { like; this; }
        given = None
    return given if isinstance(given, dict) else {"command": step["action"]}


def _check_codeact(row: Mapping[str, Any]) -> None:
    steps = row["steps"]
    require(bool(steps), "no-agent-turn", "the conversation holds no agent turn")
    for span in row["error_recovery_spans"]:
        inside = 0 <= span["start"] < span["end"] < len(steps)
        held = inside and steps[span["start"]]["error"] and not steps[span["end"]]["error"]
        require(bool(held), "bad-span", "a recovery must begin at an error and end at a success")


add("atif", write_atif, read_atif, _check_atif)
add("codeact", write_codeact, read_codeact, _check_codeact)
