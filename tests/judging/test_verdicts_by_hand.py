"""The verdict's conditions, bounds and looks, each worked out by hand or against a published table."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from duel.errors import UserError
from duel.judging import bounds, gate, looks, statistics
from duel.judging.columns import Columns
from duel.judging.evidence import FIGURES, Case, Evidence, statistic
from duel.judging.statistics import Clusters
from duel.judging.vote_table import VoteTable
from duel.records import DIMENSIONS, Bound, Score, Verdict, Vote
from duel.settings import Settings
from duel.workspace import Workspace

NO = float("nan")
BOTH = ("king_first", "challenger_first")


def chosen(**duel: Any) -> Settings:
    """Two judges, and few resamples."""
    sections = {"judge": {"models": ["a", "b"]}, "duel": {"bootstrap_resamples": 199, "min_clusters": 3, **duel}}
    return Settings.model_validate(sections)


def score(number: int, values: tuple[float, float] = (1.0, 1.0), repo: str = "o__r", **more: Any) -> Score:
    """What judges a and b say of a turn, each in both orders; NaN where they cannot be read."""
    votes = [
        Vote(judge=judge, order=order, asked=1, **dict.fromkeys(DIMENSIONS, None if math.isnan(value) else value))  # type: ignore[arg-type]
        for judge, value in zip("ab", values, strict=True)
        for order in BOTH
    ]
    lengths = {"opponent": 100, "challenger": 100, "history": 1000}
    fields = {"votes": votes, "lengths": lengths, "made_with": {"challenger": "c", "candidates": str(number)}}
    return Score(file=f"p_1_{number}", instance_id=f"{repo}{number}-{number}", **(fields | more))


def case(scores: list[Score], settings: Settings | None = None, **more: Any) -> Case:
    settings = settings or chosen()
    return Case(Columns.of(scores, settings.judge.models), settings, **more)


def decided(scores: list[Score], settings: Settings | None = None, **more: Any) -> Verdict:
    return gate.decide(case(scores, settings, **more))


def won(count: int = 12, lost: int = 2) -> list[Score]:
    """A challenger that wins all turns but some."""
    return [score(number, (0.0, 0.0) if number < lost else (1.0, 1.0)) for number in range(count)]


# -- the conditions ------------------------------------------------------------------------------------------------


def test_the_conditions_stand_with_their_figures_and_thresholds() -> None:
    verdict = decided(won(), chosen(win_margin=40.0, max_leak_frac=0.1, min_valid_turn_frac=0.6))
    found = {gate.name: (gate.value, gate.threshold, gate.held) for gate in verdict.gates}
    assert found["parsed_fraction"] == (1.0, 0.6, True)
    assert found["margin"] == (pytest.approx(100 * 2 * 10 / 12 - 100), 40.0, True)
    assert found["lcb"] == (verdict.lcb, 0.0, True)
    assert found["clusters"] == (12, 3, True)
    assert found["leak_fraction"] == (0.0, 0.1, True)
    assert found["missing_votes"] == (verdict.lcb, 0.0, True)  # no vote is missing
    assert verdict.accepted and verdict.decision == "accepted" and verdict.win_margin == 40.0


def test_the_verdict_says_whom_it_is_about_and_what_it_was_made_with() -> None:
    told = {"rubric": "r", "panel": "p"}
    two, one = (decided(won(), mode=mode, made_with=told, left_out={"b": 1, "a": 2}) for mode in (2, 1))
    assert (two.mode, two.opponent, one.mode, one.opponent) == (2, "king", 1, "assistant")
    assert list(two.left_out.items()) == [("a", 2), ("b", 1)]
    assert two.made_with["rubric"] == "r" and two.made_with["panel"] == "p"
    assert two.made_with["settings"] == gate.gate_hash(chosen())
    assert two.made_with["statistic"] == statistic(chosen(), "repo")
    assert two.made_with["votes"] == case(won()).columns.digest()
    bare = decided(won()).made_with
    assert (bare["rubric"], bare["panel"]) == ("", "")


def test_a_bound_of_exactly_nothing_is_no_win() -> None:
    draws = decided([score(number, (0.5, 0.5)) for number in range(200)], chosen(win_margin=0.0))
    held = {gate.name: gate.held for gate in draws.gates}
    assert draws.lcb == 0.0 and held["margin"] and not held["lcb"] and not held["missing_votes"]
    assert draws.decision == "rejected"


def test_with_the_margin_bound_the_bound_must_reach_the_margin_in_deltas() -> None:
    [bound] = [g for g in decided(won(), chosen(margin_bound=True, win_margin=10.0)).gates if g.name == "lcb"]
    assert bound.threshold == 0.05
    sure = decided([score(number) for number in range(200)], chosen(margin_bound=True, win_margin=100.0))
    assert sure.lcb == 0.5 and sure.accepted  # it reaches the margin exactly


def test_the_what_if_table_says_what_another_margin_would_decide() -> None:
    rows = decided(won(), chosen(win_margin=66.0, length_control=False)).what_if.margins
    found = {row.win_margin: (row.decision, row.current) for row in rows}
    assert sorted(found) == [0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 66.0] == [row.win_margin for row in rows]
    assert found[66.0] == ("accepted", True) and found[2.0] == ("accepted", False)
    late = decided(won(), chosen(win_margin=67.0, length_control=False)).what_if.margins
    assert [row.decision for row in late][-2:] == ["accepted", "rejected"]


@pytest.mark.parametrize(
    ("scores", "duel", "said"),
    [
        (won(), {"win_margin": 90.0}, "The margin is under the one that is asked for."),
        (won(), {"min_clusters": 13}, "12 pull requests are too few to decide on; 13 are needed."),
        ([score(n, (1.0, NO)) for n in range(9)], {}, "Too few turns are parsed."),
        (won(12, 6), {"win_margin": 0.0}, "The lower bound does not exceed 0: what is seen may be noise."),
        (won(12, 4), {"margin_bound": True, "win_margin": 33}, "The lower bound does not exceed win_margin: what"),
    ],
)
def test_a_verdict_names_what_failed(scores: list[Score], duel: dict[str, Any], said: str) -> None:
    verdict = decided(scores, chosen(**duel))
    assert any(sentence.startswith(said) for sentence in verdict.why), verdict.why
    assert not verdict.accepted and not any("Every condition" in sentence for sentence in verdict.why)


def test_a_verdict_beyond_the_plan_says_that_the_looks_are_used_up() -> None:
    first = decided(won(), chosen(looks=2)).looks
    assert first is not None
    late = [look(first.challenger, clusters=10 * n, alpha=0.02) for n in (1, 2)]
    why = decided(won(), chosen(looks=2), earlier=late).why
    assert why[0].startswith("The planned looks at this challenger are used up")


def test_a_verdict_on_a_challenger_that_leaks_says_so() -> None:
    leaking = decided(won(), kept_out={f"x{number}": "leak" for number in range(9)})
    assert leaking.why[0] == "Too many challengers leak the pull request or speak to the judges."


def test_figures_of_other_packages_stand_beside_those_of_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"what": "a", "figure": "1", "meaning": "b"}
    known = {name: FIGURES[name] for name in FIGURES}
    monkeypatch.setattr(gate, "FIGURES", {**known, "other": lambda _: {"figures": {"mine": [row]}, "margin": 7.0}})
    verdict = decided(won())
    assert verdict.figures == {"mine": [row]} and verdict.margin == 7.0


def test_an_accepted_verdict_says_what_it_did_not_test() -> None:
    plain, bounded = decided(won(), chosen(win_margin=1.0)), decided(won(), chosen(win_margin=1.0, margin_bound=True))
    assert plain.accepted and [sentence[:15] for sentence in plain.why] == ["Every condition", "The margin is t"]
    assert bounded.accepted and bounded.why == ["Every condition of the gate holds."]
    few = decided([score(n, repo="o__r") for n in range(4)], chosen(min_clusters=5)).why
    assert few == [few[0], few[-1]] and "come from 4 repositories, fewer than 5" in few[-1]
    by_choice = decided([score(n) for n in range(4)], chosen(min_clusters=5, cluster_by="instance_id")).why
    assert len(by_choice) == 1


def test_length_explains_a_win_only_where_it_is_controlled_for() -> None:
    evidence = Evidence.of(case(won()))
    assert not gate.length_explains(evidence)
    for margin, explains in ((None, True), (0.0, True), (-0.1, True), (0.1, False)):
        length = evidence.bounds.length.model_copy(update={"lcb": margin})
        shown = Evidence(
            **{**evidence.__dict__, "bounds": bounds.Bounds(**{**evidence.bounds.__dict__, "length": length})}
        )
        assert gate.length_explains(shown) is explains
        lax = Evidence(**{**shown.__dict__, "case": case(won(), chosen(length_control=False))})
        assert not gate.length_explains(lax)


@pytest.mark.parametrize(
    ("sections", "other"),
    [
        ({"judge": {"metric_keys": ["progress"]}}, True),
        ({"judge": {"quorum": 1}}, True),
        ({"judge": {"tie_band": 0.1}}, True),
        ({"judge": {"strategy": "screen"}}, True),
        ({"judge": {"ineligible": True}}, True),
        ({"duel": {"win_margin": 3.0}}, True),
        ({"report": {"final_min": 81.0}}, True),
        ({"judge": {"temperature": 0.5}}, False),
        ({"generate": {"max_model_len": 4096}}, False),
    ],
)
def test_the_gates_fingerprint_is_that_of_what_turns_votes_into_a_verdict(
    sections: dict[str, Any], other: bool
) -> None:
    assert (gate.gate_hash(Settings.model_validate(sections)) != gate.gate_hash(Settings())) is other


# -- what the gate rests on ----------------------------------------------------------------------------------------


def test_a_case_counts_its_leaks_over_all_turns_that_were_brought() -> None:
    kept_out = {"x": "leak", "y": "attempt", "z": "protocol"}
    evidence = Evidence.of(case(won(7), kept_out=kept_out))
    assert evidence.leak_fraction == 0.2
    assert Evidence.of(case([], kept_out={})).leak_fraction is None


def test_an_empty_case_has_no_figure() -> None:
    nothing = Evidence.of(case([]))
    assert (nothing.parsed, nothing.parsed_fraction, nothing.points, nothing.margin, nothing.noise) == (0, *[None] * 4)
    unread = Evidence.of(case([score(1, (NO, NO))]))
    assert (unread.parsed, unread.parsed_fraction, unread.points, unread.margin) == (0, 0.0, None, None)


def test_the_noise_of_a_case_is_counted_like_its_duel() -> None:
    same = Columns.of(won(5), ["a", "b"])
    found = Evidence.of(case(won(), noise=same)).noise
    assert found is not None and len(found.columns) == 5
    assert Evidence.of(case(won(), noise=Columns.of([], ["a", "b"]))).noise is None


def test_under_the_screen_the_gate_rests_on_the_first_vote_of_each_turn() -> None:
    screened = Settings.model_validate({"judge": {"models": ["a", "b"], "strategy": "screen"}})
    for settings, votes in ((chosen(), 4), (screened, 1)):
        evidence = Evidence.of(case(won(5), settings))
        assert evidence.table.due.sum((1, 2)).tolist() == [votes] * 5
        assert evidence.panel.due.sum((1, 2)).tolist() == [4] * 5


def test_who_wrote_the_challengers_and_in_which_mode_makes_it_this_challenger() -> None:
    other = [one.model_copy(update={"made_with": {**one.made_with, "challenger": "d"}}) for one in won()]
    names = [Evidence.of(case(*given)).challenger for given in ((won(),), (won(5),), (other,), ([*won(), *other],))]
    assert names[0] == names[1] and len(set(names)) == 3
    assert Evidence.of(case(won(), mode=1)).challenger != names[0]


@pytest.mark.parametrize(
    ("sections", "other"),
    [
        ({"judge": {"metric_keys": ["progress"]}}, True),
        ({"judge": {"models": ["a", "b", "c"]}}, True),
        ({"judge": {"orders": "king_first"}}, True),
        ({"judge": {"strategy": "screen"}}, True),
        ({"judge": {"ineligible": True}}, True),
        ({"judge": {"quorum": 1}}, True),
        ({"judge": {"tie_band": 0.2}}, True),
        ({"duel": {"mode": 1}}, True),
        ({"duel": {"seed": 1}}, True),
        ({"duel": {"bootstrap_resamples": 300}}, True),
        ({"audit": {"enforce": False}}, True),
        ({"audit": {"leak_max": 2.0}}, True),
        ({"duel": {"win_margin": 9.0}}, False),
        ({"audit": {"scrub_secrets": False}}, False),
        ({"judge": {"temperature": 0.5}}, False),
    ],
)
def test_what_is_tested_has_a_fingerprint_and_thresholds_are_no_part_of_it(
    sections: dict[str, Any], other: bool
) -> None:
    assert (statistic(Settings.model_validate(sections), "repo") != statistic(Settings(), "repo")) is other
    assert statistic(Settings(), "repo") != statistic(Settings(), "file")


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
    table = VoteTable.of(Columns.of(scores, settings.judge.models), settings)
    units = bounds.choose(table.columns, table.parsed, settings)
    return bounds.measure(table, *units, settings, level)


def test_nothing_gives_no_bound_and_one_pull_request_gives_its_mean_alone() -> None:
    assert measured([]) == measured([score(1, (NO, NO))]) == bounds.Bounds()
    alone = measured([score(1), score(1, (0.0, 0.5))])
    assert (alone.mean, alone.error, alone.studentized, alone.by_metric) == (0.125, None, None, [None] * 5)
    of_one_repository = measured(
        [score(1, repo="o__r"), score(1, (0.0, 0.5)).model_copy(update={"instance_id": "o__r1-2"})]
    )
    beside = of_one_repository.other_units
    assert (beside.clusters, beside.margin, beside.se, beside.lcb, beside.lcb_t) == (1, 25.0, None, None, None)
    two = measured([score(1), score(2, (0.0, 0.5))])
    assert None not in (two.error, two.studentized, two.t, two.other_units.lcb, two.other_units.lcb_t)


def test_the_bounds_of_a_few_turns_are_the_textbooks() -> None:
    values = [1.0, 1.0, 1.0, 0.5, 0.0, 1.0, 1.0, 0.5]
    scores = [score(number, (value, value)) for number, value in enumerate(values)]
    found, deltas = measured(scores), np.array(values) - 0.5
    error = deltas.std(ddof=1) / math.sqrt(8)
    assert found.mean == pytest.approx(deltas.mean()) and found.error == pytest.approx(error)
    assert found.t == pytest.approx(deltas.mean() - 1.894579 * error, abs=1e-6)  # Student's quantile with 7 degrees
    clusters = Clusters.of(deltas, np.arange(8))
    assert found.studentized == pytest.approx(statistics.studentized(clusters, 199, 0).lower(0.05)[0])
    assert found.strict == pytest.approx(statistics.studentized(clusters, 199, 0).lower(0.001)[0])
    assert found.quantile is not None and found.mean is not None and found.studentized is not None
    assert found.quantile == pytest.approx((found.mean - found.studentized) / error)
    assert found.percentile == statistics.percentile_lower(deltas, 0.05, 199, 0)
    assert found.by_metric == pytest.approx([found.studentized] * 5)
    assert found.length.margin == pytest.approx(200 * deltas.mean()) and found.length.slope == 0.0
    assert (found.length.clusters, found.length.turns) == (8, 8)
    assert found.length.lcb == pytest.approx(found.studentized) and found.length.se == pytest.approx(error)
    other = found.other_units
    assert (other.clusters, other.turns, other.margin) == (8, 8, pytest.approx(200 * deltas.mean()))
    assert other.lcb_t == pytest.approx(found.t) and other.lcb == pytest.approx(found.studentized)
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

    assert found.by_metric == pytest.approx([lower(said[:, place] - 0.5) for place in range(5)])
    assert found.studentized == pytest.approx(lower(said.mean(1) - 0.5))
    assert found.strict == pytest.approx(lower(said.mean(1) - 0.5, 0.001))
    assert len({*found.by_metric, found.studentized}) > 3


def test_a_look_without_a_level_has_no_bound_but_its_mean() -> None:
    found = measured(won(), level=0.0)
    assert found.mean is not None and found.error is not None and found.strict is not None
    assert (found.studentized, found.t, found.by_metric, found.quantile) == (None, None, [None] * 5, None)
    assert (found.other_units.lcb, found.other_units.lcb_t, found.length.lcb) == (None, None, None)
    assert found.other_units.se is not None


def test_a_challenger_that_wins_every_turn_has_no_error_and_no_quantile() -> None:
    found = measured([score(number) for number in range(5)])
    assert (found.mean, found.error, found.quantile) == (0.5, 0.0, None)


def test_figures_beside_the_gates_are_not_resampled_where_there_are_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_RESAMPLED", 12)
    assert measured(won(12)).other_units.lcb != measured(won(12)).other_units.lcb_t
    assert measured(won(13)).other_units.lcb == measured(won(13)).other_units.lcb_t


def test_no_rows_give_a_bound_without_figures() -> None:
    table = VoteTable.of(Columns.of(won(4), ["a", "b"]), chosen())
    units = bounds.Units.of(table.columns, table.parsed, "repo")
    assert bounds.bound(table.deltas, np.zeros(4, dtype=bool), units, chosen(), 0.05) == Bound()


def test_a_length_difference_is_a_share_of_the_longer_reply() -> None:
    pairs = [(100, 150), (150, 100), (0, 0), (0, 10), (10, 0), (-1, 50), (50, -1)]
    scores = [score(n, lengths={"opponent": one, "challenger": two}) for n, (one, two) in enumerate(pairs)]
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
    table = VoteTable.of(Columns.of(scores, ["a", "b"]), chosen())
    judge_a, judge_b = (0.5 - 0.5 + 0.5) / 3, (0.5 + 0.5 + 0.5 - 0.5) / 4  # of the votes that are there
    made = bounds.made_good(table)
    assert made.mean() == pytest.approx((judge_a + judge_b) / 2)
    weight = (4 / 3) / 2  # each vote of judge a stands for four thirds of a turn
    first = weight * (0.5 - judge_a) + (0.5 - judge_b) / 2 + (judge_a + judge_b) / 2
    assert made[0] == pytest.approx(first)
    unknown = [one.model_copy(update={"lengths": {}}) for one in scores]
    lost = bounds.made_good(VoteTable.of(Columns.of(unknown, ["a", "b"]), chosen()))
    assert lost.mean() == pytest.approx(((0.5 - 0.5 - 0.5 + 0.5) / 4 + judge_b) / 2)


def test_a_missing_vote_is_not_made_good_by_those_in_histories_of_another_length() -> None:
    def turn(number: int) -> Score:
        long = number >= 25
        said = (NO if number % 2 else 0.0, 0.0) if long else (1.0, 1.0)
        return score(number, said, lengths={"opponent": 9, "challenger": 9, "history": 9000 if long else 100})

    table = VoteTable.of(Columns.of([turn(number) for number in range(50)], ["a", "b"]), chosen())
    assert bounds.made_good(table).mean() == pytest.approx(0.0)  # half won, and half lost as those that were seen
    assert not table.whole


def test_under_the_screen_a_turn_is_worth_its_first_vote_where_none_is_missing() -> None:
    screened = Settings.model_validate({"judge": {"models": ["a", "b"], "strategy": "screen"}})
    scores = [score(number, values) for number, values in enumerate([(1.0, 0.0), (0.5, 0.0), (0.0, 1.0), (1.0, 0.5)])]
    table = VoteTable.screened(Columns.of(scores, ["a", "b"]), screened)
    assert bounds.made_good(table).tolist() == pytest.approx(table.deltas.tolist())


def test_a_judge_that_gave_no_vote_at_all_counts_as_lost() -> None:
    table = VoteTable.of(Columns.of([score(1, (NO, 1.0)), score(2, (NO, 1.0))], ["a", "b"]), chosen())
    assert bounds.made_good(table).tolist() == pytest.approx([0.0, 0.0])  # half of -0.5 and half of 0.5


def test_missing_votes_are_made_good_over_all_turns_and_their_own_bound() -> None:
    scores = [*won(12, 1), score(20, (NO, 1.0))]
    found = measured(scores)
    assert (found.missing.clusters, found.missing.turns) == (13, 13)
    table = VoteTable.of(Columns.of(scores, ["a", "b"]), chosen())
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
    assert statistics.finite(float("inf")) is None and statistics.finite(np.float64(2)) == 2.0


# -- looks ---------------------------------------------------------------------------------------------------------


def look(name: str = "c", clusters: int = 100, alpha: float = 0.05, **more: Any) -> dict[str, Any]:
    return {"challenger": name, "clusters": clusters, "alpha": alpha, "votes": f"{clusters}", **more}


def test_five_planned_looks_use_the_published_boundary() -> None:
    """The one-sided bounds of Lan-DeMets spending of O'Brien-Fleming type at 0.025 in five equal steps."""
    taken: list[dict[str, Any]] = []
    for number in range(1, 6):
        taken.append(look(clusters=100 * number, alpha=looks.level(taken, 100 * number, 0.025, 5)))
    bounds_used = [NormalDist().inv_cdf(1 - one["alpha"]) for one in taken]
    assert bounds_used == pytest.approx([4.8769, 3.3570, 2.6803, 2.2898, 2.0310], abs=2e-4)
    assert looks.level(taken, 600, 0.025, 5) == 0.0


