"""Whether refining helped, round by round: rewrites against their parents, and promotion against the control arm.

A turn that was chosen because it is borderline scores higher or lower when it is judged again, whatever was done to it.
Two figures are free of that: the duel of a rewrite against the very text it was rewritten from, and the share that the
held-out judges promote, beside the share that they promote of turns which nobody has changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from duel.bookkeeping import Stage
from duel.errors import ItemError
from duel.judging.rubric import short_hash
from duel.records import Answer
from duel.refining.rewrites import RefiningPanels, Trial, contest
from duel.settings import Settings
from duel.workspace import Workspace

CONFIDENCE = 0.95
LEAST = 10
"""Pull requests under which a figure has no error that anyone should trust."""


@dataclass
class RefineRounds:
    """All trials of a workspace by round, each with the pull request that its turn is about."""

    settings: Settings
    rounds: dict[int, list[tuple[str, Trial]]] = field(default_factory=dict)

    def add(self, instance_id: str, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self.rounds.setdefault(trial.rewrite.round, []).append((instance_id, trial))

    def summary(self) -> list[dict[str, Any]]:
        """A row for each round, as plain data; shares and points, null where there is no data."""
        return [self._round(number, trials) for number, trials in sorted(self.rounds.items())]

    def _round(self, number: int, trials: list[tuple[str, Trial]]) -> dict[str, Any]:
        least = self.settings.report.final_min
        decided = [(label, trial) for label, trial in trials if trial.decided]
        judged = [(label, trial) for label, trial in decided if not trial.refused]
        coached = [trial for _, trial in trials if trial.refused or trial.coach is not None]
        reached = [(label, float((trial.points or 0.0) >= least)) for label, trial in decided]
        control = [(label, float(trial.control >= least)) for label, trial in trials if trial.control is not None]
        parent = estimate([(label, trial.against_parent or 0.0) for label, trial in judged])
        new, unchanged = estimate(reached), estimate(control)
        errors = (new["error"], unchanged["error"])
        by_coaches = sum(bool(t.coach and (t.coach.score or 0.0) >= least) for t in coached)
        return {
            "round": number,
            "rewritten": len(trials),
            "refused": dict(sorted(Counter(trial.refused for _, trial in trials if trial.refused).items())),
            "open": len(trials) - len(decided),
            "by_coaches": by_coaches / len(coached) if coached else None,
            "by_held_out": new,
            "control": unchanged,
            "gain": None if None in errors else new["mean"] - unchanged["mean"],
            "gain_error": None if None in errors else sum(error**2 for error in errors) ** 0.5,
            "against_parent": parent,
            "better": sum(trial.better for _, trial in judged),
            "promoted": sum(trial.promoted(self.settings) for _, trial in judged),
            "helped": None if parent["error"] is None else parent["mean"] - parent["error"] > 50,
        }


def estimate(values: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """{turns, clusters, mean, error} of (pull request, value): a 95 % interval, robust to turns that share one.

    `error` is half its width (Liang & Zeger 1986, Student's t), null under `LEAST` pull requests.
    """
    from duel.judging.statistics import Clusters, student_quantile

    if not values:
        return {"turns": 0, "clusters": 0, "mean": None, "error": None}
    labels, numbers = zip(*values, strict=True)
    clusters = Clusters.of(numbers, labels)
    enough = clusters.count >= LEAST
    reach = student_quantile((1 + CONFIDENCE) / 2, clusters.count - 1) if enough else 0.0
    error = reach * float(clusters.errors()[0]) if enough else None
    return {"turns": len(values), "clusters": clusters.count, "mean": float(clusters.means()[0]), "error": error}


def looks(workspace: Workspace, settings: Settings) -> list[dict[str, Any]]:
    """What the history of looks keeps of each round: a rewrite is a further challenger, and its judging a look."""
    panels, found = RefiningPanels(Stage("refine", workspace, settings)), RefineRounds(settings)
    folders, damage = workspace.answer_folders(), list[ItemError]()
    paths = (workspace.find_answer(score.stem, folders) for score in workspace.side_scores(contest("king", 1).name))
    for path, answer in workspace.read_all([path for path in paths if path], Answer, damage):
        found.add(answer.instance_id, panels.trials(path, answer))
    rows = []
    for row in found.summary():
        trials, parent = [trial for _, trial in found.rounds[row["round"]]], row["against_parent"]
        if row["helped"] is None:
            continue
        models = sorted({trial.rewrite.candidate.made.model for trial in trials if trial.rewrite.candidate.made})
        rows.append(
            {
                "challenger": short_hash(["refine", row["round"], models]),
                "writers": models,
                "mode": settings.duel.mode,
                "turns": row["rewritten"],
                "parsed": parent["turns"],
                "clusters": parent["clusters"],
                "alpha": (1 - CONFIDENCE) / 2,
                "margin": 2 * parent["mean"] - 100,
                "lcb": (parent["mean"] - parent["error"] - 50) / 100,
                "decision": "helped" if row["helped"] else "did not help",
                "votes": short_hash([[trial.points, trial.against_parent] for trial in trials]),
                "statistic": "refine",
            }
        )
    return rows
