"""What people who labeled a few turns would say of all, with the panel that judged all: the mean, the final score.

The two-phase regression estimator (Cochran 1977, 12.6), which for nested samples is prediction-powered inference with
a tuned slope (PPI++, Angelopoulos et al. 2023, arXiv 2311.01453). Over n judged turns the panel says f, over a
probability sample L of them people say Y, each labeled turn with the weight w = 1 / its chance to be drawn:

    slope = cov_L(Y, f) / var_L(f), clipped to 0..1.5        mean = mean_L(Y) + slope * (mean(f) - mean_L(f))
    psi_c = sum_{c in L} w (r - mean_L(r)) / W + slope * sum_c (f - mean(f)) / n        r = Y - slope * f
    error^2 = C / (C - 1) * sum_c psi_c^2 * (m - 1) / (m - 2)         t with C_L - 2 degrees of freedom

A slope of 0 is people alone, so a useless or a perverse panel costs nothing. Deltas are in -0.5..0.5.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from duel.judging import statistics
from duel.judging.statistics import PSEUDO_DELTA, Clusters, Floats, student_quantile
from duel.records.votes import PeopleThreshold

STEEPEST = 1.5
POWER_QUANTILE = 2.49  # normal quantiles of 95 % and 80 %, added: 80 % power at a one-sided 5 %
# What the panel leaves open of people's delta on one turn: 27 points, measured over simulated and real panels.
RESIDUAL_SD = 0.27
# Columns of the sums, one row a cluster; those from WEIGHT on are over labeled turns only.
TURNS, PANEL, WEIGHT, PEOPLE, PANEL_LABELED, PRODUCT, SQUARE, LABELS = range(8)


class Phases:
    """Sums over clusters, shape (C, 8): all that the estimator needs. Shards merge by concatenating their rows."""

    def __init__(self, sums: Floats) -> None:
        self.sums, self.total = sums, np.asarray(sums.sum(0))
        self.labels, self.labeled_clusters = int(self.total[LABELS]), int((sums[:, LABELS] > 0).sum())

    @classmethod
    def of(cls, panel: ArrayLike, people: ArrayLike, chances: ArrayLike, clusters: ArrayLike) -> Phases:
        """`panel` (n,) for every turn, `people` (n,) with NaN where nobody voted, `chances` (n,) of being drawn."""
        f, y, chance = (np.asarray(values, dtype=np.float64) for values in (panel, people, chances))
        labeled, y = np.isfinite(y), np.nan_to_num(y)
        weights = labeled / chance
        # Only ratios of weights matter; a mean of 1 keeps the pseudo-label as heavy as any other.
        weights /= weights[labeled].mean() if labeled.any() else 1.0
        kinds = (weights, weights * y, weights * f, weights * y * f, weights * f * f, labeled)
        return cls(Clusters.of(np.column_stack([np.ones(len(f)), f, *kinds]), clusters).sums)

    def slope(self) -> float:
        """The slope of people on the panel over the labeled turns; 0 where the panel shows no spread."""
        weight, y, f = self.total[WEIGHT], self.total[PEOPLE], self.total[PANEL_LABELED]
        spread = self.total[SQUARE] / weight - (f / weight) ** 2
        if spread < 1e-12:
            return 0.0
        return float(np.clip((self.total[PRODUCT] / weight - y * f / weight**2) / spread, 0.0, STEEPEST))

    def residual_sd(self) -> float:
        """What the panel leaves open of people's delta, one label, likeness within clusters included."""
        return math.sqrt(float((self._residuals(self.slope()) ** 2).sum()) * self.labels)

    def _residuals(self, slope: float) -> Floats:
        """(C,): each cluster's share in the error of the labeled mean of r."""
        r = (self.total[PEOPLE] - slope * self.total[PANEL_LABELED]) / self.total[WEIGHT]
        own = self.sums[:, PEOPLE] - slope * self.sums[:, PANEL_LABELED] - r * self.sums[:, WEIGHT]
        return np.asarray(own / self.total[WEIGHT])

    def _drift(self) -> Floats:
        """(C,): each cluster's share in the error of the panel's mean over all turns."""
        mean = self.total[PANEL] / self.total[TURNS]
        return np.asarray((self.sums[:, PANEL] - mean * self.sums[:, TURNS]) / self.total[TURNS])

    def panel_error(self) -> float:
        """The cluster-robust standard error of the panel's mean over all turns."""
        clusters = len(self.sums)
        return math.sqrt(clusters / max(1, clusters - 1) * float((self._drift() ** 2).sum()))

    def people(self, slope: float | None = None) -> MeanEstimate:
        """What people would say of all turns. `slope` 0: people alone; None: tuned."""
        tuned, total = self.slope() if slope is None else slope, self.total
        mean = total[PEOPLE] / total[WEIGHT]
        mean += tuned * (total[PANEL] / total[TURNS] - total[PANEL_LABELED] / total[WEIGHT])
        return self._estimate(mean, self._residuals(tuned) + tuned * self._drift(), tuned)

    def bias(self) -> MeanEstimate:
        """How much kinder the panel is than people, over all turns."""
        slope = self.slope()
        mean = self.total[PANEL] / self.total[TURNS] - self.people(slope).mean
        return self._estimate(mean, (1 - slope) * self._drift() - self._residuals(slope), slope)

    def _estimate(self, mean: float, shares: Floats, slope: float) -> MeanEstimate:
        fitted, clusters, error = 1 + (slope > 0), len(self.sums), math.nan
        if clusters > 1 and self.labels > fitted:
            scale = (self.labels - 1) / (self.labels - fitted)
            error = math.sqrt(clusters / (clusters - 1) * float((shares**2).sum()) * scale)
        return MeanEstimate(float(mean), error, slope, max(1, self.labeled_clusters - fitted))

    def lower(self, alpha: float, slope: float | None = None) -> float:
        """The one-sided lower bound at level 1 - `alpha`, with the pseudo-label under 200 labeled clusters.

        NaN under three labels. Measured by bench/people.py: never under 94 % where the level is 95 %.
        """
        if self.labels < 3:
            return math.nan
        if self.labeled_clusters >= statistics.PSEUDO_TURN_BELOW:
            return self.people(slope).lower(alpha)
        # One more cluster: a turn that people call lost and the panel finds average.
        f = self.sums[:, PANEL].sum() / self.sums[:, TURNS].sum()
        lost = [1.0, f, 1.0, PSEUDO_DELTA, f, PSEUDO_DELTA * f, f * f, 1.0]
        return Phases(np.vstack([self.sums, lost])).people(slope).lower(alpha)


