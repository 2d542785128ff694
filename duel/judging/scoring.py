"""All votes as arrays, and from votes to scores: which judges count, what their orders add up to, who flipped.

The one place that adds up votes. A judge's dimension is the mean over its orders, so a verdict that flips with the
order is a draw. A judge counts when every order it is owed parsed; a turn is parsed when a quorum of judges counts.
What did not parse is no score.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import islice
from sys import intern
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duel.calls.request import COUNTED_USAGE
from duel.judging import rubric
from duel.judging.statistics import Floats, mean
from duel.records import DIMENSIONS, Score, Vote
from duel.settings import Settings

Flags = NDArray[np.bool_]
Objects = NDArray[np.object_]

ORDERS = ("king_first", "challenger_first")
MISSING = 255  # no vote, or none that parsed
AT_ONCE = 500  # records that are turned into columns at a time: 12.5 KB each, a row of columns takes 0.5 KB
MOST_TOKENS = 1 << 40  # of one vote: a file that says more says nothing
LENGTHS = ("opponent", "challenger", "history")


@dataclass(frozen=True)
class Columns:
    """T turns, J judges, the two orders, D dimensions. A row is what one `Score` record holds."""

    judges: tuple[str, ...]
    files: Objects
    instances: Objects
    votes: NDArray[np.uint8]  # (T, J, 2, D): twice the value from the challenger's side, or MISSING
    asked: NDArray[np.int32]  # (T, J, 2): replies that the vote took; -1 where it was not asked
    tokens: NDArray[np.int64]  # (T, J, 4), in the order of COUNTED_USAGE
    cost: Floats  # (T, J): dollars, NaN where no price is known
    lengths: NDArray[np.int64]  # (T, 3): characters in the order of LENGTHS, -1 where unknown
    opponents: Objects  # (T,): the model that wrote the opponent
    challengers: Objects
    made_by: Objects  # (T,): fingerprint of the challenger's writer and prompt
    candidates: Objects  # (T,): fingerprint of the texts that were judged
    errors: Objects  # (T,): {judge: [slug, …]} of votes that did not parse, or None
    models: Objects  # (T,): {judge: model as the endpoint names it}, or None
    attempts: Objects  # (T,): kinds of attempts in either reply, or ()

    def __len__(self) -> int:
        return len(self.files)

    @classmethod
    def of(cls, scores: Iterable[Score], judges: Sequence[str], dimensions: Sequence[str] = DIMENSIONS) -> Columns:
        """The columns of `scores`, of which only a few are in memory at a time."""
        left = iter(scores)
        parts = [cls._of_few(few, judges, dimensions) for few in iter(lambda: list(islice(left, AT_ONCE)), [])]
        return cls.stacked(*parts or [cls._of_few([], judges, dimensions)])

    @classmethod
    def by_panel(cls, scores: Iterable[Score], settings: Settings) -> Columns:
        """What the judges of the settings say of the dimensions that they are asked."""
        return cls.of(scores, settings.judge.models, settings.judge.dimensions)

    @classmethod
    def _of_few(cls, scores: Sequence[Score], judges: Sequence[str], dimensions: Sequence[str]) -> Columns:
        size, panel, place_of = len(scores), len(judges), {judge: place for place, judge in enumerate(judges)}
        votes = np.full((size, panel, 2, len(dimensions)), MISSING, dtype=np.uint8)
        asked = np.full((size, panel, 2), -1, dtype=np.int32)
        tokens = np.zeros((size, panel, len(COUNTED_USAGE)), dtype=np.int64)
        cost = np.full((size, panel), np.nan)
        errors, models = objects([None] * size), objects([None] * size)
        shared: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        for row, score in enumerate(scores):
            named: dict[str, str] = {}
            for vote in score.votes:
                place, order = place_of.get(vote.judge), ORDERS.index(vote.order)
                if place is None:
                    continue
                asked[row, place, order] = vote.asked
                told = (vote.usage.get(name) for name in COUNTED_USAGE)
                tokens[row, place] += [one if isinstance(one, int) and 0 <= one < MOST_TOKENS else 0 for one in told]
                if vote.cost is not None:
                    cost[row, place] = vote.cost + np.nan_to_num(cost[row, place])
                if halves := _halves(vote, dimensions):
                    votes[row, place, order] = halves
                if vote.error:
                    # `unparsed: no-json: …` -> `unparsed: no-json`; `http-500: …` -> `http-500`
                    parts = vote.error.split(": ")
                    errors[row] = errors[row] or {}
                    errors[row].setdefault(vote.judge, []).append(": ".join(parts[: 1 + (parts[0] == "unparsed")]))
                if vote.model:
                    named[vote.judge] = vote.model
            models[row] = shared.setdefault(tuple(named.items()), named) if named else None
        lengths = np.array([[s.lengths.get(n, -1) for n in LENGTHS] for s in scores], dtype=np.int64).reshape(-1, 3)
        texts: dict[str, Iterable[Any]] = {
            "files": (score.file for score in scores),
            "instances": (score.instance_id for score in scores),
            "opponents": (intern(score.writers.get("opponent", "")) for score in scores),
            "challengers": (intern(score.writers.get("challenger", "")) for score in scores),
            "made_by": (intern(score.made_with.get("challenger", "")) for score in scores),
            "candidates": (score.made_with.get("candidates", "") for score in scores),
            "attempts": (tuple(sorted({a.get("kind", "") for a in score.attempts})) for score in scores),
        }
        known = {name: objects(values) for name, values in texts.items()} | {"errors": errors, "models": models}
        return cls(tuple(judges), votes=votes, asked=asked, tokens=tokens, cost=cost, lengths=lengths, **known)

    def where(self, rows: Any) -> Columns:
        """The rows that a mask, or a list of places, picks."""
        return Columns(self.judges, *(getattr(self, name)[rows] for name in ARRAYS))

    @classmethod
    def stacked(cls, *parts: Columns) -> Columns:
        """The rows of all `parts`, which have the same judges."""
        return cls(parts[0].judges, *(np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS))

    @property
    def values(self) -> Floats:
        """(T, J, 2, D): 0, 0.5 or 1 from the challenger's side, NaN where there is no vote."""
        return np.where(self.votes == MISSING, np.nan, self.votes / 2)

    def digest(self) -> str:
        """The fingerprint of all votes and of the texts they are about."""
        whole = hashlib.sha256("\n".join([*self.judges, *self.files, *self.candidates]).encode("utf-8", "replace"))
        whole.update(self.votes.tobytes())
        return whole.hexdigest()[:16]


