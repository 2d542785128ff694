"""Figures of the verdict that are read off the votes: judges, dimensions, spending, attempts, and biases.

A bias is what a panel should not look at and sometimes does: length, who wrote a reply, who chose it.
"""

import math
import re
from collections import Counter
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np

from duel.calls.request import COUNTED_USAGE
from duel.judging import statistics
from duel.judging.bounds import length_difference
from duel.judging.gate import FIGURES, Evidence
from duel.judging.scoring import Columns, VoteTable
from duel.judging.statistics import Floats, correlation, mean
from duel.records import decision
from duel.registry import OFFLINE

NAMED_ATTEMPTS = 50
LENGTH_EDGES = (-1.0, -0.5, -0.25, -0.1, 0.1, 0.25, 0.5, 1.0)  # (challenger - opponent) / the longer of the two
LENGTH_LABELS = (
    "under half as long", "25 to 50 % shorter", "10 to 25 % shorter", "about as long",
    "10 to 25 % longer", "25 to 50 % longer", "over twice as long",
)  # fmt: skip
# Whoever chose a challenger for what it liked about it likes the same in the duel. Simulated with three judges whose
# errors correlate as measured (0.35), the choosers' own score of the chosen is too high by 3.5 points of 100 at n = 4
# and by 4.9 at n = 8, about log2(n) times 1.7; a single judge's by two to four times that (`bench/selection.py`).
POINTS_A_DOUBLING = 1.7


@FIGURES.register("judges and dimensions")
def figures(evidence: Evidence) -> dict[str, Any]:
    table, panel, noise = evidence.table, evidence.panel, evidence.noise
    found, rows, pairs = judges(evidence), [], []
    points = 100 * mean(table.by_judge_and_metric, axis=0)
    for place, name in enumerate(evidence.settings.judge.dimensions):
        lcb, alpha = evidence.bounds.by_metric.get(name), statistics.krippendorff_alpha(panel.values[:, :, place])
        score = {"score": points[place], "margin": 2 * points[place] - 100}
        rows.append(decision.MetricFigures(metric=name, counted=place in table.keys, lcb=lcb, alpha=alpha, **score))
    # On the noise floor the truth is a tie, so errors are known. Without it only the correlation of the judges' values
    # is, in which real differences between turns count as shared error: the votes they are worth are a lower bound.
    values = statistics.pair_correlations(panel.turn_values)
    errors = statistics.pair_correlations(noise.turn_values, 0.5) if noise is not None else np.full_like(values, np.nan)
    shared, source = statistics.mean_correlation(errors), "noise floor"
    if not np.isfinite(shared):
        shared, source = statistics.mean_correlation(values), "votes: a lower bound"
    for one, two in combinations(range(len(panel.judges)), 2):
        both, turns = [panel.judges[one], panel.judges[two]], int((panel.counts[:, one] & panel.counts[:, two]).sum())
        agreement = statistics.same_winner(panel.turn_values[:, one], panel.turn_values[:, two])
        correlations = {"correlation": values[one, two], "error_correlation": errors[one, two]}
        pairs.append(decision.JudgePair(judges=both, turns=turns, agreement=agreement, **correlations))
    return {
        "judges": found,
        "metrics": rows,
        "judge_pairs": pairs,
        "by_judge": {row.judge: row.score for row in found},
        "by_metric": {row.metric: row.score for row in rows},
        "flip_rate": {row.judge: row.flip_rate for row in found},
        "first_shown_lean": {row.judge: row.first_shown_lean for row in found},
        "krippendorff_alpha": {row.metric: row.alpha for row in rows},
        "effective_votes": statistics.effective_votes(len(panel.judges), shared),
        "effective_votes_from": source,
    }


