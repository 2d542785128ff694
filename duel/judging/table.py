"""All votes of a workspace as arrays, from which every figure of the verdict is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from duel.judging.scoring import standings
from duel.records import DIMENSIONS, Score
from duel.settings import Settings

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

ORDERS = ("king_first", "challenger_first")


@dataclass(frozen=True)
class Table:
    """T turns, J judges, the two orders, five dimensions. Values are from the challenger's side, 0, 0.5 or 1."""

    scores: Sequence[Score]
    judges: Sequence[str]
    keys: NDArray[np.intp]
    """Places in DIMENSIONS of those that count towards the score."""
    votes: Floats
    """(T, J, 2, 5), NaN where there is no vote."""
    counts: Flags
    """(T, J): the judge counts for the turn."""
    values: Floats
    """(T, J, 5): a judge's dimensions, the mean over its orders; votes not asked are 0; NaN where it does not count."""
    clusters: NDArray[np.str_]

    @classmethod
    def of(cls, scores: Sequence[Score], settings: Settings) -> Table:
        """The table of `scores`, settled under `settings`."""
        judges = settings.judge.models
        votes = np.full((len(scores), len(judges), 2, len(DIMENSIONS)), np.nan)
        counts = np.zeros((len(scores), len(judges)), dtype=bool)
        totals = np.zeros((len(scores), len(judges), len(DIMENSIONS)))
        judge_of = {judge: place for place, judge in enumerate(judges)}
        for row, score in enumerate(scores):
            for vote in score.votes:
                if vote.judge in judge_of and vote.parsed:
                    place = judge_of[vote.judge], ORDERS.index(vote.order)
                    votes[row, *place] = [getattr(vote, name) for name in DIMENSIONS]
            for place_of_judge, standing in enumerate(standings(score.file, score.votes, settings)):
                counts[row, place_of_judge] = score.parsed and not standing.failed
                totals[row, place_of_judge] = np.nansum(votes[row, place_of_judge], axis=0) / standing.owed
        values = np.where(counts[:, :, None], totals, np.nan)
        keys = np.array([DIMENSIONS.index(name) for name in settings.judge.metric_keys])
        return cls(scores, judges, keys, votes, counts, values, _clusters(scores, settings))

    @cached_property
    def parsed(self) -> Flags:
        """(T,): turns with a score."""
        return np.array([score.parsed for score in self.scores], dtype=bool)

    @cached_property
    def deltas(self) -> Floats:
        """(T,): score/100 - 0.5, NaN where a turn is not parsed."""
        return np.array([np.nan if score.delta is None else score.delta for score in self.scores], dtype=np.float64)

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


def _clusters(scores: Sequence[Score], settings: Settings) -> NDArray[np.str_]:
    """What each turn is dependent on: its pull request, its repository, or its prompt file."""
    by = settings.duel.cluster_by
    if by == "repo":
        return np.array([score.instance_id.rsplit("-", 1)[0] for score in scores], dtype=np.str_)
    if by == "file":
        return np.array([PurePath(score.file).stem.rsplit("_", 1)[0] for score in scores], dtype=np.str_)
    return np.array([score.instance_id for score in scores], dtype=np.str_)
