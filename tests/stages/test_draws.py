"""A new draw in a workspace that has another: shared turns keep what was paid for, no turn counts twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from duel.offline import SAMPLE
from duel.workspace import Workspace
from tests.conftest import Finished
from tests.offline.watched import StandIn
from tests.stages.conftest import SETTINGS

Script = Callable[..., Finished]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    sample = f'[sample]\ndataset = "{SAMPLE}/trajectories.parquet"\npulls = "{SAMPLE}/pulls.parquet"\n'
    workspace = Workspace(tmp_path)
    everything = SETTINGS.replace("[judge]", "[judge]\nineligible = true")
    workspace.save(tmp_path / "chain.toml", f"{everything}\n{sample}".encode())
    return workspace


def turns(workspace: Workspace) -> set[str]:
    return {f"{answer.instance_id} {answer.turn}" for _, answer in workspace.answers([])}


def test_a_pilot_is_not_paid_again_and_does_not_count_twice(
    script: Script, workspace: Workspace, stand_in: StandIn
) -> None:
    script("run.py", "--workspace", workspace.root, "--n", 6, code=0)
    pilot = turns(workspace)
    asked = stand_in.stats()
    done = script("run.py", "--workspace", workspace.root, "--n", 14, code=0)
    shared = pilot & turns(workspace)
    assert shared
    assert f"{len(shared):,} turns of an earlier draw are in this one as well" in done.err
    assert len(workspace.answer_paths()) == len(workspace.score_paths()) == 14
    new = {role: count - asked["by_role"][role] for role, count in stand_in.stats()["by_role"].items()}
    assert new["king"] == 14 - len(shared) and new["judge"] == 6 * (14 - len(shared))
    asked = stand_in.stats()["requests"]
    script("run.py", "--workspace", workspace.root, code=0)
    assert stand_in.stats()["requests"] == asked


def test_a_smaller_draw_moves_the_rest_to_the_attic_and_a_larger_one_takes_it_back(
    script: Script, workspace: Workspace, stand_in: StandIn
) -> None:
    script("run.py", "--workspace", workspace.root, "--n", 9, code=0)
    before = {path.name: path.read_bytes() for path in workspace.answer_paths()}
    asked = stand_in.stats()["requests"]
    done = script("run.py", "--workspace", workspace.root, "--n", 4, code=0)
    assert "are not in this one: moved to" in done.err
    assert len(workspace.answer_paths()) == len(workspace.score_paths()) == 4
    script("run.py", "--workspace", workspace.root, "--n", 9, code=0)
    assert stand_in.stats()["requests"] == asked
    assert {path.name: path.read_bytes() for path in workspace.answer_paths()} == before
    assert not list((workspace.root / "attic" / "answer").iterdir())


def test_an_excluded_turn_leaves_no_answer_that_is_judged(
    script: Script, workspace: Workspace, stand_in: StandIn
) -> None:
    script("run.py", "--workspace", workspace.root, "--n", 5, code=0)
    excluded = next(answer.instance_id for _, answer in workspace.answers([]))
    text = (workspace.root / "chain.toml").read_text()
    (workspace.root / "chain.toml").write_text(text.replace("[generate]", f'[generate]\nexclude_ids = ["{excluded}"]'))
    script("run.py", "--workspace", workspace.root, code=0)
    assert excluded not in {answer.instance_id for _, answer in workspace.answers([])}
    assert len(workspace.score_paths()) == 5


def test_run_takes_a_source_and_keeps_it(script: Script, workspace: Workspace, stand_in: StandIn) -> None:
    chain = workspace.root / "chain.toml"
    chain.write_text(SETTINGS.replace("[judge]", "[judge]\nineligible = true"))
    source = ("--source", SAMPLE / "trajectories.parquet", "--pulls", SAMPLE / "pulls.parquet", "--n", 3)
    script("prompt.py", "--workspace", workspace.root, *source, code=0)
    done = script("run.py", "--workspace", workspace.root, code=0)
    assert "keeping the draw of 3 turns" in done.err
    assert len(workspace.score_paths()) == 3


def test_mode_2_without_pull_requests_is_told_before_anything_is_paid(
    script: Script, workspace: Workspace, stand_in: StandIn
) -> None:
    done = script("run.py", "--workspace", workspace.root, "--n", 3, "--pulls", "", code=2)
    assert "DUEL_MODE=1" in done.err
    assert stand_in.stats()["requests"] == 0


def test_mode_1_without_pull_requests_has_a_second_writer_as_challenger(
    script: Script, workspace: Workspace, stand_in: StandIn
) -> None:
    script("run.py", "--workspace", workspace.root, "--n", 3, "--pulls", "", code=0, DUEL_MODE="1")
    assert len(workspace.score_paths()) == 3
    assert all(answer.challenger for _, answer in workspace.answers([]))
