"""A verdict that cannot be bought: by leaks, by repositories, by missing votes, by length, by looking often."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from duel.judging import bounds, gate, looks
from duel.judging.gate import Case, Evidence
from duel.judging.scoring import Columns, VoteTable
from duel.records import Score, Verdict
from duel.settings import Settings
from tests.judging.panels import HEAVY_TIES, case_of, score_of, scores_of, simulate

DEFAULT = Settings()


def changed(**sections: dict[str, Any]) -> Settings:
    return Settings.model_validate(sections)


def won(turns: int, *, share: float = 0.7, seed: int = 1, **more: Any) -> list[Score]:
    """Turns of a challenger that wins `share` of them, each a pull request of its own, two to a repository."""
    draw = np.random.default_rng(seed)
    return [
        score_of(f"p_1_{turn}", np.full((3, 2, 5), float(draw.random() < share)), DEFAULT, f"o__r{turn // 2}-{turn}")
        for turn in range(turns)
    ]


def decided(scores: list[Score], chosen: Settings = DEFAULT, **more: Any) -> Verdict:
    return gate.decide(case_of(scores, chosen, **more))


def test_too_many_leaks_refuse_a_verdict_however_good_the_rest_is() -> None:
    kept_out = {f"p_2_{number}": "leak" for number in range(20)}
    assert decided(won(100), kept_out=kept_out).accepted
    found = decided(won(70), kept_out=kept_out)
    assert found.leak_fraction == pytest.approx(20 / 90) and found.decision == "rejected"
    assert [gate.name for gate in found.gates if not gate.held] == ["leak_fraction"]
    assert decided(won(70), kept_out=dict.fromkeys(kept_out, "protocol")).accepted
    assert decided(won(70), changed(duel={"max_leak_frac": 0.3}), kept_out=kept_out).accepted


def test_turns_that_cannot_be_kept_are_shown_beside_and_never_counted() -> None:
    scores, others = won(70), won(20, share=0.0, seed=3)
    more = Columns.of(others, DEFAULT.judge.models)
    found = decided(scores, ineligible=more, kept_out={score.file: "protocol" for score in others})
    assert found.turns == 70 and found.margin == decided(scores).margin
    assert found.over_all is not None and found.over_all.turns == 90
    assert found.over_all.margin is not None and found.margin is not None and found.over_all.margin < found.margin


def test_repositories_are_the_units_where_there_are_enough_of_them() -> None:
    many, few = decided(won(80)), decided(won(50))
    assert (many.cluster_by, many.clusters) == ("repo", 40)
    assert (few.cluster_by, few.clusters) == ("instance_id", 50)
    assert any("speaks of these repositories alone" in sentence for sentence in few.why)
    assert not any("repositories" in sentence for sentence in many.why)
    assert set(many.by_cluster) == set(few.by_cluster) == {"repo", "instance_id"}
    assert all(bound.lcb is not None and bound.lcb_t is not None for bound in many.by_cluster.values())
    for by, clusters in (("repo", 40), ("instance_id", 80), ("file", 1)):
        assert decided(won(80), changed(duel={"cluster_by": by})).clusters == clusters


def test_turns_of_one_repository_count_as_one_when_they_share_their_fate() -> None:
    votes = np.repeat(np.random.default_rng(0).choice([0.0, 0.0, 1.0, 1.0, 1.0], 40), 10)
    scores = [
        score_of(f"p_1_{turn}", np.full((3, 2, 5), value), DEFAULT, f"o__r{turn // 10}-{turn}")
        for turn, value in enumerate(votes)
    ]
    by_repository, by_pull = decided(scores), decided(scores, changed(duel={"cluster_by": "instance_id"}))
    assert by_repository.se is not None and by_pull.se is not None
    assert by_repository.se > 2.5 * by_pull.se


def with_missing(decline: float, seed: int, history: bool = True) -> tuple[list[Score], float]:
    """Turns whose challenger does worse the longer the history is, where long histories lose their votes."""
    draw = np.random.default_rng(seed)
    scores, truth = [], []
    for turn in range(600):
        length = float(draw.random())
        values = np.where(draw.random((3, 2, 5)) < 0.5 + decline * (0.5 - length), 1.0, 0.0)
        truth.append(decline * (0.5 - length))
        values[draw.random(3) < 0.95 * length] = np.nan
        kept = int(1000 + 9000 * length) if history else None
        scores.append(score_of(f"p_1_{turn}", values, DEFAULT, f"o__r{turn}-1", history=kept))
    return scores, float(np.mean(truth))


def test_votes_that_miss_where_the_challenger_loses_are_made_good() -> None:
    found = []
    for seed in range(3):
        scores, truth = with_missing(0.6, seed)
        table = VoteTable(Columns.of(scores, DEFAULT.judge.models), DEFAULT)
        seen = table.deltas[table.parsed].mean()
        found.append((seen - truth, bounds.made_good(table).mean() - truth))
    seen_off, made_good_off = np.mean(found, axis=0)
    assert seen_off > 0.08 and abs(made_good_off) < 0.02


def test_where_nothing_is_missing_the_made_good_values_are_the_deltas() -> None:
    votes, labels = simulate(HEAVY_TIES, 40, np.random.default_rng(2))
    for chosen in (DEFAULT, changed(judge={"strategy": "screen"})):
        evidence = Evidence(case_of(scores_of(votes, labels, chosen), chosen))
        assert bounds.made_good(evidence.table) == pytest.approx(evidence.table.deltas)


def test_a_win_that_rests_on_missing_votes_is_refused_and_says_so() -> None:
    scores, _ = with_missing(0.6, 1)
    found = decided(scores)
    failed = [gate.name for gate in found.gates if not gate.held]
    assert found.lcb is not None and found.lcb > 0 and failed == ["missing_votes"]
    assert not found.accepted and any("missing votes made good" in sentence for sentence in found.why)
    unknown = decided(with_missing(0.6, 1, history=False)[0])
    assert unknown.missing is not None and unknown.missing.margin is not None and unknown.missing.margin < -20


def test_a_win_that_is_gone_at_equal_length_is_undecided() -> None:
    draw = np.random.default_rng(4)
    scores = []
    for turn in range(400):
        king = int(draw.integers(200, 800))
        challenger = int(king * np.exp(draw.normal(0.3, 0.5)))
        taste = 0.5 + 0.6 * (challenger - king) / max(king, challenger)
        values = np.where(draw.random((3, 2, 5)) < taste, 1.0, 0.0)
        scores.append(score_of(f"p_1_{turn}", values, DEFAULT, f"o__r{turn}-1", lengths=(king, challenger)))
    found = decided(scores)
    assert all(gate.held for gate in found.gates) and found.decision == "undecided"
    assert any("at equal length" in sentence for sentence in found.why)
    controlled = found.length_controlled
    assert controlled is not None and controlled.margin is not None and found.margin is not None
    assert abs(controlled.margin) < 5 < found.margin
    assert controlled.slope == pytest.approx(0.6, abs=0.1)
    assert decided(scores, changed(duel={"length_control": False})).accepted


def test_the_bound_itself_can_be_asked_to_reach_the_margin() -> None:
    scores = won(200, share=0.58)
    seen = decided(scores)
    assert seen.accepted and any("margin_bound" in sentence for sentence in seen.why)
    assert seen.lcb is not None
    asked = changed(duel={"margin_bound": True, "win_margin": 200 * seen.lcb + 1})
    refused = decided(scores, asked)
    assert [gate.name for gate in refused.gates if not gate.held] == ["lcb"]
    assert decided(scores, changed(duel={"margin_bound": True, "win_margin": 200 * seen.lcb - 1})).accepted


STATISTICS: list[dict[str, Any]] = [
    {"judge": {"metric_keys": ["progress", "protocol"]}},
    {"judge": {"quorum": 3}},
    {"judge": {"tie_band": 0.1}},
    {"judge": {"strategy": "screen"}},
    {"judge": {"models": DEFAULT.judge.models[:2]}},
    {"duel": {"cluster_by": "instance_id"}},
    {"duel": {"seed": 7}},
    {"duel": {"bootstrap_resamples": 500}},
    {"audit": {"enforce": False}},
]
THRESHOLDS: list[dict[str, Any]] = [
    {"duel": {"win_margin": 30.0}},
    {"duel": {"gate_alpha": 0.01}},
    {"duel": {"min_valid_turn_frac": 0.9}},
    {"duel": {"margin_bound": True}},
    {"duel": {"max_leak_frac": 0.01}},
    {"report": {"final_min": 90.0}},
]


@pytest.mark.parametrize(("sections", "counted"), [(s, True) for s in STATISTICS] + [(s, False) for s in THRESHOLDS])
def test_another_statistic_is_a_look_and_another_threshold_is_none(sections: dict[str, Any], counted: bool) -> None:
    scores = won(90)
    first = decided(scores)
    assert first.looks is not None
    again = decided(scores, changed(**sections), earlier=first.looks.history)
    assert again.looks is not None and again.looks.total == 1 + counted
    if counted:
        assert again.alpha_used == 0.0 and not again.accepted
        assert any("looks at this challenger are used up" in sentence for sentence in again.why)
    else:
        assert again.alpha_used == DEFAULT.duel.gate_alpha or "gate_alpha" in str(sections)


def test_only_looks_that_came_before_this_one_count() -> None:
    scores, chosen = won(150), changed(duel={"looks": 3})
    first = decided(scores[:60], chosen)
    assert first.looks is not None
    second = decided(scores, chosen, earlier=first.looks.history)
    assert second.looks is not None and second.looks.total == 2
    repeated = decided(scores[:60], chosen, earlier=second.looks.history)
    assert repeated.alpha_used == first.alpha_used and repeated.looks is not None and repeated.looks.total == 2
    assert second.alpha_used is not None and first.alpha_used is not None and second.alpha_used > first.alpha_used


def test_a_look_of_an_older_version_does_not_count_as_another_statistic() -> None:
    old = {"challenger": "c", "votes": "v", "clusters": 50, "alpha": 0.05, "parsed": 90}
    assert looks.level([old], 50, 0.05, 1, "now", 90) == 0.05
    assert looks.level([{**old, "statistic": "then"}], 50, 0.05, 1, "now", 90) == 0.0
    assert looks.level([{**old, "statistic": "then"}], 80, 0.05, 1, "now", 140) == 0.05


def test_a_case_without_a_single_turn_that_could_be_kept_is_undecided() -> None:
    empty = Columns.of([], DEFAULT.judge.models)
    found = gate.decide(Case(empty, DEFAULT, kept_out={"a": "leak", "b": "protocol"}))
    assert found.decision == "undecided" and found.turns == 0 and found.margin is None and found.leak_fraction == 0.5
