"""validate.py as a user runs it, against the stand-in endpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duel.workspace import Workspace
from tests.judging.test_panel import TURN, write_answers


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Thirty-two turns, of which the challenger repeats itself in none."""
    made = Workspace(tmp_path)
    write_answers(made, 32, challenger=TURN.format("src", "src/main.py"))
    return made


def verdict(workspace: Workspace) -> dict[str, Any]:
    return json.loads(workspace.duel.read_bytes())


def everything(workspace: Workspace) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted((workspace.root / "score").rglob("*.json"))}


def test_a_run_a_rerun_and_a_regate_end_in_the_same_bytes(script: Callable[..., Any], workspace: Workspace) -> None:
    first = script("validate.py", "--workspace", workspace.root, "--offline", code=0)
    assert "OFFLINE" in first.err
    found = verdict(workspace)
    assert (found["turns"], found["parsed"], found["clusters"], found["calls"]) == (32, 32, 32, 192)
    assert found["offline"] is True and found["looks"]["total"] == 1
    before = everything(workspace)
    again = script("validate.py", "--workspace", workspace.root, "--offline", code=0)
    assert "0 calls" in again.err
    workspace.duel.unlink()
    script("validate.py", "--workspace", workspace.root, "--offline", "--regate", code=0)
    assert everything(workspace) == before


def test_gates_change_for_nothing_and_check_tells_by_its_exit_code(
    script: Callable[..., Any], workspace: Workspace
) -> None:
    script("validate.py", "--workspace", workspace.root, "--offline", code=0)
    margin = verdict(workspace)["margin"]
    chain = workspace.root / "chain.toml"
    for wanted, code in ((margin - 1, 0 if verdict(workspace)["lcb"] > 0 else 4), (margin + 1, 4)):
        chain.write_text(f"[duel]\nwin_margin = {wanted}\n")
        done = script("validate.py", "--workspace", workspace.root, "--offline", "--regate", "--check", code=code)
        assert ("the challenger is not accepted" in done.err) == (code == 4)
    chain.write_text("[judge]\nmetric_keys = ['protocol']\n")
    script("validate.py", "--workspace", workspace.root, "--offline", "--regate", code=0)
    assert verdict(workspace)["challenger_score"] == pytest.approx(verdict(workspace)["by_metric"]["protocol"])
    looks = verdict(workspace)["looks"]
    assert looks["total"] == 2 and looks["history"][0]["statistic"] != looks["history"][1]["statistic"]
    assert verdict(workspace)["accepted"] is False and verdict(workspace)["alpha_used"] == 0.0


def test_the_noise_floor_is_asked_for_kept_and_shown(script: Callable[..., Any], workspace: Workspace) -> None:
    asked = [
        script("validate.py", "--workspace", workspace.root, "--offline", "--noise-floor", 3, code=0).err
        for _ in range(2)
    ]
    assert "noise: 3 done" in asked[0] and "0 done, 0 failed; 0 calls" in asked[1]
    found = verdict(workspace)["noise_floor"]
    assert found["turns"] == 3 and found["real_margin"] is not None and 0 <= found["final_share"] <= 1
    answers = [answer for _, answer in workspace.answers([])]
    seconds = [c for answer in answers for c in answer.of_side("king") if not c.chosen]
    assert [c.id for c in seconds] == ["king-2"] * 3 and all(c.text and c.made for c in seconds)
    assert all(answer.king == TURN.format("src", "src") for answer in answers)
    kept = [json.loads(path.read_bytes()) for path in workspace.side_scores("noise")]
    assert [score["pair"] for score in kept] == [{"opponent": "king-1", "challenger": "king-2"}] * 3
    assert len(list(workspace.score_paths())) == 32


def test_nothing_to_judge_is_one_message_and_a_hint(script: Callable[..., Any], tmp_path: Path) -> None:
    done = script("validate.py", "--workspace", tmp_path, "--offline", code=2)
    assert "there is nothing to decide on" in done.err and "hint: run king.py and ch.py first" in done.err


def test_a_plan_costs_nothing(script: Callable[..., Any], workspace: Workspace) -> None:
    done = script("validate.py", "--workspace", workspace.root, "--offline", "--plan", code=0)
    assert "192 calls" in done.err + done.out
    assert not (workspace.root / "score").exists()
