"""How sure the mean delta is: by repository and by pull request, at equal length, and with the missing votes made good.

Everything is in deltas (-0.5 to 0.5) until a `Bound` record gives a margin in points. Two figures are no plain means:
each is turned into one value a turn whose mean it is (its linearization), so that the same bootstrap bounds it.

`length_controlled`   the intercept of delta on length difference: what is left between replies of equal length
`made_good`           the mean that all owed votes would have had, if within a stratum (judge and history length) those
                      that are missing were like those that are there (post-stratification; Horvitz & Thompson 1952)
"""

from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from duel.judging import statistics
from duel.judging.scoring import Columns, Flags, VoteTable
from duel.judging.statistics import Clusters, Floats
from duel.records import Bound
from duel.records.record import Figures
from duel.settings import Settings

LOST = -0.5
# History lengths are cut into at most this many strata of at least this many turns. With deciles 8 % of nulls still
# passed where votes miss with length; with twenty strata 5 %.
STRATA, LEAST_IN_STRATUM = 20, 25
# Bounds that stand beside the gate's are the t bound from so many clusters on: 10,000 resamples of 122,908 take 77 s,
# and the two differ by less than a hundredth of a standard error.
MOST_RESAMPLED = 20_000
Codes = NDArray[np.intp]


@dataclass(frozen=True)
class Units:
    """What counts as one independent unit."""

    by: str
    codes: Codes  # (T,): the unit of each turn
    count: int  # units with a parsed turn

    @classmethod
    def of(cls, columns: Columns, parsed: Flags, by: str) -> "Units":
        labels = list(columns.instances)
        if by == "file":
            labels = [PurePath(name).stem.rsplit("_", 1)[0] for name in columns.files]
        elif by == "repo":
            labels = [name.rsplit("-", 1)[0].lower() for name in labels]
        _, codes = np.unique(np.array(labels, dtype=np.str_), return_inverse=True)
        return cls(by, codes, len(np.unique(codes[parsed])))


def choose(columns: Columns, parsed: Flags, settings: Settings) -> tuple[Units, Units]:
    """(the gate's units, those that are shown beside): "auto" takes repositories where there are `min_clusters`."""
    repos, by = Units.of(columns, parsed, "repo"), settings.duel.cluster_by
    if by == "repo" or (by == "auto" and repos.count >= settings.duel.min_clusters):
        return repos, Units.of(columns, parsed, "instance_id")
    return Units.of(columns, parsed, "file" if by == "file" else "instance_id"), repos


class Bounds(Figures):
    """The bounds on the mean delta, named as in the verdict where they stand in it. Deltas; None for "no data"."""

    mean_delta: float | None = None
    se: float | None = None
    lcb: float | None = None  # studentized
    lcb_strict: float | None = None
    lcb_t: float | None = None
    lcb_iid: float | None = None
    by_metric: dict[str, float | None] = Field(default_factory=dict)
    quantile: float | None = None  # how many standard errors the studentized bound lies under the mean
    other_units: Bound = Bound()
    length: Bound = Bound()
    missing: Bound = Bound()


def measure(table: VoteTable, units: Units, other: Units, settings: Settings, level: float) -> Bounds:
    """The bounds at `level` over the parsed turns; none under two clusters."""
    parsed, duel = table.parsed, settings.duel
    deltas = table.deltas[parsed]
    if not len(deltas):
        return Bounds()
    total = Clusters.of(deltas, units.codes[parsed])
    mean, error = float(total.means()[0]), float(total.errors()[0])
    if total.count < 2:
        return Bounds(mean_delta=mean)
    linear, slope = length_controlled(deltas, length_difference(table.columns.where(parsed)))
    by_metric = table.standings.metrics[parsed] / 100 - 0.5
    together = Clusters.of(np.column_stack([deltas, by_metric, linear]), units.codes[parsed])
    boot = statistics.studentized(together, duel.bootstrap_resamples, duel.seed)
    lower = boot.lower(level) if level > 0 else np.full(by_metric.shape[1] + 2, -np.inf)
    missing, length = Bound(), {"margin": 200 * together.means()[-1], "se": together.errors()[-1], "lcb": lower[-1]}
    if not np.isfinite(table.votes[..., 0][table.due]).all():
        missing = bound(made_good(table), np.ones_like(parsed), units, settings, level)
    return Bounds(
        mean_delta=mean,
        se=error,
        lcb=lower[0],
        lcb_strict=boot.lower(duel.alpha)[0],
        lcb_t=statistics.t_lower(total, level)[0] if level > 0 else None,
        lcb_iid=statistics.percentile_lower(deltas, duel.gate_alpha, duel.bootstrap_resamples, duel.seed),
        by_metric=dict(zip(settings.judge.dimensions, lower[1:-1].tolist(), strict=True)),
        quantile=(mean - lower[0]) / error if error > 0 else None,
        other_units=bound(table.deltas, parsed, other, settings, level),
        length=Bound(clusters=total.count, turns=len(deltas), slope=slope, **length),
        missing=missing,
    )


