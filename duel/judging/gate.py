"""The verdict: what the votes add up to, how sure that is, and whether the challenger is accepted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from duel.judging import bias, looks, noise_floor, statistics, tables
from duel.judging.rubric import short_hash
from duel.judging.statistics import Clusters, finite
from duel.judging.table import Floats, Table, mean
from duel.placement import by_score
from duel.records import DIMENSIONS, Score
from duel.settings import Settings

FORMAT = "duel-verdict/1"
STAND_IN = "offline-stand-in/"
# What the what-if tables try beside the settings' own values.
WHAT_IF_FINAL = (70.0, 75.0, 80.0, 85.0, 90.0)
WHAT_IF_DEFEAT = (50.0, 55.0, 60.0, 66.0, 70.0)
WHAT_IF_MARGINS = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0)


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


@dataclass(frozen=True)
class Evidence:
    """Everything that a verdict rests on, computed once."""

    scores: Sequence[Score]
    noise: Sequence[Score]
    settings: Settings
    table: Table
    clusters: int
    challenger: str
    """The challenger's fingerprint."""
    votes: str
    """The fingerprint of all votes."""
    level: float
    """What the bound of this look may use of alpha."""
    bounds: Bounds
    earlier: Sequence[Mapping[str, Any]]

    @classmethod
    def of(
        cls,
        scores: Sequence[Score],
        noise: Sequence[Score],
        settings: Settings,
        earlier: Sequence[Mapping[str, Any]],
    ) -> Evidence:
        """The evidence of `scores`."""
        table = Table.of(scores, settings)
        clusters = len(set(table.clusters[table.parsed].tolist()))
        challenger, votes = looks.challenger_of(scores), looks.votes_of(scores)
        before = looks.before(earlier, challenger, votes)
        level = looks.level(before, clusters, settings.duel.gate_alpha, settings.duel.looks)
        bounds = measure(table, settings, level)
        return cls(scores, noise, settings, table, clusters, challenger, votes, level, bounds, earlier)

    @cached_property
    def parsed(self) -> int:
        """Turns with a score."""
        return int(self.table.parsed.sum())

    @cached_property
    def parsed_fraction(self) -> float | None:
        """The share of turns that have one."""
        return self.parsed / len(self.scores) if self.scores else None

    @cached_property
    def points(self) -> float | None:
        """The challenger's score."""
        return finite(self.table.challenger_score()) if self.parsed else None

    @property
    def margin(self) -> float | None:
        """challenger_score - king_score."""
        return None if self.points is None else 2 * self.points - 100

    @property
    def gates(self) -> list[dict[str, Any]]:
        """The conditions at the win margin of the settings."""
        return self.gates_at(self.settings.duel.win_margin)

    def gates_at(self, win_margin: float) -> list[dict[str, Any]]:
        """The four conditions, each with its figure, its threshold and whether it held."""
        duel, lcb = self.settings.duel, self.bounds.studentized
        conditions: list[tuple[str, float | None, float, bool]] = [
            ("parsed_fraction", self.parsed_fraction, duel.min_valid_turn_frac, False),
            ("margin", self.margin, win_margin, False),
            ("lcb", lcb, 0.0, lcb is not None and lcb > 0),
            ("clusters", self.clusters, duel.min_clusters, self.clusters >= duel.min_clusters),
        ]
        return [
            {"name": name, "value": value, "threshold": threshold, "held": held or _reaches(name, value, threshold)}
            for name, value, threshold, held in conditions
        ]

    def decision(self, gates: Sequence[Mapping[str, Any]]) -> str:
        """accepted, rejected, or undecided where there are too few clusters for an honest decision."""
        if self.clusters < self.settings.duel.min_clusters:
            return "undecided"
        return "accepted" if all(gate["held"] for gate in gates) else "rejected"


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
    evidence = Evidence.of(scores, noise, settings, earlier)
    return {
        "format": FORMAT,
        **_verdict(evidence),
        **_figures(evidence),
        **_panel(evidence),
        **_context(evidence),
        "left_out": dict(sorted((left_out or {}).items())),
        **_provenance(evidence),
    }


