"""What a panel should not look at and sometimes does: position, length, and who wrote a reply."""

import re
from collections import Counter
from functools import cache
from typing import Any

import numpy as np

from duel.judging.agreement import winner
from duel.judging.bounds import length_difference
from duel.judging.columns import Floats
from duel.judging.evidence import FIGURES, Evidence
from duel.judging.statistics import finite
from duel.judging.vote_table import VoteTable, correlation, mean
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


@FIGURES.register("biases")
def figures(evidence: Evidence) -> dict[str, Any]:
    """What length and family do to the votes."""
    tie_band = evidence.settings.judge.tie_band
    return {"length_bias": length_bias(evidence.table, tie_band), "family_bias": family_bias(evidence.panel)}


def length_bias(table: VoteTable, tie_band: float) -> LengthBias:
    """The challenger's fate by length difference in characters, and how often the longer reply won."""
    share = length_difference(table.columns)
    places = np.digitize(share, LENGTH_EDGES[1:-1])
    outcome = outcomes(table.deltas, tie_band)
    return LengthBias(
        longer_won=finite(_longer_won(share, outcome)),
        correlation=finite(correlation(share, table.deltas)),
        by_judge={
            judge: finite(_longer_won(share, winner(table.turn_values[:, place])))
            for place, judge in enumerate(table.judges)
        },
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


def _longer_won(share: Floats, outcome: Floats) -> float:
    """Among turns with a winner and unequal lengths, how often the longer reply won; NaN without any."""
    told = (share != 0) & np.isfinite(outcome) & (outcome != 0)
    return float((np.sign(share[told]) == outcome[told]).mean()) if told.any() else float("nan")


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
    for pair in sorted(Counter(families)):
        turns = np.array([own == pair for own in families])
        for place, judge in enumerate(table.judges):
            own = table.turn_values[turns, place]
            others = mean(np.delete(table.turn_values[turns], place, axis=1), axis=1)
            both = np.isfinite(own) & np.isfinite(others)
            score, rest = (finite(100 * mean(values[both], axis=0)) for values in (own, others))
            rows.append(
                FamilyBias(
                    judge=judge,
                    family=family(judge),
                    king_family=pair[0],
                    challenger_family=pair[1],
                    own=_own(family(judge), *pair),
                    turns=int(both.sum()),
                    score=score,
                    others=rest,
                    difference=None if score is None or rest is None else score - rest,
                )
            )
    return rows


def _own(judge: str, king: str, challenger: str) -> str:
    """Whose side is of the judge's own family. Where both are, a bias cannot show."""
    sides = [side for side, writer in (("king", king), ("challenger", challenger)) if writer == judge]
    return "both" if len(sides) == 2 else sides[0] if sides else "neither"
