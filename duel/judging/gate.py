"""The verdict: what the votes add up to, how sure that is, and whether the challenger is accepted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from duel.judging import bias, looks, noise_floor, statistics, tables
from duel.judging.buckets import bucket_of
from duel.judging.rubric import short_hash
from duel.judging.statistics import Clusters, finite
from duel.judging.table import Floats, Table, mean
from duel.records import DIMENSIONS, Score
from duel.settings import Settings

FORMAT = "duel-verdict/1"
STAND_IN = "offline-stand-in/"


@dataclass(frozen=True)
class Bounds:
    """The bounds on the mean delta. Deltas; None for "no data"."""

    mean: float | None = None
    error: float | None = None
    studentized: float | None = None
    strict: float | None = None
    t: float | None = None
    percentile: float | None = None
    by_metric: list[float | None] = field(default_factory=lambda: [None] * len(DIMENSIONS))
    quantile: float | None = None
    """How many standard errors the studentized bound lies under the mean."""


def decide(
    scores: Sequence[Score],
    settings: Settings,
    *,
    earlier: Sequence[Mapping[str, Any]] = (),
    noise: Sequence[Score] = (),
    left_out: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """What `_duel.json` holds: the verdict on `scores` (one mode, settled under `settings`) and all its tables.

    `earlier` are the looks taken in this workspace before this one, `noise` the settled scores of the noise floor,
    `left_out` what was not counted, by reason. No call, no clock: the same input gives the same verdict.
    """
    duel = settings.duel
    table = Table.of(scores, settings)
    turns, parsed = len(scores), int(table.parsed.sum())
    clusters = Clusters.of(np.zeros(parsed), table.clusters[table.parsed]).count if parsed else 0
    challenger = looks.challenger_of(scores)
    votes = looks.votes_of(scores)
    level = looks.level(looks.before(earlier, challenger, votes), clusters, duel.gate_alpha, duel.looks)
    bounds = measure(table, settings, level)
    points = finite(table.challenger_score()) if parsed else None
    margin = None if points is None else 2 * points - 100
    gates = check(settings, _share(parsed, turns), margin, bounds.studentized, clusters)
    decision = _decision(gates, clusters, duel.min_clusters)
    look = {
        "challenger": challenger,
        "writers": sorted({score.writers.get("challenger", "") for score in scores}),
        "mode": duel.mode,
        "turns": turns,
        "parsed": parsed,
        "clusters": clusters,
        "alpha": level,
        "margin": margin,
        "lcb": bounds.studentized,
        "decision": decision,
        "votes": votes,
    }
    judges, metrics = tables.judges(table), tables.metrics(table, _by_metric(table), bounds.by_metric)
    noise_table = Table.of(noise, settings) if noise else None
    effective, source = tables.effective_votes(table, noise_table)
    worst = None if points is None else 2 * points * parsed / turns - 100
    tally = bias.tally(bias.outcomes(table.deltas, settings.judge.tie_band))
    return {
        "format": FORMAT,
        "accepted": decision == "accepted",
        "decision": decision,
        "gates": gates,
        "why": reasons(gates, decision, clusters, settings),
        "mode": duel.mode,
        "opponent": "king" if duel.mode == 2 else "assistant",
        "challenger_score": points,
        "king_score": None if points is None else 100 - points,
        "margin": margin,
        "mean_delta": bounds.mean,
        "se": bounds.error,
        "lcb": bounds.studentized,
        "lcb_t": bounds.t,
        "lcb_iid": bounds.percentile,
        "lcb_strict": bounds.strict,
        "gate_alpha": duel.gate_alpha,
        "alpha_used": level,
        "alpha": duel.alpha,
        "resamples": duel.bootstrap_resamples,
        "seed": duel.seed,
        "pseudo_turn": 0 < clusters < statistics.PSEUDO_TURN_BELOW,
        "turns": turns,
        "parsed": parsed,
        "parsed_fraction": _share(parsed, turns),
        "clusters": clusters,
        "cluster_by": duel.cluster_by,
        "worst_case_margin": worst,
        "win_margin": duel.win_margin,
        "tie_band": settings.judge.tie_band,
        **{name: tally[name] for name in ("wins", "ties", "losses", "win_rate")},
        **_power(bounds, parsed, settings),
        "buckets": buckets(scores, settings),
        "by_judge": {row["judge"]: row["score"] for row in judges},
        "by_metric": {row["metric"]: row["score"] for row in metrics},
        "flip_rate": {row["judge"]: row["flip_rate"] for row in judges},
        "first_shown_lean": {row["judge"]: row["first_shown_lean"] for row in judges},
        "effective_votes": finite(effective),
        "effective_votes_from": source,
        "krippendorff_alpha": {row["metric"]: row["alpha"] for row in metrics},
        "length_bias": bias.length_bias(table, settings.judge.tie_band),
        "position_bias": bias.position_bias(table),
        "family_bias": bias.family_bias(table),
        "judges": judges,
        "metrics": metrics,
        "judge_pairs": tables.pairs(table, noise_table),
        "what_if": what_if(scores, settings, _share(parsed, turns), margin, bounds.studentized, clusters),
        "looks": looks.summary(looks.joined(earlier, look), duel.looks, challenger),
        "noise_floor": noise_floor.figures(noise, scores, settings),
        "adaptive": tables.savings(table, settings),
        "attempts": tables.attempts(scores),
        "left_out": dict(sorted((left_out or {}).items())),
        "missing_votes": sum(not vote.parsed for score in scores for vote in score.votes),
        **tables.spending(scores),
        "writers": _writers(scores),
        "judges_models": tables.judge_models(scores),
        "offline": any(name.startswith(STAND_IN) for name in tables.models([*scores, *noise])),
        "made_with": {
            "rubric": scores[0].made_with.get("rubric", "") if scores else "",
            "panel": scores[0].made_with.get("panel", "") if scores else "",
            "settings": gate_hash(settings),
            "votes": votes,
        },
    }


def gate_hash(settings: Settings) -> str:
    """What identifies the settings that turn votes into a verdict."""
    judge = settings.judge.model_dump(include={"metric_keys", "quorum", "tie_band", "strategy"})
    return short_hash([settings.duel.model_dump(), settings.report.model_dump(), judge])


def measure(table: Table, settings: Settings, level: float) -> Bounds:
    """The bounds at `level` over the parsed turns, for the score and for each dimension; none under two clusters."""
    deltas = table.deltas[table.parsed]
    if not len(deltas):
        return Bounds()
    labels = table.clusters[table.parsed]
    total = Clusters.of(deltas, labels)
    centre = finite(total.means()[0])
    if total.count < 2:
        return Bounds(mean=centre)
    duel = settings.duel
    metrics = _turn_metrics(table)[table.parsed] - 0.5
    all_in_one = Clusters.of(np.column_stack([deltas, metrics]), labels)
    boot = statistics.studentized(all_in_one, duel.bootstrap_resamples, duel.seed)
    error = float(total.errors()[0])
    lower = boot.lower(level) if level > 0 else np.full(1 + len(DIMENSIONS), -np.inf)
    return Bounds(
        mean=centre,
        error=finite(error),
        studentized=finite(lower[0]),
        strict=finite(boot.lower(duel.alpha)[0]),
        t=finite(statistics.t_lower(total, level)[0]) if level > 0 else None,
        percentile=finite(statistics.percentile_lower(deltas, duel.gate_alpha, duel.bootstrap_resamples, duel.seed)),
        by_metric=[finite(value) for value in lower[1:]],
        quantile=finite((float(total.means()[0]) - lower[0]) / error) if error > 0 else None,
    )


def _turn_metrics(table: Table) -> Floats:
    """(T, 5): the mean over counting judges of each dimension, NaN where a turn is not parsed."""
    return mean(table.values, axis=1)


def _by_metric(table: Table) -> Floats:
    """(5,): the challenger's points in each dimension, over judges of the mean over turns."""
    return 100 * mean(table.by_judge_and_metric, axis=0)


