"""Write each borderline challenger once more, with the judges' reasons in hand; the next validate.py judges it.

reads   answer_*/, commit/, score/
writes  a further candidate of each answer, audited and, where a back end is set, executed; never its `challenger`

One round takes the turns of refined/; [refine] from takes near misses as well, rounds > 1 goes on from there.
Coaches ([refine] judges) give reasons, held-out judges (held_out) decide. The writer is given the conversation, the
pull request under the blind rule, its own turn, and the reasons from its own side; nothing of the king's text. Then:

    validate.py              coaches and held-out judges compare old and new, and some turns that nobody changed
    report.py                what the held-out judges find high enough, and better than before, is in final/

A rewrite that leaks, or leaks more than before, is never judged.
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from duel import calls, candidates, chat_tokens, fence, placement, prompts
from duel.audit.contamination import Benchmarks
from duel.audit.workspace_audit import Examiner
from duel.bookkeeping import Result, Stage
from duel.candidates import Question
from duel.errors import UserError
from duel.history import estimate_tokens, fit
from duel.judging.survey import Survey
from duel.records import Answer, Candidate, Message, Refinement, Score, Vote, fingerprint
from duel.refining import rewrites
from duel.refining.coach_reasons import for_writer
from duel.settings import Settings
from duel.stages import execute
from duel.stages.asking import AskingStage, faces
from duel.stages.estimate import rewrite_requests
from duel.synchronous import synchronous
from duel.workspace import Workspace


@dataclass
class Rewriting(AskingStage):
    """The stage, with what it holds every rewrite against."""

    NAME, COMMAND = "refine", "duel refine"
    examiner: Examiner = field(init=False)
    form: candidates.FormKept = field(default_factory=candidates.FormKept)
    found: list[Path] = field(default_factory=list)  # answers with a new rewrite of a turn that was executed

    async def driven(self, jobs: Iterable[calls.Job]) -> calls.Summary:
        benchmarks = await self.beside(Benchmarks.load, self.settings, self.workspace, self.offline)
        self.examiner = await self.beside(Examiner.of, self.workspace, self.settings, "challenger", benchmarks)
        return await super().driven(jobs)

    @cached_property
    def panels(self) -> rewrites.RefiningPanels:
        return rewrites.RefiningPanels(Stage("refine", self.workspace, self.settings))

    def score_of(self, path: Path, answer: Answer) -> Score | None:
        """The panel's score of the first challenger, where it is borderline."""
        score = self.panels.score(path, answer)
        if score is None or score.score is None or score.score < self.settings.refine.from_:
            return None
        placed = placement.place(score.score, answer.audit("challenger"), self.settings, score.confirmed)
        return score if placed.bucket in ("refined", "defeat") else None

    def open_turns(self) -> Iterator[calls.OpenTurn]:
        """Every borderline turn whose next rewrite is not there yet, in the order of the answer files."""
        coaches, _ = rewrites.roles(self.settings)
        if not self.workspace.score_paths():
            raise UserError("there are no scores", where=self.workspace.root / "score", hint="run validate.py first")
        quiet = Stage("refine", self.workspace, self.settings)  # what cannot be judged, validate.py has named
        borderline = [path for path, answer in Survey(quiet).judgeable() if self.score_of(path, answer) is not None]
        self.damage += quiet.damage
        self.total, place = len(borderline), 0
        for path, answer in self.workspace.read_all(borderline, Answer, self.damage):
            if (score := self.score_of(path, answer)) is None:  # validate.py is at work beside
                continue
            trials = self.panels.trials(path, answer)
            if trials and (last := trials[-1]).parent.observed and not last.candidate.observed:
                self.found.append(path)  # an earlier run was killed before it came to that
            due = self.next_round(trials)
            for trial in trials[: None if due is None else due - 1]:
                if trial.refused:
                    self.drop(path.stem, answer.instance_id, f"refine-{trial.refused}")
            if due is None:
                self.finished += 1
                continue
            parent = next(reversed(rewrites.standing(trials[: due - 1])), None)
            votes = parent.coach.votes if parent and parent.coach else score.votes
            candidate = parent.candidate if parent else rewrites.first_challenger(answer)
            own = answer.text_of(candidate)
            refine = Refinement(round=due, parent=fingerprint(own), coaches=coaches)
            question = self.question(path.stem, answer, own, [vote for vote in votes if vote.judge in coaches], due)
            before = trials[due - 1].candidate if due <= len(trials) else None
            if before is not None and not self.again and before.made and before.made.plan == question.plan:
                self.finished += 1
                continue
            self.stale += before is not None and not self.again
            requests = partial(rewrite_requests, question.request, answer, own, self.settings, place)
            yield calls.OpenTurn(path.stem, requests, partial(self.rewrite, path, answer, candidate, refine, question))
            place += 1

    def next_round(self, trials: list[rewrites.Trial]) -> int | None:
        """The round that is due: the last one where it is not judged yet (its question may have changed), or the next.

        None where the turn is in `final/`, or has had all its rounds.
        """
        if trials and (self.again or not trials[-1].settled):
            return len(trials)
        over = rewrites.lineage(trials, self.settings) or len(trials) >= self.settings.refine.rounds
        return None if over else len(trials) + 1

    def question(self, item: str, answer: Answer, own: str, votes: list[Vote], number: int) -> Question:
        """To the writer of the challenger `own`, with what the coaches' `votes` on it say, in round `number`."""
        settings, commit = self.settings, self.pull_request(answer.instance_id)
        opponent = answer.king if settings.duel.mode == 2 else answer.assistant
        told, shown_own = for_writer(votes, own, opponent, answer.messages), chat_tokens.broken(own)

        def request(mark: str) -> calls.Request:
            asked = prompts.load("refine").render(mark=mark, reasons=fence.fence("REASONS", told, mark))
            room = candidates.room_for_history(settings, commit) - estimate_tokens(shown_own + asked)
            shown = fit(answer.messages, room)
            shown = shown if commit is None else candidates.informed(shown, commit, mark)
            talk = [Message(role="assistant", content=shown_own), Message(role="user", content=asked)]
            # A round that starts from the same text and reasons asks the same; it gets a reply of its own.
            model = settings.writers("challenger")[0]
            rewrite = candidates.writer_request(settings, "refine", item, model, [*shown, *talk])
            return rewrite.again(0, occurrence=number)

        mark = fence.nonce(self.secret, f"refine {item}")
        return Question(request(mark), request(candidates.NO_MARK).key, settings.generate.format_retries)

    async def rewrite(
        self, path: Path, answer: Answer, parent: Candidate, refine: Refinement, question: Question, ask: calls.Ask
    ) -> bool:
        """Ask until the reply is one well-formed turn, audit it, and keep it as a further candidate."""
        try:
            reply, made = await candidates.ask_for_turn(ask, question, self.form)
        except candidates.Refused as problem:
            self.drop(path.stem, answer.instance_id, f"refine-format: {problem.reason}")
            return False
        made.refine, made.template_hash = refine, prompts.load("refine").hash
        # This round's rewrite, where one is there already, gives way.
        rounds = {one.made.refine.round: one.id for one in answer.rewrites() if one.made and one.made.refine}
        taken = [one.id.rpartition("-")[2] for one in answer.of_side("challenger")]
        name = rounds.get(refine.round) or f"challenger-{1 + max([1, *map(int, filter(str.isdecimal, taken))])}"
        rewrite = Candidate(id=name, side="challenger", text=reply.text, made=made)
        rewrite.audit = await self.beside(self.examiner.audit_rewrite, answer, rewrite)
        answer.put(rewrite)
        if reason := rewrites.refused(rewrites.Trial(refine.round, rewrite, parent), answer, self.settings):
            self.drop(path.stem, answer.instance_id, f"refine-{reason}")
        if parent.observed is not None:
            self.found.append(path)
        self.workspace.save(path, answer)
        return True


written, _, plan = faces(Rewriting)


async def run_async(
    workspace: Workspace, settings: Settings, *, again: bool = False, budget: float | None = None, offline: bool = False
) -> Result:
    """Write every rewrite that is due; `found` are the files of those whose turn was executed: they are, too."""
    result = await written(workspace, settings, again=again, budget=budget, offline=offline)
    if result.found and settings.execute.backend != "off":
        only = frozenset(result.found)
        await asyncio.to_thread(execute.where_possible, workspace, settings, offline=offline, only=only)
    return result


run = synchronous(run_async)