def test_without_a_plan_each_look_has_the_whole_level_unless_the_statistic_was_shopped_for() -> None:
    before = look(parsed=100, statistic="then")
    assert looks.level([look()], 100, 0.05, 1) == 0.05
    assert looks.level([before], 100, 0.05, 1, "now", 100) == 0.0
    assert looks.level([before], 100, 0.05, 1, "then", 100) == 0.05
    assert looks.level([before], 100, 0.05, 1, "now", 101) == 0.05  # one in a hundred more is more
    assert looks.level([before], 100, 0.05, 1, "now") == looks.level([before], 100, 0.05, 1, "", 100) == 0.05
    assert looks.level([look(statistic="then")], 100, 0.05, 1, "now", 100) == 0.05  # how much it saw is not known


def test_a_look_at_hardly_more_turns_is_paid_for_without_a_correlation() -> None:
    share = looks._spent(2 / 3, 0.05) - looks._spent(1 / 3, 0.05)
    first = look(clusters=100, alpha=looks.level([], 100, 0.05, 3))
    assert looks.level([first], 100, 0.05, 3) == share
    assert looks.level([first], 101, 0.05, 3) > share  # from one in a hundred more on the walk is followed
    second = look(clusters=100, alpha=share)
    assert looks.level([first, second], 300, 0.05, 3) == looks._spent(1.0, 0.05) - looks._spent(2 / 3, 0.05)
    assert looks._spent(0.0, 0.05) == 0.0 and looks._spent(1.0, 0.05) == pytest.approx(0.05)