def _verdict(evidence: Evidence) -> dict[str, Any]:
    gates, points = evidence.gates, evidence.points
    decision = evidence.decision(gates)
    return {
        "accepted": decision == "accepted",
        "decision": decision,
        "gates": gates,
        "why": reasons(gates, decision, evidence),
        "mode": evidence.settings.duel.mode,
        "opponent": "king" if evidence.settings.duel.mode == 2 else "assistant",
        "challenger_score": points,
        "king_score": None if points is None else 100 - points,
        "margin": evidence.margin,
    }


def _figures(evidence: Evidence) -> dict[str, Any]:
    """The bounds, what they rest on, and how small a margin they can tell."""
    bounds, duel, points = evidence.bounds, evidence.settings.duel, evidence.points
    turns = len(evidence.scores)
    return {
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
        "pseudo_turn": 0 < evidence.clusters < statistics.PSEUDO_TURN_BELOW,
        "turns": turns,
        "parsed": evidence.parsed,
        "parsed_fraction": evidence.parsed_fraction,
        "clusters": evidence.clusters,
        "cluster_by": duel.cluster_by,
        "worst_case_margin": None if points is None else 2 * points * evidence.parsed / turns - 100,
        "win_margin": duel.win_margin,
        **_power(evidence),
    }


def _panel(evidence: Evidence) -> dict[str, Any]:
    """Judges, dimensions, agreement and biases."""
    table, tie_band = evidence.table, evidence.settings.judge.tie_band
    judges = tables.judges(table)
    metrics = tables.metrics(table, evidence.bounds.by_metric)
    noise = Table.of(evidence.noise, evidence.settings) if evidence.noise else None
    effective, source = tables.effective_votes(table, noise)
    return {
        "by_judge": {row["judge"]: row["score"] for row in judges},
        "by_metric": {row["metric"]: row["score"] for row in metrics},
        **{name: {row["judge"]: row[name] for row in judges} for name in ("flip_rate", "first_shown_lean")},
        "effective_votes": finite(effective),
        "effective_votes_from": source,
        "krippendorff_alpha": {row["metric"]: row["alpha"] for row in metrics},
        "length_bias": bias.length_bias(table, tie_band),
        "position_bias": bias.position_bias(table),
        "family_bias": bias.family_bias(table),
        "judges": judges,
        "metrics": metrics,
        "judge_pairs": tables.pairs(table, noise),
    }


def _context(evidence: Evidence) -> dict[str, Any]:
    """What else a reader needs: counts, other thresholds, earlier looks, the noise floor."""
    scores, settings = evidence.scores, evidence.settings
    tally = bias.tally(bias.outcomes(evidence.table.deltas, settings.judge.tie_band))
    history = looks.joined(evidence.earlier, _look(evidence))
    return {
        "tie_band": settings.judge.tie_band,
        **{name: tally[name] for name in ("wins", "ties", "losses", "win_rate")},
        "buckets": buckets(scores, settings),
        "what_if": what_if(evidence),
        "looks": looks.summary(history, settings.duel.looks, evidence.challenger),
        "noise_floor": noise_floor.figures(evidence.noise, scores, settings),
        "adaptive": tables.savings(evidence.table, settings),
        "attempts": tables.attempts(scores),
        "missing_votes": sum(not vote.parsed for score in scores for vote in score.votes),
    }


def _look(evidence: Evidence) -> dict[str, Any]:
    """This verdict as the history of looks keeps it."""
    scores = evidence.scores
    return {
        "challenger": evidence.challenger,
        "writers": sorted({score.writers.get("challenger", "") for score in scores}),
        "mode": evidence.settings.duel.mode,
        "turns": len(scores),
        "parsed": evidence.parsed,
        "clusters": evidence.clusters,
        "alpha": evidence.level,
        "margin": evidence.margin,
        "lcb": evidence.bounds.studentized,
        "decision": evidence.decision(evidence.gates),
        "votes": evidence.votes,
    }


