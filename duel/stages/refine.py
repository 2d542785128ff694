"""Write each borderline challenger once more, with the judges' reasons in hand; the next validate.py judges it.

    duel refine              one round: the turns of refined/; [refine] from takes near misses as well
    duel refine --plan       calls, tokens and cost, those of the judges behind it included
    duel refine --offline    with the stand-in endpoint: no key, no network

reads   answer_*/, commit/, score/
writes  a further candidate of each answer, audited and, where a back end is set, executed; never its `challenger`

Coaches ([refine] judges) give reasons, held-out judges (held_out) decide. The writer is given the conversation, the
pull request under the blind rule, its own turn, and the reasons from its own side; nothing of the king's text. Then:

    validate.py              coaches and held-out judges compare old and new, and some turns that nobody changed
    report.py                what the held-out judges find high enough, and better than before, is in final/

A rewrite that leaks, or leaks more than before, is never judged. [refine] rounds > 1 goes on from there.
"""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duel import calls, candidates, chat_tokens, fence, placement, prompts
from duel.bookkeeping import Result, Stage
from duel.command import Parser
from duel.errors import UserError
from duel.history import estimate_tokens, fit
from duel.judging.survey import Survey
from duel.offline import endpoint_url
from duel.records import Answer, Candidate, Commit, Message, Refinement, Vote, fingerprint
from duel.refining import roles
from duel.refining.coach_reasons import for_writer
from duel.refining.rewrites import (
    RefiningPanels,
    Rewrite,
    Trial,
    first_challenger,
    lineage,
    refused,
    standing,
)
from duel.settings import Settings
from duel.stages import asking
from duel.stages.estimate import rewrite_votes
from duel.synchronous import synchronous
from duel.workspace import Workspace

if TYPE_CHECKING:
    from duel.audit.workspace_audit import Examiner


@asking.in_rounds
async def run_async(
    workspace: Workspace,
    settings: Settings,
    *,
    again: bool = False,
    budget: float | None = None,
    offline: bool = False,
) -> Result:
    """Write every rewrite that is due. `budget` is in dollars; `offline` asks the stand-in endpoint."""
    stage = Rewriting("refine", workspace, settings, again=again)
    with workspace.lock("answer", "duel refine"), endpoint_url(offline) as url, stage.auditing:
        turns = open_turns(stage)
        first = next(turns, None)
        if first is not None:
            await stage.beside(stage.prepare, offline)
            turns = chain([first], turns)
        result = stage.finish(await asking.drive(turns, stage, budget=budget, url=url))
    if first is not None and settings.execute.backend != "off":
        from duel.stages import execute

        await asyncio.to_thread(execute.where_possible, workspace, settings, offline=offline)
    return result


run = synchronous(run_async)


@dataclass
class Rewriting(Stage):
    """The stage, with what it holds every rewrite against."""

    examiner: Examiner | None = None
    form: candidates.FormKept = field(default_factory=candidates.FormKept)
    auditing: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "audit"))
    """Replies are audited beside the event loop, which would take those that come for late ones."""

    async def beside(self, work: Callable[..., Any], *given: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.auditing, work, *given)

    def prepare(self, offline: bool) -> None:
        """Make ready the checks of `duel audit`."""
        from duel.audit.contamination import Benchmarks
        from duel.audit.workspace_audit import Examiner

        benchmarks = Benchmarks.load(self.settings, self.workspace, offline)
        self.examiner = Examiner.of(self.workspace, self.settings, "challenger", benchmarks)


def open_turns(stage: Rewriting) -> Iterator[RewrittenTurn]:
    """Every borderline turn whose next rewrite is not there yet, in the order of the answer files."""
    workspace, settings = stage.workspace, stage.settings
    coaches, _ = roles.panels(settings)
    if not workspace.score_paths():
        raise UserError("there are no scores", where=workspace.root / "score", hint="run validate.py first")
    quiet = Stage("refine", workspace, settings)  # what cannot be judged, validate.py has named
    panels, survey = RefiningPanels(quiet), Survey(quiet)
    secret, place = workspace.secret(), 0
    for path, answer in survey.judgeable():
        score = panels.duel(path, answer)
        if score is None or score.score is None or score.score < settings.refine.from_:
            continue
        placed = placement.place(score.score, answer.audit("challenger"), settings, score.confirmed)
        if placed.bucket not in ("refined", "defeat"):
            continue
        trials = panels.trials(path, answer)
        due = next_round(trials, settings, again=stage.again)
        for trial in trials[: None if due is None else due - 1]:
            if trial.refused:
                stage.drop(path.stem, answer.instance_id, f"refine-{trial.refused}")
        if due is None:
            stage.finished += 1
            continue
        parent = next(reversed(standing(trials[: due - 1])), None)
        votes = parent.coach.votes if parent and parent.coach else score.votes
        turn = RewrittenTurn(
            stage,
            path,
            answer,
            stage.pull_request(answer.instance_id),
            Refinement(round=due, parent="", coaches=coaches),
            parent.rewrite.candidate if parent else first_challenger(answer),
            [vote for vote in votes if vote.judge in coaches],
            fence.nonce(secret, f"refine {path.stem}"),
            place,
        )
        before = trials[due - 1].rewrite.candidate if due <= len(trials) else None
        if before is not None and not stage.again and before.made and before.made.plan == turn.question.plan:
            stage.finished += 1
            continue
        stage.stale += before is not None and not stage.again
        place += 1
        yield turn
    stage.damage += quiet.damage


