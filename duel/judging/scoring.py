"""From the votes on one turn to its score: which judges count, what their orders add up to, who flipped.

A judge's dimension is the mean over its orders, so a verdict that flips with the order is a draw. A judge counts when
every order it was asked in parsed; a turn is parsed when a quorum of judges counts. What did not parse is no score.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from duel.judging import rubric
from duel.records import DIMENSIONS, Order, Score, Vote
from duel.settings import Settings

Key = tuple[str, Order]
"""(judge, order): which vote of a turn."""


@dataclass
class Standing:
    """What one judge has said of a turn so far. Values are from the challenger's side, 0.0, 0.5 or 1.0 a dimension."""

    judge: str
    owed: int
    """Orders it is to be asked in."""
    votes: list[Vote] = field(default_factory=list)
    """Those that parsed."""
    failed: int = 0
    """Orders that were asked and did not parse."""

    @property
    def open(self) -> int:
        """Orders not asked yet."""
        return self.owed - len(self.votes) - self.failed

    @property
    def counts(self) -> bool:
        """Every asked order parsed, and at least one was asked."""
        return bool(self.votes) and not self.failed

    def total(self, dimensions: Iterable[str]) -> float:
        """The sum of its votes over `dimensions`; an exact multiple of one half."""
        return float(sum(getattr(vote, name) for vote in self.votes for name in dimensions))

    def flipped(self, dimensions: Sequence[str]) -> bool:
        """It preferred one side in one order and the other side in the other."""
        leans = [sum(getattr(vote, name) - 0.5 for name in dimensions) for vote in self.votes]
        return min(leans, default=0) < 0 < max(leans, default=0)


def percent(total: float, count: int) -> float:
    """`total` out of `count` in points. One division of exact halves: a score of 80 is 80.0, not 79.99999999999999."""
    return 100 * total / count


def standings(item: str, votes: Iterable[Vote], settings: Settings) -> list[Standing]:
    """Where each judge of the panel stands on the turn `item`, in the panel's order."""
    owed = len(rubric.orders(item, settings))
    by_judge = {judge: Standing(judge, owed) for judge in settings.judge.models}
    for vote in votes:
        if vote.judge in by_judge and vote.parsed:
            by_judge[vote.judge].votes.append(vote)
        elif vote.judge in by_judge:
            by_judge[vote.judge].failed += 1
    return list(by_judge.values())


def owed_votes(item: str, settings: Settings) -> list[Key]:
    """Every vote that the full panel casts on `item`, judge by judge."""
    return [(judge, order) for judge in settings.judge.models for order in rubric.orders(item, settings)]


def settle(score: Score, settings: Settings) -> Score:
    """`score` with everything that follows from its votes recomputed: metrics, score, delta, flips, reason.

    Votes that an adaptive panel did not ask count as lost, so the score is the least the full panel could have given.
    Where a judge was not asked in any order it counts as well, as one that would have voted for the opponent.
    """
    panel = standings(score.file, score.votes, settings)
    asked = {(vote.judge, vote.order) for vote in score.votes}
    unasked = [key for key in owed_votes(score.file, settings) if key not in asked]
    voted = sum(standing.counts for standing in panel)
    counting = [standing for standing in panel if not standing.failed]
    parsed = voted >= settings.quorum
    keys = settings.judge.metric_keys
    votes = sum(standing.owed for standing in counting)
    points = percent(sum(s.total(keys) for s in counting), votes * len(keys)) if parsed else None
    open_votes = sum(standing.open for standing in counting)
    return score.model_copy(
        update={
            "parsed": parsed,
            "score": points,
            "score_high": None if points is None else points + percent(open_votes, votes),
            "delta": None if points is None else points / 100 - 0.5,
            "metrics": {
                name: percent(sum(s.total([name]) for s in counting), votes) if parsed else None for name in DIMENSIONS
            },
            "flips": sum(standing.flipped(keys) for standing in panel),
            "unasked": [{"judge": judge, "order": order} for judge, order in unasked],
            "reason": _reason(score.votes) if parsed else _why_not(panel, settings.quorum),
        }
    )


def _reason(votes: Iterable[Vote]) -> str:
    return "\n".join(f"{vote.judge} ({vote.order}): {vote.reason}" for vote in votes if vote.reason and vote.parsed)


def _why_not(panel: Iterable[Standing], quorum: int) -> str:
    panel = list(panel)
    missing = [standing.judge for standing in panel if not standing.counts]
    return (
        f"{len(panel) - len(missing)} of {len(panel)} judges count, {quorum} are needed; missing: {', '.join(missing)}"
    )
