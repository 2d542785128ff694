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

from argparse import Namespace
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duel import calls, placement
from duel.bookkeeping import Result, Stage
from duel.command import Parser, say
from duel.errors import EXIT_FINISHED, EXIT_OPEN, EndpointError, NotAccepted, SettingsError
from duel.file_sums import Snapshot
from duel.judging import noise_floor, rubric
from duel.judging.contests import CANARY, CONFIRM, NOISE, Contest
from duel.judging.panel import Panel
from duel.judging.survey import Survey, case_of, of_contest
from duel.offline import endpoint_url
from duel.records import Answer, Verdict
from duel.refining.rewrites import JUDGED_AS, RefiningPanels
from duel.settings import Settings
from duel.stages import asking, choose, opened
from duel.stages.estimate import Expected
from duel.synchronous import synchronous
from duel.workspace import Workspace

if TYPE_CHECKING:
    from duel.calls import Summary
    from duel.judging.evidence import Case


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

    stage = Stage("validate", workspace, settings, again=again)
    panel, survey = Panel(stage), Survey(stage)
    further = bool(noise_floor or canary or confirm or settings.most_candidates > 1 or settings.refine.held_out)
    with workspace.lock("score", "validate.py"), endpoint_url(offline and not regate) as url:
        asked, still_open = PanelRun(panel, survey, budget, url), EXIT_FINISHED
        files, summary = held_case.snapshot(panel), calls.Summary("validate" if regate else "judge")
        case = held_case.load(panel, files) if regate or not (again or further) else None
        if regate and case is None:
            case = regated(panel, survey, files)
        elif case is None:
            if settings.most_candidates > 1:
                chosen = await choose.run_async(workspace, settings, again=again, budget=budget, offline=offline)
                if chosen.calls is not None and ended_early(chosen.calls):
                    return chosen
                asked.less(chosen.calls.cost if chosen.calls else 0.0)
                survey.not_chosen, still_open = chosen.found, chosen.exit_code
            summary = await asked.all(noise_floor, canary, confirm)
            if ended_early(summary):
                return stage.finish(summary)
            case = case_of(panel, survey)
            if summary.exit_code == EXIT_FINISHED and asked.failure is None and not further:
                held_case.store(panel, case, files, stage.finished + summary.done)
        before_verdict()
        verdict = decide(panel, case)
        result = stage.finish(summary, verdict)
        for reason, count in panel.asked_anew.most_common():
            say(f"  {count:,} scores made with other settings: {reason}")
    from duel.reporting import verdict_lines

    verdict_lines.say(verdict, workspace.duel)
    if asked.failure is not None:
        say(f"the verdict is by the judges that answered: {asked.failure}")
        still_open = EXIT_OPEN
    return replace(result, exit_code=result.exit_code or still_open)


run = synchronous(run_async)


def plan(workspace: Workspace, settings: Settings, *, offline: bool = False, second_kings: int = 0) -> calls.Plan:
    """What `run` would ask, and at most cost. No call is made, nothing is written."""
    stage = Stage("validate", workspace, settings)
    survey = Survey(stage)
    turns = Panel(stage).open_turns(survey.judgeable())
    several = settings.most_candidates > 1
    choices: Iterable[calls.Job] = choose.Choosing(choose.NAME, workspace, settings).open_turns() if several else ()
    jobs = chain(choices, turns, noise_jobs(stage, second_kings), rewrite_jobs(stage, survey))
    return calls.plan(jobs, workspace=workspace, settings=settings, stage="judge", offline=offline)


def noise_jobs(stage: Stage, count: int) -> Iterator[calls.Job]:
    """What the noise floor asks for: the second kings that are missing, and the votes on each of them."""
    if not count:
        return
    drawn = list(noise_floor.drawn(stage, count))
    yield from noise_floor.open_answers(drawn, stage)
    for path, answer in drawn:
        pair = rubric.JudgedPair(path.stem, answer.messages, answer.king, answer.king + ".")
        yield Expected(path.stem, list(rubric.requests(pair, stage.settings, b"").values()))


