"""An adaptive panel asks less and sorts every turn as the full panel does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from duel.judging import gate
from duel.judging.adaptive import next_votes
from duel.judging.scoring import settle
from duel.placement import by_score
from duel.records import DIMENSIONS, Score, Vote
from duel.settings import Settings
from tests.judging.panels import challengers, score_of

FULL = Settings()
ADAPTIVE = Settings.model_validate({"judge": {"strategy": "adaptive"}})


def asked_one_by_one(full: Score, chosen: Settings = ADAPTIVE) -> Score:
    """What the adaptive panel makes of a turn on which the full panel would vote as in `full`."""
    said = {(vote.judge, vote.order): vote for vote in full.votes}
    votes: list[Vote] = []
    while wanted := next_votes(full.file, votes, chosen):
        votes += [said[key] for key in wanted]
    return settle(full.model_copy(update={"votes": votes}), chosen)


@pytest.mark.parametrize(("mean", "least"), [(40, 0.33), (60, 0.21), (80, 0.13)])
def test_every_bucket_equals_the_full_panels_and_calls_are_saved(mean: float, least: float) -> None:
    scores = [score_of(f"p_1_{turn}", votes, FULL) for turn, votes in enumerate(challengers(mean, 2000, 5))]
    short = [asked_one_by_one(score) for score in scores]
    assert np.mean([score.score for score in scores if score.score is not None]) == pytest.approx(mean, abs=1.5)
    for whole, part in zip(scores, short, strict=True):
        assert by_score(part.score, FULL).bucket == by_score(whole.score, FULL).bucket
        assert part.score is not None and part.score_high is not None and whole.score is not None
        assert part.score <= whole.score + 1e-9 and whole.score <= part.score_high + 1e-9
    saved = 1 - sum(len(score.votes) for score in short) / sum(len(score.votes) for score in scores)
    assert saved >= least, saved


def test_votes_not_asked_are_lost_in_the_gate_and_the_share_is_reported() -> None:
    scores = [score_of(f"p_1_{turn}", votes, FULL) for turn, votes in enumerate(challengers(60, 200, 6))]
    short = [asked_one_by_one(score) for score in scores]
    full, part = gate.decide(scores, FULL), gate.decide(short, ADAPTIVE)
    assert part["margin"] < full["margin"]
    assert part["buckets"] == full["buckets"]
    assert part["parsed"] == full["parsed"] == 200
    assert part["adaptive"]["saved_share"] == pytest.approx(
        1 - part["adaptive"]["votes_asked"] / part["adaptive"]["votes_full"]
    )
    assert 0.15 < part["adaptive"]["saved_share"] < 0.5


@given(
    some.lists(some.sampled_from([0.0, 0.5, 1.0, 1.0, 0.0, float("nan")]), min_size=30, max_size=30),
    some.integers(1, 4),
    some.sampled_from(["both", "king_first", "alternate"]),
    some.tuples(some.floats(5, 95), some.floats(5, 95)).map(sorted),
)
@settings(max_examples=300, deadline=None)
def test_whatever_fails_a_turn_never_lands_in_another_bucket(
    values: list[float], quorum: int, orders: str, thresholds: list[float]
) -> None:
    table = {
        "judge": {"orders": orders, "quorum": quorum, "strategy": "adaptive"},
        "report": {"defeat_min": thresholds[0], "final_min": thresholds[1]},
    }
    chosen = Settings.model_validate(table)
    full = score_of("p_1_7", np.array(values).reshape(3, 2, 5), chosen)
    part = asked_one_by_one(full, chosen)
    assert part.parsed >= full.parsed
    if full.parsed:
        assert by_score(part.score, chosen).bucket == by_score(full.score, chosen).bucket


@given(some.lists(some.sampled_from([0.0, 0.5, 1.0]), min_size=30, max_size=30))
@settings(max_examples=100, deadline=None)
def test_a_turn_is_decided_only_when_a_quorum_has_voted(values: list[float]) -> None:
    part = asked_one_by_one(score_of("p_1_1", np.array(values).reshape(3, 2, 5), FULL))
    assert len({vote.judge for vote in part.votes}) >= FULL.quorum
    assert all(getattr(vote, name) is not None for vote in part.votes for name in DIMENSIONS)
