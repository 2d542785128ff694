"""The screen asks one vote a turn, decides the gate on these alone, and asks the rest where a turn may be kept."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest

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


VOTES = [[float("nan")] * 5, [0.0] * 5, [1.0, 1.0, 0.5, 0.5, 0.5], [1.0] * 5]
"""No vote, one that stops the turn, one too low for `final/`, and one that is not."""


@pytest.mark.parametrize("item", [f"p_1_{turn}" for turn in range(12)])
def test_no_turn_is_asked_further_than_its_votes_allow(item: str) -> None:
    (judge, order), report = first_vote(item, SCREEN), FULL.report
    for one, further in product(VOTES, repeat=2):
        values = np.full((3, 2, 5), further)
        values[FULL.judge.models.index(judge), int(order != "king_first")] = one
        part = screened(score_of(item, values, FULL))
        said = [100 * np.mean(vote) for vote in (one, further) if np.isfinite(vote).all()]
        asked = 2 if np.mean(said or [0.0]) < report.final_min else 6
        assert len(part.votes) == (asked if 100 * np.mean(one) >= report.defeat_min else 1), (one, further)
        if asked == len(part.votes) == 2:
            assert len({vote.judge for vote in part.votes}) == len({vote.order for vote in part.votes}) == 2
