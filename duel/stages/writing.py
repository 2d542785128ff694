"""What king.py and ch.py share: which candidates of a turn are missing, and one job a turn that has them written."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from duel import calls, candidates, standing
from duel.bookkeeping import Result
from duel.candidates import FormKept
from duel.errors import EXIT_FINISHED, EXIT_OPEN, ItemError
from duel.file_sums import Snapshot
from duel.records import Answer, Candidate, Commit, Side
from duel.stages.asking import AskingStage


@dataclass
class WritingStage(AskingStage):
    """A stage that writes the candidates of one side, after which it is named; its replies must be well-formed."""

    SIDE: ClassVar[Side]
    BEFORE: ClassVar[tuple[str, ...]] = ()  # the stages whose work this one leaves as it is
    forms: defaultdict[str, FormKept] = field(default_factory=lambda: defaultdict(FormKept))
    """How each model keeps the form."""

    def recalled(self) -> bool:
        self.files = Snapshot.take(self.workspace, "prompt", "commit", "answer")
        self.rests_on = standing.ground(self.settings)
        known = None if self.again else standing.recall(self.workspace, self.SIDE, self.rests_on, self.files)
        if known is not None:
            self.finished, self.dropped = known["finished"], known["dropped"]
        return known is not None

    def remember(self, result: Result) -> None:
        standing.carry(self.workspace, self.BEFORE, self.files)
        if result.exit_code == EXIT_FINISHED and result.calls is not None and not result.calls.waiting:
            said = {"finished": self.finished + result.calls.done, "dropped": self.dropped}
            standing.keep(self.workspace, self.SIDE, self.rests_on, self.files, said)

    async def write(self, ask: calls.Ask, turn: OpenTurn, name: str, question: candidates.Question) -> Candidate:
        """One well-formed candidate. Raises Refused where no reply is one, ItemError where the call fails."""
        form, retries = self.forms[question.request.model], self.settings.generate.format_retries
        reply, made = await candidates.ask_for_turn(ask, question, retries, form)
        return Candidate(id=name, side=self.SIDE, text=reply.text, made=made)

    def discard(self, turn: OpenTurn, had: bool) -> None:
        """Today's settings bring nothing for `turn`. What others made (`had`) must not stand in for it."""
        raise NotImplementedError

    def finish(self, summary: calls.Summary, found: Any = None) -> Result:
        """As every stage; if no reply could be used for any turn, items are open, whatever became of them."""
        result, asked = super().finish(summary, found), any(form.replies for form in self.forms.values())
        nothing = asked and not summary.done and not self.finished
        return replace(result, exit_code=result.exit_code or EXIT_OPEN) if nothing else result

    def opened(self, turn: OpenTurn, before: Answer, questions: Sequence[candidates.Question]) -> Iterator[OpenTurn]:
        """`turn` with those of today's `questions` that have no candidate in `before`; nothing for a finished turn.

        A chosen text from elsewhere is taken as it is. A refined one stays as long as what it was made of.
        """
        chosen, text = before.chosen(self.SIDE), bool(getattr(before, self.SIDE))
        wanted = {question.plan: question for question in questions}
        made = [one for one in before.of_side(self.SIDE) if one.made and not self.again]
        there = {one.made.plan for one in made if one.made and one.made.plan in wanted}
        turn.keep = [one.id for one in made if there and one.made and (one.made.plan in there or one.made.refine)]
        names = (name for number in count(1) if (name := f"{self.SIDE}-{number}") not in turn.keep)
        turn.questions = {next(names): question for plan, question in wanted.items() if plan not in there}
        by_hand = text and (chosen is None or chosen.made is None) and not self.again
        if by_hand or (not turn.questions and chosen is not None and chosen.id in turn.keep):
            self.finished += 1
            return
        self.stale += text and not self.again and not turn.keep
        turn.answer = before if turn.keep else turn.answer
        yield turn


@dataclass
class OpenTurn:
    stage: WritingStage
    item: str
    path: Path
    answer: Answer
    commit: Commit | None = None
    questions: dict[str, candidates.Question] = field(default_factory=dict)
    """By the id of the candidate that each is to bring."""
    keep: Collection[str] = ()  # the candidates that stay

    def requests(self) -> list[calls.Request]:
        return [question.request for question in self.questions.values()]

    async def work(self, ask: calls.Ask) -> bool:
        """Ask until each reply is one well-formed turn, then save the answer; one candidate is enough for a turn."""

        async def tried(name: str, question: candidates.Question) -> Candidate | Exception:
            try:
                return await self.stage.write(ask, self, name, question)
            except (candidates.Refused, ItemError) as error:
                return error

        side, answer = self.stage.SIDE, self.answer
        tries = await asyncio.gather(*(tried(*asked) for asked in self.questions.items()))
        had = bool(getattr(answer, side))
        answer.remove(side, self.keep)
        for one in tries:
            if isinstance(one, Candidate):
                answer.put(one)
        failed = next((one for one in tries if isinstance(one, ItemError)), None)
        refused = [one for one in tries if isinstance(one, candidates.Refused)]
        there = answer.of_side(side)
        alone = not there and failed is None
        for one in refused[:1] if alone else refused:
            what = side if alone else f"one-{side}-of-several"
            self.stage.drop(self.item, answer.instance_id, f"{what}-format: {one.reason}")
        if alone:
            self.stage.discard(self, had)
        elif there:
            if answer.chosen(side) is None:
                answer.choose(there[0], there[0].text)
            self.stage.workspace.save(self.path, answer)
        if failed is not None:
            raise failed
        return bool(there)