def test_what_the_looks_have_cost_is_a_bound_and_a_chance() -> None:
    assert looks.chances([]) == (0.0, 0.0)
    assert looks.chances([look()]) == (pytest.approx(0.05), pytest.approx(0.05))
    assert looks.chances([look()] * 3)[0] == pytest.approx(0.15)
    assert looks.chances([look()] * 3)[1] == pytest.approx(0.15)  # no new turns: each in full
    assert looks.chances([look(alpha=0.6), look(alpha=0.6)]) == (1.0, 1.0)
    assert looks.chances([look(alpha=0.0), look(clusters=200)])[1] == pytest.approx(0.05, abs=1e-4)
    assert looks.chances([look(clusters=0), look(clusters=100)])[1] == pytest.approx(0.05)
    grown = looks.chances([look(clusters=100), look(clusters=101)])
    assert 0.05 < grown[1] < grown[0] == pytest.approx(0.1)


def test_a_look_comes_before_another_in_the_order_in_which_they_were_taken() -> None:
    one, two, three = look(statistic="s"), look(clusters=200, statistic="s"), look(clusters=200, statistic="t")
    other = look("d")
    history = [one, other, two, three]
    assert looks.before(history, "c", "200", "s") == [one]
    assert looks.before(history, "c", "200", "t") == [one, two]
    assert looks.before(history, "c", "300", "s") == [one, two, three]
    assert looks.before(history, "d", "100") == []
    assert looks.joined(history, two) == history
    assert looks.joined(history, {**two, "statistic": "u"}) == [*history, {**two, "statistic": "u"}]
    assert looks.joined(history, look("e")) == [*history, look("e")]


