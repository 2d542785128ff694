"""Scores and votes for tests, made from arrays: the same records that the product writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from duel.judging.scoring import settle
from duel.records import DIMENSIONS, Score, Vote
from duel.records.votes import Lot, PersonVote
from duel.settings import Settings

ORDERS = ("king_first", "challenger_first")


def panel_of(*judges: str, **sections: Any) -> Settings:
    """Settings with these judges."""
    return Settings.model_validate({"judge": {"models": list(judges), "quorum": 1}} | sections)


def score(item: str, pull: str, verdicts: dict[str, Sequence[float]], settings: Settings, reason: str = "") -> Score:
    """A score from {judge: (value with the king first, value with the challenger first)}, all dimensions alike."""
    votes = [
        Vote(judge=judge, order=order, reason=reason, **dict.fromkeys(DIMENSIONS, value))
        for judge, values in verdicts.items()
        for order, value in zip(ORDERS, values, strict=True)
    ]
    return settle(Score(file=item, instance_id=pull, votes=votes), settings)


def vote(item: str, rater: str, value: float, **fields: Any) -> PersonVote:
    """A person's vote, all dimensions alike."""
    made = {
        "key": f"{rater}-{item}{'-again' * bool(fields.get('repeat'))}",
        "item": item,
        "pair": "",
        "judge": f"person:{rater}",
        "order": "king_first",
        "seconds": 30.0,
        "at": "2026-01-01T00:00:00.000Z",
        "drawn": Lot(probability=0.5),
    }
    return PersonVote(**(made | dict.fromkeys(DIMENSIONS, value) | fields))
