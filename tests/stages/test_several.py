"""Several candidates a side: written once each, chosen by audit, execution and a knockout, and all of them kept."""

from __future__ import annotations

from collections.abc import Callable

from duel.offline.loopback import StandIn
from duel.workspace import Workspace
from tests.conftest import Finished
from tests.stages.conftest import SETTINGS
from tests.stages.test_king import answers

Script = Callable[..., Finished]
Fill = Callable[..., Workspace]
FOUR = SETTINGS.replace("[generate]", "[generate]\nchallengers = 4")


def written(script: Script, workspace: Workspace) -> None:
    for stage in ("king.py", "ch.py"):
        script(stage, "--workspace", workspace.root, code=0)


def chains(text: str, workspace: Workspace) -> None:
    (workspace.root / "chain.toml").write_text(text)


def test_each_of_four_challengers_is_asked_once_and_one_of_them_stands(
    script: Script, fill: Fill, stand_in: StandIn
) -> None:
    workspace = fill(3, settings=FOUR)
    written(script, workspace)
    for answer in answers(workspace).values():
        ids = [one.id for one in answer.of_side("challenger")]
        assert ids == ["challenger-1", "challenger-2", "challenger-3", "challenger-4"]
        assert [one.chosen for one in answer.of_side("challenger")] == [True, False, False, False]
        assert all("```bash" in answer.text_of(one) for one in answer.candidates)
        assert len({one.made.plan for one in answer.candidates if one.made}) == 5
    asked = stand_in.stats()["requests"]
    before = {path: path.read_bytes() for path in workspace.answer_paths()}
    written(script, workspace)
    assert stand_in.stats()["requests"] == asked
    assert {path: path.read_bytes() for path in workspace.answer_paths()} == before


def test_validate_chooses_first_with_a_duel_less_than_there_are_different_candidates(
    script: Script, fill: Fill, stand_in: StandIn
) -> None:
    workspace = fill(6, settings=FOUR)
    written(script, workspace)
    stand_in.reset()
    done = script("validate.py", "--workspace", workspace.root)
    assert "chosen by some/judge-a; the duel is judged by other/judge-b, third/judge-c" in done.err
    duels = 0
    for answer in answers(workspace).values():
        chosen = answer.chosen("challenger")
        assert chosen and chosen.selection and chosen.selection.outcome == "chosen"
        assert chosen.selection.of == 4 and chosen.selection.panel == ["some/judge-a"]
        others = [one.selection for one in answer.of_side("challenger") if not one.chosen]
        lost = [one for one in others if one and one.outcome == "lost"]
        assert all(others) and chosen.selection.duels == len(lost)
        assert all(one.score is not None and one.score <= 50 for one in lost)
        duels += len(lost)
    assert stand_in.stats()["by_model"]["some/judge-a"] == 2 * duels
    assert duels > 6
    before = {path: path.read_bytes() for path in workspace.answer_paths()}
    asked = stand_in.stats()["requests"]
    script("validate.py", "--workspace", workspace.root)
    assert stand_in.stats()["requests"] == asked
    assert {path: path.read_bytes() for path in workspace.answer_paths()} == before