def test_the_summary_counts_the_looks_of_this_challenger_and_of_all() -> None:
    found = looks.summary([look(), look("d"), look(clusters=300)], 1, "c")
    assert (found.planned, found.challenger, found.challengers, found.total, found.this) == (1, "c", 2, 3, 2)
    assert found.alpha_spent == pytest.approx(0.1) and found.false_accept_bound == pytest.approx(0.15)
    assert found.false_accept_chance is not None and 0.1 < found.false_accept_chance < 0.15
    assert found.method == looks.UNPLANNED and found.history == [look(), look("d"), look(clusters=300)]
    assert looks.summary([look()], 2, "c").method == looks.METHOD


def test_a_look_keeps_what_the_next_ones_must_know() -> None:
    scores = [one.model_copy(update={"writers": {"challenger": "w"}}) for one in won()]
    found = decided([*scores, score(30, (NO, NO))])
    assert found.looks is not None
    [kept] = found.looks.history
    assert kept == {
        "challenger": found.looks.challenger,
        "writers": ["", "w"],
        "mode": 2,
        "turns": 13,
        "parsed": 12,
        "clusters": 12,
        "alpha": 0.05,
        "margin": found.margin,
        "lcb": found.lcb,
        "decision": found.decision,
        "votes": found.made_with["votes"],
        "statistic": found.made_with["statistic"],
    }
    assert (found.looks.planned, found.looks.total, found.looks.this) == (1, 1, 1)


@pytest.mark.parametrize("damaged", [b"", b"[]", b'{"looks": 3}', b'{"looks": [3]}', b"{}"])
def test_a_history_of_looks_is_kept_as_it_is_and_read_back_or_named_as_damaged(damaged: bytes, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert looks.read(workspace) == []
    looks.save(workspace, [look()])
    assert looks.path(workspace) == tmp_path / "score" / "_looks.json"
    data = looks.path(workspace).read_bytes()
    assert data.startswith(b'{\n  "format": "duel-looks/1",\n  "looks": [') and data.endswith(b"}\n")
    assert looks.read(workspace) == [look()]
    looks.save(workspace, [])
    assert looks.read(workspace) == []
    workspace.save(looks.path(workspace), damaged)
    with pytest.raises(UserError, match="cannot be read") as caught:
        looks.read(workspace)
    assert str(looks.path(workspace)) in str(caught.value) and "restore it" in str(caught.value)
