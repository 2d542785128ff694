"""The screen asks one vote a turn, decides the gate on these alone, and asks the rest where a turn may be kept."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from duel.judging import gate
from duel.judging.rubric import first_vote, next_votes
from duel.judging.scoring import settle
from duel.placement import place
from duel.records import Score, Vote
from duel.settings import Settings
from tests.judging.panels import case_of, challengers, score_of

FULL = Settings()
SCREEN = Settings.model_validate({"judge": {"strategy": "screen"}})


def screened(full: Score, chosen: Settings = SCREEN) -> Score:
    """What the screen makes of a turn on which the full panel would vote as in `full`."""
    said = {(vote.judge, vote.order): vote for vote in full.votes}
    votes: list[Vote] = []
    while wanted := next_votes(full.file, votes, chosen):
        votes += [said[key] for key in wanted]
    return settle(full.model_copy(update={"votes": votes}), chosen)


def scores_at(mean: int, turns: int = 600) -> list[Score]:
    return [
        score_of(f"p_1_{turn}", votes, FULL, instance=f"o__r{turn % 700}-{turn}")
        for turn, votes in enumerate(challengers(mean, turns, 5))
    ]


def test_turns_that_are_asked_in_full_get_the_full_panels_score_and_the_others_are_named() -> None:
    whole = scores_at(60)
    short = [screened(score) for score in whole]
    asked = sum(len(score.votes) for score in short)
    assert 1 - asked / sum(len(score.votes) for score in whole) >= 0.5
    for full, part in zip(whole, short, strict=True):
        if len(part.votes) == 6:
            assert (part.score, part.stopped) == (full.score, False)
            assert place(part.score, None, FULL) == place(full.score, None, FULL)
        else:
            assert len(part.votes) in (1, 2) and part.stopped and part.score is None
            assert part.reason.startswith("stopped by the screen after ")
    final = [part.stopped for full, part in zip(whole, short, strict=True) if (full.score or 0) >= 80]
    assert np.mean(final) < 0.15


def test_the_gate_rests_on_the_first_votes_and_not_on_those_that_they_selected() -> None:
    whole = scores_at(50)
    full = gate.decide(case_of(whole, FULL))
    part = gate.decide(case_of([screened(score) for score in whole], SCREEN))
    assert part.margin == pytest.approx(full.margin, abs=4)
    assert part.se is not None and full.se is not None and part.se < 2 * full.se
    assert part.asked is not None and part.asked.stopped > 200 and part.parsed == 600
    assert part.buckets["unparsed"] == part.asked.stopped
    assert part.decision == "rejected"


def test_judges_and_orders_are_spread_evenly() -> None:
    drawn = Counter(first_vote(f"prompts_2000_1_{turn}", SCREEN) for turn in range(6000))
    assert len(drawn) == 6 and max(drawn.values()) - min(drawn.values()) < 200
    other = Settings.model_validate({"judge": {"strategy": "screen"}, "duel": {"seed": 1}})
    assert first_vote("a", SCREEN) == first_vote("a", SCREEN)
    assert any(first_vote(str(turn), SCREEN) != first_vote(str(turn), other) for turn in range(20))


VOTES = [[float("nan")] * 5, [0.0] * 5, [1.0, 1.0, 0.5, 0.5, 0.0], [1.0] * 5]
"""No vote, one that stops the turn, one too low for `final/`, and one that is not."""


@given(some.lists(some.sampled_from(VOTES), min_size=6, max_size=6), some.integers(1, 50))
def test_no_turn_is_asked_further_than_its_first_vote_allows(values: list[list[float]], turn: int) -> None:
    full = score_of(f"p_1_{turn}", np.array(values).reshape(3, 2, 5), FULL)
    part = screened(full)
    first = next(vote for vote in part.votes if (vote.judge, vote.order) == first_vote(full.file, SCREEN))
    keys = FULL.judge.metric_keys
    if len(part.votes) == 1:
        assert not first.parsed or 100 * np.mean([getattr(first, name) for name in keys]) < FULL.report.defeat_min
    elif len(part.votes) == 2:
        said = [getattr(vote, name) for vote in part.votes if vote.parsed for name in keys]
        assert first.parsed and 100 * np.mean(said) < FULL.report.final_min
        assert len({vote.judge for vote in part.votes}) == len({vote.order for vote in part.votes}) == 2
    else:
        assert {(vote.judge, vote.order) for vote in part.votes} == {(vote.judge, vote.order) for vote in full.votes}
