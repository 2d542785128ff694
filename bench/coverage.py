"""How often a nominal 95 % lower bound holds, on simulated panels with a known truth.

    python -m bench.coverage [--runs 3000] [--resamples 999]

Three judges, both orders, one to eight turns a pull request. Prints, for each setting, the coverage of the gate's bound
(cluster-studentized, with its guard), of the same without the guard, of the cluster t and of the plain percentile over
turns, and how often a challenger that is no better is accepted at one look. About a minute on two cores.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from duel.judging.statistics import Clusters, percentile_lower, studentized, t_lower
from tests.judging.panels import DISASTERS, HEAVY_TIES, World, simulate

LEVEL = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3000)
    parser.add_argument("--resamples", type=int, default=999)
    arguments = parser.parse_args()
    print("turns (clusters)            gate  unguarded  cluster t  turns iid")
    for name, world in (("heavy ties", HEAVY_TIES), ("rare disasters", DISASTERS)):
        for clusters in (23, 67, 445):
            held = coverage(world, clusters, arguments.runs, arguments.resamples)
            shown = "".join(f"{100 * share:10.1f}" for share in held)
            print(f"{round(4.5 * clusters):5d} ({clusters}) {name:<15}{shown}", flush=True)
    for clusters in (67, 445):
        accepted = false_accepts(replace(HEAVY_TIES, center=0.0), clusters, arguments.runs, arguments.resamples)
        print(
            f"false accepts at one look, {round(4.5 * clusters)} turns ({clusters}): {100 * accepted:.1f} %", flush=True
        )


def coverage(world: World, clusters: int, runs: int, resamples: int) -> np.ndarray:
    draw = np.random.default_rng(clusters)
    held = np.zeros(4)
    for run in range(runs):
        values, labels = deltas(world, clusters, draw)
        groups = Clusters.of(values, labels)
        bounds = [
            studentized(groups, resamples, run).lower(LEVEL)[0],
            studentized(groups, resamples, run, guard=False).lower(LEVEL)[0],
            t_lower(groups, LEVEL)[0],
            percentile_lower(values, LEVEL, resamples, run),
        ]
        held += np.array(bounds) <= world.truth
    return held / runs


def false_accepts(world: World, clusters: int, runs: int, resamples: int) -> float:
    draw = np.random.default_rng(clusters + 1)
    accepted = 0
    for run in range(runs):
        groups = Clusters.of(*deltas(world, clusters, draw))
        accepted += bool(studentized(groups, resamples, run).lower(LEVEL)[0] > 0)
    return accepted / runs


def deltas(world: World, clusters: int, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    votes, labels = simulate(world, clusters, draw)
    return votes.mean((1, 2, 3)) - 0.5, labels


if __name__ == "__main__":
    main()
