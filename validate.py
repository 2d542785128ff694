#!/usr/bin/env python3
"""Let a panel of judges compare challenger and king of every turn, and say whether the challenger is accepted.

    python validate.py                    go on where the last run stopped
    python validate.py --plan             calls, tokens and cost, before a cent is spent
    python validate.py --regate           the verdict anew from the votes that are there, without a call
    python validate.py --check            exit with code 4 where the challenger is not accepted
    python validate.py --noise-floor 100  also judge 100 kings against a second blind answer of their own
    python validate.py --offline          with the stand-in endpoint: no key, no network

reads   answer_*/*.json
writes  score/<answer>.json, score/_looks.json and, last, score/_duel.json
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from itertools import chain
from typing import Any

import orjson

from duel import calls, command, offline, settings
from duel.calls.summary import Summary
from duel.errors import EXIT_FINISHED, NotAccepted, UserError
from duel.judging import words
from duel.judging.panel import Panel
from duel.judging.survey import judgeable, scores_of
from duel.stage import Stage
from duel.workspace import Workspace


def main() -> int:
    """The stage, from the command line to the exit code."""
    arguments = command_line()
    workspace = Workspace(arguments.workspace)
    chosen = settings.load(workspace.root, *offline.overrides(arguments.offline))
    stage = Stage("validate", workspace, chosen, again=arguments.again)
    panel = Panel(stage, workspace, chosen.duel.mode)
    with (
        workspace.lock("score", "validate.py"),
        offline.endpoint_url(arguments.offline and not arguments.regate) as url,
    ):
        if arguments.plan:
            turns = panel.open_turns(judgeable(stage))
            calls.plan(turns, workspace=workspace, settings=chosen, stage="judge", offline=arguments.offline).say()
            return EXIT_FINISHED
        summary = survey(panel) if arguments.regate else judge(panel, arguments.budget, url)
        if arguments.noise_floor and not arguments.regate and not ended_early(summary):
            noise = measure_noise(panel, arguments.noise_floor, left_of(arguments.budget, summary), url)
            summary = noise if ended_early(noise) else summary
        if ended_early(summary):
            return stage.finish(summary)
        verdict = decide(panel)
        code = stage.finish(summary)
        for reason, count in panel.asked_anew.most_common():
            command.say(f"  {count:,} scores made with other settings: {reason}")
        save(workspace, verdict)
    words.say(verdict, workspace.duel)
    if arguments.check and not verdict["accepted"]:
        raise NotAccepted("the challenger is not accepted", value=verdict["decision"])
    return code


def command_line() -> argparse.Namespace:
    """What this script takes."""
    parser = command.Parser(__doc__).with_offline().with_spending()
    parser.add_argument("--check", action="store_true", help="exit with code 4 where the challenger is not accepted")
    parser.add_argument("--regate", action="store_true", help="the verdict anew from score/, without a call")
    parser.add_argument("--noise-floor", type=int, default=0, metavar="N", help="judge N kings against themselves")
    arguments = parser.parse_args()
    if arguments.noise_floor < 0:
        parser.error(f"--noise-floor takes a number of turns: {arguments.noise_floor}")
    return arguments


def survey(panel: Panel) -> Summary:
    """See which scores stand under the present settings, and ask nothing."""
    waiting = sum(1 for _ in panel.open_turns(judgeable(panel.stage)))
    if waiting:
        command.say(f"{waiting:,} turns wait for votes; `validate.py` without --regate asks for them")
    panel.stage.stale = 0
    return Summary("validate", done=panel.stage.finished)


def judge(panel: Panel, budget: float | None, url: str) -> Summary:
    """Ask for every vote that is missing. The old verdict goes before the first new vote comes."""
    turns = panel.open_turns(judgeable(panel.stage))
    return ask(panel, turns, "judge", len(panel.workspace.answer_paths()), budget, url)


def ask(panel: Panel, jobs: Iterable[calls.Job], role: str, total: int, budget: float | None, url: str) -> Summary:
    """Drive `jobs`, if there are any: nothing left to do needs no key and no endpoint."""
    jobs = iter(jobs)
    first = next(jobs, None)
    if first is None:
        return Summary(role)
    workspace, chosen = panel.workspace, panel.settings
    route = calls.route_for(chosen, workspace, "judge" if role == "judge" else "writer", url)
    workspace.duel.unlink(missing_ok=True)
    return calls.drive(
        chain([first], jobs),
        workspace=workspace,
        settings=chosen,
        route=route,
        stage=role,
        total=total,
        again=panel.stage.again,
        budget=budget,
    )


def measure_noise(panel: Panel, count: int, budget: float | None, url: str) -> Summary:
    """Let the king answer `count` turns once more, and let the same judges compare the king with itself."""
    from duel.judging import noise_floor

    workspace, chosen, again = panel.workspace, panel.settings, panel.stage.again
    second = noise_floor.open_answers(noise_floor.drawn(panel.stage, count), panel.stage)
    summary = ask(panel, second, "noise", count, budget, url)
    if ended_early(summary):
        return summary
    summary.say()
    apart = noise_floor.panel(workspace, chosen, again)
    return ask(apart, apart.open_turns(noise_floor.pairs(workspace)), "judge", count, left_of(budget, summary), url)


def left_of(budget: float | None, summary: Summary) -> float | None:
    """What a run may still spend after `summary`."""
    return None if budget is None else max(0.0, budget - summary.cost)


def ended_early(summary: Summary) -> bool:
    """True where a verdict would rest on a part of what was to be asked."""
    return bool(summary.interrupted or summary.budget_spent or summary.stopped)


def decide(panel: Panel) -> dict[str, Any]:
    """The verdict on all scores that stand under the present settings."""
    from duel.judging import gate, looks, noise_floor

    scores, left_out = scores_of(panel)
    if not scores:
        raise UserError(
            "there is nothing to decide on",
            where=panel.workspace.root / "score",
            value=", ".join(f"{count:,} {reason}" for reason, count in left_out.items()) or None,
            hint="run king.py and ch.py first, then validate.py without --regate",
        )
    for score in scores:
        if not score.parsed:
            panel.stage.drop(score.file, score.instance_id, "unparsed", score.reason)
    noise = noise_floor.scores(panel.workspace, panel.settings)
    earlier = looks.read(panel.workspace)
    return gate.decide(scores, panel.settings, earlier=earlier, noise=noise, left_out=left_out)


def save(workspace: Workspace, verdict: dict[str, Any]) -> None:
    """Keep the look that was taken and, last, the verdict, which marks the stage as done."""
    from duel.judging import looks

    looks.save(workspace, verdict["looks"]["history"])
    workspace.save(workspace.duel, orjson.dumps(verdict, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    command.run(main)
