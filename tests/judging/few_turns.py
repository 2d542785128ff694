"""Verdicts on a few turns of two judges, small enough to be worked out by hand."""

from __future__ import annotations

import math
from typing import Any

from duel.judging import gate
from duel.judging.gate import Case
from duel.judging.scoring import Columns
from duel.records import DIMENSIONS, Score, Verdict, Vote
from duel.settings import Settings

NO = float("nan")
BOTH = ("king_first", "challenger_first")


def chosen(**duel: Any) -> Settings:
    """Two judges, and few resamples."""
    sections = {"judge": {"models": ["a", "b"]}, "duel": {"bootstrap_resamples": 199, "min_clusters": 3, **duel}}
    return Settings.model_validate(sections)


def score(number: int, values: tuple[float, float] = (1.0, 1.0), repo: str = "o__r", **more: Any) -> Score:
    """What judges a and b say of a turn, each in both orders; NaN where they cannot be read."""
    votes = [
        Vote(judge=judge, order=order, asked=1, **dict.fromkeys(DIMENSIONS, None if math.isnan(value) else value))  # type: ignore[arg-type]
        for judge, value in zip("ab", values, strict=True)
        for order in BOTH
    ]
    lengths = {"opponent": 100, "challenger": 100, "history": 1000}
    fields = {"votes": votes, "lengths": lengths, "made_with": {"challenger": "c", "candidates": str(number)}}
    return Score(file=f"p_1_{number}", instance_id=f"{repo}{number}-{number}", **(fields | more))


def case(scores: list[Score], settings: Settings | None = None, **more: Any) -> Case:
    settings = settings or chosen()
    return Case(Columns.of(scores, settings.judge.models), settings, **more)


def decided(scores: list[Score], settings: Settings | None = None, **more: Any) -> Verdict:
    return gate.decide(case(scores, settings, **more))


def won(count: int = 12, lost: int = 2) -> list[Score]:
    """A challenger that wins all turns but some."""
    return [score(number, (0.0, 0.0) if number < lost else (1.0, 1.0)) for number in range(count)]


def look(name: str = "c", clusters: int = 100, alpha: float = 0.05, **more: Any) -> dict[str, Any]:
    return {"challenger": name, "clusters": clusters, "alpha": alpha, "votes": f"{clusters}", **more}
