"""report/guide.md and guide.svg: interventions a step over rounds, beside what the agent solves alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from duel.errors import ItemError, UserError
from duel.guiding.intervention_rates import fall, measure, tasks_needed
from duel.records import GuidedRun
from duel.registry import OFFLINE
from duel.reporting import markdown, wording
from duel.reporting.parts import Outside, ReportPart, Table
from duel.reporting.svg import WIDTH, Drawing, scale
from duel.reporting.wording import code
from duel.workspace import Workspace

Rounds = Mapping[int, Mapping[str, GuidedRun]]
"""The runs of each round by task."""
_COLUMNS = (
    *("round", "agent", "tasks", "steps", "interventions a step", "95 % interval"),
    *("proposals refused", "written by overseer", "submitted", "resolved", "submitted alone", "resolved alone", "why"),
)


def save(workspace: Workspace) -> list[Path]:
    """Write both files; returns their paths. Raises UserError where no round has been measured."""
    damage: list[ItemError] = []
    series: dict[str, dict[int, dict[str, GuidedRun]]] = {}
    records = [record for _, record in workspace.guided(damage) if record.held_out]
    every = ((record.task, run) for record in records for run in record.every_round())
    for task, run in sorted(every, key=lambda one: (one[1].round, one[0])):
        series.setdefault(run.series, {}).setdefault(run.round, {})[task] = run
    if not series:
        hint = "run duel guide first; [guide] held_out says how many tasks measure"
        raise UserError("no held-out task has been guided to its end", where=workspace.root / "guided", hint=hint)
    ordered = sorted(series.items(), key=lambda item: max(item[1]))  # the newest last
    offline = any(OFFLINE in _any(runs).agent_model for _, rounds in ordered for runs in rounds.values())
    parts = [markdown.section(_part(name, rounds)) for name, rounds in ordered]
    lost = [f"{len(damage)} files could not be read and are left out."] * bool(damage)
    head = ["# Interventions by round" + markdown.OFFLINE_TITLE * offline, *[markdown.BANNER] * offline, *lost]
    page = "\n\n".join([*head, "![Interventions a step](guide.svg)", *parts]) + "\n"
    files = {workspace.report / "guide.md": page, workspace.report / "guide.svg": chart(ordered[-1][1]).file()}
    for path, text in files.items():
        workspace.save(path, text.encode())
    return [*files]


def _any(runs: Mapping[str, GuidedRun]) -> GuidedRun:
    return next(iter(runs.values()))


def _part(series: str, rounds: Rounds) -> ReportPart:
    rates = {number: measure([*runs.values()]) for number, runs in rounds.items()}
    first, last = min(rounds), max(rounds)
    newest, both = rates[last], [task for task in rounds[first] if task in rounds[last]]
    notes = ["A falling rate means something only while the agent solves no less alone: an overseer may nod."]
    if first < last and len(both) < 2:
        alike = f"Rounds {first} and {last} have fewer than two tasks in common"
        notes.append(f"{alike}: their rates are not compared.")
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
    rows: list[Sequence[str]] = []
    for number, one in rates.items():
        shares = [one.refused, one.written, one.submitted]
        known = [
            f"{done} of {all_of}" if all_of else wording.NO_DATA for done, all_of in (one.resolved, one.solo_resolved)
        ]
        rows.append(
            [
                *(str(number), Outside(_any(rounds[number]).agent_model), wording.count(one.tasks)),
                *(wording.count(one.steps), f"{one.rate:.3f}", f"{one.low:.3f} to {one.high:.3f}"),
                *(*map(wording.share, shares), known[0]),
                "not run" if one.solo_submitted is None else wording.share(one.solo_submitted),
                known[1],
                ", ".join(f"{kind} {count}" for kind, count in one.kinds.most_common()),
            ]
        )
    title = f"Series {series}: overseer {code(_any(rounds[last]).overseer_model)}"
    return ReportPart(title, [Table(_COLUMNS, rows, (0, *range(2, 12)))], notes)


def chart(rounds: Rounds) -> Drawing:
    rates = {number: measure([*runs.values()]) for number, runs in rounds.items()}
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
    for at, classes, label in (
        (left, "fill-challenger", "interventions a step, 95 %"),
        (left + 180, "fill-final", solved),
    ):
        drawing.rect(at, 6, 9, 9, classes)
        drawing.text(at + 14, 14, label, "small")
    return drawing