def check(
    settings: Settings, parsed_fraction: float | None, margin: float | None, lcb: float | None, clusters: int
) -> list[dict[str, Any]]:
    """The four conditions, each with its figure, its threshold and whether it held."""
    duel = settings.duel
    least = duel.min_valid_turn_frac
    conditions: list[tuple[str, float | None, float, bool]] = [
        ("parsed_fraction", parsed_fraction, least, _reaches(parsed_fraction, least)),
        ("margin", margin, duel.win_margin, _reaches(margin, duel.win_margin)),
        ("lcb", lcb, 0.0, lcb is not None and lcb > 0),
        ("clusters", clusters, duel.min_clusters, clusters >= duel.min_clusters),
    ]
    names = ("name", "value", "threshold", "held")
    return [dict(zip(names, condition, strict=True)) for condition in conditions]


def _reaches(value: float | None, threshold: float) -> bool:
    # A margin is a difference of means: 2.0 may come out as 1.9999999999999858.
    return value is not None and value >= threshold - 1e-9


def _decision(gates: Sequence[Mapping[str, Any]], clusters: int, least: int) -> str:
    if clusters < least:
        return "undecided"
    return "accepted" if all(gate["held"] for gate in gates) else "rejected"


def reasons(gates: Sequence[Mapping[str, Any]], decision: str, clusters: int, settings: Settings) -> list[str]:
    """The verdict in sentences."""
    if decision == "accepted":
        return ["Every condition of the gate holds."]
    words = {
        "parsed_fraction": "too few turns are parsed",
        "margin": "the margin is under the one that is asked for",
        "lcb": "the lower bound of the mean delta is not above 0: what is seen may be noise",
        "clusters": f"{clusters} pull requests are too few to decide on; {settings.duel.min_clusters} are needed",
    }
    return [words[gate["name"]][0].upper() + words[gate["name"]][1:] + "." for gate in gates if not gate["held"]]


