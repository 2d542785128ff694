"""What a whole run will cost, told before any of it is asked; quick however many turns there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from duel import settings
from duel.records import Answer
from duel.stages import estimate, whole
from duel.workspace import Workspace
from tests.conftest import Finished
from tests.offline.watched import StandIn

Fill = Callable[..., Workspace]
Script = Callable[..., Finished]


def counts(workspace: Workspace) -> dict[str, tuple[int, int]]:
    """Items and calls of each stage."""
    plans = whole.plan(workspace, settings.load(workspace.root))
    return {plan.stage: (plan.items, plan.calls) for plan in plans}


def test_a_plan_of_a_large_draw_looks_at_a_sample_and_says_so(
    fill: Fill, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "SAMPLED_FILES", 1)
    workspace = fill(410)
    assert counts(workspace) == {"king": (410, 410), "challenger": (410, 410), "judge": (410, 2460)}
    assert "estimated from 200 of 410 turns" in capsys.readouterr().err


def test_a_plan_of_a_small_draw_counts_every_turn(fill: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = fill(205)
    workspace.commit_path("owner__repo-7").unlink()
    assert counts(workspace) == {"king": (205, 205), "challenger": (204, 204), "judge": (205, 1230)}
    assert "estimated" not in capsys.readouterr().err


def test_a_plan_before_any_draw_assumes_typical_turns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert counts(Workspace(tmp_path))["king"] == (2000, 2000)
    assert "no prompt is drawn yet: 2,000 turns" in capsys.readouterr().err


def test_a_plan_counts_a_second_writer_where_there_is_no_pull_request(fill: Fill) -> None:
    workspace = fill(2)
    workspace.commit_path("owner__repo-1").unlink()
    chain = workspace.root / "chain.toml"
    chain.write_text(chain.read_text() + "\n[duel]\nmode = 1\n")
    assert counts(workspace)["challenger"] == (2, 2)


def test_a_plan_counts_only_what_a_run_that_was_begun_still_lacks(
    script: Script, fill: Fill, stand_in: StandIn
) -> None:
    workspace = fill(4)
    script("king.py", "--workspace", workspace.root, code=0)
    script("ch.py", "--workspace", workspace.root, code=0)
    first, second, *_ = workspace.answer_paths()
    first.unlink()  # its reply is in the ledger
    answer = workspace.read(second, Answer)
    workspace.save(second, answer.model_copy(update={"challenger": "", "candidates": answer.candidates[:1]}))
    assert counts(workspace) == {"king": (1, 0), "challenger": (2, 1), "judge": (4, 24)}
    script("run.py", "--workspace", workspace.root, code=0)
    assert counts(workspace) == {"king": (0, 0), "challenger": (0, 0), "judge": (0, 0)}
    chain = workspace.root / "chain.toml"
    chain.write_text(chain.read_text().replace("[judge]", 'challenger_model = "another/writer"\n[judge]'))
    assert counts(workspace) == {"king": (0, 0), "challenger": (4, 4), "judge": (4, 24)}
    chain.write_text(chain.read_text().replace("another/writer", "") + '\n[execute]\nbackend = "bubblewrap"\n')
    assert counts(workspace) == {"king": (0, 0), "challenger": (0, 0), "judge": (4, 24)}


def test_a_plan_of_another_draw_than_the_one_that_lies_there_counts_the_turns_of_that_draw(
    script: Script, tmp_path: Path
) -> None:
    script("prompt.py", "--offline", "--workspace", tmp_path, "--n", "3", code=0)
    assert "king: 3 items" in script("run.py", "--offline", "--plan", "--workspace", tmp_path, code=0).out
    told = script("run.py", "--offline", "--plan", "--workspace", tmp_path, "--n", "700", code=0)
    assert "king: 700 items, 700 calls" in told.out
    assert "another draw lies here, of 3 turns: 700 turns" in told.err
