"""Figures of the verdict: margin, bounds, power, outcomes, buckets, and what a score would be worth on a second look.

A score is a measurement with noise. Its reliability r is the correlation of two such measurements:

`orders`   two halves of one panel, one order each, correlate at h; the whole then has r = 2h / (1 + h) before the same
           panel on fresh replies (Spearman 1910; Brown 1910)
`judges`   k judges that correlate at c in the mean make r = k c / (1 + (k - 1) c) before another panel of that size

On a second look a turn of score s is expected at m + r (s - m), m the mean of all turns: the best turns fall furthest.
Around it lies e(s) sqrt(1 + r), where e(s) is the error of scores near s: orders, or judges, that differ within a turn.
Scores near 0 and 100 err less than those between, so one error for all would tell too few turns final again.
"""

import math
from collections.abc import Iterable
from itertools import product
from typing import Any

import numpy as np

from duel.judging import statistics
from duel.judging.bounds import Units, bound
from duel.judging.gate import FIGURES, Evidence
from duel.judging.scoring import MISSING, Columns, VoteTable
from duel.judging.statistics import Clusters, Floats, correlation, mean
from duel.judging.verdict_figures import panel_tables
from duel.records import Bound, Canary, JudgeMoved, NoiseFloor, Repeats, Thresholds, WhatIf
from duel.settings import Settings

# What the what-if tables try beside the settings' own values.
WHAT_IF_FINAL = (70.0, 75.0, 80.0, 85.0, 90.0)
WHAT_IF_DEFEAT = (50.0, 55.0, 60.0, 66.0, 70.0)
BIN = 10.0  # points


@FIGURES.register("certainty")
def figures(evidence: Evidence) -> dict[str, Any]:
    """The bounds, what they rest on, how small a margin they can tell, and where the turns go by score."""
    bounds, settings, points, case = evidence.bounds, evidence.settings, evidence.points, evidence.case
    duel, report, scores = settings.duel, settings.report, evidence.panel.standings.scores
    turns, units, other = len(evidence.columns), evidence.units, evidence.other_units
    own = Bound(clusters=units.count, se=bounds.se, lcb=bounds.lcb, lcb_t=bounds.lcb_t)
    over_all = detectable = needed = None
    if case.ineligible is not None and len(case.ineligible):  # some were judged that cannot be kept
        table = VoteTable(Columns.stacked(evidence.columns, case.ineligible), settings)
        all_units = Units.of(table.columns, table.parsed, units.by)
        over_all = bound(table.deltas, table.parsed, all_units, settings, evidence.level)
    if bounds.se and bounds.quantile is not None and bounds.mean_delta is not None:
        detectable = 200 * statistics.detectable(bounds.se, bounds.quantile, duel.win_margin / 200)
        needed = statistics.turns_needed(evidence.parsed, bounds.mean_delta, bounds.se, bounds.quantile)
    # By score alone, as `placement.place`.
    final, defeat, unparsed = scores >= report.final_min, scores < report.defeat_min, np.isnan(scores)
    buckets = {"final": final & ~defeat, "refined": ~(final | defeat | unparsed), "defeat": defeat}
    tally = panel_tables.tally(panel_tables.outcomes(evidence.table.deltas, settings.judge.tie_band))
    worst = None if points is None else 2 * points * evidence.parsed / turns - 100
    return {
        **{name: tally[name] for name in ("wins", "ties", "losses", "win_rate")},
        **{name: getattr(evidence, name) for name in ("margin", "parsed", "parsed_fraction", "leak_fraction")},
        **duel.model_dump(include={"gate_alpha", "alpha", "seed"}),
        **bounds.model_dump(include={"mean_delta", "se", "lcb", "lcb_t", "lcb_iid", "lcb_strict"}),
        "challenger_score": points,
        "king_score": None if points is None else 100 - points,
        "resamples": duel.bootstrap_resamples,
        "alpha_used": evidence.level,
        "pseudo_turn": 0 < units.count < statistics.PSEUDO_TURN_BELOW,
        "turns": turns,
        "clusters": units.count,
        "cluster_by": units.by,
        "kept_out": len(case.kept_out),
        "by_cluster": {units.by: own, other.by: bounds.other_units},
        "over_all": over_all,
        "length_controlled": bounds.length,
        "missing": bounds.missing if bounds.missing.clusters else own,
        "missing_votes": int((evidence.columns.votes[..., 0] == MISSING)[evidence.table.due].sum()),
        "worst_case_margin": worst,
        "tie_band": settings.judge.tie_band,
        "buckets": {name: int(rows.sum()) for name, rows in (buckets | {"unparsed": unparsed}).items()},
        "what_if": WhatIf(thresholds=thresholds(scores, settings)),
        "noise_floor": None if evidence.noise is None else noise_floor(evidence, evidence.noise),
        "minimum_detectable_margin": detectable,
        "power": statistics.POWER,
        "turns_needed": needed,
    }


