"""What a score is worth: predicted before a second look, and held against one."""

from __future__ import annotations

import numpy as np
import pytest

from duel.judging import gate
from duel.judging.scoring import Columns
from duel.records import Repeats, Score
from duel.settings import Settings
from tests.judging.panels import case_of, score_of

DEFAULT = Settings()


def panels(turns: int, seed: int) -> tuple[list[Score], list[Score], list[Score]]:
    """The same turns before a panel, before the same panel on fresh replies, and before another panel."""
    draw = np.random.default_rng(seed)
    quality = 0.25 + 0.5 * draw.normal(size=(turns, 1, 1, 1))
    opinion = 0.3 * draw.normal(size=(turns, 3, 1, 1)), 0.3 * draw.normal(size=(turns, 3, 1, 1))

    def votes(of: int) -> np.ndarray:
        latent = quality + opinion[of] + 0.45 * draw.normal(size=(turns, 3, 2, 1))
        latent = latent + 0.35 * draw.normal(size=(turns, 3, 2, 5))
        return np.where(latent > 0.15, 1.0, np.where(latent < -0.15, 0.0, 0.5))

    def scores(table: np.ndarray) -> list[Score]:
        return [score_of(f"p_1_{turn}", one, DEFAULT, f"o__r{turn}-1") for turn, one in enumerate(table)]

    return scores(votes(0)), scores(votes(0)), scores(votes(1))


def repeats_of(scores: list[Score], **more: object) -> Repeats:
    found = gate.decide(case_of(scores, DEFAULT, **more)).repeats
    assert found is not None
    return found


def test_the_mean_and_the_share_of_final_on_a_second_look_are_predicted() -> None:
    first, same, other = panels(900, 1)
    found = repeats_of(first)
    final = [place for place, score in enumerate(first) if (score.score or 0) >= 80]
    assert found.final == len(final) > 90
    for panel, expected, again in (
        (same, found.expected_same, found.again_same),
        (other, found.expected_other, found.again_other),
    ):
        fresh = np.array([panel[place].score for place in final], dtype=float)
        assert expected == pytest.approx(fresh.mean(), abs=2.0)
        assert again == pytest.approx((fresh >= 80).mean(), abs=0.05)
    assert found.final_mean is not None and found.expected_same is not None and found.expected_other is not None
    assert found.final_mean > found.expected_same > found.expected_other


def test_an_expected_score_is_drawn_to_the_mean_by_what_is_unreliable() -> None:
    found = Repeats(mean=50.0, reliability_orders=0.6)
    assert found.expected(90.0) == pytest.approx(74.0) and found.expected(50.0) == 50.0
    assert found.expected(None) is None and Repeats().expected(90.0) is None


def test_a_panel_that_agrees_with_itself_is_expected_to_repeat() -> None:
    votes = np.repeat([0.0, 1.0, 0.5, 1.0], 30)
    scores = [score_of(f"p_1_{i}", np.full((3, 2, 5), value), DEFAULT) for i, value in enumerate(votes)]
    found = repeats_of(scores)
    assert found.reliability_orders == found.reliability_judges == pytest.approx(1.0)
    assert found.expected_same == found.final_mean == 100.0 and found.again_same == 1.0


def test_a_second_look_is_set_beside_the_first() -> None:
    first, same, _ = panels(400, 3)
    fresh = {score.file: one.score for score, one in zip(first, same, strict=True) if (score.score or 0) >= 80}
    found = repeats_of(first, confirmed=fresh)
    assert found.confirmed == len(fresh)
    assert found.confirmed_mean == pytest.approx(np.mean(list(fresh.values())))
    assert found.confirmed_share == pytest.approx(np.mean([value >= 80 for value in fresh.values()]))


def test_the_canary_tells_which_judge_an_attack_moves_and_which_attack() -> None:
    votes = np.full((20, 3, 2, 5), 0.5)
    votes[:, 0] = 1.0
    votes[:10, 1] = 1.0
    scores = [score_of(f"p_1_{turn}", one, DEFAULT) for turn, one in enumerate(votes)]
    kinds = ["relative"] * 10 + ["verdict"] * 10
    case = case_of(scores, DEFAULT, canary=Columns.of(scores, DEFAULT.judge.models), attacks=kinds)
    found = gate.decide(case).canary
    assert found is not None and found.turns == 20
    assert [(judge.margin, judge.moved) for judge in found.judges] == [(100.0, 20), (50.0, 10), (0.0, 0)]
    assert found.judges[1].by_attack == {"relative": 100.0, "verdict": 0.0}
