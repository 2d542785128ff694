"""Units, bounds and the statistics under them, each worked out by hand or against a textbook."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from duel.judging import bounds, statistics
from duel.judging.scoring import Columns, VoteTable
from duel.judging.statistics import Clusters
from duel.records import DIMENSIONS, Bound, Score
from duel.records.record import plain
from duel.settings import Settings
from tests.judging.few_turns import NO, chosen, score, won

# -- units and bounds ----------------------------------------------------------------------------------------------


def test_units_are_repositories_pull_requests_or_files() -> None:
    names = [("p_1_1", "O__R-1"), ("p_1_2", "o__r-2"), ("p_2_1", "o__s-2"), ("p_2_2", "o__s-2")]
    scores = [score(1).model_copy(update={"file": file, "instance_id": name}) for file, name in names]
    columns = Columns.of(scores, ["a", "b"])
    parsed = np.array([True, True, True, True])
    assert [bounds.Units.of(columns, parsed, by).count for by in ("repo", "instance_id", "file")] == [2, 3, 2]
    repo = bounds.Units.of(columns, parsed, "repo")
    assert repo.codes[0] == repo.codes[1] != repo.codes[2] == repo.codes[3] and repo.by == "repo"
    assert bounds.Units.of(columns, np.array([True, True, False, False]), "repo").count == 1


@pytest.mark.parametrize(
    ("asked", "least", "names"),
    [
        ("auto", 2, ("repo", "instance_id")),
        ("auto", 3, ("instance_id", "repo")),
        ("repo", 9, ("repo", "instance_id")),
        ("instance_id", 2, ("instance_id", "repo")),
        ("file", 2, ("file", "repo")),
    ],
)
def test_auto_takes_repositories_where_there_are_enough(asked: str, least: int, names: tuple[str, str]) -> None:
    scores = [score(1).model_copy(update={"instance_id": name}) for name in ("o__r-1", "o__r-2", "o__s-3")]
    found = bounds.choose(
        Columns.of(scores, ["a", "b"]), np.ones(3, dtype=bool), chosen(cluster_by=asked, min_clusters=least)
    )
    assert tuple(units.by for units in found) == names


def measured(scores: list[Score], level: float = 0.05, **duel: Any) -> bounds.Bounds:
    settings = chosen(**duel)
    table = VoteTable(Columns.of(scores, settings.judge.models), settings)
    units = bounds.choose(table.columns, table.parsed, settings)
    return bounds.measure(table, *units, settings, level)


def test_nothing_gives_no_bound_and_one_pull_request_gives_its_mean_alone() -> None:
    assert measured([]) == measured([score(1, (NO, NO))]) == bounds.Bounds()
    alone = measured([score(1), score(1, (0.0, 0.5))])
    assert (alone.mean_delta, alone.se, alone.lcb, alone.by_metric) == (0.125, None, None, {})
    of_one_repository = measured(
        [score(1, repo="o__r"), score(1, (0.0, 0.5)).model_copy(update={"instance_id": "o__r1-2"})]
    )
    beside = of_one_repository.other_units
    assert (beside.clusters, beside.margin, beside.se, beside.lcb, beside.lcb_t) == (1, 25.0, None, None, None)
    two = measured([score(1), score(2, (0.0, 0.5))])
    assert None not in (two.se, two.lcb, two.lcb_t, two.other_units.lcb, two.other_units.lcb_t)


def test_the_bounds_of_a_few_turns_are_the_textbooks() -> None:
    values = [1.0, 1.0, 1.0, 0.5, 0.0, 1.0, 1.0, 0.5]
    scores = [score(number, (value, value)) for number, value in enumerate(values)]
    found, deltas = measured(scores), np.array(values) - 0.5
    error = deltas.std(ddof=1) / math.sqrt(8)
    assert found.mean_delta == pytest.approx(deltas.mean()) and found.se == pytest.approx(error)
    assert found.lcb_t == pytest.approx(deltas.mean() - 1.894579 * error, abs=1e-6)  # Student's quantile with 7 degrees
    clusters = Clusters.of(deltas, np.arange(8))
    assert found.lcb == pytest.approx(statistics.studentized(clusters, 199, 0).lower(0.05)[0])
    assert found.lcb_strict == pytest.approx(statistics.studentized(clusters, 199, 0).lower(0.001)[0])
    assert found.quantile is not None and found.mean_delta is not None and found.lcb is not None
    assert found.quantile == pytest.approx((found.mean_delta - found.lcb) / error)
    assert found.lcb_iid == statistics.percentile_lower(deltas, 0.05, 199, 0)
    assert found.by_metric == pytest.approx(dict.fromkeys(DIMENSIONS, found.lcb))
    assert found.length.margin == pytest.approx(200 * deltas.mean()) and found.length.slope == 0.0
    assert (found.length.clusters, found.length.turns) == (8, 8)
    assert found.length.lcb == pytest.approx(found.lcb) and found.length.se == pytest.approx(error)
    other = found.other_units
    assert (other.clusters, other.turns, other.margin) == (8, 8, pytest.approx(200 * deltas.mean()))
    assert other.lcb_t == pytest.approx(found.lcb_t) and other.lcb == pytest.approx(found.lcb)
    assert found.missing.clusters == 0


def test_each_dimension_has_the_bound_of_its_own_deltas_and_the_score_that_of_all() -> None:
    draw = np.random.default_rng(3)
    said = draw.choice([0.0, 0.5, 1.0], (9, 5), p=[0.2, 0.2, 0.6])
    scores = [score(number) for number in range(9)]
    for one, values in zip(scores, said, strict=True):
        fields = dict(zip(DIMENSIONS, map(float, values), strict=True))
        one.votes = [vote.model_copy(update=fields) for vote in one.votes]
    found = measured(scores)

    def lower(deltas: np.ndarray, level: float = 0.05) -> float:
        return float(statistics.studentized(Clusters.of(deltas, np.arange(9)), 199, 0).lower(level)[0])

    assert [*found.by_metric.values()] == pytest.approx([lower(said[:, place] - 0.5) for place in range(5)])
    assert found.lcb == pytest.approx(lower(said.mean(1) - 0.5))
    assert found.lcb_strict == pytest.approx(lower(said.mean(1) - 0.5, 0.001))
    assert len({*found.by_metric.values(), found.lcb}) > 3
    # All replies are of one length: what is left at equal length is the whole.
    assert found.length.margin == pytest.approx(200 * (said.mean() - 0.5))
    assert found.length.lcb == pytest.approx(found.lcb) and found.length.se == pytest.approx(found.se)


def test_a_look_without_a_level_has_no_bound_but_its_mean() -> None:
    found = measured(won(), level=0.0)
    assert found.mean_delta is not None and found.se is not None and found.lcb_strict is not None
    assert (found.lcb, found.lcb_t, found.by_metric, found.quantile) == (
        None,
        None,
        dict.fromkeys(DIMENSIONS),
        None,
    )
    assert (found.other_units.lcb, found.other_units.lcb_t, found.length.lcb) == (None, None, None)
    assert found.other_units.se is not None


def test_a_challenger_that_wins_every_turn_has_no_error_and_no_quantile() -> None:
    found = measured([score(number) for number in range(5)])
    assert (found.mean_delta, found.se, found.quantile) == (0.5, 0.0, None)


def test_figures_beside_the_gates_are_not_resampled_where_there_are_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_RESAMPLED", 12)
    assert measured(won(12)).other_units.lcb != measured(won(12)).other_units.lcb_t
    assert measured(won(13)).other_units.lcb == measured(won(13)).other_units.lcb_t


def test_no_rows_give_a_bound_without_figures() -> None:
    table = VoteTable(Columns.of(won(4), ["a", "b"]), chosen())
    units = bounds.Units.of(table.columns, table.parsed, "repo")
    assert bounds.bound(table.deltas, np.zeros(4, dtype=bool), units, chosen(), 0.05) == Bound()


def test_a_length_difference_is_a_share_of_the_longer_reply() -> None:
    pairs = [(100, 150), (150, 100), (0, 0), (0, 10), (10, 0)]
    told = [{"opponent": one, "challenger": two} for one, two in pairs] + [{"challenger": 50}, {"opponent": 50}]
    scores = [score(n, lengths=lengths) for n, lengths in enumerate(told)]
    found = bounds.length_difference(Columns.of(scores, ["a", "b"]))
    assert found.tolist() == pytest.approx([1 / 3, -1 / 3, 0.0, 1.0, -1.0, 0.0, 0.0])


def test_what_is_left_at_equal_length_is_the_intercept_of_a_straight_line() -> None:
    draw = np.random.default_rng(1)
    difference = draw.uniform(-0.5, 0.9, 50)
    deltas = 0.1 + 0.3 * difference + 0.05 * draw.normal(size=50)
    values, slope = bounds.length_controlled(deltas, difference)
    line = np.polyfit(difference, deltas, 1)
    assert (slope, values.mean()) == (pytest.approx(line[0]), pytest.approx(line[1]))
    # The error of the intercept that follows from the values is the robust one of the regression (White 1980).
    design = np.column_stack([np.ones(50), difference])
    inverse = np.linalg.inv(design.T @ design)
    middle = design.T @ (design * ((deltas - design @ line[::-1]) ** 2)[:, None])
    robust = (inverse @ middle @ inverse)[0, 0] ** 0.5
    assert float(((values - values.mean()) ** 2).sum() ** 0.5 / 50) == pytest.approx(robust)
    moved = [float(line[1] - np.polyfit(np.delete(difference, at), np.delete(deltas, at), 1)[1]) for at in range(50)]
    assert np.corrcoef(values, moved)[0, 1] > 0.99  # a turn's value is what the intercept owes to it
    same, none = bounds.length_controlled(deltas, np.full(50, 0.2))
    assert same is deltas and none == 0.0


def test_histories_are_cut_into_ranges_of_equally_many_turns() -> None:
    lengths = np.arange(100)
    assert np.bincount(bounds.history_ranges(lengths)).tolist() == [25] * 4
    assert np.bincount(bounds.history_ranges(np.arange(2000))).tolist() == [100] * 20
    assert set(bounds.history_ranges(np.arange(49))) == {0}
    assert set(bounds.history_ranges(np.full(3, -1))) == {-1}
    assert bounds.history_ranges(np.array([0] * 20 + [1] * 40)).tolist() == [0] * 20 + [1] * 40
    some = np.array([*range(50), -1, -1])
    assert bounds.history_ranges(some).tolist() == [0] * 25 + [1] * 25 + [-1, -1]


def test_a_missing_vote_is_made_good_by_those_of_its_judge_in_histories_of_its_length() -> None:
    scores = [score(1, (1.0, 1.0)), score(2, (0.0, 1.0)), score(3, (NO, 1.0)), score(4, (1.0, 0.0))]
    table = VoteTable(Columns.of(scores, ["a", "b"]), chosen())
    judge_a, judge_b = (0.5 - 0.5 + 0.5) / 3, (0.5 + 0.5 + 0.5 - 0.5) / 4  # of the votes that are there
    made = bounds.made_good(table)
    assert made.mean() == pytest.approx((judge_a + judge_b) / 2)
    weight = (4 / 3) / 2  # each vote of judge a stands for four thirds of a turn
    first = weight * (0.5 - judge_a) + (0.5 - judge_b) / 2 + (judge_a + judge_b) / 2
    assert made[0] == pytest.approx(first)
    unknown = [one.model_copy(update={"lengths": {}}) for one in scores]
    lost = bounds.made_good(VoteTable(Columns.of(unknown, ["a", "b"]), chosen()))
    assert lost.mean() == pytest.approx(((0.5 - 0.5 - 0.5 + 0.5) / 4 + judge_b) / 2)


def test_a_missing_vote_is_not_made_good_by_those_in_histories_of_another_length() -> None:
    def turn(number: int) -> Score:
        long = number >= 25
        said = (NO if number % 2 else 0.0, 0.0) if long else (1.0, 1.0)
        return score(number, said, lengths={"opponent": 9, "challenger": 9, "history": 9000 if long else 100})

    table = VoteTable(Columns.of([turn(number) for number in range(50)], ["a", "b"]), chosen())
    assert bounds.made_good(table).mean() == pytest.approx(0.0)  # half won, and half lost as those that were seen


def test_under_the_screen_a_turn_is_worth_its_first_vote_where_none_is_missing() -> None:
    screened = Settings.model_validate({"judge": {"models": ["a", "b"], "strategy": "screen"}})
    scores = [score(number, values) for number, values in enumerate([(1.0, 0.0), (0.5, 0.0), (0.0, 1.0), (1.0, 0.5)])]
    table = VoteTable(Columns.of(scores, ["a", "b"]), screened, screened=True)
    assert bounds.made_good(table).tolist() == pytest.approx(table.deltas.tolist())


def test_a_judge_that_gave_no_vote_at_all_counts_as_lost() -> None:
    table = VoteTable(Columns.of([score(1, (NO, 1.0)), score(2, (NO, 1.0))], ["a", "b"]), chosen())
    assert bounds.made_good(table).tolist() == pytest.approx([0.0, 0.0])  # half of -0.5 and half of 0.5


def test_missing_votes_are_made_good_over_all_turns_and_their_own_bound() -> None:
    scores = [*won(12, 1), score(20, (NO, 1.0))]
    found = measured(scores)
    assert (found.missing.clusters, found.missing.turns) == (13, 13)
    table = VoteTable(Columns.of(scores, ["a", "b"]), chosen())
    assert found.missing.margin == pytest.approx(200 * bounds.made_good(table).mean())


# -- statistics ----------------------------------------------------------------------------------------------------


def test_clusters_hold_sums_and_sizes_of_each_quantity() -> None:
    found = Clusters.of(np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]]), ["x", "y", "x"])
    assert found.sums.tolist() == [[5.0, 50.0], [2.0, 20.0]] and found.sizes.tolist() == [2.0, 1.0]
    assert found.count == 2 and found.means().tolist() == pytest.approx([7 / 3, 70 / 3])
    assert Clusters.of([], []).count == 0
    alone = Clusters.of([1.0, 2.0], ["x", "x"])
    assert np.isnan(alone.errors()).all() and np.isnan(statistics.t_lower(alone, 0.05)).all()
    assert alone.errors().shape == statistics.t_lower(alone, 0.05).shape == (1,)


def test_the_pseudo_turn_is_one_lost_turn_in_a_cluster_of_its_own() -> None:
    guarded = Clusters.of([0.5, 0.5], ["x", "y"]).with_pseudo_turn()
    assert guarded.sums.tolist() == [[0.5], [0.5], [-0.5]] and guarded.sizes.tolist() == [1.0, 1.0, 1.0]
    many = Clusters.of(np.linspace(0, 0.3, 199), np.arange(199))
    assert statistics.studentized(many, 20, 0).means != statistics.studentized(many, 20, 0, guard=False).means
    enough = Clusters.of(np.linspace(0, 0.3, 200), np.arange(200))
    assert statistics.studentized(enough, 20, 0).means == statistics.studentized(enough, 20, 0, guard=False).means


def test_a_bound_takes_the_pivot_at_its_level() -> None:
    found = statistics.Studentized(np.array([1.0]), np.array([2.0]), np.arange(19.0)[:, None])
    assert [found.lower(alpha)[0] for alpha in (0.5, 0.1, 0.05)] == [1 - 2 * 9.0, 1 - 2 * 17.0, 1 - 2 * 18.0]
    assert found.lower(0.001)[0] == 1 - 2 * 18.0  # the largest there is
    assert statistics.Studentized(np.array([1.0]), np.array([0.0]), np.full((9, 1), np.inf)).lower(0.1)[0] == 1.0


def test_a_sample_that_never_lost_is_measured_by_the_error_that_it_has() -> None:
    clusters = Clusters.of([0.5, 0.5, 0.5, 0.4], np.arange(4))
    found = statistics.studentized(clusters, 400, 1, guard=False)
    assert np.isfinite(found.pivots).all()
    top = (0.5 - clusters.means()[0]) / clusters.errors()[0]  # four times 0.5 was drawn
    assert found.pivots.max() >= top and any(np.isclose(found.pivots[:, 0], top))


def test_the_percentile_bound_is_the_quantile_of_resampled_means() -> None:
    assert np.isnan(statistics.percentile_lower([], 0.05, 9, 0))
    assert statistics.percentile_lower([0.25] * 5, 0.05, 9, 0) == 0.25
    values = [0.0] * 30 + [1.0] * 70
    found = statistics.percentile_lower(values, 0.05, 4000, 3)
    assert found == pytest.approx(0.7 - 1.645 * math.sqrt(0.7 * 0.3 / 100), abs=0.01)
    assert statistics.percentile_lower(values, 0.05, 400, 3) != statistics.percentile_lower(values, 0.05, 400, 4)


def test_turns_needed_and_the_margin_that_is_detectable_follow_their_formulas() -> None:
    z = NormalDist().inv_cdf(0.8)
    assert statistics.detectable(0.1, 1.5, 0.0) == pytest.approx(0.15 + z * 0.1)
    assert statistics.detectable(0.1, 1.5, 0.3) == pytest.approx(0.3 + z * 0.1)
    assert statistics.turns_needed(100, 0.1, 0.05, 1.5) == math.ceil(100 * ((1.5 + z) * 0.05 / 0.1) ** 2)
    assert statistics.turns_needed(100, 0.1, 0.0, 1.5) == 1
    assert statistics.turns_needed(100, 0.0, 0.05, 1.5) is None
    assert statistics.turns_needed(100, 0.1, float("inf"), 1.5) is None
    assert plain({"a": [float("inf"), math.nan], "b": np.float64(2), "c": np.int64(3)}) == {
        "a": [None, None],
        "b": 2.0,
        "c": 3,
    }