def next_round(trials: list[Trial], settings: Settings, *, again: bool) -> int | None:
    """The round that is due: the last one where it is not judged yet (its question may have changed), else the next."""
    if trials and (again or not trials[-1].settled):
        return len(trials)
    return None if lineage(trials, settings) or len(trials) >= settings.refine.rounds else len(trials) + 1


@dataclass
class RewrittenTurn:
    """One turn that waits for its rewrite."""

    stage: Rewriting
    path: Path
    answer: Answer
    commit: Commit | None
    refine: Refinement
    parent: Candidate
    votes: list[Vote]
    """What the coaches said of the parent."""
    mark: str
    place: int
    """Among the turns that wait."""
    question: candidates.Question = field(init=False)

    def __post_init__(self) -> None:
        self.refine.parent = fingerprint(self.own)
        asked, unmarked = self._request(self.mark), self._request(candidates.NO_MARK)
        self.question = candidates.Question(asked, unmarked.key)

    @property
    def item(self) -> str:
        return self.path.stem

    @property
    def own(self) -> str:
        return self.answer.text_of(self.parent)

    def _request(self, mark: str) -> calls.Request:
        """The challenger's question, its own turn, and the reasons between lines that carry `mark`."""
        settings, answer = self.stage.settings, self.answer
        opponent = answer.king if settings.duel.mode == 2 else answer.assistant
        told = for_writer(self.votes, self.own, opponent, answer.messages)
        asked = prompts.load("refine").render(mark=mark, reasons=fence.fence("REASONS", told, mark))
        own = chat_tokens.broken(self.own)
        room = candidates.room_for_history(settings, self.commit) - estimate_tokens(own + asked)
        history = fit(answer.messages, room)
        shown = history if self.commit is None else candidates.informed(history, self.commit, mark)
        messages = [*shown, Message(role="assistant", content=own), Message(role="user", content=asked)]
        # A round that starts from the same text and reasons asks the same; it gets a reply of its own.
        model, number = settings.challenger_model, self.refine.round
        return candidates.writer_request(settings, "refine", self.item, model, messages, occurrence=number)

    def requests(self) -> list[calls.Request]:
        votes = rewrite_votes(self.item, self.answer, self.own, self.stage.settings, self.place)
        return [self.question.request, *votes]

    async def work(self, ask: calls.Ask) -> bool:
        """Ask until the reply is one well-formed turn, audit it, and keep it as a further candidate."""
        stage = self.stage
        try:
            reply, made = await candidates.ask_for_turn(
                ask, self.question, stage.settings.generate.format_retries, stage.form
            )
        except candidates.Refused as problem:
            stage.drop(self.item, self.answer.instance_id, f"refine-format: {problem.reason}")
            return False
        made.refine, made.template_hash = self.refine, prompts.load("refine").hash
        rewrite = Candidate(id=self._id(), side="challenger", text=reply.text, made=made)
        assert stage.examiner is not None
        rewrite.audit = await stage.beside(stage.examiner.audit_rewrite, self.answer, rewrite)
        self.answer.put(rewrite)
        if reason := refused(Rewrite(self.refine.round, rewrite, self.parent), self.answer, stage.settings):
            stage.drop(self.item, self.answer.instance_id, f"refine-{reason}")
        stage.workspace.save(self.path, self.answer)
        return True

    def _id(self) -> str:
        """The id of this round's rewrite where one is there already, else the next free one."""
        for other in self.answer.rewrites():
            if other.made and other.made.refine and other.made.refine.round == self.refine.round:
                return other.id
        numbers = [one.id.rpartition("-")[2] for one in self.answer.of_side("challenger")]
        return f"challenger-{1 + max([1, *(int(number) for number in numbers if number.isdigit())])}"


def plan(workspace: Workspace, settings: Settings, *, offline: bool = False) -> calls.Plan:
    """What `run` would ask, and the judges behind it, were each rewrite as long as its parent. Nothing is asked."""
    turns = open_turns(Rewriting("refine", workspace, settings))
    return calls.plan(turns, workspace=workspace, settings=settings, stage="refine", offline=offline)


def add_arguments(parser: Parser) -> None:
    parser.with_offline().with_spending()


def main(arguments: Namespace) -> int:
    return asking.main(arguments, run, plan)
