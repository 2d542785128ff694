"""Figures of the verdict that are read off the votes: judges, dimensions, pairs of judges, spending, attempts."""

from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np

from duel.judging import agreement
from duel.judging.columns import TOKENS, Columns
from duel.judging.evidence import FIGURES, Evidence
from duel.judging.statistics import finite
from duel.judging.verdict_figures import bias
from duel.judging.vote_table import VoteTable, mean
from duel.records import DIMENSIONS, Asked, Attempts, JudgeFigures, JudgePair, MetricFigures

STAND_IN = "offline-stand-in/"
NAMED_ATTEMPTS = 50


@FIGURES.register("judges and dimensions")
def figures(evidence: Evidence) -> dict[str, Any]:
    """Judges, dimensions and how far they agree."""
    found, rows = judges(evidence.table, evidence.panel), metrics(evidence)
    effective, source = effective_votes(evidence.panel, evidence.noise)
    return {
        "judges": found,
        "metrics": rows,
        "judge_pairs": pairs(evidence.panel, evidence.noise),
        "by_judge": {row.judge: row.score for row in found},
        "by_metric": {row.metric: row.score for row in rows},
        "flip_rate": {row.judge: row.flip_rate for row in found},
        "first_shown_lean": {row.judge: row.first_shown_lean for row in found},
        "krippendorff_alpha": {row.metric: row.alpha for row in rows},
        "effective_votes": finite(effective),
        "effective_votes_from": source,
    }


def judges(table: VoteTable, panel: VoteTable) -> list[JudgeFigures]:
    """A row a judge: how often it gave a verdict, which way it leans, how far it agrees, what it cost.

    Points and lean come from the gate's `table`, which no vote has selected; the rest from all votes.
    """
    columns = panel.columns
    flipped, share = agreement.flips(panel)
    lean = agreement.first_shown_lean(table)
    rest = agreement.agreement_with_rest(panel)
    points = 100 * mean(table.by_judge_and_metric[:, table.keys], axis=1)
    shown = agreement.winner(panel.vote_values) * np.array([-1.0, 1.0])
    rows = []
    for place, judge in enumerate(table.judges):
        cast = int((columns.asked[:, place] >= 0).sum())
        parsed = int(np.isfinite(shown[:, place]).sum())
        rows.append(
            JudgeFigures(
                judge=judge,
                family=bias.family(judge),
                votes=cast,
                parsed_votes=parsed,
                parse_rate=parsed / cast if cast else None,
                turns=int(table.counts[:, place].sum()),
                score=finite(points[place]),
                by_metric=dict(
                    zip(DIMENSIONS, map(finite, 100 * table.by_judge_and_metric[place]), strict=True),
                ),
                flips=int(flipped[place]),
                flip_rate=finite(share[place]),
                first_shown_lean=finite(lean[place]),
                agreement=finite(rest[place]),
                first=int((shown[:, place] == 1).sum()),
                second=int((shown[:, place] == -1).sum()),
                ties=int((shown[:, place] == 0).sum()),
                calls=_calls(columns, place),
                input_tokens=int(columns.tokens[:, place, 0].sum()),
                output_tokens=int(columns.tokens[:, place, 1].sum()),
                cost=_cost(columns.cost[:, place]),
                models=sorted({names[place] for names in columns.models if names and place in names}),
                errors=dict(
                    sorted(Counter(s for found in columns.errors if found for s in found.get(place, ())).items())
                ),
            )
        )
    return rows


def metrics(evidence: Evidence) -> list[MetricFigures]:
    """A row a dimension: the challenger's points, its margin, the lower bound of its delta, the judges' agreement."""
    table, panel = evidence.table, evidence.panel
    points = 100 * mean(table.by_judge_and_metric, axis=0)
    return [
        MetricFigures(
            metric=name,
            counted=place in table.keys,
            score=finite(points[place]),
            margin=finite(2 * points[place] - 100),
            lcb=evidence.bounds.by_metric[place],
            alpha=finite(agreement.krippendorff_alpha(panel.values[:, :, place])),
        )
        for place, name in enumerate(DIMENSIONS)
    ]


