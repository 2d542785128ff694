"""Write the challenger of every answer: the same turn by a model that has the pull request in hand.

reads   answer_*/, commit/
writes  the `challenger` field of each answer, in place, and what the blind-agent audit found in it

The challenger is bound to act as if the pull request were not there. A reply that tells what the agent cannot know is
asked again once, with the findings named; the better of the two is kept. In mode 1 a turn without a pull request gets a
second blind writer. `[generate] challengers` and `challenger_models` ask for several candidates.
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from duel import calls, candidates, fence
from duel.audit.leaks import find_leaks, sentence
from duel.audit.rarity import Rarity, background
from duel.errors import UserError
from duel.records import Answer, Audit, Candidate, Commit, fingerprint
from duel.stages.asking import WritingStage, faces


@dataclass
class Challengers(WritingStage):
    """The stage, with what it must know of all pull requests to tell a rare name from a common one."""

    NAME, SIDE, COMMAND, BEFORE = "challenger", "challenger", "ch.py", ("king",)
    rarity: Rarity = field(default_factory=Rarity)

    def open_turns(self) -> Iterator[calls.OpenTurn]:
        workspace = self.workspace
        if not workspace.answer_folders():
            raise UserError("there are no answers", where=workspace.root / "answer_0", hint="run king.py first")
        if self.recalled():
            return
        numbered = candidates.Numbered(self.settings)
        for path, answer in workspace.answers(self.damage):
            commit = self.pull_request(answer.instance_id)
            if self.is_left_out(path.stem, answer.instance_id, commit):
                continue
            if commit is None and self.settings.duel.mode != 1:
                self.drop(path.stem, answer.instance_id, "no-pull-request")
                continue
            mark = fence.nonce(self.secret, f"challenger {answer.instance_id}")
            questions = numbered.of("challenger", path.stem, answer.messages, commit, mark)
            yield from self.opened(path, answer, answer, questions, commit)

    async def driven(self, jobs: Iterable[calls.Job]) -> calls.Summary:
        """Names are counted before the first call, here and in common source code (100,000 pull requests take 88 s)."""
        self.rarity = await self.beside(Rarity.of_workspace, self.workspace)
        await self.beside(background)
        return await super().driven(jobs)

    async def write(
        self, ask: calls.Ask, name: str, question: candidates.Question, answer: Answer, commit: Commit | None
    ) -> Candidate:
        def audit_of(reply: str) -> Audit:
            if commit is None:
                return Audit(text=fingerprint(reply))
            return find_leaks(reply, answer.messages, commit, self.rarity, leak_max=self.settings.audit.leak_max)

        reply, made = await candidates.ask_for_turn(ask, question, self.forms[question.request.model])
        audit = await self.beside(audit_of, reply.text)
        if audit.leaking:
            ask.reject(reply, "leak")
            with contextlib.suppress(candidates.Refused):
                asked = candidates.asked_again(question, reply, [sentence(leak) for leak in audit.leaks])
                second, second_made = await candidates.ask_for_turn(ask, asked)
                found = await self.beside(audit_of, second.text)
                if found.leak_score < audit.leak_score:
                    second_made.plan, found.reworded = made.plan, True
                    reply, made, audit = second, second_made, found
        return Candidate(id=name, side=self.SIDE, text=reply.text, made=made, audit=audit)


run_async, run, plan = faces(Challengers)
