"""Votes, scores and the screen's next votes, each worked out by hand on a panel of two or three judges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from duel.judging import rubric, scoring
from duel.judging.scoring import ORDERS, Columns, VoteTable, add_up, settle
from duel.judging.statistics import (
    correlation,
    effective_votes,
    mean,
    mean_correlation,
    pair_correlations,
    same_winner,
    winner,
)
from duel.records import DIMENSIONS, Score, Vote
from duel.settings import Settings

NO = float("nan")
ALL = np.arange(5)


def panel(strategy: str = "full", models: str = "abc", **more: Any) -> Settings:
    """One-letter judges."""
    return Settings.model_validate({"judge": {"models": list(models), "strategy": strategy, **more}})


def votes_of(*judges: tuple[float, float]) -> np.ndarray:
    """(1, J, 2, 5): what each judge says in either order, alike in all dimensions."""
    return np.repeat(np.array(judges, dtype=float)[None, :, :, None], 5, axis=3)


def vote(judge: str, order: str, value: float | None = 1.0, **more: Any) -> Vote:
    return Vote(judge=judge, order=order, asked=1, **dict.fromkeys(DIMENSIONS, value), **more)  # type: ignore[arg-type]


def added(votes: np.ndarray, quorum: int = 2, keys: np.ndarray = ALL, owed: str = "both") -> scoring.Standings:
    due = np.broadcast_to(np.array([True, owed == "both"]), votes.shape[:3])
    return add_up(votes, due, keys, quorum)


def test_a_judge_with_one_order_missing_does_not_count_and_the_others_are_the_mean() -> None:
    found = added(votes_of((1.0, 0.5), (0.5, 0.0), (1.0, NO)))
    assert found.counts.tolist() == [[True, True, False]]
    assert found.parsed.tolist() == [True] and found.scores.tolist() == [50.0]
    assert found.metrics.tolist() == [[50.0] * 5]
    assert found.values[0, :2, 0].tolist() == [0.75, 0.25] and np.isnan(found.values[0, 2]).all()


def test_a_turn_is_parsed_from_the_quorum_on() -> None:
    votes = votes_of((1.0, 1.0), (1.0, 1.0), (1.0, NO))
    assert [added(votes, quorum).parsed[0] for quorum in (1, 2, 3)] == [True, True, False]
    assert np.isnan(added(votes, 3).scores[0]) and np.isnan(added(votes, 3).metrics).all()


def test_only_the_dimensions_that_count_make_the_score() -> None:
    votes = votes_of((1.0, 1.0), (1.0, 1.0))
    votes[..., 3:] = 0.0
    assert added(votes).scores[0] == 60.0
    assert added(votes, keys=np.array([0, 4])).scores[0] == 50.0
    assert added(votes, keys=np.array([3])).scores[0] == 0.0
    assert added(votes).metrics.tolist() == [[100.0, 100.0, 100.0, 0.0, 0.0]]


def test_a_vote_that_nobody_owes_adds_nothing_and_a_judge_that_owes_none_does_not_count() -> None:
    votes = votes_of((1.0, 0.0), (1.0, NO))
    assert added(votes, owed="first").scores[0] == 100.0
    nothing = add_up(votes, np.zeros((1, 2, 2), dtype=bool), ALL, 1)
    assert not nothing.counts.any() and not nothing.parsed.any()


@pytest.mark.parametrize(
    ("said", "flip"),
    [((1.0, 0.0), True), ((0.0, 1.0), True), ((1.0, 0.5), False), ((0.5, 0.0), False), ((1.0, NO), False)],
)
def test_a_flip_is_one_side_in_one_order_and_the_other_in_the_other(said: tuple[float, float], flip: bool) -> None:
    assert added(votes_of(said, (1.0, 1.0))).flipped.tolist() == [[flip, False]]


def test_which_orders_are_owed_follows_the_setting() -> None:
    items = [f"p_{number}" for number in range(8)]
    assert scoring.owed(items, panel()).tolist() == [[True, True]] * 8
    assert scoring.owed(items, panel(orders="king_first")).tolist() == [[True, False]] * 8
    alternate = scoring.owed(items, panel(orders="alternate"))
    assert alternate.shape == (8, 2) and alternate.dtype == bool and (alternate.sum(1) == 1).all()
    seen = [ORDERS[row.argmax()] for row in alternate]
    assert seen == [rubric.orders(item, panel(orders="alternate"))[0] for item in items] and len(set(seen)) == 2
    none = scoring.owed([], panel(orders="alternate"))
    assert (none.shape, none.dtype) == ((0, 2), bool)


def test_a_settled_score_says_what_its_judges_said() -> None:
    cast = [vote(judge, order, reason=f"{judge} says so") for judge in "ab" for order in ORDERS]
    cast += [vote("c", "king_first", None, reason="unread"), vote("c", "challenger_first", reason="")]
    score = settle(Score(file="p_1", instance_id="i", votes=cast), panel())
    assert (score.parsed, score.score, score.delta, score.flips, score.stopped) == (True, 100.0, 0.5, 0, False)
    assert score.metrics == dict.fromkeys(DIMENSIONS, 100.0)
    assert score.reason.split("\n") == [f"{judge} ({order}): {judge} says so" for judge in "ab" for order in ORDERS]


def test_a_score_that_is_none_says_who_is_missing() -> None:
    score = settle(Score(file="p_1", instance_id="i", votes=[vote("a", order) for order in ORDERS]), panel())
    assert (score.parsed, score.score, score.delta, score.stopped) == (False, None, None, False)
    assert score.reason == "1 of 3 judges count, 2 are needed; missing: b, c"
    assert score.metrics == dict.fromkeys(DIMENSIONS)


def test_what_the_screen_stopped_says_after_how_many_points() -> None:
    chosen = panel("screen")
    judge, order = rubric.first_vote("p_1", chosen)
    cast = [vote(judge, order, 0.5)]
    score = settle(Score(file="p_1", instance_id="i", votes=cast), chosen)
    assert score.stopped and not score.parsed
    assert score.reason == f"stopped by the screen after {judge} 50 points: too low to ask the rest of the panel"
    assert not settle(Score(file="p_1", instance_id="i", votes=cast), panel()).stopped


# -- the screen ----------------------------------------------------------------------------------------------------


def of_first(value: float | None, chosen: Settings) -> Vote:
    return vote(*rubric.first_vote("p_1", chosen), value)


def of_second(value: float | None, chosen: Settings) -> Vote:
    key = rubric.second_vote("p_1", chosen)
    assert key is not None
    return vote(*key, value)


def points_of(final_min: float, defeat_min: float) -> Settings:
    return panel("screen").model_copy(
        update={
            "report": Settings.model_validate({"report": {"final_min": final_min, "defeat_min": defeat_min}}).report
        }
    )


@pytest.mark.parametrize("item", [f"p_{number}" for number in range(9)])
def test_the_second_opinion_is_another_judges_in_the_other_order(item: str) -> None:
    (judge, order), second = rubric.first_vote(item, panel()), rubric.second_vote(item, panel())
    assert second is not None and second[0] != judge and second[1] != order
    alone = rubric.second_vote(item, panel(models="a"))
    assert alone is not None and alone[0] == "a" and alone[1] != rubric.first_vote(item, panel(models="a"))[1]
    assert rubric.second_vote(item, panel(models="a", orders="king_first")) is None


def test_the_first_vote_of_a_turn_stays_what_it_was_when_the_paid_votes_were_cast() -> None:
    drawn = [rubric.first_vote(f"p_{number}", panel()) for number in range(4)]
    assert drawn == [("b", "challenger_first"), ("a", "challenger_first"), ("a", "king_first"), ("a", "king_first")]


def test_the_second_vote_stays_what_it_was_too_and_any_name_of_a_turn_has_its_votes() -> None:
    drawn = [rubric.second_vote(f"p_{number}", panel()) for number in range(4)]
    assert drawn == [("c", "king_first"), ("b", "king_first"), ("b", "challenger_first"), ("b", "challenger_first")]
    assert rubric.first_vote("p_\ud800", panel()) in rubric.owed_votes("p", panel())


def test_a_turn_is_asked_further_from_each_threshold_on_and_not_below_it() -> None:
    first, second = (rubric.first_vote("p_1", panel()), rubric.second_vote("p_1", panel()))
    rest = [key for key in rubric.owed_votes("p_1", panel()) if key not in (first, second)]
    at = points_of(final_min=75.0, defeat_min=50.0)
    assert rubric.next_votes("p_1", [], at) == [first]
    assert rubric.next_votes("p_1", [of_first(0.5, at)], at) == [second]
    assert rubric.next_votes("p_1", [of_first(0.5, points_of(75, 50.1))], points_of(75, 50.1)) == []
    assert rubric.next_votes("p_1", [of_first(None, at)], at) == []
    assert rubric.next_votes("p_1", [of_first(1.0, at), of_second(0.5, at)], at) == rest
    assert rubric.next_votes("p_1", [of_first(0.5, at), of_second(0.5, at)], at) == []
    assert rubric.next_votes("p_1", [of_first(1.0, at), of_second(None, at)], at) == rest
    assert rubric.next_votes("p_1", [of_first(0.5, at), of_second(None, at)], at) == []
    assert rubric.next_votes("p_1", [vote(*key) for key in rubric.owed_votes("p_1", at)], at) == []


def test_a_judge_alone_in_one_order_has_cast_all_there_is_with_its_first_vote() -> None:
    lone = panel("screen", models="a", orders="king_first", quorum=1)
    assert rubric.next_votes("p_1", [of_first(1.0, lone)], lone) == []
    assert not rubric.stopped("p_1", [of_first(0.0, lone)], lone)


def test_a_turn_is_stopped_when_votes_were_left_unasked_because_others_are_too_low() -> None:
    chosen = panel("screen")
    assert rubric.stopped("p_1", [of_first(0.0, chosen)], chosen)
    assert not rubric.stopped("p_1", [of_first(1.0, chosen)], chosen)  # the second opinion is still to come
    assert not rubric.stopped("p_1", [of_first(None, chosen)], chosen)
    assert not rubric.stopped("p_1", [], chosen)
    assert not rubric.stopped("p_1", [vote(*key, 0.0) for key in rubric.owed_votes("p_1", chosen)], chosen)


def test_points_are_of_the_dimensions_that_count() -> None:
    given = vote("a", "king_first").model_copy(update={"progress": 0.0, "protocol": 0.5})
    assert rubric.vote_points(given, panel()) == 70.0
    assert rubric.vote_points(given, panel(metric_keys=["progress", "protocol"])) == 25.0


# -- the table -----------------------------------------------------------------------------------------------------


def rows(chosen: Settings, *turns: list[Vote]) -> Columns:
    scores = [Score(file=f"p_{place}", instance_id=f"o__r-{place}", votes=cast) for place, cast in enumerate(turns)]
    return Columns.of(scores, chosen.judge.models)


def test_the_table_of_a_panel_holds_each_figure_of_its_turns() -> None:
    chosen = panel(models="ab")
    every = [(judge, order) for judge in "ab" for order in ORDERS]
    won = [vote(*key, 1.0) for key in every]
    half = [vote("a", "king_first", 1.0), vote("a", "challenger_first", 0.5), *(vote(*key, 0.0) for key in every[2:])]
    table = VoteTable(rows(chosen, won, half, won[:2]), chosen)
    assert table.parsed.tolist() == [True, True, False]
    assert table.counts.tolist() == [[True, True], [True, True], [False, False]]
    assert table.deltas[:2].tolist() == [0.5, -0.125] and np.isnan(table.deltas[2])
    assert table.standings.metrics[1].tolist() == [37.5] * 5
    assert table.turn_values[:2].tolist() == [[1.0, 1.0], [0.75, 0.0]] and np.isnan(table.turn_values[2]).all()
    assert table.vote_values[1].tolist() == [[1.0, 0.5], [0.0, 0.0]]
    assert table.by_judge_and_metric[:, 0].tolist() == [0.875, 0.5]
    assert table.challenger_score() == 68.75
    assert table.judges == ("a", "b")


def told(name: str, votes: list[Vote], **more: Any) -> Score:
    return Score(file=name, instance_id="o__r-1", votes=votes, **more)


def test_a_row_of_columns_is_what_one_score_says_and_of_damage_nothing() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "cached_tokens": 1, "reasoning_tokens": 3}
    first = vote("a", "king_first", 1.0, usage=usage, cost=0.5, model="house/a-1")
    hostile = {"prompt_tokens": -1, "completion_tokens": 1 << 40, "cached_tokens": "9", "reasoning_tokens": 0}
    second = vote("a", "challenger_first", 0.5, usage=hostile, cost=0.25).model_copy(update={"asked": 3})
    lost = vote("b", "king_first", None, error="unparsed: no-json: no JSON object")
    failed = vote("b", "challenger_first", None, error="http-500: the endpoint: is down")
    stranger = vote("z", "king_first", 0.0, usage=usage, cost=9.0, model="z")
    lengths = {"opponent": 10, "challenger": 20, "history": 30}
    writers = {"opponent": "writer-k", "challenger": "writer-c"}
    made_with = {"challenger": "made", "candidates": "texts"}
    attempts = [{"side": "king", "kind": "verdict"}, {"kind": "order"}, {"side": "king", "kind": "order"}]
    whole = {"lengths": lengths, "writers": writers, "made_with": made_with, "attempts": attempts}
    found = Columns.of([told("p_1", [first, stranger, second, lost, failed], **whole), told("p_2", [])], ["a", "b"])
    assert len(found) == 2 and found.files.tolist() == ["p_1", "p_2"] and found.instances.tolist() == ["o__r-1"] * 2
    assert found.votes[0, 0].tolist() == [[2] * 5, [1] * 5] and {*found.votes[0, 1].ravel()} == {scoring.MISSING}
    assert {*found.votes[1].ravel()} == {255}
    assert found.asked.tolist() == [[[1, 3], [1, 1]], [[-1, -1], [-1, -1]]]
    assert found.tokens[0].tolist() == [[7, 2, 1, 3], [0] * 4] and not found.tokens[1].any()
    assert found.cost[0, 0] == 0.75 and np.isnan(found.cost[0, 1]) and np.isnan(found.cost[1]).all()
    assert found.errors.tolist() == [{"b": ["unparsed: no-json", "http-500"]}, None]
    assert found.models.tolist() == [{"a": "house/a-1"}, None]
    assert found.lengths.tolist() == [[10, 20, 30], [-1, -1, -1]]
    assert (found.opponents[0], found.challengers[0], found.opponents[1]) == ("writer-k", "writer-c", "")
    assert (found.made_by.tolist(), found.candidates.tolist()) == (["made", ""], ["texts", ""])
    assert found.attempts.tolist() == [("order", "verdict"), ()]
    kinds = {name: getattr(found, name).dtype for name in ("votes", "asked", "tokens", "cost", "lengths")}
    assert kinds == {"votes": np.uint8, "asked": np.int32, "tokens": np.int64, "cost": float, "lengths": np.int64}
    assert found.where([1]).files.tolist() == ["p_2"]


def test_columns_have_another_digest_where_a_vote_a_text_or_a_judge_is_another() -> None:
    won = [vote("a", order) for order in ORDERS]
    same = Columns.of([told("p_1", won)], ["a"]).digest()
    assert same == Columns.of([told("p_1", won)], ["a"]).digest() and len(same) == 16
    others = [
        Columns.of([told("p_1", [won[0], vote("a", "challenger_first", 0.5)])], ["a"]),
        Columns.of([told("p_1", won, made_with={"candidates": "x"})], ["a"]),
        Columns.of([told("p_2", won)], ["a"]),
        Columns.of([told("p_1", won)], ["b"]),
        Columns.of([told("p_\udcff1", won)], ["a"]),
    ]
    assert len({same, *(one.digest() for one in others)}) == 6


def test_each_turn_owes_both_orders_or_the_one_that_its_name_draws() -> None:
    names = [f"p_{number}" for number in range(20)]
    assert scoring.owed(names, panel()).tolist() == [[True, True]] * 20
    assert scoring.owed(names, panel(orders="king_first")).tolist() == [[True, False]] * 20
    drawn = scoring.owed(names, panel(orders="alternate"))
    assert drawn.shape == (20, 2) and (drawn.sum(1) == 1).all() and 0 < drawn[:, 0].sum() < 20
    assert scoring.owed([], panel()).shape == (0, 2)


def test_the_screened_table_holds_the_first_vote_of_each_turn_alone() -> None:
    chosen = panel("screen")
    cast = [vote(*key, 0.0) for key in rubric.owed_votes("p_0", chosen)]
    first = rubric.first_vote("p_0", chosen)
    cast = [
        one.model_copy(update=dict.fromkeys(DIMENSIONS, 1.0)) if (one.judge, one.order) == first else one
        for one in cast
    ]
    table = VoteTable(rows(chosen, cast), chosen, screened=True)
    assert table.due.sum() == 1 and table.parsed.all()
    assert table.deltas.tolist() == [0.5] and table.counts.sum() == 1
    assert np.isfinite(table.votes[..., 0]).sum() == 1


def test_a_mean_is_of_what_is_there() -> None:
    assert mean(np.array([[1.0, NO], [3.0, NO]]), axis=0)[0] == 2.0
    assert np.isnan(mean(np.array([[1.0, NO], [3.0, NO]]), axis=0)[1])
    assert mean(np.array([[1.0, NO], [2.0, 4.0]]), axis=1).tolist() == [1.0, 3.0]


def test_a_correlation_is_pearsons_and_none_without_three_places_or_a_spread() -> None:
    one = np.array([0.0, 1.0, 2.0, NO, 5.0])
    two = np.array([1.0, 0.5, 3.0, 4.0, NO])
    assert correlation(one, two) == pytest.approx(float(np.corrcoef(one[:3], two[:3])[0, 1]))
    small = np.array([0.1, 0.2, 0.4])
    assert correlation(one[:3], small) == pytest.approx(float(np.corrcoef(one[:3], small)[0, 1]))
    assert np.isnan(correlation(one[:2], two[:2]))
    assert np.isnan(correlation(np.ones(5), two)) and np.isnan(correlation(np.arange(5.0), np.ones(5)))


def test_a_panel_is_worth_as_many_votes_as_its_errors_are_shared() -> None:
    assert effective_votes(5, 0.35) == pytest.approx(5 / 2.4)
    assert effective_votes(3, 0.0) == effective_votes(3, -0.5) == 3.0 and effective_votes(3, 2.0) == 1.0
    assert effective_votes(1, NO) == 1.0 and effective_votes(1, 0.3) == 1.0
    assert np.isnan(effective_votes(0, 0.3)) and np.isnan(effective_votes(2, NO))


def test_correlations_of_each_pair_of_judges_are_of_their_errors_and_their_mean_counts_each_pair_once() -> None:
    truth = np.array([0.0, 0.5, 1.0, 0.5])
    errors = np.array([[0.1, 0.2, 0.3, 0.4], [0.2, 0.4, 0.6, 0.8], [0.4, 0.3, 0.1, 0.2]])
    values = (truth + errors).T
    found = pair_correlations(values, truth)
    assert found[0].tolist() == pytest.approx([1.0, 1.0, -0.8]) and found[1, 2] == found[2, 1] == pytest.approx(-0.8)
    assert mean_correlation(found) == pytest.approx((1.0 - 0.8 - 0.8) / 3)
    shared = pair_correlations(values)  # differences between turns count as shared errors where the truth is not known
    assert shared[0, 1] == pytest.approx(correlation(values[:, 0], values[:, 1])) and shared[0, 1] < 1
    assert np.isnan(mean_correlation(np.eye(1)))


def test_a_winner_is_told_from_a_draw_and_judges_agree_where_they_name_the_same() -> None:
    values = np.array([1.0, 0.75, 0.5, 0.5 + 1e-12, 0.4, NO])
    assert winner(values)[:5].tolist() == [1, 1, 0, 0, -1] and np.isnan(winner(values)[5])
    other = np.array([0.6, 0.2, 0.5, NO, 0.0, 1.0])
    assert same_winner(values, other) == 0.75
    assert np.isnan(same_winner(values[5:], other[5:]))
