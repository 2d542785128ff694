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
    assert verdict(workspace)["looks"]["total"] == 1


def test_the_noise_floor_is_asked_for_kept_and_shown(script: Callable[..., Any], workspace: Workspace) -> None:
    for _ in range(2):
        done = script("validate.py", "--workspace", workspace.root, "--offline", "--noise-floor", 3, code=0)
    assert "noise: 0 done" in done.err
    found = verdict(workspace)["noise_floor"]
    assert found["turns"] == 3 and found["real_margin"] is not None
    kept = sorted((workspace.root / "score" / "_noise" / "answer_0").iterdir())
    assert len(kept) == 3 and json.loads(kept[0].read_bytes())["challenger"]
    assert len(list(workspace.score_paths())) == 32


def test_nothing_to_judge_is_one_message_and_a_hint(script: Callable[..., Any], tmp_path: Path) -> None:
    done = script("validate.py", "--workspace", tmp_path, "--offline", code=2)
    assert "there is nothing to decide on" in done.err and "hint: run king.py and ch.py first" in done.err


def test_a_plan_costs_nothing(script: Callable[..., Any], workspace: Workspace) -> None:
    done = script("validate.py", "--workspace", workspace.root, "--offline", "--plan", code=0)
    assert "192 calls" in done.err + done.out
    assert not (workspace.root / "score").exists()
