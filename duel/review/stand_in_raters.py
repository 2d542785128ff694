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
    found = []
    for ballot in ballots:
        rater, item = ballot.showing.rater, ballot.showing.item
        if item in scores:
            draw = random.Random(f"{rater} {item}")
            button = {1: ballot.mine, -1: 3 - ballot.mine, 0: 0}
            choices = {}
            for name in DIMENSIONS:
                points = scores[item].metrics.get(name) or 0.0
                lean = draw.choice((1, 0, -1)) if draw.random() < OWN_MIND else (points > 55) - (points < 45)
                choices[name] = button[lean]
            said = "A rule voted here."
            found.append(Cast(rater=rater, id=ballot.id, pair=ballot.pair_id, choices=choices, reason=said, at=AT))
    return found
