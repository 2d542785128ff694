"""Figures of the verdict that are read off the votes: judges, dimensions, pairs of judges, spending, attempts."""

from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np

from duel.judging import agreement
from duel.judging.columns import TOKENS, Columns, Floats
from duel.judging.evidence import FIGURES, Evidence
from duel.judging.scoring import VoteTable, mean
from duel.judging.statistics import finite
from duel.judging.verdict_figures import bias
from duel.records import DIMENSIONS, Asked, Attempts, JudgeFigures, JudgePair, MetricFigures

STAND_IN = "offline-stand-in/"
NAMED_ATTEMPTS = 50


@FIGURES.register("judges and dimensions")
def figures(evidence: Evidence) -> dict[str, Any]:
    table, panel, noise = evidence.table, evidence.panel, evidence.noise
    found = judges(table, panel)
    points = 100 * mean(table.by_judge_and_metric, axis=0)
    rows = [
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
    # On the noise floor the truth is a tie, so errors are known. Without it only the correlation of the judges' values
    # is, in which real differences between turns count as shared error: the votes they are worth are a lower bound.
    values = agreement.pair_correlations(panel.turn_values)
    errors = agreement.pair_correlations(noise.turn_values, 0.5) if noise is not None else np.full_like(values, np.nan)
    shared, source = agreement.mean_correlation(errors), "noise floor"
    if not np.isfinite(shared):
        shared, source = agreement.mean_correlation(values), "votes: a lower bound"
    return {
        "judges": found,
        "metrics": rows,
        "judge_pairs": [
            JudgePair(
                judges=[panel.judges[one], panel.judges[two]],
                turns=int((panel.counts[:, one] & panel.counts[:, two]).sum()),
                agreement=finite(agreement.same_winner(panel.turn_values[:, one], panel.turn_values[:, two])),
                correlation=finite(values[one, two]),
                error_correlation=finite(errors[one, two]),
            )
            for one, two in combinations(range(len(panel.judges)), 2)
        ],
        "by_judge": {row.judge: row.score for row in found},
        "by_metric": {row.metric: row.score for row in rows},
        "flip_rate": {row.judge: row.flip_rate for row in found},
        "first_shown_lean": {row.judge: row.first_shown_lean for row in found},
        "krippendorff_alpha": {row.metric: row.alpha for row in rows},
        "effective_votes": finite(agreement.effective_votes(len(panel.judges), shared)),
        "effective_votes_from": source,
    }


def judges(table: VoteTable, panel: VoteTable) -> list[JudgeFigures]:
    """A row a judge: how often it gave a verdict, which way it leans, how far it agrees, what it cost.

    Points and lean come from the gate's `table`, which no vote has selected; the rest from all votes.
    """
    columns, values = panel.columns, panel.turn_values
    flipped, share = agreement.flips(panel)
    lean = agreement.first_shown_lean(table)
    points = 100 * mean(table.by_judge_and_metric[:, table.keys], axis=1)
    shown = agreement.winner(panel.vote_values) * np.array([-1.0, 1.0])
    rows = []
    for place, judge in enumerate(table.judges):
        cast = int((columns.asked[:, place] >= 0).sum())
        parsed = int(np.isfinite(shown[:, place]).sum())
        rest = mean(np.delete(values, place, axis=1), axis=1)
        errors = Counter(slug for found in columns.errors if found for slug in found.get(place, ()))
        by_metric = map(finite, 100 * table.by_judge_and_metric[place])
        rows.append(
            JudgeFigures(
                judge=judge,
                family=bias.family(judge),
                votes=cast,
                parsed_votes=parsed,
                parse_rate=parsed / cast if cast else None,
                turns=int(table.counts[:, place].sum()),
                score=finite(points[place]),
                by_metric=dict(zip(DIMENSIONS, by_metric, strict=True)),
                flips=int(flipped[place]),
                flip_rate=finite(share[place]),
                first_shown_lean=finite(lean[place]),
                agreement=finite(agreement.same_winner(values[:, place], rest)),
                first=int((shown[:, place] == 1).sum()),
                second=int((shown[:, place] == -1).sum()),
                ties=int((shown[:, place] == 0).sum()),
                calls=int(columns.asked[:, place].clip(0).sum()),
                input_tokens=int(columns.tokens[:, place, 0].sum()),
                output_tokens=int(columns.tokens[:, place, 1].sum()),
                cost=_cost(columns.cost[:, place]),
                models=sorted({names[place] for names in columns.models if names and place in names}),
                errors=dict(sorted(errors.items())),
            )
        )
    return rows


@FIGURES.register("spending")
def spending(evidence: Evidence) -> dict[str, Any]:
    """Who took part, what was asked, what it cost (None where no price is known), who spoke to the judges."""
    columns, due = evidence.columns, evidence.panel.due
    spent = columns if evidence.case.ineligible is None else Columns.stacked(columns, evidence.case.ineligible)
    tokens = dict(zip(TOKENS, spent.tokens.sum((0, 1)).tolist(), strict=True))
    full, asked = int(due.sum()), int((columns.asked >= 0).sum())
    whole = ((columns.asked >= 0) | ~due).all((1, 2))
    attempts = [(str(file), kinds) for file, kinds in zip(spent.files, spent.attempts, strict=True) if kinds]
    kinds = Counter(kind for _, several in attempts for kind in several)
    opponents, challengers = {*columns.opponents} - {""}, {*columns.challengers} - {""}
    took_part = opponents | challengers
    for part in (columns, evidence.case.noise):
        if part is not None:
            took_part |= {*part.opponents, *part.challengers}
            took_part |= {name for models in part.models if models for name in models.values()}
    return {
        "asked": Asked(
            strategy=evidence.settings.judge.strategy,
            votes_full=full,
            votes_asked=asked,
            saved_share=1 - asked / full if full else 0.0,
            # Turns whose first vote is there and that were not asked in full.
            stopped=0 if evidence.table is evidence.panel else int((evidence.table.parsed & ~whole).sum()),
        ),
        "attempts": Attempts(
            turns=len(attempts),
            kinds=dict(sorted(kinds.items())),
            files=[file for file, _ in attempts[:NAMED_ATTEMPTS]],
        ),
        "calls": int(spent.asked.clip(0).sum()),
        "tokens": {
            "input": tokens["prompt_tokens"],
            "output": tokens["completion_tokens"],
            "cached_input": tokens["cached_tokens"],
            "reasoning": tokens["reasoning_tokens"],
        },
        "cost": _cost(spent.cost.ravel()),
        "writers": {"opponent": sorted(opponents), "challenger": sorted(challengers)},
        "offline": any(name.startswith(STAND_IN) for name in took_part),
    }


def _cost(costs: Floats) -> float | None:
    known = costs[np.isfinite(costs)]
    return float(known.sum()) if len(known) else None
