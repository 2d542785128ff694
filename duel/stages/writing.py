"""What king.py and ch.py share: which candidates of a turn are missing, and how they are written and kept."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from duel import calls, candidates, standing
from duel.bookkeeping import Result
from duel.candidates import FormKept, Question, Refused
from duel.errors import EXIT_FINISHED, EXIT_OPEN, ItemError
from duel.file_sums import Snapshot
from duel.records import Answer, Candidate, Commit, Side
from duel.stages.asking import AskingStage, OpenTurn


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

    def finish(self, summary: calls.Summary, found: Any = None) -> Result:
        """As every stage; if no reply could be used for any turn, items are open, whatever became of them."""
        result, asked = super().finish(summary, found), any(form.replies for form in self.forms.values())
        nothing = asked and not summary.done and not self.finished
        return replace(result, exit_code=result.exit_code or EXIT_OPEN) if nothing else result

    def opened(
        self, path: Path, fresh: Answer, before: Answer, questions: Sequence[Question], commit: Commit | None = None
    ) -> Iterator[OpenTurn]:
        """A turn with those of today's `questions` that have no candidate in `before`; nothing for a finished one.

        A chosen text from elsewhere is taken as it is. A refined one stays as long as what it was made of.
        """
        chosen, text = before.chosen(self.SIDE), bool(getattr(before, self.SIDE))
        wanted = {question.plan: question for question in questions}
        made = [one for one in before.of_side(self.SIDE) if one.made and not self.again]
        there = {one.made.plan for one in made if one.made and one.made.plan in wanted}
        keep = [one.id for one in made if there and one.made and (one.made.plan in there or one.made.refine)]
        names = (name for number in count(1) if (name := f"{self.SIDE}-{number}") not in keep)
        asked = {next(names): question for plan, question in wanted.items() if plan not in there}
        by_hand = text and (chosen is None or chosen.made is None) and not self.again
        if by_hand or (not asked and chosen is not None and chosen.id in keep):
            self.finished += 1
            return
        self.stale += text and not self.again and not keep
        written = partial(self.written, path, before if keep else fresh, asked, keep, commit)
        yield OpenTurn(path.stem, lambda: [question.request for question in asked.values()], written)

    async def written(
        self,
        path: Path,
        answer: Answer,
        questions: Mapping[str, Question],
        keep: Collection[str],
        commit: Commit | None,
        ask: calls.Ask,
    ) -> bool:
        """Ask until each reply is one well-formed turn, then save the answer; one candidate is enough for a turn.

        `questions` are by the id of the candidate that each is to bring; of the others those in `keep` stay.
        """

        async def tried(name: str, question: Question) -> Candidate | Exception:
            try:
                return await self.write(ask, name, question, answer, commit)
            except (Refused, ItemError) as error:
                return error

        side, had = self.SIDE, bool(getattr(answer, self.SIDE))
        tries = await asyncio.gather(*(tried(*asked) for asked in questions.items()))
        answer.remove(side, keep)
        for one in tries:
            if isinstance(one, Candidate):
                answer.put(one)
        failed = next((one for one in tries if isinstance(one, ItemError)), None)
        refused = [one for one in tries if isinstance(one, Refused)]
        there = answer.of_side(side)
        alone = not there and failed is None
        for refusal in refused[:1] if alone else refused:
            what = side if alone else f"one-{side}-of-several"
            self.drop(path.stem, answer.instance_id, f"{what}-format: {refusal.reason}")
        if there and answer.chosen(side) is None:
            answer.choose(there[0], there[0].text)
        if there or (alone and had and side == "challenger"):  # what others made must not stand in for what is refused
            self.workspace.save(path, answer)
        elif alone and side == "king":
            path.unlink(missing_ok=True)  # noqa: ASYNC240 (one file)
        if failed is not None:
            raise failed
        return bool(there)

    async def write(
        self, ask: calls.Ask, name: str, question: Question, answer: Answer, commit: Commit | None
    ) -> Candidate:
        """One well-formed candidate. Raises Refused where no reply is one, ItemError where the call fails."""
        form, retries = self.forms[question.request.model], self.settings.generate.format_retries
        reply, made = await candidates.ask_for_turn(ask, question, retries, form)
        return Candidate(id=name, side=self.SIDE, text=reply.text, made=made)