def thresholds(scores: Floats, settings: Settings, more: Iterable[float] = ()) -> list[Thresholds]:
    """How many turns other thresholds would keep; `more` are further values of `final_min`."""
    report = settings.report
    own, found = (report.final_min, report.defeat_min), []
    for high, low in product(sorted({*WHAT_IF_FINAL, own[0], *more}), sorted({*WHAT_IF_DEFEAT, own[1]})):
        if low <= high:
            counts = {"final": scores >= high, "refined": (scores >= low) & (scores < high), "defeat": scores < low}
            turns = {name: int(rows.sum()) for name, rows in counts.items()}
            found.append(Thresholds(final_min=high, defeat_min=low, current=(high, low) == own, **turns))
    return found


def noise_floor(evidence: Evidence, table: VoteTable) -> NoiseFloor:
    """The margin of the noise in points, with a 95 % interval, beside the real one on the same turns."""
    parsed, scores = table.parsed, table.standings.scores
    same = np.isin(evidence.columns.files.astype(str), table.columns.files.astype(str))
    real = VoteTable(evidence.columns.where(same), evidence.settings)
    clusters = Clusters.of(table.deltas[parsed], table.columns.instances[parsed].astype(np.str_))
    points, error = table.challenger_score(), 200 * clusters.errors()[0] if clusters.count > 1 else math.nan
    reach = statistics.student_quantile(0.975, max(1, clusters.count - 1)) * error
    margin = 2 * points - 100
    told: dict[str, Any] = {"turns": len(table.columns), "parsed": int(parsed.sum()), "clusters": clusters.count}
    told |= {"score": points, "margin": margin, "se": error, "low": margin - reach, "high": margin + reach}
    told |= {"real_margin": 2 * real.challenger_score() - 100}
    if parsed.any():
        told |= {"final_share": (scores[parsed] >= evidence.settings.report.final_min).mean()}
    return NoiseFloor(flip_rate=dict(zip(table.judges, panel_tables.flips(table)[1], strict=True)), **told)


@FIGURES.register("repeats")
def second_look(evidence: Evidence) -> dict[str, Any]:
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
            # The chance of each turn to reach `final_min` again.
            again = [
                0.5 * math.erfc((final_min - e) / (s * math.sqrt(2))) if s > 0 else float(e >= final_min)
                for e, s in zip(expected.tolist(), spread_there.tolist(), strict=True)
            ]
            known[f"again_{name}"] = float(np.mean(again))
    if len(final):
        known["final_mean"] = float(final.mean())
    if len(fresh):
        known |= {"confirmed": len(fresh), "confirmed_mean": float(fresh.mean())}
        known["confirmed_share"] = float((fresh >= final_min).mean())
    reliable = {"reliability_orders": orders, "reliability_judges": judges}
    repeats = Repeats(turns=len(scores), mean=center, spread=spread, final=len(final), **reliable, **known)
    return {"repeats": repeats, "canary": canary(evidence)}


def reliability(table: VoteTable) -> tuple[float, float]:
    """(before the same panel on fresh replies, before another panel of the same size); NaN where it cannot be told."""
    halves = mean(np.where(table.counts[..., None], table.vote_values, np.nan), axis=1)
    half = correlation(halves[:, 0], halves[:, 1])
    judges = len(table.judges)
    shared = statistics.mean_correlation(statistics.pair_correlations(table.turn_values)) if judges > 1 else math.nan
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


def canary(evidence: Evidence) -> Canary | None:
    """How far each judge prefers the king with an attack added to the very same king without."""
    found = evidence.case.canary
    if found is None or not len(found):
        return None
    table, kinds = VoteTable(found, evidence.settings), np.array(evidence.case.attacks)
    wins, rows = statistics.winner(table.turn_values), []
    for place, judge in enumerate(table.judges):
        values = table.turn_values[:, place]
        by_attack = {str(kind): 200 * (mean(values[kinds == kind], axis=0) - 0.5) for kind in np.unique(kinds)}
        moved = {"turns": int(np.isfinite(values).sum()), "moved": int((wins[:, place] == 1).sum())}
        margin = 200 * (mean(values, axis=0) - 0.5)
        rows.append(JudgeMoved(judge=judge, margin=margin, by_attack=by_attack, **moved))
    return Canary(turns=len(found), judges=rows)
