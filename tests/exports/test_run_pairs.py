"""Pairs of trajectories: resolved against failed runs of one pull request, nearest in length first, no run twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duel.workspace import Workspace
from tests.conftest import run_command
from tests.exports.conftest import SYSTEM, rows, turn


@pytest.fixture
def export(workspace: Workspace) -> Callable[..., Any]:
    def run(*flags: object, code: int = 0) -> Any:
        return run_command("export", "--workspace", workspace.root, *flags, code=code)

    return run


def run_of(instance: str, steps: int, mark: str) -> dict[str, Any]:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"The task of {instance}."}]
    for number in range(steps):
        messages.append({"role": "assistant", "content": turn(f"{mark} {number}", f"cat {mark}{number}.py")})
        messages.append({"role": "user", "content": f"Observation: {mark} {number}"})
    return {
        "instance_id": instance,
        "repo": instance.rpartition("-")[0].replace("__", "/"),
        "license": "MIT",
        "messages": messages,
    }


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    file = tmp_path / "runs.jsonl"
    made = [
        run_of("acme__calc-7", 6, "won"),
        run_of("acme__calc-7", 2, "short"),
        run_of("acme__calc-7", 5, "near"),
        run_of("acme__calc-7", 3, "also"),
        run_of("acme__text-3", 3, "alone"),
        run_of("acme__text-3", 3, "unknown"),
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in made))
    outcomes = {
        "acme__calc-7#0": {"resolved": True},
        "acme__calc-7#1": {"resolved": False},
        "acme__calc-7#2": {"resolved": False},
        "acme__calc-7#3": {"resolved": True},
        "acme__text-3#4": True,
        "acme__text-3#5": {"resolved": None, "why_not": "no-toolchain"},
    }
    (tmp_path / "outcomes.json").write_text(json.dumps(outcomes))
    return file


def test_resolved_runs_are_paired_with_the_nearest_failed_ones(
    export: Callable[..., Any], workspace: Workspace, runs: Path
) -> None:
    done = export("--from", runs, "--format", "dpo,kto,reward", "--outcomes", runs.parent / "outcomes.json")
    pairs = sorted(rows(workspace, "dpo"), key=lambda row: row["id"])
    told = [(row["chosen"][0]["content"].split()[1], row["rejected"][0]["content"].split()[1]) for row in pairs]
    assert told == [("won", "near"), ("also", "short")]
    for row in pairs:
        assert [message["role"] for message in row["prompt"]] == ["system", "user"]
        assert row["chosen"][-1]["role"] == row["rejected"][-1]["role"] == "assistant"
    assert len(pairs[0]["chosen"]) == 11 and len(pairs[0]["rejected"]) == 9
    assert [row["label"] for row in rows(workspace, "kto")].count(True) == 2 == len(rows(workspace, "kto")) / 2
    assert [row["margin"] for row in rows(workspace, "reward")] == [1.0, 1.0]
    for reason in ("2 dropped: paired", "1 dropped: no-failed-run", "1 dropped: outcome-unknown"):
        assert reason in done.err


def test_pairs_of_runs_beside_other_formats_are_refused_with_the_way_out(
    export: Callable[..., Any], runs: Path
) -> None:
    flags = ("--from", runs, "--outcomes", runs.parent / "outcomes.json", "--format", "sft,dpo")
    assert "with --outcomes where dpo, reward or kto are asked for alone" in export(*flags, code=2).err


def test_the_pairs_of_one_pull_request_can_be_bounded(
    export: Callable[..., Any], workspace: Workspace, runs: Path
) -> None:
    asked = ("--outcomes", runs.parent / "outcomes.json", "--pairs-per-instance", "1")
    done = export("--from", runs, "--format", "dpo", *asked)
    assert len(rows(workspace, "dpo")) == 1
    assert "2 dropped: no-partner" in done.err


def test_success_is_what_tests_said_of_each_run(export: Callable[..., Any], workspace: Workspace, runs: Path) -> None:
    export("--from", runs, "--format", "sft", "--outcomes", runs.parent / "outcomes.json", "--filter", "success")
    marks = {row["messages"][2]["content"].split()[1] for row in rows(workspace, "sft")}
    assert marks == {"won", "also", "alone"}


@pytest.mark.parametrize("value", ["1", '{"a": 1}', '{"a": {"failed": []}}', '{"a": {"resolved": "yes"}}', "[true]"])
def test_outcomes_in_another_shape_are_one_clear_message(
    export: Callable[..., Any], workspace: Workspace, runs: Path, tmp_path: Path, value: str
) -> None:
    (tmp_path / "odd.json").write_text(value)
    done = export("--from", runs, "--format", "sft", "--outcomes", tmp_path / "odd.json", code=2)
    assert "outcomes must be a JSON object" in done.err
