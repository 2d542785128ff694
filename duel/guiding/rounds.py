"""What comes of guided rounds: rows for training, interventions a step with their error, report/guide.md and guide.svg.

The rate is a ratio over tasks, sum of touched actions / sum of actions; its error is the cluster-robust one of
`duel.judging.statistics`. All shares lie in 0..1.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import NormalDist, mean
from typing import Any

from duel.errors import ItemError, UserError
from duel.guiding.supervised_loop import actions_of, said, touched
from duel.judging.statistics import Clusters, student_quantile
from duel.records import Guided, GuidedRun
from duel.registry import OFFLINE
from duel.reporting import markdown, wording
from duel.reporting.charts import WIDTH, Drawing, scale
from duel.reporting.wording import ReportPart, Table, code
from duel.sources.mining.mined import RowWriter
from duel.workspace import Workspace

Rounds = Mapping[int, Mapping[str, GuidedRun]]  # the runs of each round by task
LEVEL = 0.95


def row(record: Guided) -> dict[str, Any]:
    """One run. Its messages hold no word of the overseer's but the turns that it wrote for the agent.

    `interventions` is a JSON list: each proposal that did not run, and the place in `messages` of the turn that did.
    """
    messages, marks = list(record.opening), []
    for action in actions_of(record.steps):
        refused = [step for step in action if step.ruling != "approve" and step.proposal]
        told = ({"ruling": step.ruling, "kind": step.kind, "proposal": step.proposal} for step in refused)
        marks += [{"message": len(messages), **mark} for mark in told]
        assert action[-1].outcome is not None  # it ran
        messages += said(action[-1].action, action[-1].outcome)
    return {
        "instance_id": record.task,
        "repo": record.repo,
        "messages": [message.model_dump(include={"role", "content"}) for message in messages],
        "trajectory_format": "mini-swe-agent-1",
        "exit_status": "Submitted" if record.outcome == "submitted" else "incomplete",
        "duration_sec": None,
        "model": record.agent_model,
        "base_commit": record.base_commit,
        "license": record.license,
        "resolved": record.resolved,
        "interventions": json.dumps(marks, ensure_ascii=False),
    }


def save_rows(path: Path, records: Iterable[Guided]) -> int:
    with RowWriter(path) as rows:
        for record in records:
            rows.add(row(record))
    return rows.rows


class InterventionRates:
    """The figures of one round over its tasks, of which there is at least one."""

    def __init__(self, runs: Sequence[GuidedRun]) -> None:
        def known(answers: list[bool | None]) -> tuple[int, int]:
            told = [answer for answer in answers if answer is not None]
            return sum(told), len(told)

        self.agent, self.overseer, self.tasks = runs[0].agent_model, runs[0].overseer_model, len(runs)
        clusters = clusters_of(runs)
        self.rate, error = float(clusters.means()[0]), float(clusters.errors()[0])
        reach = student_quantile((1 + LEVEL) / 2, self.tasks - 1) * error if self.tasks > 1 else 1.0
        # Without any spread the error says nothing: what may still be true of tasks of which all agree.
        reach = reach or 1 - (1 - LEVEL) ** (1 / self.tasks)
        self.low, self.high = max(self.rate - reach, 0.0), min(self.rate + reach, 1.0)  # two-sided, Student's t
        steps = [step for run in runs for step in run.steps]
        refused = [step.ruling != "approve" for step in steps if step.proposal or step.by == "rule"]
        self.refused = sum(refused) / max(1, len(refused))  # share of proposals that did not run
        written = [step.ruling == "replace" for step in steps if step.outcome is not None]
        self.written, self.steps = mean(written), len(written)  # share of actions that the overseer wrote
        kinds = Counter(step.kind for step in steps if step.kind)
        self.why = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
        self.submitted = mean(run.outcome == "submitted" for run in runs)
        self.resolved = known([run.resolved for run in runs])  # tasks whose tests pass, of those where that is known
        alone = [run for run in runs if run.solo_outcome]
        self.solo_submitted = mean(run.solo_outcome == "submitted" for run in alone) if alone else None
        self.solo_resolved = known([run.solo_resolved for run in alone])


def clusters_of(runs: Sequence[GuidedRun]) -> Clusters:
    """One cluster a task: its touched actions, and how many actions it has."""
    marks = [(task, mark) for task, run in enumerate(runs) for mark in touched(run.steps)]
    return Clusters.of([mark for _, mark in marks], [task for task, _ in marks])


def fall(before: Sequence[GuidedRun], after: Sequence[GuidedRun]) -> tuple[float, float]:
    """(by how much the rate fell, its one-sided 95 % lower bound) over two or more tasks, the same in both."""
    both, count = (clusters_of(before), clusters_of(after)), len(before)
    first, second = ((one.sums[:, 0] - one.means()[0] * one.sizes) / one.sizes.sum() for one in both)
    error = math.sqrt(count / (count - 1) * float(((first - second) ** 2).sum()))
    fell = float(both[0].means()[0] - both[1].means()[0])
    return fell, fell - student_quantile(LEVEL, count - 1) * error


def tasks_needed(before: float, after: float, steps: float = 10.0, correlation: float = 0.1) -> int:
    """Tasks a round that show a fall of the rate (one-sided 5 %, power 80 %, two independent rounds).

    `steps` a task; `correlation` of steps within a task. From 0.30 to 0.25 with the defaults: 187.
    """
    quantiles = NormalDist().inv_cdf(LEVEL) + NormalDist().inv_cdf(0.8)
    independent = quantiles**2 * (before * (1 - before) + after * (1 - after)) / (before - after) ** 2
    return math.ceil(independent * (1 + (steps - 1) * correlation) / steps)


def save_page(workspace: Workspace) -> list[Path]:
    """Write both files; returns their paths. Raises UserError where no round has been measured."""
    damage: list[ItemError] = []
    series: dict[str, dict[int, dict[str, GuidedRun]]] = {}
    records = [record for _, record in workspace.guided(damage) if record.held_out]
    # A round without an action, as only a file from elsewhere holds, has no rate.
    runs = ((record.task, run) for record in records for run in record.every_round() if actions_of(run.steps))
    for task, run in sorted(runs, key=lambda one: (one[1].round, one[0])):
        series.setdefault(run.series, {}).setdefault(run.round, {})[task] = run
    if not series:
        hint = "run duel guide first; [guide] held_out says how many tasks measure"
        raise UserError("no held-out task has been guided to its end", where=workspace.root / "guided", hint=hint)
    parts, offline, rates = [], False, dict[int, InterventionRates]()
    for name, rounds in sorted(series.items(), key=lambda item: max(item[1])):  # the newest last
        rates = {number: InterventionRates([*runs.values()]) for number, runs in rounds.items()}
        offline = offline or any(OFFLINE in one.agent for one in rates.values())
        parts.append(markdown.section(_part(name, rounds, rates)))
    lost = [f"{len(damage)} files could not be read and are left out."] * bool(damage)
    head = ["# Interventions by round" + markdown.OFFLINE_TITLE * offline, *[markdown.BANNER] * offline, *lost]
    page = "\n\n".join([*head, "![Interventions a step](guide.svg)", *parts]) + "\n"
    files = {workspace.report / "guide.md": page, workspace.report / "guide.svg": chart(rates).file()}
    for path, text in files.items():
        workspace.save(path, text.encode())
    return [*files]


def _part(series: str, rounds: Rounds, rates: Mapping[int, InterventionRates]) -> ReportPart:
    first, last = min(rounds), max(rounds)
    newest, both = rates[last], [task for task in rounds[first] if task in rounds[last]]
    notes = ["A falling rate means something only while the agent solves no less alone: an overseer may nod."]
    if first < last and len(both) < 2:
        notes.append(f"Rounds {first} and {last} have fewer than two tasks in common: their rates are not compared.")
    elif first < last:
        fell, bound = fall(*([rounds[number][task] for task in both] for number in (first, last)))
        sure = "a fall" if bound > 0 else "not shown to be a fall"
        words = f"From round {first} to {last} the rate fell by {fell:.3f}, at least {wording.signed(bound, 3)}"
        notes.append(f"{words} (one-sided 95 %, {len(both):,} tasks): {sure}.")
    if newest.rate > 0:
        after_it = max(newest.rate - 0.05, 0.0)
        needed = tasks_needed(newest.rate, after_it, newest.steps / newest.tasks)
        notes.append(
            f"To show a fall from {newest.rate:.2f} to {after_it:.2f} (power 80 %, one-sided 5 %, correlation of steps"
            f" within a task 0.1) takes about {needed:,} tasks a round; there are {newest.tasks:,}."
        )
    table = Table.of("guide", [{"round": number, **vars(one)} for number, one in rates.items()])
    return ReportPart(f"Series {series}: overseer {code(newest.overseer)}", [table], notes)


def chart(rates: Mapping[int, InterventionRates]) -> Drawing:
    words = ", ".join(f"round {number}: {one.rate:.3f}" for number, one in rates.items())
    drawing = Drawing("Interventions a step by round", words, WIDTH, 212)
    tested = all(one.solo_resolved[1] for one in rates.values())
    left, right, ground = 34, WIDTH - 24, 172
    y = scale(0, 1, ground, 40)
    x = scale(min(rates), max(max(rates), min(rates) + 1), left + 16, right)
    for value in (0, 0.25, 0.5, 0.75, 1):
        drawing.line(left, y(value), right + 16, y(value), "rule")
        drawing.text(left - 6, y(value) + 4, f"{value:g}", "small muted end")
    drawing.path([(x(number), y(one.rate)) for number, one in rates.items()], "line")
    for number, one in rates.items():
        drawing.line(x(number), y(one.low), x(number), y(one.high), "axis")
        drawing.circle(x(number), y(one.rate), 4.5, "fill-challenger", f"{one.rate:.3f}")
        alone = one.solo_resolved[0] / one.solo_resolved[1] if tested else one.solo_submitted
        if alone is not None:
            drawing.circle(x(number), y(alone), 4.5, "fill-final", f"{alone:.3f} alone")
        drawing.text(x(number), ground + 17, number, "small muted middle")
    drawing.text((left + right) / 2, ground + 36, "round", "small muted middle")
    solved = f"{'resolved' if tested else 'submitted'} alone"
    legend = (left, "fill-challenger", "interventions a step, 95 %"), (left + 180, "fill-final", solved)
    for at, classes, label in legend:
        drawing.rect(at, 6, 9, 9, classes)
        drawing.text(at + 14, 14, label, "small")
    return drawing