class MeanEstimate(NamedTuple):
    """A mean with its cluster-robust standard error. Unit: as what went in."""

    mean: float
    error: float
    slope: float
    freedom: int

    def lower(self, alpha: float) -> float:
        return self.mean - student_quantile(1 - alpha, self.freedom) * self.error

    def half_width(self) -> float:
        """The two-sided interval of 95 % is mean ± this."""
        return student_quantile(0.975, self.freedom) * self.error


def labels_needed(points: float, residual_sd: float = RESIDUAL_SD) -> int:
    """Labels that tell a margin of `2 * points` from 0 with 80 % power at a one-sided 5 %; `points` on the score scale.

    45 for 10 points, 181 for 5, 723 for 2.5; the default `win_margin` of 2 points of margin is 1 here: 4,520.
    """
    return round((POWER_QUANTILE * 100 * residual_sd / points) ** 2)


WISHED_SHARES = (0.7, 0.8, 0.9)
STEP = 5.0
LOWEST = 50.0  # under it the panel itself prefers the opponent


def agreed_thresholds(scores: Floats, won: Floats, weights: Floats, alpha: float = 0.05) -> list[PeopleThreshold]:
    """For each wished share the lowest score from which people prefer the challenger in at least that share of turns.

    `scores` (n,) are the panel's, 0-100; `won` (n,) is 1.0 where people prefer the challenger, else 0.0, NaN where
    nobody voted; `weights` (n,) are 1 / chance. Thresholds are tested from 100 down, each at level `alpha`, until one
    fails: testing in a fixed order needs no correction (Bauer 1991). Where even labels that all agree could not pass,
    the test is not made: that depends on how many labels there are, not on what they say.
    """
    found = []
    for share in WISHED_SHARES:
        passed = PeopleThreshold(share=share)
        for threshold in np.arange(100.0, LOWEST - STEP / 2, -STEP).tolist():
            above = scores >= threshold
            told = above & np.isfinite(won)
            labels, lower = int(told.sum()), share_lower(won[told], weights[told], alpha)
            if share_lower(np.ones(labels), weights[told], alpha) <= share:
                continue
            if lower <= share:
                break
            figures = {"labels": labels, "observed": np.average(won[told], weights=weights[told]), "lower": lower}
            passed = PeopleThreshold(share=share, final_min=threshold, turns=int(above.sum()), **figures)
        found.append(passed)
    return found


def share_lower(won: Floats, weights: Floats, alpha: float) -> float:
    """The exact one-sided lower bound of a weighted share; 0 without labels.

    Clopper and Pearson's on the effective number of labels (Korn & Graubard 1998): (sum w)^2 / sum w^2.
    """
    count = float(weights.sum() ** 2 / (weights**2).sum()) if len(won) else 0.0
    hits = count * float(np.average(won, weights=weights)) if len(won) else 0.0
    if hits < 0.5:
        return 0.0
    return statistics.bisect(lambda share: beta_share(share, hits, count - hits + 1) < alpha, 1.0, 50)[0]


def beta_share(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function I_x(a, b) for a, b of at least 0.5, to 6 digits up to a + b of 2,000.

    With t = sin(angle)^2 the density is a smooth product of powers, which Gauss and Legendre's rule integrates.
    """
    (nodes, weights), half = statistics.legendre(200), math.asin(math.sqrt(x)) / 2
    angles = half * (nodes + 1)
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + math.log(2)
    with np.errstate(divide="ignore"):
        density = np.exp(scale + (2 * a - 1) * np.log(np.sin(angles)) + (2 * b - 1) * np.log(np.cos(angles)))
    return min(1.0, half * float(weights @ density))