def buckets(scores: Sequence[Score], settings: Settings) -> dict[str, int]:
    """Turns a bucket, by score alone."""
    found = Counter(bucket_of(score.score, settings)[0] or "unparsed" for score in scores)
    return {name: found[name] for name in ("final", "refined", "defeat", "unparsed")}


def _power(bounds: Bounds, parsed: int, settings: Settings) -> dict[str, Any]:
    """The smallest margin that this many turns can tell, and how many turns today's margin would need."""
    error, quantile = bounds.error, bounds.quantile
    if not error or quantile is None or bounds.mean is None:
        return {"minimum_detectable_margin": None, "power": statistics.POWER, "turns_needed": None}
    least = statistics.detectable(error, quantile, settings.duel.win_margin / 200)
    return {
        "minimum_detectable_margin": 200 * least,
        "power": statistics.POWER,
        "turns_needed": statistics.turns_needed(parsed, bounds.mean, error, quantile),
    }


def what_if(
    scores: Sequence[Score],
    settings: Settings,
    parsed_fraction: float | None,
    margin: float | None,
    lcb: float | None,
    clusters: int,
) -> dict[str, Any]:
    """How many turns other thresholds would keep, and what the verdict would be at other win margins."""
    report, duel = settings.report, settings.duel
    finals = sorted({70.0, 75.0, 80.0, 85.0, 90.0, report.final_min})
    defeats = sorted({50.0, 55.0, 60.0, 66.0, 70.0, report.defeat_min})
    points = np.array([score.score for score in scores if score.score is not None], dtype=float)
    thresholds = [
        {
            "final_min": high,
            "defeat_min": low,
            "final": int((points >= high).sum()),
            "refined": int(((points >= low) & (points < high)).sum()),
            "defeat": int((points < low).sum()),
            "current": (high, low) == (report.final_min, report.defeat_min),
        }
        for high in finals
        for low in defeats
        if low <= high
    ]
    margins = []
    for win in sorted({0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, duel.win_margin}):
        changed = settings.model_copy(update={"duel": duel.model_copy(update={"win_margin": win})})
        decision = _decision(check(changed, parsed_fraction, margin, lcb, clusters), clusters, duel.min_clusters)
        row = {"win_margin": win, "accepted": decision == "accepted", "decision": decision}
        margins.append({**row, "current": win == duel.win_margin})
    return {"thresholds": thresholds, "margins": margins}


def _writers(scores: Sequence[Score]) -> dict[str, list[str]]:
    return {side: sorted({score.writers.get(side, "") for score in scores} - {""}) for side in ("king", "challenger")}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