def rewrite_jobs(stage: Stage, survey: Survey) -> Iterator[calls.Job]:
    """The votes on rewrites, known once all turns have come by."""
    yield from RefiningPanels(Stage("refine", stage.workspace, stage.settings)).jobs(survey.rewritten)


def add_arguments(parser: Parser) -> None:
    parser.with_offline().with_spending()
    parser.add_argument("--check", action="store_true", help="exit with code 4 where the challenger is not accepted")
    parser.add_argument("--regate", action="store_true", help="the verdict anew from score/, without a call")
    parser.add_argument("--noise-floor", type=int, default=0, metavar="N", help="judge N kings against themselves")
    parser.add_argument("--canary", type=int, default=0, metavar="N", help="judge N kings with an attack added")
    parser.add_argument("--confirm", action="store_true", help="judge the final turns once more on fresh replies")


def main(arguments: Namespace) -> int:
    for name in ("noise_floor", "canary"):
        if getattr(arguments, name) < 0:
            raise SettingsError(f"--{name.replace('_', '-')} takes a number of turns: {getattr(arguments, name)}")
    workspace, settings = opened(arguments)
    if arguments.plan:
        plan(workspace, settings, offline=arguments.offline, second_kings=arguments.noise_floor).say()
        return EXIT_FINISHED
    names = ("again", "budget", "offline", "regate", "noise_floor", "canary", "confirm")
    result = run(workspace, settings, **{name: getattr(arguments, name) for name in names})
    if arguments.check and result.found is not None and not result.found.accepted:
        raise NotAccepted("the challenger is not accepted", value=result.found.decision)
    return result.exit_code


def regated(panel: Panel, survey: Survey, files: Snapshot) -> Case:
    """The case that stands under the present settings; nothing is asked."""
    from duel.judging import held_case

    waiting = sum(1 for _ in panel.open_turns(survey.judgeable()))
    panel.stage.stale = 0
    case = case_of(panel, survey)
    if waiting:
        say(f"{waiting:,} turns wait for votes; `validate.py` without --regate asks for them")
    else:
        held_case.store(panel, case, files, panel.stage.finished)
    return case