def judges(evidence: Evidence) -> list[decision.JudgeFigures]:
    """A row a judge: how often it gave a verdict, which way it leans, how far it agrees, what it cost.

    Points and lean come from the gate's `table`, which no vote has selected; the rest from all votes.
    """
    table, panel, dimensions = evidence.table, evidence.panel, evidence.settings.judge.dimensions
    columns, values = panel.columns, panel.turn_values
    flipped, share = flips(panel)
    # How far a judge's votes lean to the reply shown first, -0.5 to 0.5; 0.5 is always the first. Mean over orders of
    # the mean over turns, so that a strong side does not look like a position: NaN unless both orders were asked.
    by_order = mean(table.vote_values, axis=0)
    lean = (by_order[:, 1] - by_order[:, 0]) / 2
    points = 100 * mean(table.by_judge_and_metric[:, table.keys], axis=1)
    shown = statistics.winner(panel.vote_values) * np.array([-1.0, 1.0])
    rows = []
    for place, judge in enumerate(table.judges):
        cast, parsed = int((columns.asked[:, place] >= 0).sum()), int(np.isfinite(shown[:, place]).sum())
        rest = mean(np.delete(values, place, axis=1), axis=1)
        errors = Counter(slug for found in columns.errors if found for slug in found.get(judge, ()))
        told: dict[str, Any] = {"votes": cast, "parsed_votes": parsed, "parse_rate": parsed / cast if cast else None}
        told |= {"turns": int(table.counts[:, place].sum()), "score": points[place], "first_shown_lean": lean[place]}
        told |= {"by_metric": dict(zip(dimensions, 100 * table.by_judge_and_metric[place], strict=True))}
        told |= {"flips": int(flipped[place]), "flip_rate": share[place]}
        told |= {"agreement": statistics.same_winner(values[:, place], rest)}
        leans = {"first": 1, "second": -1, "ties": 0}
        told |= {name: int((shown[:, place] == value).sum()) for name, value in leans.items()}
        tokens = columns.tokens[:, place].sum(0)
        told |= {"calls": int(columns.asked[:, place].clip(0).sum()), "cost": _cost(columns.cost[:, place])}
        told |= {"input_tokens": int(tokens[0]), "output_tokens": int(tokens[1])}
        told |= {"models": sorted({names[judge] for names in columns.models if names and judge in names})}
        told |= {"errors": dict(sorted(errors.items()))}
        rows.append(decision.JudgeFigures(judge=judge, family=family(judge), **told))
    return rows


@FIGURES.register("spending")
def spending(evidence: Evidence) -> dict[str, Any]:
    """Who took part, what was asked, what it cost (None where no price is known), who spoke to the judges."""
    columns, due = evidence.columns, evidence.panel.due
    spent = columns if evidence.case.ineligible is None else Columns.stacked(columns, evidence.case.ineligible)
    tokens = dict(zip(COUNTED_USAGE, spent.tokens.sum((0, 1)).tolist(), strict=True))
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
    # Turns whose first vote is there and that were not asked in full.
    stopped = 0 if evidence.table is evidence.panel else int((evidence.table.parsed & ~whole).sum())
    votes = {"votes_full": full, "votes_asked": asked, "saved_share": 1 - asked / full if full else 0.0}
    named = [file for file, _ in attempts[:NAMED_ATTEMPTS]]
    cached, reasoning = tokens["cached_tokens"], tokens["reasoning_tokens"]
    return {
        "asked": decision.Asked(strategy=evidence.settings.judge.strategy, stopped=stopped, **votes),
        "attempts": decision.Attempts(turns=len(attempts), kinds=dict(sorted(kinds.items())), files=named),
        "calls": int(spent.asked.clip(0).sum()),
        "tokens": {"input": tokens["prompt_tokens"], "output": tokens["completion_tokens"]}
        | {"cached_input": cached, "reasoning": reasoning},
        "cost": _cost(spent.cost),
        "writers": {"opponent": sorted(opponents), "challenger": sorted(challengers)},
        "offline": any(name.startswith(OFFLINE) for name in took_part),
    }


def _cost(costs: Floats) -> float | None:
    known = costs[np.isfinite(costs)]
    return float(known.sum()) if len(known) else None


@FIGURES.register("biases")
def biases(evidence: Evidence) -> dict[str, Any]:
    """What length and family do to the votes, by length difference in characters and by who wrote both sides."""
    table = evidence.table
    share = length_difference(table.columns)
    places = np.digitize(share, LENGTH_EDGES[1:-1])
    outcome = outcomes(table.deltas, evidence.settings.judge.tie_band)

    def longer_won(outcome: Floats) -> float | None:
        """Among turns with a winner and unequal lengths, how often the longer reply won."""
        told = (share != 0) & np.isfinite(outcome) & (outcome != 0)
        return float((np.sign(share[told]) == outcome[told]).mean()) if told.any() else None

    by_judge, bins = zip(table.judges, statistics.winner(table.turn_values).T, strict=True), []
    for place, label in enumerate(LENGTH_LABELS):
        inside, edges = places == place, {"low": LENGTH_EDGES[place], "high": LENGTH_EDGES[place + 1]}
        score = 100 * (mean(table.deltas[inside], axis=0) + 0.5)
        bins.append(decision.LengthBin(label=label, score=score, **edges, **tally(outcome[inside])))
    length = decision.LengthBias(
        longer_won=longer_won(outcome),
        correlation=correlation(share, table.deltas),
        by_judge={judge: longer_won(winners) for judge, winners in by_judge},
        bins=bins,
    )
    return {"length_bias": length, "family_bias": family_bias(evidence.panel)}


