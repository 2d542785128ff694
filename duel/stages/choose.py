"""Choose one of several candidates a side, before the duel is judged: a part of run.py and of validate.py.

The audit and what the commands did take candidates out without a call; `[generate] select_model` judges the others in a
knockout, each pair in both orders. Those that are not chosen stay in the answer, each with the reason.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from duel import calls
from duel.command import say
from duel.errors import ItemError
from duel.judging import rubric
from duel.judging.contests import Contest
from duel.judging.panel import OpenPair, Panel
from duel.records import Answer, Candidate, Score, Selection, Side
from duel.selection.contenders import Running, knockout, pool, running
from duel.settings import Settings
from duel.stages.asking import AskingStage, OpenTurn, faces

NAME = "choose"
CHOICE = Contest("choice", lambda *_: None, stage=NAME)


def sides(settings: Settings) -> tuple[Side, ...]:
    """The sides of the duel that are written here: in mode 1 the king is in no duel."""
    return ("king", "challenger") if settings.duel.mode == 2 else ("challenger",)


def judged_by_choosers(settings: Settings) -> Settings:
    models = settings.choosers or settings.judge.models
    return settings.with_keys(judge={"models": models, "orders": "both", "strategy": "full"})


@dataclass
class Choosing(AskingStage):
    NAME, COMMAND, ROLE = NAME, NAME, "judge"
    found: set[str] = field(default_factory=set)  # the file stems of turns for which a duel brought no score

    def __post_init__(self) -> None:
        self.judges, self.settings = self.settings.judge.models, judged_by_choosers(self.settings)
        self.panel = Panel(self, CHOICE)

    def open_turns(self) -> Iterator[OpenTurn]:
        """Every turn with a choice that does not stand; what cannot be read is for the next stage to name."""
        for path, answer in self.workspace.answers([]):
            several = [side for side in sides(self.settings) if pool(answer, side)]
            made = {side: one.selection for side in several if (one := answer.chosen(side)) and not self.again}
            stand = [side for side, choice in made.items() if choice and choice.rests_on == self.rests_on(answer, side)]
            still_open = [side for side in several if side not in stand]
            self.finished += bool(several) and not still_open
            if still_open:
                given = path, answer, still_open
                yield OpenTurn(path.stem, partial(self.requests, *given), partial(self.choose, *given))

    def rests_on(self, answer: Answer, side: Side) -> str:
        """The fingerprint of what a choice follows from: texts, what was executed, the steps and the judges."""
        rules = [self.settings.generate.steps, self.settings.audit.enforce, self.settings.audit.leak_max]
        judges = [self.panel.made_with, self.settings.judge.observed] if self.settings.choosers else []
        ran = [(c.id, answer.text_of(c), c.observed.plan if c.observed else "") for c in pool(answer, side)]
        return rubric.short_hash([rules, judges, ran])

    async def driven(self, jobs: Iterable[calls.Job]) -> calls.Summary:
        if self.settings.choosers:
            say(f"chosen by {', '.join(self.settings.choosers)}; the duel is judged by {', '.join(self.judges)}")
            return await super().driven(jobs)
        summary = calls.Summary(NAME)
        for turn in jobs:
            await turn.work(None)  # type: ignore[arg-type]
            summary.done += 1
        return summary

    def requests(self, path: Path, answer: Answer, sides: Sequence[Side]) -> list[calls.Request]:
        """Those of n − 1 duels; who meets whom after the first round is not known before."""
        races = [running(answer, side, self.settings) for side in sides] if self.settings.choosers else []
        pairs = [pair for race in races if race for pair in zip(race.left, race.left[1:], strict=False)]
        return [question for pair in pairs for question in self.compared(path.stem, answer, *pair).requests()]

    def compared(self, item: str, answer: Answer, first: Candidate, second: Candidate) -> OpenPair:
        texts = answer.text_of(first), answer.text_of(second)
        pair = rubric.JudgedPair(item, answer.messages, *texts, (first.id, second.id))
        if self.settings.judge.observed:
            pair = rubric.with_evidence(pair, first.observed, second.observed)
        return OpenPair(self.panel, pair, answer, None)

    async def choose(self, path: Path, answer: Answer, sides: Sequence[Side], ask: Any) -> None:
        """Choose on each of `sides`, then save the answer. Raises ItemError where a duel brings no score."""
        try:
            for side in sides:
                if race := running(answer, side, self.settings):
                    await self.settle(path.stem, race, ask)
        except ItemError:
            self.found.add(path.stem)
            raise
        self.workspace.save(path, answer)

    async def settle(self, item: str, race: Running, ask: Any) -> None:
        """Find the winner of one side, and write into each candidate why it is the one, or is not."""

        async def duel(first: Candidate, second: Candidate) -> tuple[bool, Score]:
            pair = self.compared(item, race.answer, first, second)
            score = await pair.score(ask)
            if score.score is None:  # too few votes can be read
                pair.must_be_whole(score)
            return (score.score or 0.0) > 50.0, score

        settings, answer = self.settings, race.answer
        winner, lost = await knockout(race.left, duel) if settings.choosers else (race.left[0], [])
        for loser, better, score in lost:
            points = score.score if loser.id == score.pair.challenger else 100 - (score.score or 0.0)
            race.out[loser.id] = Selection(outcome="lost", to=better.id, score=points, reason=score.reason)
        for one in race.left:
            race.out.setdefault(one.id, Selection(outcome="not-compared", to=winner.id))
        made = {"method": settings.generate.select, "panel": settings.choosers, "of": len(race.all), "duels": len(lost)}
        race.out[winner.id] = Selection(outcome="chosen", rests_on=self.rests_on(answer, race.side), **made)
        answer.choose(winner, answer.text_of(winner))
        for one in answer.of_side(race.side):
            if one.id in race.out:
                one.selection = race.out[one.id]


run_async, run, plan = faces(Choosing)
