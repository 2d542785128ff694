"""CodeAct: one trajectory a line as thought / action / observation steps, with its outcome and its error recoveries.

The shape follows the idea of CodeAct (act by running code, read what it printed). CodeActInstruct itself is
{id, conversations: [{role, content}]} with Python in `<execute>` tags and observations as user messages that begin
"Observation:"; here the action is bash, so the steps are columns and not text in tags. CodeActInstruct keeps successful
trajectories with at least one clean execution; `has_error_recovery` is stricter: an error and a later success on the
same target.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

from duel.conversation import dialogue
from duel.conversation.model import AgentCall, AgentReply, Entry, Said
from duel.errors import ItemError
from duel.exports import recovery
from duel.exports.example import Example, Turns, recorded
from duel.exports.formats.base import Format, Provenance, Row, TextMessage, add, present, provenance, shape

ROW = {
    "prompt": [TextMessage],
    "steps": [
        {  # steps of one `turn` were asked for in one agent message
            "step": int,
            "turn": int,
            "thought": str,
            "tool": str,
            "action": str,
            "observation": str | None,
            "return_code": int | None,
            "error": str,
            "said": [TextMessage],  # what the user or the system said after the step that is no observation
        }
    ],
    "outcome": Literal["success", "failure", "unknown"],
    "outcome_evidence": str,
    "has_error_recovery": bool,
    "error_recovery_spans": [  # step `start` shows the error, step `end` the success
        {"start": int, "end": int, "kind": str, "target": str, "error": str, "success": str}
    ],
}


def write(example: Example) -> Row:
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


def read(row: Mapping[str, Any]) -> Turns:
    entries: list[Entry] = [Said(message["content"], role=message["role"]) for message in row["prompt"]]
    numbered = 0
    by_turn: dict[int, list[Mapping[str, Any]]] = {}
    for step in row["steps"]:
        by_turn.setdefault(step["turn"], []).append(step)
    for steps in by_turn.values():
        calls: list[AgentCall] = []
        for step in steps:
            if step["tool"]:
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


def _check(row: Mapping[str, Any]) -> None:
    """Spans lie inside the steps, begin at a step with an error and end at one without."""
    steps = row["steps"]
    if not steps:
        raise ItemError("no-agent-turn", "the conversation holds no agent turn")
    for span in row["error_recovery_spans"]:
        inside = 0 <= span["start"] < span["end"] < len(steps)
        if not inside or not steps[span["start"]]["error"] or steps[span["end"]]["error"]:
            raise ItemError("bad-span", "a recovery must begin at an error and end at a success")


add(
    Format(
        "codeact",
        "thought / action / observation steps with outcome and error recovery spans",
        shape("CodeActRow", ROW, Provenance),
        recorded,
        write,
        read,
        _check,
        purpose="analysis and filtering",
    )
)
