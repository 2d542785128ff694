"""All votes of a workspace as arrays: what scores, gate and every figure of the verdict are computed from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from sys import intern
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duel.records import DIMENSIONS, Score

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Objects = NDArray[np.object_]

ORDERS = ("king_first", "challenger_first")
MISSING = 255  # no vote, or none that parsed
AT_ONCE = 500  # records that are turned into columns at a time: 12.5 KB each, a row of columns takes 0.5 KB
TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
LENGTHS = ("opponent", "challenger", "history")


@dataclass(frozen=True)
class Columns:
    """T turns, J judges, the two orders, five dimensions. A row is what one `Score` record holds."""

    judges: tuple[str, ...]
    files: Objects
    instances: Objects
    votes: NDArray[np.uint8]  # (T, J, 2, 5): twice the value from the challenger's side, or MISSING
    asked: NDArray[np.int32]  # (T, J, 2): replies that the vote took; -1 where it was not asked
    tokens: NDArray[np.int64]  # (T, J, 4), in the order of TOKENS
    cost: Floats  # (T, J): dollars, NaN where no price is known
    lengths: NDArray[np.int64]  # (T, 3): characters in the order of LENGTHS, -1 where unknown
    opponents: Objects  # (T,): the model that wrote the opponent
    challengers: Objects
    made_by: Objects  # (T,): fingerprint of the challenger's writer and prompt
    candidates: Objects  # (T,): fingerprint of the texts that were judged
    errors: Objects  # (T,): {judge's place: [slug, …]} of votes that did not parse, or None
    models: Objects  # (T,): {judge's place: model as the endpoint names it}, or None
    attempts: Objects  # (T,): kinds of attempts in either reply, or ()

    def __len__(self) -> int:
        return len(self.files)

    @classmethod
    def of(cls, scores: Iterable[Score], judges: Sequence[str]) -> Columns:
        """The columns of `scores`, of which only a few are in memory at a time."""
        left, parts = iter(scores), [cls._of_few([], judges)]
        while few := list(islice(left, AT_ONCE)):
            parts.append(cls._of_few(few, judges))
        return cls.stacked(*parts)

    @classmethod
    def _of_few(cls, scores: Sequence[Score], judges: Sequence[str]) -> Columns:
        size, panel = len(scores), len(judges)
        place_of = {judge: place for place, judge in enumerate(judges)}
        votes = np.full((size, panel, 2, len(DIMENSIONS)), MISSING, dtype=np.uint8)
        asked = np.full((size, panel, 2), -1, dtype=np.int32)
        tokens = np.zeros((size, panel, len(TOKENS)), dtype=np.int64)
        cost = np.full((size, panel), np.nan)
        errors, models = objects([None] * size), objects([None] * size)
        shared: dict[tuple[tuple[int, str], ...], dict[int, str]] = {}
        for row, score in enumerate(scores):
            named: dict[int, str] = {}
            for vote in score.votes:
                place, order = place_of.get(vote.judge), ORDERS.index(vote.order)
                if place is None:
                    continue
                asked[row, place, order] = vote.asked
                tokens[row, place] += [int(vote.usage.get(name) or 0) for name in TOKENS]
                if vote.cost is not None:
                    cost[row, place] = vote.cost + np.nan_to_num(cost[row, place])
                if values := vote.values:
                    votes[row, place, order] = [round(2 * value) for value in values]
                if vote.error:
                    # `unparsed: no-json: …` -> `unparsed: no-json`; `http-500: …` -> `http-500`
                    parts = vote.error.split(": ")
                    errors[row] = errors[row] or {}
                    errors[row].setdefault(place, []).append(": ".join(parts[: 1 + (parts[0] == "unparsed")]))
                if vote.model:
                    named[place] = vote.model
            models[row] = shared.setdefault(tuple(named.items()), named) if named else None
        return cls(
            judges=tuple(judges),
            files=objects(score.file for score in scores),
            instances=objects(score.instance_id for score in scores),
            votes=votes,
            asked=asked,
            tokens=tokens,
            cost=cost,
            lengths=np.array([[s.lengths.get(n, -1) for n in LENGTHS] for s in scores], dtype=np.int64).reshape(-1, 3),
            opponents=objects(intern(score.writers.get("opponent", "")) for score in scores),
            challengers=objects(intern(score.writers.get("challenger", "")) for score in scores),
            made_by=objects(intern(score.made_with.get("challenger", "")) for score in scores),
            candidates=objects(score.made_with.get("candidates", "") for score in scores),
            errors=errors,
            models=models,
            attempts=objects(tuple(sorted({a.get("kind", "") for a in score.attempts})) for score in scores),
        )

    def where(self, rows: Any) -> Columns:
        """The rows that a mask, or a list of places, picks."""
        return Columns(self.judges, *(getattr(self, name)[rows] for name in ARRAYS))

    def without(self, rows: Sequence[int]) -> Columns:
        return self.where(np.delete(np.arange(len(self)), rows))

    @classmethod
    def stacked(cls, *parts: Columns) -> Columns:
        """The rows of all `parts`, which have the same judges."""
        return cls(parts[0].judges, *(np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS))

    @property
    def values(self) -> Floats:
        """(T, J, 2, 5): 0, 0.5 or 1 from the challenger's side, NaN where there is no vote."""
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
