"""How far the judges of a panel agree, and how many independent votes they are worth."""

from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from duel.judging.scoring import Floats, VoteTable, correlation, mean


def krippendorff_alpha(ratings: ArrayLike) -> float:
    """Krippendorff's alpha of `ratings`, shape (units, raters), NaN where a rater is missing; ordinal metric.

    Ordinal because a judge's dimension is lost, drawn or won, with halves where its orders differ: levels with an order
    and no unit. 1 is full agreement, 0 what chance gives, below 0 worse than chance; NaN where nothing can be compared
    (no unit with two ratings, or one level only). Source: Krippendorff 2019, Content Analysis, 4th ed., 12.3.
    """
    table = np.asarray(ratings, dtype=np.float64)
    levels = np.unique(table[np.isfinite(table)])
    if not len(levels):
        return float("nan")
    # (units, levels): how often a unit was given each level.
    given = np.stack([(table == level).sum(1) for level in levels], axis=1).astype(float)
    given = given[given.sum(1) >= 2]
    if not len(given):
        return float("nan")
    pairs = np.einsum("uv,uw->uvw", given, given) - np.einsum("uv,vw->uvw", given, np.eye(len(levels)))
    coincidences = (pairs / (given.sum(1) - 1)[:, None, None]).sum(0)
    totals = coincidences.sum(1)
    # Squared distance of two levels: the ratings from one to the other, half of each end's own.
    ends = np.cumsum(totals) - totals / 2
    distance = (ends[:, None] - ends[None, :]) ** 2
    expected = float((np.outer(totals, totals) - np.diag(totals)).ravel() @ distance.ravel()) / (totals.sum() - 1)
    observed = float(coincidences.ravel() @ distance.ravel())
    return 1 - observed / expected if expected > 0 else float("nan")


def effective_votes(judges: int, correlation_of_errors: float) -> float:
    """How many independent judges a panel of `judges` is worth at a mean pairwise correlation of their errors.

    Kish's design effect, k / (1 + (k - 1) r): five judges whose errors correlate 0.32 to 0.43 are worth 2.19 to 1.84.
    Never more than there are judges; NaN where the correlation is.
    """
    if judges < 1 or np.isnan(correlation_of_errors):
        return float(judges) if judges == 1 else float("nan")
    return judges / (1 + (judges - 1) * min(max(correlation_of_errors, 0.0), 1.0))


def pair_correlations(values: Floats, truth: Floats | float = 0.0) -> NDArray[np.float64]:
    """(J, J): Pearson's correlation of the judges' errors, `values` (T, J) less `truth` (T,) or a constant.

    Without a known truth the errors cannot be told from real differences between turns, on which judges should agree;
    the correlation of the values themselves is then an upper bound of that of the errors.
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
    return float((winner(first[both]) == winner(second[both])).mean()) if both.any() else float("nan")


def flips(table: VoteTable) -> tuple[NDArray[np.int_], NDArray[np.float64]]:
    """Per judge: turns on which it preferred one side in one order and the other in the other; their share, or NaN.

    The share is of the turns on which both orders parsed. A step between a win and a draw is no flip.
    """
    both = np.isfinite(table.vote_values).all(2).sum(0)
    flipped = table.standings.flipped.sum(0)
    with np.errstate(invalid="ignore"):
        return flipped, flipped / both


def first_shown_lean(table: VoteTable) -> Floats:
    """Per judge: how far its votes lean to the reply shown first, -0.5 to 0.5; 0.5 is always the first.

    Mean over orders of the mean over turns, so that a strong side does not look like a position: only orders that were
    both asked of a judge are compared; NaN otherwise.
    """
    by_order = mean(table.vote_values, axis=0)
    return np.asarray((by_order[:, 1] - by_order[:, 0]) / 2)
