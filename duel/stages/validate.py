"""Let a panel of judges compare challenger and king of every turn, and say whether the challenger is accepted.

    validate.py --noise-floor 100  also judge 100 kings against a second blind answer of their own
    validate.py --canary 30        also judge 30 kings against themselves with an attack on the judges added

reads   answer_*/*.json; where a side has several candidates, one is chosen first (`duel.stages.choose`)
writes  score/<answer>.json, score/_looks.json and, last, score/_duel.json; with --noise-floor the second kings into
        answer_*/; the votes on rewrites (duel refine) into score/_refine-<round>-<who>/
"""

from argparse import Namespace
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from duel import calls, placement
from duel.bookkeeping import Result, Stage
from duel.calls.route import ModelRole
from duel.command import say
from duel.errors import EXIT_FINISHED, EXIT_OPEN, EndpointError, NotAccepted
from duel.judging import contests, gate, kept_case, looks, rubric, survey
from duel.judging.panel import Panel
from duel.records import Answer, Verdict
from duel.refining.rewrites import JUDGED_AS, RefiningPanels, looks_of_rounds
from duel.reporting.report_sections import say_verdict
from duel.review import ballots, calibration
from duel.settings import Settings
from duel.stages import asking, choose, estimate
from duel.standing import Snapshot
from duel.synchronous import synchronous
from duel.workspace import Workspace

ContestJobs = tuple[Iterable[calls.Job], str, Panel]  # the jobs of a contest, their name in the ledger, and who judges


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
    settings = asking.limited(workspace, settings, budget)
    further = bool(noise_floor or canary or confirm or settings.most_candidates > 1 or settings.refine.held_out)

    async def round_of_votes() -> Result:
        stage = Stage("validate", workspace, settings, again, offline)
        panel, turns = Panel(stage), survey.Survey(stage)
        failure, still_open = None, EXIT_FINISHED
        with workspace.lock("score", "validate.py"):
            files = Snapshot.take(workspace, "answer", "score")
            summary = calls.Summary("validate" if regate else "judge")
            case = kept_case.load(panel, files) if regate or not (again or further) else None
            if regate and case is None:
                waiting = sum(1 for _ in panel.open_turns(turns.judgeable()))
                stage.stale, stage.redone = 0, []  # nothing is asked: what cannot be read is left out
                case = survey.case_of(panel, turns)
                if waiting:
                    say(f"{waiting:,} turns wait for votes; `validate.py` without --regate asks for them")
                else:
                    kept_case.keep(panel, case, files, stage.finished)
            elif case is None:
                if settings.most_candidates > 1:
                    chosen = await choose.run_async(workspace, settings, again=again, offline=offline)
                    if chosen.calls is not None and ended_early(chosen.calls):
                        return replace(chosen, found=None)
                    turns.not_chosen, still_open = chosen.found, chosen.exit_code
                with closing(wanted(panel, turns, noise_floor, canary, confirm)) as each:
                    summary, failure = await judged(panel, each)
                if ended_early(summary):
                    return stage.finish(summary)
                case = survey.case_of(panel, turns)
                if summary.exit_code == EXIT_FINISHED and failure is None and not further:
                    kept_case.keep(panel, case, files, stage.finished + summary.done)
            before_verdict()
            verdict = decide(panel, case)
            result = stage.finish(summary, verdict)
            for reason, count in panel.asked_anew.most_common():
                say(f"  {count:,} scores made with other settings {'left out' if regate else 'asked anew'}: {reason}")
        say_verdict(verdict, workspace.duel)
        if failure is not None:
            say(f"the verdict is by the judges that answered: {failure}")
            still_open = EXIT_OPEN
        return replace(result, exit_code=result.exit_code or still_open)

    return await asking.in_rounds(round_of_votes)


run = synchronous(run_async)


async def judged(panel: Panel, each: Iterable[ContestJobs]) -> tuple[calls.Summary, EndpointError | None]:
    """Judge each contest, the duel first, until one ends early; the error is of a judge that the others make good."""
    summary, failure = calls.Summary("judge"), None
    for number, (jobs, name, by) in enumerate(each):
        if ended_early(summary):
            break
        if summary.done:
            summary.say()
        before, outdated = summary, panel.workspace.duel  # the verdict that lies there is about other votes
        role: ModelRole = "writer" if name == "noise" else "judge"
        try:
            summary = await asking.drive(jobs, by.stage, role=role, name=name, outdated=outdated)
        except EndpointError as error:
            # Under the screen a turn rests on one vote: what is missing is made good.
            kept, screened = map(panel.kept, panel.candidates), panel.settings.judge.strategy == "screen"
            if number or not all(one is not None and (one.parsed or screened) for one in kept):
                raise
            failure = error
        summary.failed, summary.down = before.failed + summary.failed, before.down | summary.down
    return summary, failure


