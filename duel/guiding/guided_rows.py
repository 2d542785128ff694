"""Guided runs as trajectories in the dataset's columns: what the agent will see alone, interventions marked beside."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from duel.guiding.intervention_rates import actions_of
from duel.guiding.supervised_loop import said
from duel.records import Guided
from duel.sources.mining.mined import RowWriter


def row(record: Guided) -> dict[str, Any]:
    """One run. Its messages hold no word of the overseer's but the turns that it wrote for the agent.

    `interventions` is a JSON list: each proposal that did not run, and the place in `messages` of the turn that did.
    """
    messages, marks = list(record.opening), []
    for action in actions_of(record.steps):
        refused = [step for step in action if step.ruling != "approve" and step.proposal]
        told = ({"ruling": step.ruling, "kind": step.kind, "proposal": step.proposal} for step in refused)
        marks += [{"message": len(messages), **mark} for mark in told]
        assert action[-1].outcome is not None  # it ran
        messages += said(action[-1].action, action[-1].outcome)
    return {
        "instance_id": record.task,
        "repo": record.repo,
        "messages": [message.model_dump(include={"role", "content"}) for message in messages],
        "trajectory_format": "mini-swe-agent-1",
        "exit_status": "Submitted" if record.outcome == "submitted" else "incomplete",
        "duration_sec": None,
        "model": record.agent_model,
        "base_commit": record.base_commit,
        "license": record.license,
        "resolved": record.resolved,
        "interventions": json.dumps(marks, ensure_ascii=False),
    }


def save(path: Path, records: Iterable[Guided]) -> int:
    with RowWriter(path) as rows:
        for record in records:
            rows.add(row(record))
    return rows.rows
