"""Choose one of several candidates a side, before the duel is judged: a part of run.py and of validate.py.

The audit, what the commands did and what most do take candidates out without a call, each step keeping those that pass
it; a step that nobody passes keeps all, because one candidate must stand. `[generate] select_model` judges the others
in a knockout, each pair in both orders. Those that are not chosen stay in the answer, each with the reason.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from duel import calls, placement, shell, turn, untrusted
from duel.audit import protocol
from duel.command import say
from duel.errors import ItemError
from duel.judging import rubric
from duel.judging.contests import Contest, is_second
from duel.judging.panel import OpenPair, Panel
from duel.records import Answer, Audit, Candidate, Observed, Score, Selection, Side
from duel.settings import Settings
from duel.stages.asking import AskingStage, faces

NAME = "choose"
CHOICE = Contest("choice", lambda *_: None, stage=NAME)


@dataclass
class Running:
    """The candidates of one side that stay in the running, and why the others do not."""

    answer: Answer
    side: Side
    settings: Settings
    all: list[Candidate]
    out: dict[str, Selection] = field(default_factory=dict)  # by id

    @property
    def left(self) -> list[Candidate]:
        return [one for one in self.all if one.id not in self.out]

    def keep(self, faults: Mapping[str, str]) -> None:
        """Take out whoever has a fault {id: slug, or ""}, unless all have one."""
        if any(not faults.get(one.id) for one in self.left):
            self.out |= {one.id: Selection(outcome=slug) for one in self.left if (slug := faults.get(one.id))}

    def merge(self, deed: Callable[[Candidate], Hashable]) -> None:
        """Of candidates whose deed is the same (None: not known) the first stands for all."""
        first: dict[Hashable, str] = {}
        for one in self.left:
            if (did := deed(one)) is not None and (other := first.setdefault(did, one.id)) != one.id:
                self.out[one.id] = Selection(outcome="same", to=other)


def pool(answer: Answer, side: Side) -> list[Candidate]:
    """The candidates to choose among; [] where there is nothing to choose: fewer than two, or a turn refined since."""
    chosen = answer.chosen(side)
    if chosen is None or chosen.made is None or chosen.made.refine:
        return []
    asked = [one for one in answer.of_side(side) if one.made and not one.made.refine and not is_second(one.made.plan)]
    return asked if len(asked) > 1 else []


def running(answer: Answer, side: Side, settings: Settings) -> Running | None:
    """Who is left of `side` before any judge is asked; None where there is nothing to choose."""
    if not (known := pool(answer, side)):
        return None
    race = Running(answer, side, settings, known)
    race.merge(lambda one: answer.text_of(one).strip())
    for step in settings.generate.steps:
        if step in STEPS:
            STEPS[step](race)
    return race


def _audited(race: Running) -> None:
    """Leaks, attempts to sway a judge and broken rules are out; if nobody is clean, whoever leaks least stays alone.

    ch.py has looked for leaks; attempts and protocol `duel audit` looks at for the chosen one alone, so here again.
    """
    checked = {}
    for one in race.left:
        text = race.answer.text_of(one)
        found = {"attempts": untrusted.attempts(text), "protocol": protocol.check(text, race.answer.messages)}
        checked[one.id] = (race.answer.audit_of(one) or Audit()).model_copy(update=found)
    obstacles = {name: placement.obstacle(audit, race.settings) for name, audit in checked.items()}
    faults = {name: obstacle.slug for name, obstacle in obstacles.items() if obstacle}
    if len(faults) == len(checked):
        del faults[min(checked, key=lambda name: checked[name].leak_score)]
    race.keep(faults)


def _executed(race: Running) -> None:
    """A command that failed cannot win; those that printed and changed the same are one."""
    ran = {c.id: c.observed for c in race.left if c.observed and c.observed.ran}
    race.keep({name: "failed" for name, seen in ran.items() if seen.exit != 0 or seen.ended_by})
    race.merge(lambda one: done(one.observed))


def done(observed: Observed | None) -> Hashable:
    """What a command did, with the lines of its output in any order; None where it was not run."""
    if observed is None or not observed.ran:
        return None
    lines = tuple(sorted(observed.printed.removeprefix("Observation:").strip().splitlines()))
    return observed.exit, observed.ended_by, lines, observed.changed


def _commonest(race: Running) -> None:
    """Of kings those are left that do what most do.

    A majority is right more often than one only where a writer is right more often than not; so a tie keeps both.
    """

    def did(one: Candidate) -> Hashable:
        """By what was executed, else by its parsed command."""
        return done(one.observed) or words(race.answer.text_of(one))

    if race.side == "king":
        counted = [one for one in race.all if one.id not in race.out or race.out[one.id].outcome == "same"]
        groups = Counter(map(did, counted))
        race.keep({one.id: "outnumbered" for one in race.left if groups[did(one)] < max(groups.values())})
        race.merge(did)


def words(text: str) -> Hashable:
    """A turn's command as its parsed words: spacing and quoting do not count. A here-document counts as written."""
    command = turn.command(text).strip()
    script = shell.parse(command)
    if not script.valid or "<<" in command:
        return command
    return script.operators, tuple((one.words, one.writes) for one in script.commands)


STEPS: dict[str, Callable[[Running], None]] = {"audit": _audited, "execution": _executed, "majority": _commonest}


async def knockout(
    contenders: Sequence[Candidate], duel: Callable[[Candidate, Candidate], Awaitable[tuple[bool, Score]]]
) -> tuple[Candidate, list[tuple[Candidate, Candidate, Score]]]:
    """The last one standing, and (loser, winner, result) of each duel. The duels of a round go on side by side.

    n - 1 duels find the best of n as well as all pairs do (within 0.02 standard deviations, simulated).
    `duel` says whether its second contender won; on a tie the first goes on. An odd one out passes to the next round.
    """
    lost, left = [], list(contenders)
    while len(left) > 1:
        pairs = list(zip(left[::2], left[1::2], strict=False))
        found = await asyncio.gather(*(duel(first, second) for first, second in pairs))
        left = left[2 * len(pairs) :]
        for (first, second), (second_won, result) in zip(pairs, found, strict=True):
            winner, loser = (second, first) if second_won else (first, second)
            left.append(winner)
            lost.append((loser, winner, result))
    return left[0], lost


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

    def open_turns(self) -> Iterator[calls.OpenTurn]:
        """Every turn with a choice that does not stand; what cannot be read is for the next stage to name."""
        for path, answer in self.workspace.answers([]):
            several = [side for side in sides(self.settings) if pool(answer, side)]
            made = {side: one.selection for side in several if (one := answer.chosen(side)) and not self.again}
            stand = [side for side, choice in made.items() if choice and choice.rests_on == self.rests_on(answer, side)]
            still_open = [side for side in several if side not in stand]
            self.finished += bool(several) and not still_open
            if still_open:
                given = path, answer, still_open
                yield calls.OpenTurn(path.stem, partial(self.requests, *given), partial(self.choose, *given))

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
        for job in jobs:
            await job.work(None)  # type: ignore[arg-type]
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
