"""Let a panel of judges compare challenger and king of every turn, and say whether the challenger is accepted.

    validate.py                    go on where the last run stopped
    validate.py --plan             calls, tokens and cost, before a cent is spent
    validate.py --regate           the verdict anew from the votes that are there, without a call
    validate.py --check            exit with code 4 where the challenger is not accepted
    validate.py --noise-floor 100  also judge 100 kings against a second blind answer of their own
    validate.py --canary 30        also judge 30 kings against themselves with an attack on the judges added
    validate.py --confirm          also judge the turns that are final once more, on fresh replies
    validate.py --offline          with the stand-in endpoint: no key, no network

Where a side has several candidates, one is chosen first (`duel.stages.choose`).

reads   answer_*/*.json
writes  score/<answer>.json, score/_looks.json and, last, score/_duel.json; with --noise-floor the second kings into
        answer_*/; the votes on rewrites (duel refine) into score/_refine-<round>-<who>/
"""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duel import calls, placement
from duel.bookkeeping import Result, Stage
from duel.command import Parser, say
from duel.errors import EXIT_FINISHED, EXIT_OPEN, EndpointError, NotAccepted, SettingsError
from duel.judging import rubric
from duel.judging.contests import CANARY, CONFIRM, NOISE, Contest, SecondAnswer
from duel.judging.panel import Panel
from duel.judging.survey import Survey, case_of, drawn, of_contest
from duel.offline import endpoint_url
from duel.records import Answer, Verdict
from duel.refining.rewrites import JUDGED_AS, RefiningPanels, looks_of_rounds
from duel.settings import Settings
from duel.stages import asking, choose, command_line
from duel.stages.estimate import Expected
from duel.synchronous import synchronous
from duel.workspace import Workspace

if TYPE_CHECKING:
    from duel.judging.gate import Case


@asking.in_rounds
async def run_async(
    workspace: Workspace,
    settings: Settings,
    *,
    again: bool = False,
    budget: float | None = None,
    offline: bool = False,
    regate: bool = False,
    noise_floor: int = 0,
    canary: int = 0,
    confirm: bool = False,
    before_verdict: Callable[[], object] = lambda: None,
) -> Result:
    """Ask for the votes that are missing, then decide; `found` is the verdict, None where the run ended early.

    `regate` decides on the votes that are there. `noise_floor` and `canary` are turns of the further contests of that
    name, `confirm` judges the final turns once more. `before_verdict` is called once the judges have voted.
    """
    from duel.judging import held_case

    for name, number in {"noise_floor": noise_floor, "canary": canary}.items():
        if number < 0:
            raise SettingsError(f"`{name}` takes a number of turns", value=number)
    stage = Stage("validate", workspace, settings, again=again)
    panel, survey = Panel(stage), Survey(stage)
    failure, still_open = None, EXIT_FINISHED
    further = bool(noise_floor or canary or confirm or settings.most_candidates > 1 or settings.refine.held_out)
    with workspace.lock("score", "validate.py"), endpoint_url(offline and not regate) as url:
        files, summary = held_case.snapshot(panel), calls.Summary("validate" if regate else "judge")
        case = held_case.load(panel, files) if regate or not (again or further) else None
        if regate and case is None:
            waiting = sum(1 for _ in panel.open_turns(survey.judgeable()))
            stage.stale, case = 0, case_of(panel, survey)
            if waiting:
                say(f"{waiting:,} turns wait for votes; `validate.py` without --regate asks for them")
            else:
                held_case.store(panel, case, files, stage.finished)
        elif case is None:
            if settings.most_candidates > 1:
                chosen = await choose.run_async(workspace, settings, again=again, budget=budget, offline=offline)
                if chosen.calls is not None and ended_early(chosen.calls):
                    return chosen
                survey.not_chosen, still_open = chosen.found, chosen.exit_code
                if budget is not None and chosen.calls is not None:
                    budget = max(0.0, budget - chosen.calls.cost)
            summary, failure = await judged(panel, survey, budget, url, noise_floor, canary, confirm)
            if ended_early(summary):
                return stage.finish(summary)
            case = case_of(panel, survey)
            if summary.exit_code == EXIT_FINISHED and failure is None and not further:
                held_case.store(panel, case, files, stage.finished + summary.done)
        before_verdict()
        verdict = decide(panel, case)
        result = stage.finish(summary, verdict)
        for reason, count in panel.asked_anew.most_common():
            say(f"  {count:,} scores made with other settings: {reason}")
    from duel.reporting.report_sections import say_verdict

    say_verdict(verdict, workspace.duel)
    if failure is not None:
        say(f"the verdict is by the judges that answered: {failure}")
        still_open = EXIT_OPEN
    return replace(result, exit_code=result.exit_code or still_open)


run = synchronous(run_async)


