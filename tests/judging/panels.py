"""Simulated panels with a known truth, and scores made of their votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duel.judging.gate import Case
from duel.judging.rubric import orders
from duel.judging.scoring import Columns, settle
from duel.records import DIMENSIONS, Score, Vote
from duel.settings import Settings


@dataclass(frozen=True)
class World:
    """How turns and judges behave. Latent values become lost, drawn or won at plus and minus `tie`.

    One to eight turns a pull request share `cluster`; a share of pull requests is a `disaster`, lost in every turn.
    """

    center: float = 0.05
    cluster: float = 0.25
    turn: float = 0.35
    noise: float = 0.3
    tie: float = 0.6
    disaster: float = 0.0
    lean: float = 0.0
    """How far a judge's value moves towards the reply it sees first."""

    @property
    def truth(self) -> float:
        """The true mean delta, without a lean: latent values are normal, so it needs no simulation."""
        spread = NormalDist(self.center, (self.cluster**2 + self.turn**2 + 2 * self.noise**2) ** 0.5)
        value = (1 - spread.cdf(self.tie) + 1 - spread.cdf(-self.tie)) / 2
        return (1 - self.disaster) * value - 0.5


HEAVY_TIES = World()
DISASTERS = World(center=0.35, cluster=0.0, turn=0.5, tie=0.35, disaster=0.07)


def simulate(
    world: World, clusters: int, draw: np.random.Generator, judges: int = 3
) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """Votes of shape (turns, judges, 2 orders, 5), from the challenger's side, and the pull request of each turn."""
    labels = np.repeat(np.arange(clusters), draw.integers(1, 9, clusters))
    turns = len(labels)
    center = world.center + world.cluster * draw.normal(size=clusters)
    center = np.where(draw.random(clusters) < world.disaster, -5.0, center)
    latent = center[labels][:, None, None, None] + world.turn * draw.normal(size=(turns, 1, 1, 1))
    latent = latent + world.noise * draw.normal(size=(turns, judges, 1, 5))
    latent = latent + world.noise * draw.normal(size=(turns, judges, 2, 5))
    latent = latent + world.lean * np.array([-1.0, 1.0])[:, None]
    votes = np.where(latent > world.tie, 1.0, np.where(latent < -world.tie, 0.0, 0.5))
    return votes, labels


def score_of(
    item: str,
    votes: NDArray[np.float64],
    settings: Settings,
    instance: str = "",
    lengths: tuple[int, int] = (100, 100),
    writers: tuple[str, str] = ("house/king", "house/challenger"),
    history: int | None = 1000,
) -> Score:
    """The settled score of one turn; `votes` of shape (judges, 2, 5), NaN for a vote that did not parse."""
    cast = []
    for place, judge in enumerate(settings.judge.models):
        for order in orders(item, settings):
            values = votes[place, 0 if order == "king_first" else 1]
            there = bool(np.isfinite(values).all())
            fields = dict(zip(DIMENSIONS, map(float, values), strict=True)) if there else {"error": "unparsed: no-json"}
            cast.append(Vote(judge=judge, order=order, asked=1, **fields))
    blank = Score(
        file=item,
        instance_id=instance or item,
        mode=settings.duel.mode,
        votes=cast,
        lengths={"opponent": lengths[0], "challenger": lengths[1]} | ({} if history is None else {"history": history}),
        writers={"opponent": writers[0], "challenger": writers[1]},
        made_with={"challenger": "c", "candidates": item},
    )
    return settle(blank, settings)


def case_of(scores: Sequence[Score], settings: Settings, noise: Sequence[Score] = (), **more: Any) -> Case:
    """The case that the gate is asked to decide."""
    judges = settings.judge.models
    floor = Columns.of(noise, judges) if noise else None
    return Case(Columns.of(scores, judges), settings, mode=settings.duel.mode, noise=floor, **more)


def scores_of(votes: NDArray[np.float64], labels: Sequence[int] | NDArray[np.int_], settings: Settings) -> list[Score]:
    """A settled score for every turn."""
    return [
        score_of(f"p_1_{turn + 1}", votes[turn], settings, instance=f"o__r-{label}")
        for turn, label in enumerate(labels)
    ]


def challengers(
    mean: int, turns: int, seed: int, lean: float = 0.1, spread: float = 0.3, noise: float = 0.2
) -> NDArray[np.float64]:
    """Votes (turns, 3 judges, 2 orders, 5) on a challenger whose mean score is within a point of `mean`.

    `lean` is how far a judge moves towards what it sees first; `spread` is between turns, `noise` between votes.
    """

    def cast(center: float) -> NDArray[np.float64]:
        draw = np.random.default_rng(seed)
        latent = center + spread * draw.normal(size=(turns, 1, 1, 1)) + 0.15 * draw.normal(size=(turns, 3, 1, 5))
        latent = latent + noise * draw.normal(size=(turns, 3, 2, 5)) + lean * np.array([-1.0, 1.0])[:, None]
        return np.where(latent > 0.1, 1.0, np.where(latent < -0.1, 0.0, 0.5))

    low, high = -2.0, 2.0
    while high - low > 0.02:
        middle = (low + high) / 2
        low, high = (middle, high) if 100 * cast(middle).mean() < mean else (low, middle)
    return cast((low + high) / 2)