def _provenance(evidence: Evidence) -> dict[str, Any]:
    """What it cost, who made it, with which settings."""
    scores = evidence.scores
    sides = ("king", "challenger")
    first = scores[0].made_with if scores else {}
    return {
        **tables.spending(scores),
        "writers": {side: sorted({score.writers.get(side, "") for score in scores} - {""}) for side in sides},
        "judges_models": tables.judge_models(scores),
        "offline": any(name.startswith(STAND_IN) for name in tables.models([*scores, *evidence.noise])),
        "made_with": {
            "rubric": first.get("rubric", ""),
            "panel": first.get("panel", ""),
            "settings": gate_hash(evidence.settings),
            "votes": evidence.votes,
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


def buckets(scores: Sequence[Score], settings: Settings) -> dict[str, int]:
    """Turns a bucket, by score alone."""
    found = Counter(by_score(score.score, settings).bucket or "unparsed" for score in scores)
    return {name: found[name] for name in ("final", "refined", "defeat", "unparsed")}


def _reaches(name: str, value: float | None, threshold: float) -> bool:
    """True where a figure that has to reach its threshold does. A margin of 2.0 may come out as 1.9999999999999858."""
    return name in ("parsed_fraction", "margin") and value is not None and value >= threshold - 1e-9


def reasons(gates: Sequence[Mapping[str, Any]], decision: str, evidence: Evidence) -> list[str]:
    """The verdict in sentences."""
    if decision == "accepted":
        return ["Every condition of the gate holds."]
    least = evidence.settings.duel.min_clusters
    words = {
        "parsed_fraction": "Too few turns are parsed.",
        "margin": "The margin is under the one that is asked for.",
        "lcb": "The lower bound of the mean delta is not above 0: what is seen may be noise.",
        "clusters": f"{evidence.clusters} pull requests are too few to decide on; {least} are needed.",
    }
    return [words[gate["name"]] for gate in gates if not gate["held"]]


def _power(evidence: Evidence) -> dict[str, Any]:
    """The smallest margin that this many turns can tell, and how many turns today's margin would need."""
    bounds = evidence.bounds
    margin = needed = None
    if bounds.error and bounds.quantile is not None and bounds.mean is not None:
        least = evidence.settings.duel.win_margin / 200
        margin = 200 * statistics.detectable(bounds.error, bounds.quantile, least)
        needed = statistics.turns_needed(evidence.parsed, bounds.mean, bounds.error, bounds.quantile)
    return {"minimum_detectable_margin": margin, "power": statistics.POWER, "turns_needed": needed}


def what_if(evidence: Evidence) -> dict[str, Any]:
    """How many turns other thresholds would keep, and what the verdict would be at other win margins."""
    report, win_margin = evidence.settings.report, evidence.settings.duel.win_margin
    points = np.array([score.score for score in evidence.scores if score.score is not None], dtype=float)
    thresholds = [
        {
            "final_min": high,
            "defeat_min": low,
            "final": int((points >= high).sum()),
            "refined": int(((points >= low) & (points < high)).sum()),
            "defeat": int((points < low).sum()),
            "current": (high, low) == (report.final_min, report.defeat_min),
        }
        for high in sorted({*WHAT_IF_FINAL, report.final_min})
        for low in sorted({*WHAT_IF_DEFEAT, report.defeat_min})
        if low <= high
    ]
    margins = []
    for win in sorted({*WHAT_IF_MARGINS, win_margin}):
        decision = evidence.decision(evidence.gates_at(win))
        row = {"win_margin": win, "accepted": decision == "accepted", "decision": decision}
        margins.append({**row, "current": win == win_margin})
    return {"thresholds": thresholds, "margins": margins}