def bound(deltas: Floats, rows: Flags, units: Units, settings: Settings, level: float) -> Bound:
    """The mean of `deltas` over `rows` with its bounds over `units`."""
    if not rows.any():
        return Bound()
    clusters = Clusters.of(deltas[rows], units.codes[rows])
    lower = robust = statistics.t_lower(clusters, level)[0] if level > 0 else None
    if level > 0 and 1 < clusters.count <= MOST_RESAMPLED:
        boot = statistics.studentized(clusters, settings.duel.bootstrap_resamples, settings.duel.seed)
        lower = boot.lower(level)[0]
    margin, error = 200 * clusters.means()[0], clusters.errors()[0]
    turns = int(rows.sum())
    return Bound(clusters=clusters.count, turns=turns, margin=margin, se=error, lcb=lower, lcb_t=robust)


def length_difference(columns: Columns) -> Floats:
    """(T,): (challenger - opponent) / the longer of the two, in characters; 0 where lengths are unknown."""
    opponent, challenger = columns.lengths[:, :2].T.astype(float)
    longer = np.maximum(np.maximum(opponent, challenger), 1)
    return np.asarray(np.where((opponent >= 0) & (challenger >= 0), (challenger - opponent) / longer, 0.0))


def length_controlled(deltas: Floats, difference: Floats) -> tuple[Floats, float]:
    """(one value a turn whose mean is the intercept of `deltas` on `difference`, the slope).

    Without a spread of lengths the deltas themselves: nothing can be told apart then.
    """
    centered = difference - difference.mean()
    spread = float(centered @ centered)
    if spread < 1e-12 * len(deltas):
        return deltas, 0.0
    slope = float(centered @ deltas) / spread
    residual = deltas - deltas.mean() - slope * centered
    leverage = 1 - len(deltas) * difference.mean() * centered / spread
    return deltas.mean() - slope * difference.mean() + residual * leverage, slope


def made_good(table: VoteTable) -> Floats:
    """(T,): one delta a turn, whose mean is that of all owed votes, missing ones made good within their stratum.

    A stratum is a judge and a range of history lengths. Where the length is not recorded, or nobody in the stratum
    gave a vote, what is missing counts as lost.
    """
    there, owed = table.standings.counts, np.asarray(table.due.any(2))
    share = owed / owed.sum(1, keepdims=True)
    values = np.where(there, table.standings.values[:, :, table.keys].mean(2) - 0.5, 0.0)
    ranges = history_ranges(table.columns.lengths[:, 2])
    linear, expected = np.zeros(len(values)), np.zeros_like(values)
    for judge in range(values.shape[1]):
        for part in np.unique(ranges):
            rows = (ranges == part) & owed[:, judge]
            seen = rows & there[:, judge]
            known, middle, factor = share[seen, judge].sum(), LOST, 1.0
            if part >= 0 and known:
                middle = float(share[seen, judge] @ values[seen, judge] / known)
                factor = share[rows, judge].sum() / known
            expected[rows, judge] = middle
            linear[seen] += factor * share[seen, judge] * (values[seen, judge] - middle)
    return np.asarray(linear + (share * expected).sum(1))


def history_ranges(lengths: NDArray[np.int64]) -> Codes:
    """(T,): which range of history lengths a turn lies in; -1 where its length is not recorded."""
    known = lengths >= 0
    parts = int(np.clip(known.sum() // LEAST_IN_STRATUM, 1, STRATA))
    edges = np.quantile(lengths[known], np.arange(1, parts) / parts) if known.any() else np.zeros(0)
    return np.where(known, np.searchsorted(edges, lengths, side="right"), -1)