ARRAYS = tuple(one.name for one in fields(Columns) if one.name != "judges")


def objects(values: Iterable[Any]) -> Objects:
    """A flat array of them, also where they are lists or of equal length."""
    listed = list(values)
    array = np.empty(len(listed), dtype=object)
    array[:] = listed
    return array


@dataclass(frozen=True)
class Standings:
    """What the votes on T turns by J judges add up to; NaN where a judge does not count or a turn is not parsed."""

    values: Floats  # (T, J, D): a judge's dimensions, the mean over its orders
    flipped: Flags  # (T, J): the judge preferred one side in one order and the other side in the other
    parsed: Flags  # (T,): a quorum of judges counts
    scores: Floats  # (T,): points
    metrics: Floats  # (T, D): points

    @property
    def counts(self) -> Flags:
        return np.isfinite(self.values[:, :, 0])


def _halves(vote: Vote, dimensions: Sequence[str]) -> list[int] | None:
    """What a vote says on `dimensions`, 0 to 2; None where it did not parse."""
    values = vote.on(dimensions)
    return None if values is None else [round(2 * value) for value in values]


def owed(files: Iterable[str], settings: Settings) -> Flags:
    """(T, 2): the orders in which a judge is to see each turn."""
    by_item = settings.judge.orders == "alternate"
    names = files if by_item else [""]
    asked = np.array([[order in rubric.orders(name, settings) for order in ORDERS] for name in names], dtype=bool)
    return asked.reshape(-1, 2) if by_item else np.repeat(asked, len([*files]), axis=0)


