"""Whether refining helped: figures of simulated rounds whose truth is known."""

from __future__ import annotations

import numpy as np

from duel.records import Candidate, Score
from duel.refining.rewrites import LEAST, Refined, Trial, estimate, summary
from duel.reporting.run_sections import refining, told
from duel.settings import Settings

TEXT = Candidate(id="challenger-2", side="challenger")


def trial(points: float, against: float, control: float | None = None, refused: str = "") -> Trial:
    held = Score(file="f", instance_id="i", score=points)
    return Trial(1, TEXT, TEXT, refused, held, None if refused else held, against, control)


def rounds(gain: float, seed: int, turns: int = 200, control: int = 50) -> list[Refined]:
    """Turns of 80 pull requests, chosen as borderline; a rewrite is `gain` points better, judged with noise of 15."""
    draw = np.random.default_rng(seed)
    pulls = draw.integers(0, 80, turns)
    shared = draw.normal(0, 5, 80)[pulls]
    truth = 72 + draw.normal(0, 6, turns)
    again = [*(truth + draw.normal(0, 15, turns))[:control], *[None] * (turns - control)]
    points, against = (level + gain + shared + draw.normal(0, 15, turns) for level in (truth, 50))
    figures = zip(points.tolist(), against.tolist(), again, strict=True)
    return [(f"o__r-{pull}", trial(*told)) for pull, told in zip(pulls, figures, strict=True)]


def test_a_rewrite_that_is_no_better_is_called_helpful_in_one_of_forty_rounds_at_most() -> None:
    rows = [summary(rounds(0.0, seed), Settings())[0] for seed in range(200)]
    assert sum(row["helped"] for row in rows) <= 12, "2.5 % of 200, and the noise of the count"
    within = np.mean([abs(row["gain"]) <= row["gain_error"] for row in rows])
    assert within > 0.9


def test_the_interval_holds_the_truth_although_turns_of_a_pull_request_share_theirs() -> None:
    rows = [summary(rounds(8.0, seed), Settings())[0]["against_parent"] for seed in range(300)]
    assert np.mean([abs(row["mean"] - 58) <= row["error"] for row in rows]) > 0.92


def test_a_better_rewrite_is_told_with_its_size_and_against_the_control_arm() -> None:
    (row,) = summary(rounds(12.0, 1, 400), Settings())
    assert row["helped"] and row["gain"] > row["gain_error"]
    sentence = told(row)
    assert "refining helped" in sentence and "They promote more of them" in sentence


def test_a_refused_rewrite_counts_as_not_promoted_and_an_open_one_not_at_all() -> None:
    found = [("a", trial(90, 60)), ("a", trial(90, 60, refused="leak")), ("b", Trial(1, TEXT, TEXT))]
    (row,) = summary(found, Settings())
    assert (row["rewritten"], row["open"], row["promoted"]) == (3, 1, 1)
    assert row["by_held_out"]["mean"] == 0.5 and row["refused"] == {"leak": 1}


def test_few_pull_requests_are_too_few_to_tell() -> None:
    found = [(f"o__r-{number}", trial(95, 95)) for number in range(LEAST - 1)]
    (row,) = summary(found, Settings())
    assert row["helped"] is None and "too few to tell" in told(row)
    assert estimate([])["mean"] is None


def test_without_a_rewrite_there_is_no_section() -> None:
    section = refining([])
    assert not section.tables and not section.notes
