"""How far the bound with people's labels can be trusted, and what the panel adds, in simulation through the real code.

    python -m bench.people [--draws 1000]
    python -m bench.people --raters [--draws 400]     the bounds with raters who lean, sd 4 score points, 300 labels

Turns of pull requests of 1 to 8 turns, five dimensions, three judges, both orders. People's true margin is 0 and the
panel is 5 score points too kind, in three worlds: a strong panel (its delta correlates 0.64 with people's), a weak one
(0.35), a perverse one (below 0: it prefers what people refuse). m turns are drawn by `duel.review.showings`, the
bound comes from `duel.review.estimator`. Printed: how often the one-sided 95 % bound is under the truth, how far it is
under the estimate (score points), that distance against people alone, and how often panel alone covers.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import numpy as np

from duel.judging.statistics import Clusters, mean, t_lower
from duel.review.ballots import chances, sequence
from duel.review.calibration import rater_bound
from duel.review.estimator import Phases

TURNS = 2_000
KINDNESS = 0.05
LEAN = 0.04
WORLDS = {"strong": (0.8, 0.7), "weak": (0.8, 1.6), "perverse": (-0.8, 0.7)}
"""World: how judges see what people see, and the spread of what they see besides."""


@dataclass(frozen=True)
class World:
    """How judges and people see the turns of a duel."""

    skill: float
    noise: float
    mean: float = 0.0
    kindness: float = 0.0

    def turns(self, draw: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(panel's delta, people's delta, pull request) of `count` turns."""
        sizes = draw.integers(1, 9, size=count)
        pulls = np.repeat(np.arange(count), sizes)[:count]
        seen = self.mean + math.sqrt(0.3) * draw.normal(size=count)[pulls] + math.sqrt(0.7) * draw.normal(size=count)
        together = self.noise * draw.normal(size=count)
        panel = np.zeros(count)
        for judge in range(3):
            view = self.skill * seen + self.kindness + together + 0.9 * self.noise * draw.normal(size=count)
            for order in (-1, 1):
                panel += verdicts(draw, view + order * 0.25 * (1 if judge != 1 else 0.5), 0.8) / 6
        return panel, verdicts(draw, seen, 0.6), pulls


def verdicts(draw: np.random.Generator, latent: np.ndarray, spread: float) -> np.ndarray:
    """The mean delta of five dimensions, each lost, drawn or won."""
    seen = latent[:, None] + spread * draw.normal(size=(len(latent), 5))
    return 0.5 * ((seen > 0.45).astype(float) - (seen < -0.45)).mean(1)


def tuned(skill: float, noise: float) -> World:
    """The world in which people's mean is 0 and the panel's is KINDNESS."""
    world = World(skill, noise)
    for _ in range(15):
        panel, people, _ = world.turns(np.random.default_rng(7), 120_000)
        mean = world.mean - 1.6 * people.mean()
        world = World(skill, noise, mean, world.kindness + 1.8 * (KINDNESS - panel.mean()))
    return world


def measure(world: World, labels: int, draws: int) -> dict[str, float]:
    """Coverage and width over `draws` duels of which people label `labels` turns."""
    draw = np.random.default_rng(100 + labels)
    covered, alone_covered, panel_covered, below, alone_below = [], [], [], [], []
    for seed in range(draws):
        panel, people, pulls = world.turns(draw, TURNS)
        turns = {str(turn): str(pull) for turn, pull in enumerate(pulls)}
        chosen = [int(name) for name in sequence(turns, seed)[:labels]]
        chance = np.array(list(chances(turns, labels).values()))
        told = np.full(TURNS, np.nan)
        told[chosen] = people[chosen]
        phases = Phases.of(panel, told, chance, pulls)
        bound, alone = phases.lower(0.05), phases.lower(0.05, slope=0.0)
        covered.append(bound <= 0)
        alone_covered.append(alone <= 0)
        below.append(phases.people().mean - bound)
        alone_below.append(phases.people(0.0).mean - alone)
        clusters = Clusters.of(panel, pulls)
        panel_covered.append(t_lower(clusters, 0.05)[0] <= 0)
    return {
        "covered": 100 * float(np.mean(covered)),
        "below": 100 * float(np.mean(below)),
        "width": float(np.mean(below) / np.mean(alone_below)),
        "alone": 100 * float(np.mean(alone_covered)),
        "panel": 100 * float(np.mean(panel_covered)),
    }


def measure_raters(world: World, raters: int, draws: int) -> tuple[float, float, float, float]:
    """How often the bound, and that with the differences between raters in it, hold; how far they lie below."""
    draw = np.random.default_rng(5 + raters)
    held, below, held_for_others, below_for_others = [], [], [], []
    for seed in range(draws):
        panel, people, pulls = world.turns(draw, TURNS)
        turns = {str(turn): str(pull) for turn, pull in enumerate(pulls)}
        leans = LEAN * draw.normal(size=raters)
        said = np.full((TURNS, raters, 5), np.nan)
        for place, name in enumerate(sequence(turns, seed)[:300]):
            said[int(name), place % raters] = people[int(name)] + leans[place % raters] + 0.5
        chance, by_person = np.array(list(chances(turns, 300).values())), said.mean(2) - 0.5
        phases = Phases.of(panel, mean(by_person, axis=1), chance, pulls)
        bound, for_others = phases.lower(0.05), rater_bound(by_person, panel, chance, phases, 0.05)
        held.append(bound <= 0)
        below.append(phases.people().mean - bound)
        if for_others is not None:
            held_for_others.append(for_others <= 0)
            below_for_others.append(phases.people().mean - for_others)
    wide = (100 * np.mean(held_for_others), 100 * np.mean(below_for_others)) if held_for_others else (np.nan, np.nan)
    return 100 * float(np.mean(held)), 100 * float(np.mean(below)), float(wide[0]), float(wide[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1_000)
    parser.add_argument("--raters", action="store_true")
    chosen = parser.parse_args()
    draws = chosen.draws
    if chosen.raters:
        print("raters   held  below   with their differences: held  below")
        for raters in (1, 2, 3, 5, 8):
            figures = measure_raters(tuned(*WORLDS["strong"]), raters, draws)
            print(f"{raters:6} {figures[0]:6.1f}% {figures[1]:5.1f} {figures[2]:28.1f}% {figures[3]:5.1f}", flush=True)
        return
    print("world      corr    m  covered  below  width/people alone  people alone covered  panel alone covered")
    for name, (skill, noise) in WORLDS.items():
        world = tuned(skill, noise)
        panel, people, _ = world.turns(np.random.default_rng(8), 100_000)
        alike = np.corrcoef(panel, people)[0, 1]
        for labels in (30, 100, 300):
            found = measure(world, labels, draws)
            print(
                f"{name:9} {alike:5.2f} {labels:4} {found['covered']:7.1f}% {found['below']:6.1f}"
                f" {found['width']:12.2f} {found['alone']:20.1f}% {found['panel']:19.1f}%",
                flush=True,
            )


if __name__ == "__main__":
    main()
