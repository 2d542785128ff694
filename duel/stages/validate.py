"""Let a panel of judges compare challenger and king of every turn, and say whether the challenger is accepted.

    validate.py                    go on where the last run stopped
    validate.py --plan             calls, tokens and cost, before a cent is spent
    validate.py --regate           the verdict anew from the votes that are there, without a call
    validate.py --check            exit with code 4 where the challenger is not accepted
    validate.py --noise-floor 100  also judge 100 kings against a second blind answer of their own
    validate.py --offline          with the stand-in endpoint: no key, no network

reads   answer_*/*.json
writes  score/<answer>.json, score/_looks.json and, last, score/_duel.json
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from duel import calls
from duel.bookkeeping import Result, Stage
from duel.command import Parser, say
from duel.errors import EXIT_FINISHED, NotAccepted, SettingsError, UserError
from duel.judging import words
from duel.judging.panel import Panel
from duel.judging.survey import judgeable, scores_of
from duel.offline import endpoint_url
from duel.settings import Settings
from duel.stages import asking, opened
from duel.synchronous import synchronous
from duel.workspace import Workspace

if TYPE_CHECKING:
    from duel.calls import Summary
    from duel.records import Score


async def run_async(
    workspace: Workspace,
    settings: Settings,
    *,
    again: bool = False,
    budget: float | None = None,
    offline: bool = False,
    regate: bool = False,
    noise_floor: int = 0,
) -> Result:
    """Ask for the votes that are missing, then decide; `found` is the verdict, None where the run ended early.

    `regate` decides on the votes that are there. `noise_floor` turns are also judged against a second blind answer.
    """
    panel = panel_of(workspace, settings, again)
    stage = panel.stage
    with workspace.lock("score", "validate.py"), endpoint_url(offline and not regate) as url:
        summary = survey(panel) if regate else await judge(panel, budget, url)
        if noise_floor and not regate and not ended_early(summary):
            noise = await measure_noise(panel, noise_floor, left_of(budget, summary), url)
            summary = noise if ended_early(noise) else summary
        if ended_early(summary):
            return stage.finish(summary)
        verdict = decide(panel)
        result = stage.finish(summary, verdict)
        for reason, count in panel.asked_anew.most_common():
            say(f"  {count:,} scores made with other settings: {reason}")
        save(workspace, verdict)
    words.say(verdict, workspace.duel)
    return result


run = synchronous(run_async)


def plan(workspace: Workspace, settings: Settings, *, offline: bool = False) -> calls.Plan:
    """What `run` would ask, and at most cost. No call is made, nothing is written."""
    panel = panel_of(workspace, settings)
    turns = panel.open_turns(judgeable(panel.stage))
    return calls.plan(turns, workspace=workspace, settings=settings, stage="judge", offline=offline)


def add_arguments(parser: Parser) -> None:
    parser.with_offline().with_spending()
    parser.add_argument("--check", action="store_true", help="exit with code 4 where the challenger is not accepted")
    parser.add_argument("--regate", action="store_true", help="the verdict anew from score/, without a call")
    parser.add_argument("--noise-floor", type=int, default=0, metavar="N", help="judge N kings against themselves")


def main(arguments: Namespace) -> int:
    if arguments.noise_floor < 0:
        raise SettingsError(f"--noise-floor takes a number of turns: {arguments.noise_floor}")
    workspace, settings = opened(arguments)
    if arguments.plan:
        plan(workspace, settings, offline=arguments.offline).say()
        return EXIT_FINISHED
    names = ("again", "budget", "offline", "regate", "noise_floor")
    result = run(workspace, settings, **{name: getattr(arguments, name) for name in names})
    if arguments.check and result.found is not None and not result.found["accepted"]:
        raise NotAccepted("the challenger is not accepted", value=result.found["decision"])
    return result.exit_code


def panel_of(workspace: Workspace, settings: Settings, again: bool = False) -> Panel:
    """The judges, with their scores in the workspace itself."""
    return Panel(Stage("validate", workspace, settings, again=again), workspace, settings.duel.mode)


def survey(panel: Panel) -> Summary:
    """See which scores stand under the present settings, and ask nothing."""
    waiting = sum(1 for _ in panel.open_turns(judgeable(panel.stage)))
    if waiting:
        say(f"{waiting:,} turns wait for votes; `validate.py` without --regate asks for them")
    panel.stage.stale = 0
    return calls.Summary("validate", done=panel.stage.finished)


async def judge(panel: Panel, budget: float | None, url: str) -> Summary:
    """Ask for every vote that is missing. The old verdict goes before the first new vote comes."""
    turns = panel.open_turns(judgeable(panel.stage))
    return await ask(panel, turns, "judge", len(panel.workspace.answer_paths()), budget, url)


async def ask(
    panel: Panel, jobs: Iterable[calls.Job], name: str, total: int, budget: float | None, url: str
) -> Summary:
    """Drive `jobs`; the verdict that lies there goes first, because it is about other votes."""
    return await asking.drive(
        jobs,
        panel.stage,
        role="judge" if name == "judge" else "writer",
        name=name,
        total=total,
        budget=budget,
        url=url,
        outdated=panel.workspace.duel,
    )


async def measure_noise(panel: Panel, count: int, budget: float | None, url: str) -> Summary:
    """Let the king answer `count` turns once more, and let the same judges compare the king with itself."""
    from duel.judging import noise_floor

    workspace, settings, again = panel.workspace, panel.settings, panel.stage.again
    second = noise_floor.open_answers(noise_floor.drawn(panel.stage, count), panel.stage)
    summary = await ask(panel, second, "noise", count, budget, url)
    if ended_early(summary):
        return summary
    summary.say()
    apart = noise_floor.panel(workspace, settings, again)
    pairs = apart.open_turns(noise_floor.pairs(workspace))
    return await ask(apart, pairs, "judge", count, left_of(budget, summary), url)


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
    verdict = gate.decide(scores, panel.settings, earlier=earlier, noise=noise, left_out=left_out)
    return with_people(verdict, scores, panel)


def with_people(verdict: dict[str, Any], scores: Sequence[Score], panel: Panel) -> dict[str, Any]:
    """The verdict with what people's votes say of it, where anyone has voted or the settings require it."""
    from duel.review.ballot_box import read_votes
    from duel.review.calibration import calibrate
    from duel.review.weighing import weighed

    votes = read_votes(panel.workspace, panel.stage.damage)
    if not votes and panel.settings.review.weight != "require":
        return verdict
    return weighed(verdict, calibrate(scores, votes, panel.settings), panel.settings)


def save(workspace: Workspace, verdict: dict[str, Any]) -> None:
    """Keep the look that was taken and, last, the verdict, which marks the stage as done."""
    from duel.judging import looks

    looks.save(workspace, verdict["looks"]["history"])
    workspace.save(workspace.duel, orjson.dumps(verdict, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
