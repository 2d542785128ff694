"""How people vote: each person's time, ties, lean and constancy, and how far people agree with one another."""

import numpy as np
from numpy.typing import NDArray

from duel.judging.agreement import krippendorff_alpha, winner
from duel.judging.statistics import finite
from duel.records import DIMENSIONS
from duel.records.people import PersonVote, RaterFigures
from duel.review.labeled import Labeled

Floats = NDArray[np.float64]


def by_rater(labeled: Labeled) -> list[RaterFigures]:
    """A row a person, in the order of names."""
    return [_row(labeled, number, name) for number, name in enumerate(labeled.raters)]


def _row(labeled: Labeled, number: int, name: str) -> RaterFigures:
    own = [vote for vote in labeled.first if vote.rater == name]
    deltas = np.array([labeled.by_person[labeled.place[vote.item], number] for vote in own])
    side = np.array([1.0 if vote.order == "challenger_first" else -1.0 for vote in own])
    preferred = winner(deltas + 0.5)
    decided = preferred != 0
    again = [_same_again(labeled, number, vote) for vote in labeled.repeats if vote.rater == name]
    known = [same for same in again if same is not None]
    return RaterFigures(
        rater=name,
        votes=len(own),
        skipped=sum(vote.rater == name for vote in labeled.skips),
        median_seconds=finite(np.median([vote.seconds for vote in own])) if own else None,
        ties=finite(np.mean(~decided)) if own else None,
        first_shown=finite(np.mean((preferred * side > 0)[decided])) if decided.any() else None,
        repeats=len(known),
        self_agreement=float(np.mean(known)) if known else None,
        with_panel=same_winner(winner(labeled.by_person[:, number] + 0.5), winner(labeled.panel + 0.5)),
    )


def _same_again(labeled: Labeled, number: int, vote: PersonVote) -> bool | None:
    """True where a person names the same winner the second time; None where the first vote does not count."""
    before = labeled.by_person[labeled.place[vote.item], number]
    if np.isnan(before):
        return None
    now, then = winner(np.array([np.array(vote.values)[labeled.keys].mean(), before + 0.5]))
    return bool(now == then)


def same_winner(one: Floats, two: Floats) -> float | None:
    """The share of turns on which both name the same winner, over the turns for which both are there."""
    both = np.isfinite(one) & np.isfinite(two)
    return float((one[both] == two[both]).mean()) if both.any() else None


def agreement(labeled: Labeled) -> dict[str, float | None]:
    """Krippendorff's alpha among people: by dimension, and `total` for the winner over all that count."""
    found = {name: finite(krippendorff_alpha(labeled.said[:, :, i])) for i, name in enumerate(DIMENSIONS)}
    return found | {"total": finite(krippendorff_alpha(winner(labeled.by_person + 0.5)))}