def outcomes(deltas: Floats, tie_band: float) -> Floats:
    """1 won, 0 tied (|delta| within the band), -1 lost; NaN where a turn is not parsed."""
    # Deltas are multiples of 1/300 or so; 1e-9 keeps a delta that is exactly the band inside it.
    tied = np.abs(deltas) <= tie_band + 1e-9
    return np.asarray(np.where(np.isnan(deltas), np.nan, np.where(tied, 0.0, np.sign(deltas))))


def tally(outcome: Floats) -> dict[str, Any]:
    """Turns, wins, ties and losses, and the win rate with ties for half."""
    wins, ties, losses = (int((outcome == value).sum()) for value in (1, 0, -1))
    turns = wins + ties + losses
    rate = (wins + ties / 2) / turns if turns else None
    return {"turns": turns, "wins": wins, "ties": ties, "losses": losses, "win_rate": rate}


@cache
def family(model: str) -> str:
    """The house a model comes from: its vendor where the id names one, or the letters its name starts with."""
    vendor, _, name = model.rpartition("/")
    letters = re.match(r"[A-Za-z]+", name)
    return (vendor.split("/")[-1] or (letters[0] if letters else name)).lower()


def family_bias(table: VoteTable) -> list[decision.FamilyBias]:
    """Per judge and pair of writers: whether it wrote one side itself, and how its scores differ from the others'."""
    columns = table.columns
    families = [(family(king), family(c)) for king, c in zip(columns.opponents, columns.challengers, strict=True)]
    rows = []
    for pair in sorted(set(families)):
        turns = np.array([own == pair for own in families])
        for place, judge in enumerate(table.judges):
            own = table.turn_values[turns, place]
            others = mean(np.delete(table.turn_values[turns], place, axis=1), axis=1)
            both = np.isfinite(own) & np.isfinite(others)
            score, rest = (100 * mean(values[both], axis=0) for values in (own, others))
            wrote = [side for side, writer in zip(("king", "challenger"), pair, strict=True) if writer == family(judge)]
            told: dict[str, Any] = {"judge": judge, "family": family(judge), "turns": int(both.sum())}
            told |= {"king_family": pair[0], "challenger_family": pair[1]}
            told |= {"own": "both" if len(wrote) == 2 else wrote[0] if wrote else "neither"}
            told |= {"score": score, "others": rest, "difference": score - rest}
            rows.append(decision.FamilyBias(**told))
    return rows


@FIGURES.register("best-of-n")
def best_of(evidence: Evidence) -> dict[str, Any]:
    """Who chose among several candidates, and by how much that may make the score too high."""
    settings, judges = evidence.settings, evidence.settings.judge.models
    if settings.most_candidates == 1:
        return {}
    rows = [("candidates of a side", str(settings.most_candidates), f"chosen by {settings.generate.select}")]
    if settings.choosers:
        both = sum(model in settings.choosers for model in judges)
        lead = POINTS_A_DOUBLING * math.log2(len(settings.writers("challenger"))) * both / len(judges)
        alone = ", a single judge's by two to four times that" if len(judges) == 1 else ""
        told = f"so much too high may the score be{alone}: no other judge was left"
        meaning = told if both else "others judged the duel"
        rows += [("choosers", ", ".join(settings.choosers), "the judges that chose")]
        rows += [("winner's curse", f"{lead:.1f} points", meaning)]
    return {"figures": {"best of n": [dict(zip(("what", "figure", "meaning"), row, strict=True)) for row in rows]}}


def flips(table: VoteTable) -> tuple[Floats, Floats]:
    """Per judge: turns on which it preferred one side in one order and the other in the other; their share, or NaN.

    The share is of the turns on which both orders parsed. A step between a win and a draw is no flip.
    """
    both, flipped = np.isfinite(table.vote_values).all(2).sum(0), table.standings.flipped.sum(0)
    with np.errstate(invalid="ignore"):
        return flipped, flipped / both
