"""Best of n where the truth is planted: what a knockout finds, what it costs, and whose figure can be believed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bench.selection import Trial, trial
from duel.judging import gate
from duel.judging.gate import Case
from duel.judging.scoring import Columns
from duel.settings import Settings, load
from duel.workspace import Workspace

THREE = tuple(f"planted-0.6-{letter}" for letter in "xyz")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Trials by (candidates, choosers), each played once."""

    def play(count: int, choosers: tuple[str, ...], turns: int = 120) -> Trial:
        return trial(Workspace(tmp_path_factory.mktemp("trial")), count, turns, choosers)

    return cache(play)


def test_best_of_four_by_knockout_reaches_85_percent_of_what_the_best_choice_would(played: Any) -> None:
    found: Trial = played(4, THREE)
    assert found.share >= 0.85
    assert found.duels == 3  # n - 1
    assert found.calls == 3 * 2 * len(THREE)  # both orders


def test_the_choosers_own_figure_is_too_high_where_that_of_other_judges_is_true(played: Any) -> None:
    found: Trial = played(4, ("planted-1.0-noisy",), turns=250)
    assert abs(found.by_others - found.true) <= 1.5
    assert found.by_choosers - found.true >= 4


def test_two_of_four_reach_more_than_half_of_the_gain_of_four(played: Any) -> None:
    assert 0.4 * played(4, THREE).gain < played(2, THREE).gain < played(4, THREE).gain


def figures(settings: Settings) -> list[dict[str, str]]:
    verdict = gate.decide(Case(Columns.of([], settings.judge.models), settings, 2))
    return verdict.figures.get("best of n", [])


def settings(folder: Path, text: str) -> Settings:
    (folder / "chain.toml").write_text(text)
    return load(folder)


def test_who_chooses_does_not_judge_the_duel(tmp_path: Path) -> None:
    three = '[generate]\nchallengers = 4\n{}\n[judge]\nmodels = ["a", "b", "c"]'
    by_default = settings(tmp_path, three.format(""))
    assert (by_default.choosers, by_default.judge.models) == (["a"], ["b", "c"])
    named = settings(tmp_path, three.format('select_model = "c"'))
    assert (named.choosers, named.judge.models) == (["c"], ["a", "b"])
    apart = settings(tmp_path, three.format('select_model = ["x", "y"]'))
    assert (apart.choosers, apart.judge.models) == (["x", "y"], ["a", "b", "c"])
    assert figures(apart)[-1]["meaning"] == "others judged the duel"
    unjudged = settings(tmp_path, three.format('select = "audit, execution"'))
    assert (unjudged.choosers, unjudged.judge.models) == ([], ["a", "b", "c"])


def test_where_no_other_judge_is_left_the_verdict_says_by_how_much_it_may_be_too_high(tmp_path: Path) -> None:
    alone = settings(tmp_path, '[generate]\nchallengers = 8\n[judge]\nmodels = ["a"]')
    assert (alone.choosers, alone.judge.models) == (["a"], ["a"])
    told = figures(alone)[-1]
    assert (told["what"], told["figure"]) == ("winner's curse", "5.1 points")
    assert told["meaning"].startswith("so much too high may the score be, a single judge's by two to four times that")


def test_a_user_who_sets_nothing_has_nothing_chosen(tmp_path: Path) -> None:
    plain = settings(tmp_path, "")
    assert plain.judge.models == Settings().judge.models
    assert plain.choosers == []
    assert figures(plain) == []
