"""Let a panel of judges compare challenger and king of every turn, and say whether the challenger is accepted.

    validate.py                    go on where the last run stopped
    validate.py --noise-floor 100  also judge 100 kings against a second blind answer of their own
    validate.py --canary 30        also judge 30 kings against themselves with an attack on the judges added

Where a side has several candidates, one is chosen first (`duel.stages.choose`).

reads   answer_*/*.json
writes  score/<answer>.json, score/_looks.json and, last, score/_duel.json; with --noise-floor the second kings into
        answer_*/; the votes on rewrites (duel refine) into score/_refine-<round>-<who>/
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from duel import calls, placement
from duel.bookkeeping import Result, Stage
from duel.command import say
from duel.errors import EXIT_FINISHED, EXIT_OPEN, EndpointError, NotAccepted
from duel.file_sums import Snapshot
from duel.judging import gate, looks, rubric
from duel.judging.contests import CANARY, CONFIRM, NOISE, Contest, SecondAnswer
from duel.judging.gate import Case
from duel.judging.panel import Panel
from duel.judging.survey import Survey, case_of, drawn, keep_case, load_case, of_contest
from duel.offline import endpoint_url
from duel.records import Answer, Verdict
from duel.refining.rewrites import JUDGED_AS, RefiningPanels, looks_of_rounds
from duel.reporting.report_sections import say_verdict
from duel.review.ballots import read_votes
from duel.review.calibration import calibrate, weighed
from duel.settings import Settings
from duel.stages import asking, choose
from duel.stages.estimate import Expected
from duel.synchronous import synchronous
from duel.workspace import Workspace

Wanted = tuple[Iterable[calls.Job], str, Panel]  # the jobs of a contest, their name in the ledger, and who judges


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
    stage = Stage("validate", workspace, settings, again=again)
    panel, survey = Panel(stage), Survey(stage)
    failure, still_open = None, EXIT_FINISHED
    further = bool(noise_floor or canary or confirm or settings.most_candidates > 1 or settings.refine.held_out)
    with workspace.lock("score", "validate.py"), endpoint_url(offline and not regate) as url:
        files, summary = Snapshot.take(workspace, "answer", "score"), calls.Summary("validate" if regate else "judge")
        case = load_case(panel, files) if regate or not (again or further) else None
        if regate and case is None:
            waiting = sum(1 for _ in panel.open_turns(survey.judgeable()))
            stage.stale, case = 0, case_of(panel, survey)
            if waiting:
                say(f"{waiting:,} turns wait for votes; `validate.py` without --regate asks for them")
            else:
                keep_case(panel, case, files, stage.finished)
        elif case is None:
            if settings.most_candidates > 1:
                chosen = await choose.run_async(workspace, settings, again=again, budget=budget, offline=offline)
                if chosen.calls is not None and ended_early(chosen.calls):
                    return chosen
                survey.not_chosen, still_open = chosen.found, chosen.exit_code
                if budget is not None and chosen.calls is not None:
                    budget = max(0.0, budget - chosen.calls.cost)
            with closing(wanted(panel, survey, noise_floor, canary, confirm)) as contests:
                summary, failure = await judged(panel, budget, url, contests)
            if ended_early(summary):
                return stage.finish(summary)
            case = case_of(panel, survey)
            if summary.exit_code == EXIT_FINISHED and failure is None and not further:
                keep_case(panel, case, files, stage.finished + summary.done)
        before_verdict()
        verdict = decide(panel, case)
        result = stage.finish(summary, verdict)
        for reason, count in panel.asked_anew.most_common():
            say(f"  {count:,} scores made with other settings: {reason}")
    say_verdict(verdict, workspace.duel)
    if failure is not None:
        say(f"the verdict is by the judges that answered: {failure}")
        still_open = EXIT_OPEN
    return replace(result, exit_code=result.exit_code or still_open)


run = synchronous(run_async)


async def judged(
    panel: Panel, budget: float | None, url: str, contests: Iterable[Wanted]
) -> tuple[calls.Summary, EndpointError | None]:
    """Judge the duel, which comes first, then each further contest, unless the one before ended early.

    The error is of a judge that answered nothing, where the others made a quorum of every turn.
    """
    summary, failure = calls.Summary("judge"), None
    for number, (jobs, name, by) in enumerate(contests):
        if ended_early(summary):
            break
        if summary.done:
            summary.say()
        before, left = summary, None if budget is None else max(0.0, budget - summary.cost)
        try:
            summary = await asking.drive(
                jobs,
                by.stage,
                role="judge" if name in ("judge", JUDGED_AS) else "writer",
                name=name,
                total=len(panel.workspace.answer_paths()),
                budget=left,
                url=url,
                outdated=panel.workspace.duel,  # the verdict that lies there is about other votes
            )
        except EndpointError as error:
            # Under the screen a turn rests on one vote: what is missing is made good.
            kept, screened = map(panel.kept, panel.candidates), panel.settings.judge.strategy == "screen"
            if number or not all(one is not None and (one.parsed or screened) for one in kept):
                raise
            failure = error
        budget = left
        summary.failed, summary.down = before.failed + summary.failed, before.down | summary.down
    return summary, failure


def wanted(panel: Panel, survey: Survey, noise: int, canary: int, confirm: bool) -> Generator[Wanted]:
    """The duel, and whatever further contests are wanted."""
    stage = panel.stage

    def of(which: Contest, answers: Iterable[tuple[Path, Answer]]) -> Wanted:
        apart = of_contest(panel, which)
        return apart.open_turns(answers), "judge", apart

    yield panel.open_turns(survey.judgeable()), "judge", panel
    if noise:
        with panel.workspace.lock("answer", "validate.py"):
            yield SecondAnswer.missing(drawn(stage, noise), stage), "noise", panel
        yield of(NOISE, drawn(stage, noise))
    if canary:
        yield of(CANARY, drawn(stage, canary))
    if confirm:
        yield of(CONFIRM, final_turns(panel))
    if survey.rewritten:  # it is known once all turns have come by
        refining = Stage("refine", panel.workspace, panel.settings, stage.again)
        yield RefiningPanels(refining).jobs(survey.rewritten), JUDGED_AS, panel


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


def show(verdict: Verdict | None, arguments: Namespace) -> None:
    if arguments.check and verdict is not None and not verdict.accepted:
        raise NotAccepted("the challenger is not accepted", value=verdict.decision)
