"""The votes of all turns with what they add up to, from which every figure of the verdict is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from duel.judging import scoring, screen
from duel.judging.columns import Columns, Flags, Floats
from duel.judging.scoring import Standings
from duel.settings import Settings


@dataclass(frozen=True)
class VoteTable:
    """T turns, J judges, the two orders, five dimensions. Values are from the challenger's side, 0, 0.5 or 1."""

    columns: Columns
    keys: NDArray[np.intp]
    """Places in DIMENSIONS of those that count towards the score."""
    votes: Floats
    """(T, J, 2, 5), NaN where there is no vote."""
    due: Flags
    """(T, J, 2): the votes that are owed."""
    standings: Standings

    @classmethod
    def of(cls, columns: Columns, settings: Settings) -> VoteTable:
        """The table of the full panel's votes."""
        keys, votes = scoring.counted_keys(settings), columns.values
        owed = scoring.owed(columns.files, settings)
        due = np.broadcast_to(owed[:, None, :], votes.shape[:3])
        return cls(columns, keys, votes, due, scoring.add_up(votes, due, keys, settings.quorum))

    @classmethod
    def screened(cls, columns: Columns, settings: Settings) -> VoteTable:
        """The table of round one: one vote a turn, drawn without regard to the turn."""
        keys, due = scoring.counted_keys(settings), screen.first_votes(columns, settings)
        votes = np.where(due[..., None], columns.values, np.nan)
        return cls(columns, keys, votes, due, scoring.add_up(votes, due, keys, 1))

    @property
    def judges(self) -> Sequence[str]:
        return self.columns.judges

    @property
    def parsed(self) -> Flags:
        return self.standings.parsed

    @property
    def whole(self) -> bool:
        """True when every vote that is owed is there."""
        return bool(np.isfinite(self.votes[..., 0][self.due]).all())

    @cached_property
    def counts(self) -> Flags:
        """(T, J): the judge counts, in a turn that is parsed."""
        return self.standings.counts & self.parsed[:, None]

    @cached_property
    def values(self) -> Floats:
        """(T, J, 5): a judge's dimensions, NaN where it does not count or the turn is not parsed."""
        return np.where(self.counts[..., None], self.standings.values, np.nan)

    @cached_property
    def deltas(self) -> Floats:
        """(T,): score/100 - 0.5, NaN where a turn is not parsed."""
        return self.standings.scores / 100 - 0.5

    @cached_property
    def metric_deltas(self) -> Floats:
        """(T, 5): the same for each dimension."""
        return self.standings.metrics / 100 - 0.5

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
        """(J, 5): the mean over the parsed turns for which the judge counts, NaN where it counts for none."""
        return mean(self.values, axis=0)

    def challenger_score(self) -> float:
        """Metric-first: per judge and metric the mean over turns, then over metrics, then over judges, x 100."""
        return float(100 * mean(self.by_judge_and_metric[:, self.keys].mean(1), axis=0))


def mean(values: Floats, axis: int) -> Floats:
    """The mean along `axis` over what is there, NaN where nothing is (and no warning)."""
    there = np.isfinite(values)
    count = there.sum(axis)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there, values, 0.0).sum(axis) / count)


def correlation(first: Floats, second: Floats) -> float:
    """Pearson's correlation over the places where both are there; NaN under three of them or without spread."""
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 3:
        return float("nan")
    one, two = first[both] - first[both].mean(), second[both] - second[both].mean()
    spread = float(np.sqrt((one @ one) * (two @ two)))
    return float(one @ two) / spread if spread > 1e-12 else float("nan")