def wanted(panel: Panel, turns: survey.Survey, noise: int, canary: int, confirm: bool) -> Generator[ContestJobs]:
    """The duel, and whatever further contests are wanted."""
    stage, workspace, settings = panel.stage, panel.workspace, panel.settings

    def of(which: contests.Contest, answers: Iterable[tuple[Path, Answer]]) -> ContestJobs:
        apart = survey.of_contest(panel, which)
        return apart.open_turns(answers), "judge", apart

    def final_turns() -> Iterator[tuple[Path, Answer]]:
        for path, answer in survey.Survey(Stage("confirm", workspace, settings)).judgeable():
            score = kept.score if (kept := panel.kept(path.stem)) is not None else None
            if placement.place(score, answer.audit("challenger"), settings).bucket == "final":
                yield path, answer

    yield panel.open_turns(turns.judgeable()), "judge", panel
    if noise:
        with workspace.lock("answer", "validate.py"):
            yield contests.second_answers(survey.drawn(stage, noise), stage), "noise", panel
        yield of(contests.NOISE, survey.drawn(stage, noise))
    if canary:
        yield of(contests.CANARY, survey.drawn(stage, canary))
    if confirm:
        yield of(contests.CONFIRM, final_turns())
    if turns.rewritten:  # it is known once all turns have come by
        yield RefiningPanels(Stage("refine", workspace, settings, stage.again)).jobs(turns.rewritten), JUDGED_AS, panel


def ended_early(summary: calls.Summary) -> bool:
    """True where a verdict would rest on a part of what was to be asked."""
    return bool(summary.interrupted or summary.budget_spent or summary.stopped)


def decide(panel: Panel, case: gate.Case) -> Verdict:
    """The verdict on all scores that stand, with people's votes if there are any; saved last, it ends the stage."""
    workspace, settings, earlier = panel.workspace, panel.settings, case.earlier
    for look in looks_of_rounds(workspace, settings):
        earlier = looks.joined(earlier, look)
    verdict = gate.decide(replace(case, earlier=earlier))
    votes = ballots.read_votes(workspace, panel.stage.damage)
    if votes or settings.review.weight == "require":
        standing = ((path, score) for path, score in panel.scores() if path.stem not in case.kept_out)
        scores = [score for path, score in standing if not panel.unlike(score, path.stem, bool(panel.candidates))]
        points = np.array([np.nan if score.score is None else score.score for score in scores])
        people = calibration.calibrate(scores, votes, settings)
        verdict = calibration.weighed(verdict, people, settings, points)
    looks.save(workspace, verdict.looks.history if verdict.looks else [])
    workspace.save(workspace.duel, verdict)
    return verdict


def plan(
    workspace: Workspace,
    settings: Settings,
    *,
    again: bool = False,
    offline: bool = False,
    noise_floor: int = 0,
    without: Collection[str] = (),
) -> calls.Plan:
    """What `run` would ask, and at most cost, but for the turns `without`. No call is made, nothing is written."""
    stage = Stage("validate", workspace, settings, again, offline)
    turns = survey.Survey(stage)

    def jobs() -> Iterator[calls.Job]:
        if settings.most_candidates > 1:
            yield from choose.Choosing(choose.NAME, workspace, settings, again=again).open_turns()
        yield from Panel(stage).open_turns(turns.judgeable())
        drawn = survey.drawn(stage, noise_floor) if noise_floor else []
        yield from contests.second_answers(drawn, stage)
        for path, answer in drawn:
            pair = rubric.JudgedPair(path.stem, answer.messages, answer.king, answer.king + ".")
            yield calls.OpenTurn(path.stem, partial(estimate.votes, pair, settings))
        # The rewrites are known once all turns have come by.
        yield from RefiningPanels(Stage("refine", workspace, settings, again)).jobs(turns.rewritten)

    return asking.planned((job for job in jobs() if job.item not in without), stage, "judge")


def show(verdict: Verdict | None, arguments: Namespace) -> None:
    if arguments.check and verdict is not None and not verdict.accepted:
        raise NotAccepted("the challenger is not accepted", value=verdict.decision)
