"""Rules that vote in place of people where no person takes part: offline runs show what the figures look like."""

import random
from collections.abc import Iterable, Mapping

from duel.records import DIMENSIONS, Score
from duel.records.people import STAND_IN
from duel.review.ballots import Ballot, Cast

STAND_INS = (f"{STAND_IN}-1", f"{STAND_IN}-2")
AT = "1970-01-01T00:00:00Z"
OWN_MIND = 0.4  # how often a stand-in votes by lot and not as the panel does


def casts(ballots: Iterable[Ballot], scores: Mapping[str, Score]) -> list[Cast]:
    """One vote a ballot: mostly the panel's, now and then a lot; the same for the same ballot."""
    return [_cast(ballot, scores[ballot.showing.item]) for ballot in ballots if ballot.showing.item in scores]


def _cast(ballot: Ballot, score: Score) -> Cast:
    draw = random.Random(f"{ballot.showing.rater} {ballot.showing.item}")
    mine = 1 if ballot.order == "challenger_first" else 2
    choices = {}
    for name in DIMENSIONS:
        points = score.metrics.get(name) or 0.0
        lean = draw.choice((1, 0, -1)) if draw.random() < OWN_MIND else (points > 55) - (points < 45)
        choices[name] = {1: mine, -1: 3 - mine, 0: 0}[lean]
    return Cast(
        rater=ballot.showing.rater,
        id=ballot.id,
        pair=ballot.pair_id,
        choices=choices,
        reason="A rule voted here.",
        at=AT,
    )