async def judged(
    panel: Panel, survey: Survey, budget: float | None, url: str, noise: int, canary: int, confirm: bool
) -> tuple[calls.Summary, EndpointError | None]:
    """The duel, then whatever further contests are wanted, each unless the one before ended early.

    The error is of a judge that answered nothing, where the others made a quorum of every turn.
    """
    stage, workspace, settings = panel.stage, panel.workspace, panel.settings

    async def ask(jobs: Iterable[calls.Job], name: str, by: Panel) -> calls.Summary:
        return await asking.drive(
            jobs,
            by.stage,
            role="judge" if name in ("judge", JUDGED_AS) else "writer",
            name=name,
            total=len(workspace.answer_paths()),
            budget=budget,
            url=url,
            outdated=workspace.duel,  # the verdict that lies there is about other votes
        )

    def quorate(item: str) -> bool:
        """Under the screen a turn rests on one vote: what is missing is made good."""
        kept = panel.kept(item)
        return kept is not None and (kept.parsed or settings.judge.strategy == "screen")

    async def more(jobs: Iterable[calls.Job], name: str, by: Panel = panel) -> calls.Summary:
        """Go on with `jobs`, unless what came before ended early."""
        nonlocal budget
        if ended_early(summary):
            return summary
        if summary.done:
            summary.say()
        if budget is not None:
            budget = max(0.0, budget - summary.cost)
        found = await ask(jobs, name, by)
        found.failed, found.down = summary.failed + found.failed, summary.down | found.down
        return found

    async def contest(which: Contest, answers: Iterable[tuple[Path, Answer]]) -> calls.Summary:
        apart = of_contest(panel, which)
        return await more(apart.open_turns(answers), "judge", apart)

    failure = None
    try:
        summary = await ask(panel.open_turns(survey.judgeable()), "judge", panel)
    except EndpointError as error:
        if not all(quorate(item) for item in panel.candidates):
            raise
        summary, failure = calls.Summary("judge"), error
    if noise:
        with workspace.lock("answer", "validate.py"):
            summary = await more(SecondAnswer.missing(drawn(stage, noise), stage), "noise")
        summary = await contest(NOISE, drawn(stage, noise))
    if canary:
        summary = await contest(CANARY, drawn(stage, canary))
    if confirm:
        summary = await contest(CONFIRM, final_turns(panel))
    if survey.rewritten:
        rewrites = RefiningPanels(Stage("refine", workspace, settings, stage.again))
        summary = await more(rewrites.jobs(survey.rewritten), JUDGED_AS)
    return summary, failure


def final_turns(panel: Panel) -> Iterator[tuple[Path, Answer]]:
    for path, answer in Survey(Stage("confirm", panel.workspace, panel.settings)).judgeable():
        kept = panel.kept(path.stem)
        score = kept.score if kept is not None else None
        if placement.place(score, answer.audit("challenger"), panel.settings).bucket == "final":
            yield path, answer


def ended_early(summary: calls.Summary) -> bool:
    """True where a verdict would rest on a part of what was to be asked."""
    return bool(summary.interrupted or summary.budget_spent or summary.stopped)


def decide(panel: Panel, case: Case) -> Verdict:
    """The verdict on all scores that stand under the present settings; saved last, it marks the stage as done.

    People's votes stand in it where anyone has voted or the settings require it.
    """
    import numpy as np

    from duel.judging import gate, looks
    from duel.review.ballots import read_votes
    from duel.review.calibration import calibrate, weighed

    workspace, settings = panel.workspace, panel.settings
    earlier: Sequence[Mapping[str, Any]] = case.earlier
    for look in looks_of_rounds(workspace, settings):
        earlier = looks.joined(earlier, look)
    verdict = gate.decide(replace(case, earlier=earlier))
    votes = read_votes(workspace, panel.stage.damage)
    if votes or settings.review.weight == "require":
        standing = ((path, score) for path, score in panel.scores() if path.stem not in case.kept_out)
        scores = [score for path, score in standing if not panel.unlike(score, path.stem, bool(panel.candidates))]
        points = np.array([np.nan if score.score is None else score.score for score in scores])
        verdict = weighed(verdict, calibrate(scores, votes, settings), settings, points)
    looks.save(workspace, verdict.looks.history if verdict.looks else [])
    workspace.save(workspace.duel, verdict)
    return verdict


def plan(workspace: Workspace, settings: Settings, *, offline: bool = False, noise_floor: int = 0) -> calls.Plan:
    """What `run` would ask, and at most cost. No call is made, nothing is written."""
    stage = Stage("validate", workspace, settings)
    survey = Survey(stage)

    def jobs() -> Iterator[calls.Job]:
        if settings.most_candidates > 1:
            yield from choose.Choosing(choose.NAME, workspace, settings).open_turns()
        yield from Panel(stage).open_turns(survey.judgeable())
        if noise_floor:
            turns_drawn = drawn(stage, noise_floor)
            yield from SecondAnswer.missing(turns_drawn, stage)
            for path, answer in turns_drawn:
                pair = rubric.JudgedPair(path.stem, answer.messages, answer.king, answer.king + ".")
                yield Expected(path.stem, list(rubric.requests(pair, settings, b"").values()))
        # The rewrites are known once all turns have come by.
        yield from RefiningPanels(Stage("refine", workspace, settings)).jobs(survey.rewritten)

    return calls.plan(jobs(), workspace=workspace, settings=settings, stage="judge", offline=offline)


def turns(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ArgumentTypeError(f"takes a number of turns: {text}")
    return number


def _flags(parser: Parser) -> None:
    add = parser.add_argument
    add("--check", action="store_true", help="exit with code 4 where the challenger is not accepted")
    add("--regate", action="store_true", help="the verdict anew from score/, without a call")
    add("--noise-floor", type=turns, default=0, metavar="N", help="judge N kings against themselves")
    add("--canary", type=turns, default=0, metavar="N", help="judge N kings with an attack added")
    add("--confirm", action="store_true", help="judge the final turns once more on fresh replies")


def _show(verdict: Verdict | None, arguments: Namespace) -> None:
    if arguments.check and verdict is not None and not verdict.accepted:
        raise NotAccepted("the challenger is not accepted", value=verdict.decision)


add_arguments, main = command_line(run, plan, flags=_flags, show=_show)
