"""The tables of the verdict that are read off the votes: judges, metrics, pairs, spending, savings, attempts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from duel.judging import agreement, bias
from duel.judging.scoring import owed_votes
from duel.judging.statistics import finite
from duel.judging.table import Table, mean
from duel.records import DIMENSIONS, Score, Vote
from duel.settings import Settings


def judges(table: Table) -> list[dict[str, Any]]:
    """A row a judge: how often it gave a verdict, which way it leans, how far it agrees, what it cost."""
    flipped, share = agreement.flips(table)
    lean = agreement.first_shown_lean(table)
    rest = agreement.agreement_with_rest(table)
    points = 100 * mean(table.by_judge_and_metric[:, table.keys], axis=1)
    cast: dict[str, list[Vote]] = {judge: [] for judge in table.judges}
    for score in table.scores:
        for vote in score.votes:
            cast.setdefault(vote.judge, []).append(vote)
    rows = []
    for place, judge in enumerate(table.judges):
        votes = cast[judge]
        parsed = sum(vote.parsed for vote in votes)
        rows.append(
            {
                "judge": judge,
                "family": bias.family(judge),
                "votes": len(votes),
                "parsed_votes": parsed,
                "parse_rate": parsed / len(votes) if votes else None,
                "turns": int(table.counts[:, place].sum()),
                "score": finite(points[place]),
                "flips": int(flipped[place]),
                "flip_rate": finite(share[place]),
                "first_shown_lean": finite(lean[place]),
                "agreement": finite(rest[place]),
                "calls": sum(vote.asked for vote in votes),
                "input_tokens": _tokens(votes, "prompt_tokens"),
                "output_tokens": _tokens(votes, "completion_tokens"),
                "cost": _cost(votes),
                "errors": dict(sorted(Counter(_slug(vote.error) for vote in votes if vote.error).items())),
            }
        )
    return rows


def metrics(table: Table, bounds: Sequence[float | None]) -> list[dict[str, Any]]:
    """A row a dimension: the challenger's points, its margin, the lower bound of its delta, the judges' agreement."""
    points = 100 * mean(table.by_judge_and_metric, axis=0)
    return [
        {
            "metric": name,
            "counted": place in table.keys,
            "score": finite(points[place]),
            "margin": finite(2 * points[place] - 100),
            "lcb": bounds[place],
            "alpha": finite(agreement.krippendorff_alpha(table.values[:, :, place])),
        }
        for place, name in enumerate(DIMENSIONS)
    ]


def pairs(table: Table, noise: Table | None) -> list[dict[str, Any]]:
    """A row a pair of judges. Errors are known where the truth is: on the noise floor it is a tie."""
    values = agreement.pair_correlations(table.turn_values)
    errors = agreement.pair_correlations(noise.turn_values, 0.5) if noise is not None else None
    return [
        {
            "judges": [table.judges[one], table.judges[two]],
            "turns": int((table.counts[:, one] & table.counts[:, two]).sum()),
            "agreement": finite(agreement.pair_agreement(table, one, two)),
            "correlation": finite(values[one, two]),
            "error_correlation": None if errors is None else finite(errors[one, two]),
        }
        for one, two in combinations(range(len(table.judges)), 2)
    ]


def effective_votes(table: Table, noise: Table | None) -> tuple[float, str]:
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


def savings(table: Table, settings: Settings) -> dict[str, Any]:
    """The share of the full panel's votes that were not asked."""
    full = sum(len(owed_votes(score.file, settings)) for score in table.scores)
    asked = sum(len(score.votes) for score in table.scores)
    share = 1 - asked / full if full else 0.0
    return {"strategy": settings.judge.strategy, "votes_full": full, "votes_asked": asked, "saved_share": share}


def attempts(scores: Sequence[Score]) -> dict[str, Any]:
    """Replies that look as if they spoke to the judges: how many turns, which kinds, which files."""
    files = [score.file for score in scores if score.attempts]
    kinds = Counter(attempt["kind"] for score in scores for attempt in score.attempts)
    return {"turns": len(files), "kinds": dict(sorted(kinds.items())), "files": files[:50]}


def spending(scores: Sequence[Score]) -> dict[str, Any]:
    """Calls, tokens and dollars of all votes; the cost is None where no price is known."""
    votes = [vote for score in scores for vote in score.votes]
    return {
        "calls": sum(vote.asked for vote in votes),
        "tokens": {
            "input": _tokens(votes, "prompt_tokens"),
            "output": _tokens(votes, "completion_tokens"),
            "cached_input": _tokens(votes, "cached_tokens"),
            "reasoning": _tokens(votes, "reasoning_tokens"),
        },
        "cost": _cost(votes),
    }


def judge_models(scores: Sequence[Score]) -> dict[str, list[str]]:
    """What the endpoint calls the model behind each judge."""
    found: dict[str, set[str]] = {}
    for score in scores:
        for vote in score.votes:
            found.setdefault(vote.judge, set()).update({vote.model} - {""})
    return {judge: sorted(names) for judge, names in sorted(found.items())}


def models(scores: Sequence[Score]) -> set[str]:
    """Every model that had a hand in `scores`: writers and judges."""
    return {name for score in scores for name in [*score.writers.values(), *(vote.model for vote in score.votes)]}


def _tokens(votes: Sequence[Vote], name: str) -> int:
    return sum(int(vote.usage.get(name) or 0) for vote in votes)


def _cost(votes: Sequence[Vote]) -> float | None:
    known = [vote.cost for vote in votes if vote.cost is not None]
    return sum(known) if known else None


def _slug(error: str) -> str:
    """`unparsed: no-json: …` -> `unparsed: no-json`; `http-500: …` -> `http-500`."""
    parts = error.split(": ")
    return ": ".join(parts[: 2 if parts[0] == "unparsed" else 1])