def add_up(votes: Floats, due: Flags, keys: NDArray[np.intp], quorum: int) -> Standings:
    """Add up `votes`, (T, J, 2, D) with NaN for none; `due`, (T, J, 2), are those owed, `keys` which dimensions count.

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
    """Which of the dimensions that are asked count towards the score, by their places."""
    return np.array([settings.judge.dimensions.index(name) for name in settings.judge.metric_keys])


def settle(score: Score, settings: Settings) -> Score:
    """`score` with everything that follows from its votes recomputed."""
    judges, dimensions = settings.judge.models, settings.judge.dimensions
    votes = np.full((1, len(judges), 2, len(dimensions)), np.nan)
    for vote in score.votes:
        if vote.judge in judges and (halves := _halves(vote, dimensions)):
            votes[0, judges.index(vote.judge), ORDERS.index(vote.order)] = [half / 2 for half in halves]
    due = np.broadcast_to(owed([score.file], settings)[:, None, :], votes.shape[:3])
    found = add_up(votes, due, counted_keys(settings), settings.quorum)
    told, halted, points = [vote for vote in score.votes if vote.parsed], False, None
    if found.parsed[0]:
        points = float(found.scores[0])
        reason = "\n".join(f"{vote.judge} ({vote.order}): {vote.reason}" for vote in told if vote.reason)
    elif settings.judge.strategy == "screen" and rubric.stopped(score.file, score.votes, settings):
        said = ", ".join(f"{vote.judge} {rubric.vote_points(vote, settings):.0f}" for vote in told)
        reason, halted = f"stopped by the screen after {said} points: too low to ask the rest of the panel", True
    else:
        missing = [judge for judge, counts in zip(judges, found.counts[0], strict=True) if not counts]
        count = f"{len(judges) - len(missing)} of {len(judges)} judges count"
        reason = f"{count}, {settings.quorum} are needed; missing: {', '.join(missing)}"
    metrics = found.metrics[0].tolist()
    return score.model_copy(
        update={
            "parsed": points is not None,
            "score": points,
            "delta": None if points is None else points / 100 - 0.5,
            "metrics": {name: None if points is None else one for name, one in zip(dimensions, metrics, strict=True)},
            "flips": int(found.flipped[0].sum()),
            "stopped": halted,
            "reason": reason,
        }
    )


class VoteTable:
    """The votes of all turns with what they add up to, from which every figure of the verdict is computed.

    T turns, J judges, the two orders, D dimensions. Values are from the challenger's side, 0, 0.5 or 1. `screened`:
    the votes of round one alone, one a turn, drawn without regard to the turn.
    """

    def __init__(self, columns: Columns, settings: Settings, screened: bool = False) -> None:
        self.columns, self.keys = columns, counted_keys(settings)
        votes, due = columns.values, np.zeros(columns.asked.shape, dtype=bool)
        if screened:
            for row, item in enumerate(columns.files):
                judge, order = rubric.first_vote(item, settings)
                due[row, columns.judges.index(judge), ORDERS.index(order)] = True
            votes = np.where(due[..., None], votes, np.nan)
        else:
            due[:] = owed(columns.files, settings)[:, None, :]
        self.votes = votes  # (T, J, 2, D), NaN where there is no vote
        self.due = due  # (T, J, 2): the votes that are owed
        self.standings = add_up(votes, due, self.keys, 1 if screened else settings.quorum)
        self.judges, self.parsed = columns.judges, self.standings.parsed

    @cached_property
    def counts(self) -> Flags:
        """(T, J): the judge counts, in a turn that is parsed."""
        return self.standings.counts & self.parsed[:, None]

    @cached_property
    def values(self) -> Floats:
        """(T, J, D): a judge's dimensions, NaN where it does not count or the turn is not parsed."""
        return np.where(self.counts[..., None], self.standings.values, np.nan)

    @cached_property
    def deltas(self) -> Floats:
        """(T,): score/100 - 0.5, NaN where a turn is not parsed."""
        return self.standings.scores / 100 - 0.5

    @cached_property
    def turn_values(self) -> Floats:
        """(T, J): a judge's value of a turn over the dimensions that count."""
        return np.asarray(self.values[:, :, self.keys].mean(2))

    @cached_property
    def vote_values(self) -> Floats:
        """(T, J, 2): the value of each single vote over the dimensions that count."""
        return np.asarray(self.votes[:, :, :, self.keys].mean(3))

    @cached_property
    def by_judge_and_metric(self) -> Floats:
        """(J, D): the mean over the parsed turns for which the judge counts, NaN where it counts for none."""
        return mean(self.values, axis=0)

    def challenger_score(self) -> float:
        """Metric-first: per judge and metric the mean over turns, then over metrics, then over judges, x 100."""
        return float(100 * mean(self.by_judge_and_metric[:, self.keys].mean(1), axis=0))
