"""Figures of the verdict: what a score would be worth before the same panel again, and how far an attack moves a judge.

A score is a measurement with noise. Its reliability r is the correlation of two such measurements:

`orders`   two halves of one panel, one order each, correlate at h; the whole then has r = 2h / (1 + h) before the same
           panel on fresh replies (Spearman 1910; Brown 1910)
`judges`   k judges that correlate at c in the mean make r = k c / (1 + (k - 1) c) before another panel of that size

On a second look a turn of score s is expected at m + r (s - m), m the mean of all turns: the best turns fall furthest.
Around it lies e(s) sqrt(1 + r), where e(s) is the error of scores near s: orders, or judges, that differ within a turn.
Scores near 0 and 100 err less than those between, so one error for all would tell too few turns final again.
"""

import math
from typing import Any

import numpy as np

from duel.judging import agreement
from duel.judging.columns import Floats
from duel.judging.evidence import FIGURES, Evidence
from duel.judging.scoring import VoteTable, correlation, mean
from duel.judging.statistics import finite
from duel.records import Canary, JudgeMoved, Repeats

BIN = 10.0  # points


@FIGURES.register("repeats")
def figures(evidence: Evidence) -> dict[str, Any]:
    """Reliability and what it means for the turns of `final/`, and how far an attack moves each judge."""
    table, final_min = evidence.panel, evidence.settings.report.final_min
    scores = table.standings.scores[table.parsed]
    orders, judges = reliability(table)
    final = scores[scores >= final_min]
    center, spread = (float(scores.mean()), float(scores.std())) if len(scores) else (math.nan, math.nan)
    fresh = np.array([evidence.case.confirmed[str(f)] for f in evidence.columns.files if f in evidence.case.confirmed])
    known: dict[str, float] = {}
    for name, r, noise in zip(("same", "other"), (orders, judges), errors(table), strict=True):
        if len(final) and np.isfinite(r):
            expected = center + r * (final - center)
            spread_there = np.sqrt((1 + r) * near(scores, noise)[scores >= final_min])
            known[f"expected_{name}"] = float(expected.mean())
            known[f"again_{name}"] = float(_chance(expected, spread_there, final_min).mean())
    repeats = Repeats(
        turns=len(scores),
        reliability_orders=finite(orders),
        reliability_judges=finite(judges),
        mean=finite(center),
        spread=finite(spread),
        final=len(final),
        final_mean=float(final.mean()) if len(final) else None,
        confirmed=len(fresh) or None,
        confirmed_mean=float(fresh.mean()) if len(fresh) else None,
        confirmed_share=float((fresh >= final_min).mean()) if len(fresh) else None,
        **known,
    )
    return {"repeats": repeats, "canary": canary(evidence)}


def reliability(table: VoteTable) -> tuple[float, float]:
    """(before the same panel on fresh replies, before another panel of the same size); NaN where it cannot be told."""
    halves = mean(np.where(table.counts[..., None], table.vote_values, np.nan), axis=1)
    half = correlation(halves[:, 0], halves[:, 1])
    judges = len(table.judges)
    shared = agreement.mean_correlation(agreement.pair_correlations(table.turn_values)) if judges > 1 else math.nan
    parts = ((max(half, 0.0), 2), (max(shared, 0.0), judges))  # Spearman and Brown; max() keeps NaN in first place
    orders, others = (times * one / (1 + (times - 1) * one) for one, times in parts)
    return orders, others


def errors(table: VoteTable) -> tuple[Floats, Floats]:
    """For each parsed turn the error variance of its score in points squared, from its orders and from its judges."""
    votes = np.where(table.counts[..., None], table.vote_values, np.nan)[table.parsed]
    number = table.counts[table.parsed].sum(1)
    gaps = votes[..., 0] - votes[..., 1]
    gaps = gaps - mean(gaps, axis=0)  # a judge's lean to the reply shown first is no noise
    orders = 100**2 * np.nansum(gaps**2, axis=1) / 4 / number**2
    values = table.turn_values[table.parsed]
    spread = np.nansum((values - mean(values, axis=1)[:, None]) ** 2, axis=1)
    return orders, 100**2 * spread / np.maximum(number - 1, 1) / number


def near(scores: Floats, variance: Floats) -> Floats:
    """(T,): the mean of `variance` over turns whose score lies within half a BIN."""
    order = np.argsort(scores, kind="stable")
    ranked, sums = scores[order], np.concatenate([[0.0], np.cumsum(variance[order])])
    low, high = np.searchsorted(ranked, scores - BIN / 2), np.searchsorted(ranked, scores + BIN / 2, side="right")
    return np.asarray((sums[high] - sums[low]) / (high - low))


def _chance(expected: Floats, spread: Floats, threshold: float) -> Floats:
    """The chance that a turn expected at `expected` reaches `threshold`."""
    pairs = zip(expected.tolist(), spread.tolist(), strict=True)
    return np.array(
        [0.5 * math.erfc((threshold - e) / (s * math.sqrt(2))) if s > 0 else float(e >= threshold) for e, s in pairs]
    )


def canary(evidence: Evidence) -> Canary | None:
    """How far each judge prefers the king with an attack added to the very same king without."""
    found = evidence.case.canary
    if found is None or not len(found):
        return None
    table, kinds = VoteTable.of(found, evidence.settings), np.array(evidence.case.attacks)
    wins = agreement.winner(table.turn_values)
    return Canary(
        turns=len(found),
        judges=[
            JudgeMoved(
                judge=judge,
                turns=int(np.isfinite(wins[:, place]).sum()),
                margin=finite(200 * (mean(table.turn_values[:, place], axis=0) - 0.5)),
                moved=int((wins[:, place] == 1).sum()),
                by_attack={
                    str(kind): finite(200 * (mean(table.turn_values[kinds == kind, place], axis=0) - 0.5))
                    for kind in np.unique(kinds)
                },
            )
            for place, judge in enumerate(table.judges)
        ],
    )
