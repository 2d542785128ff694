"""From votes to scores: which judges count, what their orders add up to, who flipped. The one place that adds up votes.

A judge's dimension is the mean over its orders, so a verdict that flips with the order is a draw. A judge counts when
every order it is owed parsed; a turn is parsed when a quorum of judges counts. What did not parse is no score.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duel.judging import rubric, screen
from duel.judging.columns import ORDERS, Columns, Flags, Floats
from duel.records import DIMENSIONS, Score, Vote
from duel.settings import Settings


@dataclass(frozen=True)
class Standings:
    """What the votes on T turns by J judges add up to."""

    values: Floats
    """(T, J, 5): a judge's dimensions, the mean over its orders; NaN where an order it is owed is missing."""
    flipped: Flags
    """(T, J): the judge preferred one side in one order and the other side in the other."""
    parsed: Flags
    """(T,): a quorum of judges counts."""
    scores: Floats
    """(T,): points, NaN where a turn is not parsed."""
    metrics: Floats
    """(T, 5): points, NaN where a turn is not parsed."""

    @property
    def counts(self) -> Flags:
        """(T, J): every order that the judge is owed parsed."""
        return np.isfinite(self.values[:, :, 0])


def owed(files: Sequence[str] | NDArray[np.object_], settings: Settings) -> Flags:
    """(T, 2): the orders in which a judge is to see each turn."""
    if settings.judge.orders != "alternate":
        both = [order in rubric.orders("", settings) for order in ORDERS]
        return np.tile(np.array(both), (len(files), 1))
    asked = [[order in rubric.orders(item, settings) for order in ORDERS] for item in files]
    return np.array(asked, dtype=bool).reshape(-1, 2)


def add_up(votes: Floats, due: Flags, keys: NDArray[np.intp], quorum: int) -> Standings:
    """Add up `votes`, (T, J, 2, 5) with NaN for none; `due`, (T, J, 2), are those owed, `keys` places in DIMENSIONS.

    Sums are of exact halves and each figure is one division: a score of 80 is 80.0, not 79.99999999999999.
    """
    cast = np.isfinite(votes[..., 0])
    orders = due.sum(2)
    whole = (cast | ~due).all(2) & (orders > 0)
    parsed = whole.sum(1) >= quorum
    totals = np.where((due & cast)[..., None], votes, 0.0).sum(2)
    counting = whole & parsed[:, None]
    number = (orders * counting).sum(1)
    with np.errstate(invalid="ignore"):
        scores = 100 * (totals[:, :, keys].sum(2) * counting).sum(1) / (number * len(keys))
        metrics = 100 * (totals * counting[..., None]).sum(1) / number[:, None]
        values = np.where(whole[..., None], totals / orders[..., None], np.nan)
    leans = np.sign(np.round(votes[..., keys].mean(3) - 0.5, 9))
    flipped = np.where(np.isfinite(leans).all(2), leans[..., 0] * leans[..., 1], 0.0) < 0
    return Standings(values, flipped, parsed, scores, metrics)


def counted_keys(settings: Settings) -> NDArray[np.intp]:
    """Places in DIMENSIONS of those that count towards the score."""
    return np.array([DIMENSIONS.index(name) for name in settings.judge.metric_keys])


def settle(score: Score, settings: Settings) -> Score:
    """`score` with everything that follows from its votes recomputed."""
    columns = Columns.of([score], settings.judge.models)
    due = np.broadcast_to(owed([score.file], settings)[:, None, :], columns.asked.shape)
    found = add_up(columns.values, due, counted_keys(settings), settings.quorum)
    parsed = bool(found.parsed[0])
    points = float(found.scores[0]) if parsed else None
    metrics = [float(value) if parsed else None for value in found.metrics[0]]
    missing = [judge for judge, counts in zip(columns.judges, found.counts[0], strict=True) if not counts]
    halted = not parsed and settings.judge.strategy == "screen" and screen.stopped(score.file, score.votes, settings)
    why_not = _why_not(len(columns.judges), missing, settings.quorum)
    return score.model_copy(
        update={
            "parsed": parsed,
            "score": points,
            "delta": None if points is None else points / 100 - 0.5,
            "metrics": dict(zip(DIMENSIONS, metrics, strict=True)),
            "flips": int(found.flipped[0].sum()),
            "stopped": halted,
            "reason": _reason(score.votes) if parsed else _stopped(score, settings) if halted else why_not,
        }
    )


def _reason(votes: Iterable[Vote]) -> str:
    return "\n".join(f"{vote.judge} ({vote.order}): {vote.reason}" for vote in votes if vote.reason and vote.parsed)


def _stopped(score: Score, settings: Settings) -> str:
    said = ", ".join(f"{v.judge} {screen.points(v, settings):.0f}" for v in score.votes if v.parsed)
    return f"stopped by the screen after {said} points: too low to ask the rest of the panel"


def _why_not(judges: int, missing: Sequence[str], quorum: int) -> str:
    count = judges - len(missing)
    return f"{count} of {judges} judges count, {quorum} are needed; missing: {', '.join(missing)}"
