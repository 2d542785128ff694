"""Bounds on the mean of turns that are not independent: turns of one pull request share what makes them easy or hard.

All figures are in the unit of what goes in (deltas in -0.5..0.5). Pull requests (clusters) are what is resampled: G of
them, cluster g has the sum S_g over m_g turns, the statistic is t = sum S / sum m, its linearised cluster-robust error

    se(t)^2 = G / (G - 1) * sum_g (S_g - t m_g)^2 / (sum m)^2          (Liang & Zeger 1986; Cameron & Miller 2015)

Why studentized: over 20 cells of simulated panels its bound missed the nominal coverage by 1.1 points on average, the
cluster percentile by 2.7, the cluster t by 2.8, the percentile over turns, which takes them for independent, by 11.1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# Under this many clusters one pseudo-turn of delta -0.5 joins the bootstrap in a cluster of its own: rare disasters
# that the sample happens to miss make the bound too high (coverage 92.9 % at 67 clusters without it).
PSEUDO_TURN_BELOW = 200
PSEUDO_DELTA = -0.5
# Integers drawn at a time. A block stays in the processor's cache and its product under the size at which the linear
# algebra library starts threads: 10,000 resamples of 2,000 clusters took 0.10 s so, 0.29-0.75 s in larger blocks.
BLOCK = 20_000
POWER = 0.8
legendre = cache(np.polynomial.legendre.leggauss)  # nodes in -1..1 and weights of Gauss and Legendre's rule
MOST_TURNS = 1e9  # more than any dataset has (the largest has 12 million rollouts): the number would say nothing


@dataclass(frozen=True)
class Clusters:
    """Sums over clusters. `sums` has the shape (G, K) for K quantities, `sizes` (G,): turns a cluster."""

    sums: Floats
    sizes: Floats

    @classmethod
    def of(cls, values: ArrayLike, labels: ArrayLike) -> "Clusters":
        """Group `values`, shape (n,) or (n, K), by `labels`, shape (n,)."""
        table = np.asarray(values, dtype=np.float64)
        columns = [table] if table.ndim == 1 else list(table.T)
        _, places = np.unique(np.asarray(labels), return_inverse=True)
        count = int(places.max(initial=-1)) + 1
        sums = np.stack([np.bincount(places, column, count) for column in columns], axis=1)
        return cls(sums.astype(np.float64), np.bincount(places, minlength=count).astype(np.float64))

    @property
    def count(self) -> int:
        return len(self.sizes)

    def means(self) -> Floats:
        """t for each quantity, shape (K,)."""
        return np.asarray(self.sums.sum(0) / self.sizes.sum())

    def errors(self) -> Floats:
        """The cluster-robust standard error of each mean, shape (K,); NaN under two clusters."""
        if self.count < 2:
            return np.full(self.sums.shape[1], np.nan)
        residuals = self.sums - self.means() * self.sizes[:, None]
        return np.asarray(np.sqrt(self.count / (self.count - 1) * (residuals**2).sum(0)) / self.sizes.sum())

    def with_pseudo_turn(self) -> "Clusters":
        lost = np.full((1, self.sums.shape[1]), PSEUDO_DELTA)
        return Clusters(np.vstack([self.sums, lost]), np.append(self.sizes, 1.0))


class Studentized(NamedTuple):
    """The bootstrap distribution of (t* - t) / se*, from which a lower bound at any level follows."""

    means: Floats
    errors: Floats
    pivots: Floats  # (B, K), sorted along B

    def lower(self, alpha: float) -> Floats:
        """The one-sided lower bound of each mean at level 1 - `alpha`, shape (K,); without spread the mean itself."""
        place = min(int(np.ceil((1 - alpha) * (len(self.pivots) + 1))) - 1, len(self.pivots) - 1)
        with np.errstate(invalid="ignore"):
            bound = self.means - self.pivots[place] * self.errors
        return np.where(self.errors > 0, bound, self.means)


def studentized(clusters: Clusters, resamples: int, seed: int, guard: bool = True) -> Studentized:
    """The one-sided cluster-studentized bootstrap of `clusters`, seeded; needs two clusters.

    `guard` adds the pseudo-turn under PSEUDO_TURN_BELOW clusters. Weights are whole numbers of times that a cluster is
    drawn; sums of products with them give every moment that the error needs, for all K quantities at once.
    Source: Davison & Hinkley 1997, 5.2; Cameron, Gelbach & Miller 2008 for clusters.
    """
    used = clusters.with_pseudo_turn() if guard and clusters.count < PSEUDO_TURN_BELOW else clusters
    (count, kinds), means, errors = used.sums.shape, used.means(), used.errors()
    # Centered first, so that the squares below do not cancel: sums of S - t m, whose mean is 0.
    sizes = used.sizes[:, None]
    centered = used.sums - means * sizes
    moments = np.hstack([centered, centered**2, centered * sizes, sizes, sizes**2])
    draw, pivots, rows = np.random.default_rng(seed), np.empty((resamples, kinds)), max(1, BLOCK // count)
    offsets = np.arange(rows)[:, None] * count
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        picks = draw.integers(0, count, size=(size, count), dtype=np.int32) + offsets[:size]
        weights = np.bincount(picks.ravel(), minlength=size * count).reshape(size, count)
        first, second, mixed, turns = np.split(weights.astype(np.float64) @ moments, (kinds, 2 * kinds, 3 * kinds), 1)
        shift = first / turns[:, :1]
        variance = second - 2 * shift * mixed + shift**2 * turns[:, 1:]
        error = np.sqrt(count / (count - 1) * np.maximum(variance, 0.0)) / turns[:, :1]
        # A resample without any spread (a challenger that wins every turn) is measured by the error of the sample: an
        # infinite pivot would forbid to accept what never lost. Rounding leaves about 1e-15 where all drawn clusters
        # are alike; a real spread is at least (1/300)^2 a cluster.
        error = np.where(variance > 1e-9, error, np.where(errors > 0, errors, 1.0))
        pivots[start : start + size] = shift / error
    pivots.sort(axis=0)
    return Studentized(means, errors, pivots)


def t_lower(clusters: Clusters, alpha: float) -> Floats:
    """The cluster-robust t bound with G - 1 degrees of freedom, shape (K,); NaN under two clusters."""
    quantile = student_quantile(1 - alpha, max(1, clusters.count - 1))
    return np.asarray(clusters.means() - quantile * clusters.errors())


@cache
def student_quantile(level: float, freedom: int) -> float:
    """The quantile of Student's t for `level` above one half.

    With T = sqrt(df) tan(angle) the density is a power of the cosine, which Gauss and Legendre's rule integrates to 10
    digits; bisection finds the quantile. (To import scipy.special for it would cost 0.2 to 0.3 s of the gate's 0.5.)
    """
    nodes, weights = legendre(64)
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)

    def share_up_to(angle: float) -> float:
        return scale * angle / 2 * float(weights @ np.cos(angle / 2 * (nodes + 1)) ** (freedom - 1))

    return math.sqrt(freedom) * math.tan(bisect(lambda angle: share_up_to(angle) < level - 0.5, math.pi / 2, 80)[0])


def bisect(below: Callable[[float], bool], high: float, steps: int) -> tuple[float, float]:
    """The two ends, `steps` halvings of 0 to `high` apart, between which `below` ceases to hold."""
    low = 0.0
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return low, high


def percentile_lower(values: ArrayLike, alpha: float, resamples: int, seed: int) -> float:
    """The plain percentile bound over turns taken for independent: upstream's, kept for comparison. NaN without turns.

    A resample is a multinomial draw over the distinct values, of which a panel gives few: 61 for three judges.
    """
    distinct, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    turns = int(counts.sum())
    if not turns:
        return math.nan
    drawn = np.random.default_rng(seed).multinomial(turns, counts / turns, size=resamples)
    return float(np.quantile(drawn @ distinct / turns, alpha))


def detectable(error: float, quantile: float, least: float, power: float = POWER) -> float:
    """The smallest true mean that the gate accepts with probability `power` at this standard error, in its unit.

    The bound, `quantile` errors under the mean, must be above 0 and the mean itself at least `least`.
    """
    spread = NormalDist().inv_cdf(power) * error
    return max(quantile * error + spread, least + spread)


def turns_needed(turns: int, mean: float, error: float, quantile: float, power: float = POWER) -> int | None:
    """Turns at which a true mean of `mean` would be told from 0 with probability `power`; None where it is not above 0,
    or so little that no dataset holds as many turns. The error is taken to shrink with the square root of the turns.
    """
    if not mean > 0 or not np.isfinite(error):
        return None
    needed = turns * ((quantile + NormalDist().inv_cdf(power)) * error / mean) ** 2
    return max(1, int(np.ceil(needed))) if needed < MOST_TURNS else None


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
        return math.nan
    one, two = (values[both] - values[both].mean() for values in (first, second))
    spread = float(np.sqrt((one @ one) * (two @ two)))
    return float(one @ two) / spread if spread > 1e-12 else math.nan


def krippendorff_alpha(ratings: ArrayLike) -> float:
    """Krippendorff's alpha of `ratings`, shape (units, raters), NaN where a rater is missing; ordinal metric.

    Ordinal because lost, drawn and won have an order and no unit. 1 is full agreement, 0 what chance gives; NaN without
    a unit with two ratings, or with one level only. Source: Krippendorff 2019, Content Analysis, 4th ed., 12.3.
    """
    table = np.asarray(ratings, dtype=np.float64)
    levels = np.unique(table[np.isfinite(table)])
    # (units, levels): how often a unit with two ratings was given each level.
    given = (table[:, :, None] == levels).sum(1).astype(float)
    given = given[given.sum(1) >= 2]
    if not len(given):
        return math.nan
    pairs = np.einsum("uv,uw->uvw", given, given) - np.einsum("uv,vw->uvw", given, np.eye(len(levels)))
    coincidences = (pairs / (given.sum(1) - 1)[:, None, None]).sum(0)
    totals = coincidences.sum(1)
    # Squared distance of two levels: the ratings from one to the other, half of each end's own.
    ends = np.cumsum(totals) - totals / 2
    distance = (ends[:, None] - ends[None, :]) ** 2
    expected = float((np.outer(totals, totals) - np.diag(totals)).ravel() @ distance.ravel()) / (totals.sum() - 1)
    observed = float(coincidences.ravel() @ distance.ravel())
    return 1 - observed / expected if expected > 0 else math.nan


def effective_votes(judges: int, correlation_of_errors: float) -> float:
    """How many independent judges a panel of `judges` is worth at a mean pairwise correlation of their errors.

    Kish's design effect, k / (1 + (k - 1) r): five judges whose errors correlate 0.32 to 0.43 are worth 2.19 to 1.84.
    Never more than there are judges; NaN where the correlation is.
    """
    if judges < 1 or np.isnan(correlation_of_errors):
        return 1.0 if judges == 1 else math.nan
    return judges / (1 + (judges - 1) * min(max(correlation_of_errors, 0.0), 1.0))


def pair_correlations(values: Floats, truth: Floats | float = 0.0) -> NDArray[np.float64]:
    """(J, J): Pearson's correlation of the judges' errors, `values` (T, J) less `truth` (T,) or a constant.

    Without a truth real differences between turns count as shared errors: an upper bound of what the errors' would be.
    """
    errors = values - np.reshape(truth, (-1, 1))
    table = np.eye(values.shape[1])
    for one, two in combinations(range(len(table)), 2):
        table[one, two] = table[two, one] = correlation(errors[:, one], errors[:, two])
    return table


def mean_correlation(table: NDArray[np.float64]) -> float:
    """The mean over distinct pairs of judges, NaN where no pair can be compared."""
    return float(mean(table[np.triu_indices(len(table), 1)], axis=0))


def winner(values: Floats) -> Floats:
    """1 challenger, -1 opponent, 0 draw; NaN stays."""
    return np.asarray(np.where(np.isnan(values), np.nan, np.sign(np.round(values - 0.5, 9))))


def same_winner(first: Floats, second: Floats) -> float:
    """The share of turns on which two values (T,) name the same winner, of those where both are; NaN without any."""
    both = np.isfinite(first) & np.isfinite(second)
    return float((winner(first[both]) == winner(second[both])).mean()) if both.any() else math.nan
