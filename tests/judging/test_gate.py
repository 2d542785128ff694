"""The verdict: what the votes add up to, recomputed here by hand, and what makes it fail."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from duel.judging import gate
from duel.judging.statistics import krippendorff_alpha
from duel.placement import place
from duel.records import DIMENSIONS, Score, Verdict
from duel.settings import Settings
from tests.judging.panels import HEAVY_TIES, World, case_of, score_of, scores_of, simulate

DEFAULT = Settings()


def changed(**sections: dict[str, Any]) -> Settings:
    return Settings.model_validate(sections)


def decided(scores: list[Score], chosen: Settings = DEFAULT, **more: Any) -> dict[str, Any]:
    """The verdict, as it comes back from its file."""
    verdict = gate.decide(case_of(scores, chosen, **more))
    assert Verdict.parse(verdict.dump()) == verdict
    return json.loads(verdict.dump())


def panel(world: World, clusters: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return simulate(world, clusters, np.random.default_rng(seed))


def test_the_score_is_the_mean_over_counting_judges_and_a_flip_is_a_draw() -> None:
    votes = np.full((3, 2, 5), 1.0)
    votes[1] = [[0.0] * 5, [1.0] * 5]
    votes[2, 0, 0] = np.nan
    score = score_of("p_1_1", votes, DEFAULT)
    assert score.parsed and score.score == 75.0 and score.delta == 0.25
    assert score.flips == 1
    assert score.metrics == dict.fromkeys(DIMENSIONS, 75.0)
    assert not score_of("p_1_1", np.where([[[True]], [[False]], [[True]]], votes, np.nan), DEFAULT).parsed


def test_too_few_judges_leave_a_turn_unparsed_and_never_at_zero() -> None:
    votes = np.full((3, 2, 5), 1.0)
    votes[1:, 0] = np.nan
    score = score_of("p_1_1", votes, DEFAULT)
    assert (score.parsed, score.score, score.delta) == (False, None, None)
    assert place(score.score, None, DEFAULT).bucket is None
    lone = changed(judge={"models": ["only"], "quorum": 2})
    assert score_of("p_1_1", votes[:1], lone).score == 100.0


@given(some.lists(some.sampled_from([0.0, 0.5, 1.0, float("nan")]), min_size=90, max_size=90), some.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_every_figure_follows_from_the_votes(values: list[float], quorum: int) -> None:
    votes = np.array(values).reshape(3, 3, 2, 5)
    chosen = changed(judge={"quorum": quorum, "metric_keys": ["correctness", "progress"]})
    verdict = decided(scores_of(votes, [0, 1, 2], chosen), chosen)
    whole = np.isfinite(votes).all(3).all(2)  # (turns, judges) that count
    parsed = whole.sum(1) >= quorum
    assert (verdict["turns"], verdict["parsed"]) == (3, int(parsed.sum()))
    assert verdict["accepted"] is False and verdict["decision"] == "undecided"
    if not parsed.any():
        assert verdict["margin"] is None and verdict["lcb"] is None
        return
    mean = votes.mean(2)[:, :, [0, 2]]
    deltas = [mean[turn][whole[turn]].mean() - 0.5 for turn in range(3) if parsed[turn]]
    judges = [
        mean[parsed & whole[:, judge], judge].mean(0).mean() for judge in range(3) if (parsed & whole[:, judge]).any()
    ]
    assert verdict["mean_delta"] == pytest.approx(np.mean(deltas))
    assert verdict["challenger_score"] == pytest.approx(100 * np.mean(judges))
    assert verdict["king_score"] == pytest.approx(100 - verdict["challenger_score"])
    assert verdict["margin"] == pytest.approx(2 * verdict["challenger_score"] - 100)
    assert verdict["worst_case_margin"] == pytest.approx(2 * verdict["challenger_score"] * parsed.mean() - 100)


def test_a_judge_that_always_picks_the_first_shown_moves_nothing() -> None:
    votes = np.tile(np.array([0.0, 1.0])[None, None, :, None], (120, 3, 1, 5))
    verdict = decided(scores_of(votes, np.arange(120), DEFAULT))
    assert verdict["margin"] == 0.0 and verdict["se"] == 0.0 and verdict["lcb"] <= 0.0
    assert set(verdict["flip_rate"].values()) == {1.0}
    assert set(verdict["first_shown_lean"].values()) == {0.5}
    assert verdict["accepted"] is False and verdict["decision"] == "rejected"
    assert [row["first"] for row in verdict["judges"]] == [240, 240, 240]


def test_a_judge_that_reads_only_length_stands_out_in_the_table() -> None:
    draw = np.random.default_rng(4)
    votes, labels = panel(HEAVY_TIES, 40)
    lengths = [(int(a), int(b)) for a, b in draw.integers(50, 500, (len(labels), 2))]
    for turn, (king, challenger) in enumerate(lengths):
        votes[turn, 2] = 1.0 if challenger > king else 0.0 if challenger < king else 0.5
    scores = [
        score_of(f"p_1_{turn}", votes[turn], DEFAULT, f"i{labels[turn]}", pair) for turn, pair in enumerate(lengths)
    ]
    bias = decided(scores)["length_bias"]
    honest_one, honest_two, reader = bias["by_judge"].values()
    assert reader == 1.0 and honest_one < 0.65 and honest_two < 0.65
    assert bias["longer_won"] > 0.6 and bias["correlation"] > 0.4
    rates = [row["win_rate"] for row in bias["bins"] if row["turns"]]
    assert rates[0] < 0.35 and rates[-1] > 0.65


def test_a_clear_winner_is_accepted_and_each_condition_says_why() -> None:
    votes, labels = panel(replace(HEAVY_TIES, center=0.4), 60)
    verdict = decided(scores_of(votes, labels, DEFAULT))
    assert verdict["accepted"] and verdict["decision"] == "accepted"
    names = ["parsed_fraction", "margin", "lcb", "clusters", "leak_fraction", "missing_votes"]
    assert [row["name"] for row in verdict["gates"]] == names
    assert all(row["held"] for row in verdict["gates"])
    assert verdict["lcb_strict"] < verdict["lcb"] < verdict["mean_delta"]
    assert verdict["pseudo_turn"] is True


@pytest.mark.parametrize(
    ("chosen", "failing"),
    [
        (changed(duel={"win_margin": 60.0}), "margin"),
        (changed(duel={"gate_alpha": 1e-9}), None),
        (changed(duel={"min_clusters": 61}), "clusters"),
    ],
)
def test_each_condition_can_fail_alone(chosen: Settings, failing: str | None) -> None:
    votes, labels = panel(replace(HEAVY_TIES, center=0.4), 60)
    verdict = decided(scores_of(votes, labels, chosen), chosen)
    failed = [row["name"] for row in verdict["gates"] if not row["held"]]
    assert failed == ([failing] if failing else [])
    assert verdict["decision"] == {"clusters": "undecided", "margin": "rejected", None: "accepted"}[failing]


def test_unparsed_turns_are_left_out_of_the_mean_and_lost_in_the_worst_case() -> None:
    votes, labels = panel(replace(HEAVY_TIES, center=0.4), 60)
    votes[::3] = np.nan
    verdict = decided(scores_of(votes, labels, DEFAULT))
    full = decided([score for score in scores_of(votes, labels, DEFAULT) if score.parsed])
    assert verdict["mean_delta"] == full["mean_delta"]
    assert verdict["worst_case_margin"] < verdict["margin"] - 40
    assert verdict["missing_votes"] == 6 * len(votes[::3])
    few = decided(
        scores_of(np.where(np.arange(len(labels))[:, None, None, None] % 3, np.nan, votes + 1), labels, DEFAULT)
    )
    assert few["gates"][0]["held"] is False


def test_metric_keys_count_and_the_others_are_only_shown() -> None:
    votes, labels = panel(HEAVY_TIES, 40)
    votes[..., 3:] = 1.0
    chosen = changed(judge={"metric_keys": ["protocol", "efficiency"]})
    verdict = decided(scores_of(votes, labels, chosen), chosen)
    assert verdict["challenger_score"] == 100.0
    assert [row["counted"] for row in verdict["metrics"]] == [False, False, False, True, True]
    assert verdict["by_metric"]["correctness"] < 80


def test_a_stand_in_anywhere_makes_the_verdict_offline() -> None:
    votes, labels = panel(HEAVY_TIES, 2)
    scores = scores_of(votes, labels, DEFAULT)
    assert decided(scores)["offline"] is False
    touched = scores[0].model_copy(update={"writers": {"opponent": "offline-stand-in/king", "challenger": "x"}})
    assert decided([touched, *scores[1:]])["offline"] is True


def test_the_what_if_table_counts_what_each_pair_of_thresholds_would_keep() -> None:
    votes, labels = panel(replace(HEAVY_TIES, turn=1.0), 60)
    scores = scores_of(votes, labels, DEFAULT)
    verdict = decided(scores)
    for row in verdict["what_if"]["thresholds"]:
        chosen = changed(report={"final_min": row["final_min"], "defeat_min": row["defeat_min"]})
        names = [place(score.score, None, chosen).bucket for score in scores]
        assert [row["final"], row["refined"], row["defeat"]] == [names.count(n) for n in ("final", "refined", "defeat")]
    current = next(row for row in verdict["what_if"]["thresholds"] if row["current"])
    assert {name: current[name] for name in ("final", "refined", "defeat")} == {
        name: count for name, count in verdict["buckets"].items() if name != "unparsed"
    }
    assert [row["win_margin"] for row in verdict["what_if"]["margins"] if row["current"]] == [2.0]


def test_judges_of_the_writers_own_house_are_set_beside_the_others() -> None:
    chosen = changed(judge={"models": ["acme/judge", "b/judge", "c/judge"]})
    votes, labels = panel(HEAVY_TIES, 30)
    votes[:, 0] = 1.0
    scores = [
        score_of(f"p_1_{turn}", votes[turn], chosen, f"i{label}", writers=("zeta/king", "acme/writer"))
        for turn, label in enumerate(labels)
    ]
    own, *others = decided(scores, chosen)["family_bias"]
    assert own["own"] == "challenger" and own["difference"] > 30
    assert [row["own"] for row in others] == ["neither", "neither"]


def test_the_noise_floor_stands_beside_the_real_margin() -> None:
    votes, labels = panel(replace(HEAVY_TIES, center=0.4), 60)
    noise, _ = panel(replace(HEAVY_TIES, center=0.0, cluster=0.0), 100, seed=8)
    scores = scores_of(votes, labels, DEFAULT)
    floor = [
        score.model_copy(update={"votes": other.votes, **other.model_dump(include={"score", "delta", "parsed"})})
        for score, other in zip(scores, scores_of(noise[: len(votes)], labels, DEFAULT), strict=False)
    ]
    verdict = decided(scores, noise=floor)
    found = verdict["noise_floor"]
    assert found["low"] < 0 < found["high"] < found["real_margin"]
    assert all(row["error_correlation"] is not None for row in verdict["judge_pairs"])
    assert verdict["effective_votes_from"] == "noise floor"
    assert 1 <= verdict["effective_votes"] <= 3


def test_krippendorffs_alpha_is_that_of_his_own_example() -> None:
    """Reliability data C of Krippendorff's "Computing Krippendorff's Alpha-Reliability" (2011): ordinal 0.815."""
    missing = float("nan")
    rows = {
        "a": [1, 2, 3, 3, 2, 1, 4, 1, 2, missing, missing, missing],
        "b": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, missing, 3],
        "c": [missing, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, missing],
        "d": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, missing],
    }
    assert krippendorff_alpha(np.array(list(rows.values())).T) == pytest.approx(0.815, abs=0.0005)
    assert krippendorff_alpha([[0.0, 0.0], [1.0, 1.0]]) == 1.0
    assert np.isnan(krippendorff_alpha([[1.0, 1.0]]))
    assert np.isnan(krippendorff_alpha(np.empty((0, 3))))


@pytest.mark.parametrize(("name", "held"), [("margin", [False, True, True]), ("leak_fraction", [True, True, False])])
def test_a_figure_at_its_very_threshold_holds_and_rounding_does_not_decide(name: str, held: list[bool]) -> None:
    condition = gate.at_least if name == "margin" else gate.at_most
    assert [condition(name, value, 2.0).held for value in (1.99, 1.9999999999999858, 2.01)] == held
    assert condition(name, 2.0, 2.0).held and not condition(name, None, 2.0).held
