"""The score from which people agree with the panel: thresholds tested from the top down, on the labels above each."""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from duel.records.people import PeopleThreshold

Floats = NDArray[np.float64]

WISHED_SHARES = (0.7, 0.8, 0.9)
STEP = 5.0
LOWEST = 50.0  # under it the panel itself prefers the opponent


def agreed_thresholds(scores: Floats, won: Floats, weights: Floats, alpha: float = 0.05) -> list[PeopleThreshold]:
    """For each wished share the lowest score from which people prefer the challenger in at least that share of turns.

    `scores` (n,) are the panel's, 0-100; `won` (n,) is 1.0 where people prefer the challenger, else 0.0, NaN where
    nobody voted; `weights` (n,) are 1 / chance. Thresholds are tested from 100 down, each at level `alpha`, until one
    fails: testing in a fixed order needs no correction (Bauer 1991), so the chosen threshold errs in `alpha` of all
    cases at most. Where even labels that all agree could not pass, the test is not made: that depends on how many
    labels there are, not on what they say.
    """
    return [_fixed_sequence(share, scores, won, weights, alpha) for share in WISHED_SHARES]


def _fixed_sequence(share: float, scores: Floats, won: Floats, weights: Floats, alpha: float) -> PeopleThreshold:
    passed = PeopleThreshold(share=share)
    for threshold in np.arange(100.0, LOWEST - STEP / 2, -STEP):
        above = scores >= threshold
        told = above & np.isfinite(won)
        if share_lower(np.ones(int(told.sum())), weights[told], alpha) <= share:
            continue
        lower = share_lower(won[told], weights[told], alpha)
        if lower <= share:
            break
        passed = PeopleThreshold(
            share=share,
            final_min=float(threshold),
            labels=int(told.sum()),
            observed=float(np.average(won[told], weights=weights[told])),
            lower=lower,
            turns=int(above.sum()),
        )
    return passed


def share_lower(won: Floats, weights: Floats, alpha: float) -> float:
    """The exact one-sided lower bound of a weighted share; 0 without labels.

    Clopper and Pearson's on the effective number of labels (Korn & Graubard 1998): (sum w)^2 / sum w^2.
    """
    if not len(won):
        return 0.0
    count = float(weights.sum() ** 2 / (weights**2).sum())
    hits = count * float(np.average(won, weights=weights))
    if hits < 0.5:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if beta_share(middle, hits, count - hits + 1) < alpha else (low, middle)
    return low


def beta_share(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function I_x(a, b) for a, b of at least 0.5.

    For whole numbers it is the chance of at least a hits in a + b - 1 tries. With t = sin(angle)^2 the density is a
    smooth product of powers, which Gauss and Legendre's rule integrates: to 6 digits up to a + b of 2,000.
    """
    nodes, weights = _rule()
    top = math.asin(math.sqrt(x))
    angles = top * nodes
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + math.log(2)
    with np.errstate(divide="ignore"):
        density = np.exp(scale + (2 * a - 1) * np.log(np.sin(angles)) + (2 * b - 1) * np.log(np.cos(angles)))
    return min(1.0, top * float(weights @ density))


@cache
def _rule(points: int = 200) -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(points)
    return (nodes + 1) / 2, weights / 2
