"""How often the overseer steps in: interventions a step, with the error of steps that share a task.

The rate is a ratio over tasks, sum of touched actions / sum of actions; its error is the cluster-robust one of
`duel.judging.statistics`. All shares lie in 0..1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, mean
from typing import TYPE_CHECKING

from duel.records import GuidedRun, GuidedStep

if TYPE_CHECKING:
    from duel.judging.statistics import Clusters

LEVEL = 0.95


def actions_of(steps: Sequence[GuidedStep]) -> list[list[GuidedStep]]:
    """The steps of each action that ran: its proposals in order, the last of which says what ran."""
    groups: list[list[GuidedStep]] = [[]]
    for step in steps:
        groups[-1].append(step)
        if step.outcome is not None:
            groups.append([])
    return groups[:-1]


def touched(steps: Sequence[GuidedStep]) -> list[bool]:
    """For each action whether it came with an intervention: a rejection, a replacement, a suggestion."""
    return [any(step.ruling != "approve" or step.suggestion for step in action) for action in actions_of(steps)]


@dataclass(frozen=True)
class InterventionRates:
    tasks: int
    steps: int
    rate: float
    low: float  # the two-sided 95 % interval of `rate`, Student's t over tasks
    high: float
    refused: float  # share of proposals that did not run
    written: float  # share of actions that the overseer wrote
    kinds: Counter[str]
    submitted: float
    resolved: tuple[int, int]  # tasks whose tests pass, of those where that is known
    solo_submitted: float | None  # None where no task was done alone
    solo_resolved: tuple[int, int]


def measure(runs: Sequence[GuidedRun]) -> InterventionRates:
    """The figures of one round over its tasks, of which there is at least one."""
    from duel.judging.statistics import student_quantile

    def known(answers: list[bool | None]) -> tuple[int, int]:
        told = [answer for answer in answers if answer is not None]
        return sum(told), len(told)

    clusters = clusters_of(runs)
    rate, error, count = float(clusters.means()[0]), float(clusters.errors()[0]), len(runs)
    reach = student_quantile((1 + LEVEL) / 2, count - 1) * error if count > 1 else 1.0
    # Without any spread the error says nothing: what may still be true of tasks of which all agree.
    reach = reach or 1 - (1 - LEVEL) ** (1 / count)
    steps = [step for run in runs for step in run.steps]
    refused = [step.ruling != "approve" for step in steps if step.proposal or step.by == "rule"]
    written = [step.ruling == "replace" for step in steps if step.outcome is not None]
    alone = [run for run in runs if run.solo_outcome]
    return InterventionRates(
        tasks=count,
        steps=len(written),
        rate=rate,
        low=max(rate - reach, 0.0),
        high=min(rate + reach, 1.0),
        refused=sum(refused) / max(1, len(refused)),
        written=mean(written),
        kinds=Counter(step.kind for step in steps if step.kind),
        submitted=mean(run.outcome == "submitted" for run in runs),
        resolved=known([run.resolved for run in runs]),
        solo_submitted=mean(run.solo_outcome == "submitted" for run in alone) if alone else None,
        solo_resolved=known([run.solo_resolved for run in alone]),
    )


def clusters_of(runs: Sequence[GuidedRun]) -> Clusters:
    """One cluster a task: its touched actions, and how many actions it has."""
    import numpy as np

    from duel.judging.statistics import Clusters

    marks = [touched(run.steps) for run in runs]
    return Clusters(np.array([[float(sum(one))] for one in marks]), np.array([float(len(one)) for one in marks]))


def fall(before: Sequence[GuidedRun], after: Sequence[GuidedRun]) -> tuple[float, float]:
    """(by how much the rate fell between two rounds, its one-sided 95 % lower bound), at least two tasks.

    Both hold the same tasks in the same order: what a task adds to both rates cancels.
    """
    import numpy as np

    from duel.judging.statistics import student_quantile

    both, count = (clusters_of(before), clusters_of(after)), len(before)
    first, second = ((one.sums[:, 0] - one.means()[0] * one.sizes) / one.sizes.sum() for one in both)
    error = math.sqrt(count / (count - 1) * float(np.square(first - second).sum()))
    fell = float(both[0].means()[0] - both[1].means()[0])
    return fell, fell - student_quantile(LEVEL, count - 1) * error


def tasks_needed(before: float, after: float, steps: float = 10.0, correlation: float = 0.1) -> int:
    """Tasks a round that show a fall of the rate (one-sided 5 %, power 80 %, two independent rounds).

    `steps` a task; `correlation` of steps within a task. From 0.30 to 0.25 with the defaults: 187.
    """
    quantiles = NormalDist().inv_cdf(LEVEL) + NormalDist().inv_cdf(0.8)
    independent = quantiles**2 * (before * (1 - before) + after * (1 - after)) / (before - after) ** 2
    return math.ceil(independent * (1 + (steps - 1) * correlation) / steps)
