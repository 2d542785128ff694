"""What king.py and ch.py share: which candidates of a turn are missing, and one job a turn that has them written."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duel import calls, candidates
from duel.bookkeeping import Result, Stage
from duel.candidates import FormKept
from duel.errors import EXIT_OPEN, ItemError
from duel.offline import endpoint_url
from duel.records import Answer, Audit, Candidate, Commit, Made, Side
from duel.stages import asking

if TYPE_CHECKING:
    from duel.calls import Summary


@dataclass
class WritingStage(Stage):
    """A stage that writes the candidates of one side; its replies must be well-formed turns."""

    side: Side = "king"
    forms: defaultdict[str, FormKept] = field(default_factory=lambda: defaultdict(FormKept))
    """How each model keeps the form."""

    def open_turns(self) -> Iterator[OpenTurn]:
        """Every turn with candidates that the settings ask for and that are not there, in the order of the files."""
        raise NotImplementedError

    async def prepare(self) -> None:
        """What must be known before the first call."""

    async def write(self, ask: calls.Ask, turn: OpenTurn, question: candidates.Question) -> Written:
        """One candidate. Raises Refused where no reply is well-formed, ItemError where the call fails."""
        return await self.well_formed(ask, question)

    def discard(self, turn: OpenTurn, had: bool) -> None:
        """Today's settings bring nothing for `turn`. What others made (`had`) must not stand in for it."""
        raise NotImplementedError

    async def well_formed(self, ask: calls.Ask, question: candidates.Question) -> Written:
        retries = self.settings.generate.format_retries
        form = self.forms[question.request.model]
        reply, made = await candidates.ask_for_turn(ask, question, retries, form)
        return Written(reply, made)

    async def run(self, command: str, total: int, *, budget: float | None, offline: bool) -> Result:
        """Write whatever is missing. `budget` is in dollars; `offline` asks the stand-in endpoint."""
        with self.workspace.lock("answer", command), endpoint_url(offline) as url:
            turns = self.open_turns()
            first = next(turns, None)
            if first is not None:
                await self.prepare()
                turns = chain([first], turns)
            return self.finish(await asking.drive(turns, self, total=total, budget=budget, url=url))

    def plan(self, *, offline: bool) -> calls.Plan:
        """What `run` would ask, and at most cost. No call is made, nothing is written."""
        common: dict[str, Any] = {"workspace": self.workspace, "settings": self.settings, "offline": offline}
        return calls.plan(self.open_turns(), stage=self.name, **common)

    def finish(self, summary: Summary, found: Any = None) -> Result:
        """As every stage; if no reply could be used for any turn, items are open, whatever became of them."""
        result = super().finish(summary, found)
        forms = self.forms.values()
        nothing = any(form.replies for form in forms) and not summary.done and not self.finished
        return replace(result, exit_code=result.exit_code or EXIT_OPEN) if nothing else result

    def missing(self, before: Answer, questions: Sequence[candidates.Question]) -> Missing:
        """What of today's `questions` has no candidate yet; one from elsewhere is taken as it is."""
        chosen = before.chosen(self.side)
        if getattr(before, self.side) and (chosen is None or chosen.made is None) and not self.again:
            return Missing({}, keep=[one.id for one in before.of_side(self.side)])
        wanted = {question.plan: question for question in questions}
        made = [one for one in before.of_side(self.side) if one.made and not self.again]
        there = {one.made.plan: one.id for one in made if one.made and one.made.plan in wanted}
        # A refined turn stays as long as what it was made of.
        keep = [one.id for one in made if there and one.made and (one.made.plan in there or one.made.refined)]
        names = (name for number in count(1) if (name := f"{self.side}-{number}") not in keep)
        return Missing({next(names): question for plan, question in wanted.items() if plan not in there}, keep)


@dataclass(frozen=True)
class Missing:
    """What one side of a turn lacks."""

    questions: dict[str, candidates.Question]
    """By the id of the candidate that each is to bring."""
    keep: Collection[str]
    """The candidates that stay."""

    def of(self, answer: Answer, side: Side) -> bool:
        """True if anything of `side` is to be written or to be taken away."""
        chosen = answer.chosen(side)
        return bool(self.questions) or (chosen is not None and chosen.id not in self.keep)


@dataclass(frozen=True)
class Written:
    """One well-formed reply, with what the audit found in it, where it was looked at."""

    reply: calls.Reply
    made: Made
    audit: Audit | None = None


@dataclass
class OpenTurn:
    """One turn that waits for candidates of one side."""

    stage: WritingStage
    item: str
    path: Path
    answer: Answer
    missing: Missing
    commit: Commit | None = None

    def requests(self) -> list[calls.Request]:
        """The questions that are asked for sure."""
        return [question.request for question in self.missing.questions.values()]

    async def work(self, ask: calls.Ask) -> bool:
        """Ask until each reply is one well-formed turn, then save the answer; one candidate is enough for a turn."""
        side, answer = self.stage.side, self.answer
        asked = self.missing.questions
        tries = await asyncio.gather(*(self._candidate(ask, question) for question in asked.values()))
        had = bool(getattr(answer, side))
        answer.remove(side, self.missing.keep)
        for name, found in zip(asked, tries, strict=True):
            if isinstance(found, Written):
                answer.put(Candidate(id=name, side=side, text=found.reply.text, made=found.made, audit=found.audit))
        failed = next((found for found in tries if isinstance(found, ItemError)), None)
        refused = [found for found in tries if isinstance(found, candidates.Refused)]
        there = answer.of_side(side)
        alone = not there and failed is None
        self._drop(refused[:1] if alone else refused, f"{side}" if alone else f"one-{side}-of-several")
        if alone:
            self.stage.discard(self, had)
        if there:
            if answer.chosen(side) is None:
                answer.choose(there[0], there[0].text)
            self.stage.workspace.save(self.path, answer)
        if failed is not None:
            raise failed
        return bool(there)

    async def _candidate(self, ask: calls.Ask, question: candidates.Question) -> Written | Exception:
        try:
            return await self.stage.write(ask, self, question)
        except (candidates.Refused, ItemError) as error:
            return error

    def _drop(self, refused: Sequence[candidates.Refused], what: str) -> None:
        for one in refused:
            self.stage.drop(self.item, self.answer.instance_id, f"{what}-format: {one.reason}")
