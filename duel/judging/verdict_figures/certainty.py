"""Figures of the verdict: margin, bounds, power, outcomes, buckets, other thresholds."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from duel.judging import agreement, statistics
from duel.judging.bounds import Units, bound
from duel.judging.columns import MISSING, Floats
from duel.judging.evidence import FIGURES, Evidence
from duel.judging.statistics import Clusters, finite
from duel.judging.verdict_figures import bias
from duel.judging.vote_table import VoteTable
from duel.records import Bound, NoiseFloor, Thresholds, WhatIf
from duel.settings import Settings

# What the what-if tables try beside the settings' own values.
WHAT_IF_FINAL = (70.0, 75.0, 80.0, 85.0, 90.0)
WHAT_IF_DEFEAT = (50.0, 55.0, 60.0, 66.0, 70.0)


@FIGURES.register("certainty")
def figures(evidence: Evidence) -> dict[str, Any]:
    """The bounds, what they rest on, how small a margin they can tell, and where the turns go by score."""
    bounds, duel, points = evidence.bounds, evidence.settings.duel, evidence.points
    turns, units, other = len(evidence.columns), evidence.units, evidence.other_units
    own = Bound(clusters=units.count, se=bounds.error, lcb=bounds.studentized, lcb_t=bounds.t)
    tally = bias.tally(bias.outcomes(evidence.table.deltas, evidence.settings.judge.tie_band))
    return {
        "challenger_score": points,
        "king_score": None if points is None else 100 - points,
        "margin": evidence.margin,
        "mean_delta": bounds.mean,
        "se": bounds.error,
        "lcb": bounds.studentized,
        "lcb_t": bounds.t,
        "lcb_iid": bounds.percentile,
        "lcb_strict": bounds.strict,
        "gate_alpha": duel.gate_alpha,
        "alpha_used": evidence.level,
        "alpha": duel.alpha,
        "resamples": duel.bootstrap_resamples,
        "seed": duel.seed,
        "pseudo_turn": 0 < units.count < statistics.PSEUDO_TURN_BELOW,
        "turns": turns,
        "parsed": evidence.parsed,
        "parsed_fraction": evidence.parsed_fraction,
        "clusters": units.count,
        "cluster_by": units.by,
        "by_cluster": {units.by: own, other.by: bounds.other_units},
        "leak_fraction": evidence.leak_fraction,
        "kept_out": len(evidence.case.kept_out),
        "over_all": _over_all(evidence),
        "length_controlled": bounds.length,
        "missing": bounds.missing if bounds.missing.clusters else own,
        "missing_votes": int((evidence.columns.votes[..., 0] == MISSING)[evidence.table.due].sum()),
        "worst_case_margin": None if points is None else 2 * points * evidence.parsed / turns - 100,
        "tie_band": evidence.settings.judge.tie_band,
        **{name: tally[name] for name in ("wins", "ties", "losses", "win_rate")},
        "buckets": buckets(evidence.scores, evidence.settings),
        "what_if": WhatIf(thresholds=thresholds(evidence.scores, evidence.settings)),
        "noise_floor": noise_floor(evidence),
        **_power(evidence),
    }


def _over_all(evidence: Evidence) -> Bound | None:
    """The figures over all judged turns, where some were judged that cannot be kept."""
    more = evidence.case.ineligible
    if more is None or not len(more):
        return None
    table = VoteTable.of(evidence.columns.joined(more), evidence.settings)
    units = Units.of(table.columns, table.parsed, evidence.units.by)
    return bound(table.deltas, table.parsed, units, evidence.settings, evidence.level)


def _power(evidence: Evidence) -> dict[str, Any]:
    """The smallest margin that this many turns can tell, and how many turns today's margin would need."""
    bounds = evidence.bounds
    margin = needed = None
    if bounds.error and bounds.quantile is not None and bounds.mean is not None:
        least = evidence.settings.duel.win_margin / 200
        margin = 200 * statistics.detectable(bounds.error, bounds.quantile, least)
        needed = statistics.turns_needed(evidence.parsed, bounds.mean, bounds.error, bounds.quantile)
    return {"minimum_detectable_margin": margin, "power": statistics.POWER, "turns_needed": needed}


def buckets(scores: Floats, settings: Settings) -> dict[str, int]:
    """Turns a bucket, by score alone (as `placement.by_score`)."""
    final, defeat = scores >= settings.report.final_min, scores < settings.report.defeat_min
    unparsed = np.isnan(scores)
    found = {"final": final & ~defeat, "refined": ~final & ~defeat & ~unparsed, "defeat": defeat, "unparsed": unparsed}
    return {name: int(rows.sum()) for name, rows in found.items()}


def thresholds(scores: Floats, settings: Settings, more: Iterable[float] = ()) -> list[Thresholds]:
    """How many turns other thresholds would keep; `more` are further values of `final_min`."""
    report = settings.report
    return [
        Thresholds(
            final_min=high,
            defeat_min=low,
            final=int((scores >= high).sum()),
            refined=int(((scores >= low) & (scores < high)).sum()),
            defeat=int((scores < low).sum()),
            current=(high, low) == (report.final_min, report.defeat_min),
        )
        for high in sorted({*WHAT_IF_FINAL, report.final_min, *more})
        for low in sorted({*WHAT_IF_DEFEAT, report.defeat_min})
        if low <= high
    ]


def noise_floor(evidence: Evidence) -> NoiseFloor | None:
    """The margin of the noise in points, with a 95 % interval, beside the real one on the same turns."""
    table, settings = evidence.noise, evidence.settings
    if table is None:
        return None
    same = np.isin(evidence.columns.files.astype(str), table.columns.files.astype(str))
    real = VoteTable.of(evidence.columns.where(same), settings)
    parsed = table.parsed
    clusters = Clusters.of(table.deltas[parsed], table.columns.instances[parsed].astype(np.str_))
    points = finite(table.challenger_score()) if parsed.any() else None
    error = finite(200 * clusters.errors()[0]) if clusters.count > 1 else None
    margin = None if points is None else 2 * points - 100
    reach = None if error is None else statistics.student_quantile(0.975, clusters.count - 1) * error
    final = table.standings.scores[parsed] >= settings.report.final_min
    return NoiseFloor(
        turns=len(table.columns),
        parsed=int(parsed.sum()),
        clusters=clusters.count,
        score=points,
        margin=margin,
        se=error,
        low=None if margin is None or reach is None else margin - reach,
        high=None if margin is None or reach is None else margin + reach,
        real_margin=finite(2 * real.challenger_score() - 100) if real.parsed.any() else None,
        final_share=float(final.mean()) if len(final) else None,
        flip_rate=dict(zip(table.judges, map(finite, agreement.flips(table)[1]), strict=True)),
    )