def pairs(table: VoteTable, noise: VoteTable | None) -> list[JudgePair]:
    """A row a pair of judges. Errors are known where the truth is: on the noise floor it is a tie."""
    values = agreement.pair_correlations(table.turn_values)
    errors = agreement.pair_correlations(noise.turn_values, 0.5) if noise is not None else None
    return [
        JudgePair(
            judges=[table.judges[one], table.judges[two]],
            turns=int((table.counts[:, one] & table.counts[:, two]).sum()),
            agreement=finite(agreement.pair_agreement(table, one, two)),
            correlation=finite(values[one, two]),
            error_correlation=None if errors is None else finite(errors[one, two]),
        )
        for one, two in combinations(range(len(table.judges)), 2)
    ]


def effective_votes(table: VoteTable, noise: VoteTable | None) -> tuple[float, str]:
    """What the panel is worth in independent votes, and where the correlation of its errors comes from.

    On the noise floor the truth is a tie, so errors are known. Without one only the correlation of the judges' values
    is, in which real differences between turns count as shared error: the figure is then a lower bound.
    """
    if noise is not None:
        shared = agreement.mean_correlation(agreement.pair_correlations(noise.turn_values, 0.5))
        if np.isfinite(shared):
            return agreement.effective_votes(len(table.judges), shared), "noise floor"
    shared = agreement.mean_correlation(agreement.pair_correlations(table.turn_values))
    return agreement.effective_votes(len(table.judges), shared), "votes: a lower bound"


@FIGURES.register("spending")
def spending(evidence: Evidence) -> dict[str, Any]:
    """Who took part, what was asked, what it cost (None where no price is known), who spoke to the judges."""
    columns, noise = evidence.columns, evidence.case.noise
    spent = columns if evidence.case.ineligible is None else columns.joined(evidence.case.ineligible)
    tokens = dict(zip(TOKENS, spent.tokens.sum((0, 1)).tolist(), strict=True))
    full = int(evidence.panel.due.sum())
    asked = int((columns.asked >= 0).sum())
    return {
        "asked": Asked(
            strategy=evidence.settings.judge.strategy,
            votes_full=full,
            votes_asked=asked,
            saved_share=1 - asked / full if full else 0.0,
            stopped=_stopped(evidence),
        ),
        "attempts": attempts(spent),
        "calls": sum(_calls(spent, place) for place in range(len(spent.judges))),
        "tokens": {
            "input": tokens["prompt_tokens"],
            "output": tokens["completion_tokens"],
            "cached_input": tokens["cached_tokens"],
            "reasoning": tokens["reasoning_tokens"],
        },
        "cost": _cost(spent.cost.ravel()),
        "writers": {
            "opponent": sorted({*columns.opponents} - {""}),
            "challenger": sorted({*columns.challengers} - {""}),
        },
        "offline": any(_offline(part) for part in (columns, noise) if part is not None),
    }


def _stopped(evidence: Evidence) -> int:
    """Turns whose first vote is there and that were not asked in full."""
    if evidence.table is evidence.panel:
        return 0
    whole = (evidence.columns.asked >= 0) | ~evidence.panel.due
    return int((evidence.table.parsed & ~whole.all((1, 2))).sum())


def attempts(columns: Columns) -> Attempts:
    """Replies that look as if they spoke to the judges: how many turns, which kinds, which files."""
    found = [(str(file), kinds) for file, kinds in zip(columns.files, columns.attempts, strict=True) if kinds]
    kinds = Counter(kind for _, several in found for kind in several)
    return Attempts(
        turns=len(found), kinds=dict(sorted(kinds.items())), files=[file for file, _ in found[:NAMED_ATTEMPTS]]
    )


def _offline(columns: Columns) -> bool:
    """True where a stand-in wrote or judged."""
    names = {*columns.opponents, *columns.challengers}
    names |= {name for models in columns.models if models for name in models.values()}
    return any(name.startswith(STAND_IN) for name in names)


def _calls(columns: Columns, place: int) -> int:
    return int(columns.asked[:, place].clip(0).sum())


def _cost(costs: Any) -> float | None:
    known = costs[np.isfinite(costs)]
    return float(known.sum()) if len(known) else None