@dataclass
class PanelRun:
    """The duel, then whatever further contests are wanted."""

    panel: Panel
    survey: Survey
    budget: float | None
    url: str
    failure: EndpointError | None = None
    """A judge that answered nothing, where the others made a quorum of every turn."""

    async def all(self, noise: int, canary: int, confirm: bool) -> Summary:
        """Everything that is wanted, in order."""
        summary = await self.duel()
        if noise:
            summary = await self.second_kings(noise, summary)
            summary = await self.contest(NOISE, noise_floor.drawn(self.panel.stage, noise), summary)
        if canary:
            summary = await self.contest(CANARY, noise_floor.drawn(self.panel.stage, canary), summary)
        if confirm:
            summary = await self.contest(CONFIRM, final_turns(self.panel), summary)
        return await self.rewrites(summary) if self.survey.rewritten else summary

    async def rewrites(self, before: Summary) -> Summary:
        """Coaches and held-out judges on what `duel refine` wrote, and on the control arm."""
        panels = RefiningPanels(Stage("refine", self.panel.workspace, self.panel.settings, self.panel.stage.again))
        return await self.more(self.panel, panels.jobs(self.survey.rewritten), JUDGED_AS, before)

    async def duel(self) -> Summary:
        """The duel itself. A judge that is down does not end it where the others gave every turn its quorum."""
        try:
            return await self.ask(self.panel, self.panel.open_turns(self.survey.judgeable()), "judge")
        except EndpointError as failure:
            if not all(self.quorate(item) for item in self.panel.candidates):
                raise
            self.failure = failure
            return calls.Summary("judge")

    def quorate(self, item: str) -> bool:
        """True when the turn has a score. Under the screen a turn rests on one vote: what is missing is made good."""
        kept = self.panel.kept(item)
        return kept is not None and (kept.parsed or self.panel.settings.judge.strategy == "screen")

    async def second_kings(self, count: int, before: Summary) -> Summary:
        """Have the king answer `count` turns once more."""
        stage = self.panel.stage
        with stage.workspace.lock("answer", "validate.py"):
            jobs = noise_floor.open_answers(noise_floor.drawn(stage, count), stage)
            return await self.more(self.panel, jobs, "noise", before)

    async def contest(self, contest: Contest, answers: Iterable[tuple[Path, Answer]], before: Summary) -> Summary:
        """Judge the pairs of a further contest."""
        apart = of_contest(self.panel, contest)
        return await self.more(apart, apart.open_turns(answers), "judge", before)

    async def more(self, panel: Panel, jobs: Iterable[calls.Job], name: str, before: Summary) -> Summary:
        """Go on with `jobs` after `before`, unless that ended early."""
        if ended_early(before):
            return before
        if before.done:
            before.say()
        self.less(before.cost)
        found = await self.ask(panel, jobs, name)
        found.failed, found.down = before.failed + found.failed, before.down | found.down
        return found

    def less(self, dollars: float) -> None:
        """So much of the budget is spent."""
        if self.budget is not None:
            self.budget = max(0.0, self.budget - dollars)

    async def ask(self, panel: Panel, jobs: Iterable[calls.Job], name: str) -> Summary:
        """Drive `jobs`; the verdict that lies there goes first, because it is about other votes."""
        return await asking.drive(
            jobs,
            panel.stage,
            role="judge" if name in ("judge", JUDGED_AS) else "writer",
            name=name,
            total=len(panel.workspace.answer_paths()),
            budget=self.budget,
            url=self.url,
            outdated=panel.workspace.duel,
        )


def final_turns(panel: Panel) -> Iterator[tuple[Path, Answer]]:
    """The answers whose score puts them into `final/`."""
    for path, answer in Survey(Stage("confirm", panel.workspace, panel.settings)).judgeable():
        kept = panel.kept(path.stem)
        score = kept.score if kept is not None else None
        if placement.place(score, answer.audit("challenger"), panel.settings).bucket == "final":
            yield path, answer


def ended_early(summary: Summary) -> bool:
    """True where a verdict would rest on a part of what was to be asked."""
    return bool(summary.interrupted or summary.budget_spent or summary.stopped)


def decide(panel: Panel, case: Case) -> Verdict:
    """The verdict on all scores that stand under the present settings; saved last, it marks the stage as done."""
    from duel.judging import gate, looks
    from duel.refining import refine_figures

    earlier: Sequence[Mapping[str, Any]] = case.earlier
    for look in refine_figures.looks(panel.workspace, panel.settings):
        earlier = looks.joined(earlier, look)
    verdict = with_people(gate.decide(replace(case, earlier=earlier)), panel, case.kept_out)
    looks.save(panel.workspace, verdict.looks.history if verdict.looks else [])
    panel.workspace.save(panel.workspace.duel, verdict)
    return verdict


def with_people(verdict: Verdict, panel: Panel, kept_out: Collection[str]) -> Verdict:
    """The verdict with what people's votes say of it, where anyone has voted or the settings require it."""
    import numpy as np

    from duel.review.ballot_box import read_votes
    from duel.review.calibration import calibrate
    from duel.review.weighing import weighed

    votes = read_votes(panel.workspace, panel.stage.damage)
    if not votes and panel.settings.review.weight != "require":
        return verdict
    standing = ((path, score) for path, score in panel.scores() if path.stem not in kept_out)
    scores = [score for path, score in standing if not panel.unlike(score, path.stem, bool(panel.candidates))]
    points = np.array([np.nan if score.score is None else score.score for score in scores])
    return weighed(verdict, calibrate(scores, votes, panel.settings), panel.settings, points)
