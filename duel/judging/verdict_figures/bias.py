"""What a panel should not look at and sometimes does: position, length, who wrote a reply, who chose it."""

import math
import re
from functools import cache
from typing import Any

import numpy as np

from duel.judging.agreement import winner
from duel.judging.bounds import length_difference
from duel.judging.columns import Floats
from duel.judging.evidence import FIGURES, Evidence
from duel.judging.scoring import VoteTable, correlation, mean
from duel.judging.statistics import finite
from duel.records import FamilyBias, LengthBias, LengthBin

# Edges of the length table: (challenger - opponent) / the longer of the two.
LENGTH_EDGES = (-1.0, -0.5, -0.25, -0.1, 0.1, 0.25, 0.5, 1.0)
LENGTH_LABELS = (
    "under half as long",
    "25 to 50 % shorter",
    "10 to 25 % shorter",
    "about as long",
    "10 to 25 % longer",
    "25 to 50 % longer",
    "over twice as long",
)
# Whoever chose a challenger for what it liked about it likes the same in the duel. Simulated with three judges whose
# errors correlate as measured (0.35), the choosers' own score of the chosen is too high by 3.5 points of 100 at n = 4
# and by 4.9 at n = 8, about log2(n) times 1.7; a single judge's by two to four times that (`bench/selection.py`).
POINTS_A_DOUBLING = 1.7


@FIGURES.register("biases")
def figures(evidence: Evidence) -> dict[str, Any]:
    """What length and family do to the votes, by length difference in characters and by who wrote both sides."""
    table = evidence.table
    share = length_difference(table.columns)
    places = np.digitize(share, LENGTH_EDGES[1:-1])
    outcome = outcomes(table.deltas, evidence.settings.judge.tie_band)

    def longer_won(outcome: Floats) -> float | None:
        """Among turns with a winner and unequal lengths, how often the longer reply won."""
        told = (share != 0) & np.isfinite(outcome) & (outcome != 0)
        return float((np.sign(share[told]) == outcome[told]).mean()) if told.any() else None

    length = LengthBias(
        longer_won=longer_won(outcome),
        correlation=finite(correlation(share, table.deltas)),
        by_judge={judge: longer_won(winner(table.turn_values[:, at])) for at, judge in enumerate(table.judges)},
        bins=[
            LengthBin(
                label=label,
                low=LENGTH_EDGES[place],
                high=LENGTH_EDGES[place + 1],
                score=finite(100 * (mean(table.deltas[places == place], axis=0) + 0.5)),
                **tally(outcome[places == place]),
            )
            for place, label in enumerate(LENGTH_LABELS)
        ],
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


def family_bias(table: VoteTable) -> list[FamilyBias]:
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
            score, rest = (finite(100 * mean(values[both], axis=0)) for values in (own, others))
            wrote = [side for side, writer in zip(("king", "challenger"), pair, strict=True) if writer == family(judge)]
            rows.append(
                FamilyBias(
                    judge=judge,
                    family=family(judge),
                    king_family=pair[0],
                    challenger_family=pair[1],
                    own="both" if len(wrote) == 2 else wrote[0] if wrote else "neither",
                    turns=int(both.sum()),
                    score=score,
                    others=rest,
                    difference=None if score is None or rest is None else score - rest,
                )
            )
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
