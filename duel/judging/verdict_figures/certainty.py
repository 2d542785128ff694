"""Figures of the verdict: margin, bounds, power, outcomes, buckets, other thresholds."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from duel.judging import agreement, statistics
from duel.judging.bounds import Units, bound
from duel.judging.columns import MISSING, Columns, Floats
from duel.judging.evidence import FIGURES, Evidence
from duel.judging.scoring import VoteTable
from duel.judging.statistics import Clusters, finite
from duel.judging.verdict_figures import bias
from duel.records import Bound, NoiseFloor, Thresholds, WhatIf
from duel.settings import Settings

# What the what-if tables try beside the settings' own values.
WHAT_IF_FINAL = (70.0, 75.0, 80.0, 85.0, 90.0)
WHAT_IF_DEFEAT = (50.0, 55.0, 60.0, 66.0, 70.0)


@FIGURES.register("certainty")
def figures(evidence: Evidence) -> dict[str, Any]:
    """The bounds, what they rest on, how small a margin they can tell, and where the turns go by score."""
    bounds, settings, points, case = evidence.bounds, evidence.settings, evidence.points, evidence.case
    duel, report, scores = settings.duel, settings.report, evidence.scores
    turns, units, other = len(evidence.columns), evidence.units, evidence.other_units
    own = Bound(clusters=units.count, se=bounds.error, lcb=bounds.studentized, lcb_t=bounds.t)
    tally = bias.tally(bias.outcomes(evidence.table.deltas, settings.judge.tie_band))
    over_all = detectable = needed = None
    if case.ineligible is not None and len(case.ineligible):  # some were judged that cannot be kept
        table = VoteTable.of(Columns.stacked(evidence.columns, case.ineligible), settings)
        all_units = Units.of(table.columns, table.parsed, units.by)
        over_all = bound(table.deltas, table.parsed, all_units, settings, evidence.level)
    if bounds.error and bounds.quantile is not None and bounds.mean is not None:
        detectable = 200 * statistics.detectable(bounds.error, bounds.quantile, duel.win_margin / 200)
        needed = statistics.turns_needed(evidence.parsed, bounds.mean, bounds.error, bounds.quantile)
    # By score alone, as `placement.by_score`.
    final, defeat = scores >= report.final_min, scores < report.defeat_min
    unparsed = np.isnan(scores)
    buckets = {"final": final & ~defeat, "refined": ~(final | defeat | unparsed), "defeat": defeat}
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
        "kept_out": len(case.kept_out),
        "over_all": over_all,
        "length_controlled": bounds.length,
        "missing": bounds.missing if bounds.missing.clusters else own,
        "missing_votes": int((evidence.columns.votes[..., 0] == MISSING)[evidence.table.due].sum()),
        "worst_case_margin": None if points is None else 2 * points * evidence.parsed / turns - 100,
        "tie_band": settings.judge.tie_band,
        **{name: tally[name] for name in ("wins", "ties", "losses", "win_rate")},
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


def noise_floor(evidence: Evidence, table: VoteTable) -> NoiseFloor:
    """The margin of the noise in points, with a 95 % interval, beside the real one on the same turns."""
    settings, parsed = evidence.settings, table.parsed
    same = np.isin(evidence.columns.files.astype(str), table.columns.files.astype(str))
    real = VoteTable.of(evidence.columns.where(same), settings)
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
