"""Which candidates of a side can be chosen (by the audit, by what their commands did, by what most do), and a knockout.

Each step keeps those that pass it; a step that nobody passes keeps all, because one candidate must stand.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from duel import placement, shell, turn, untrusted
from duel.audit import protocol
from duel.judging.contests import is_second
from duel.records import Answer, Audit, Candidate, Observed, Selection, Side
from duel.settings import Settings

Contender = TypeVar("Contender")
Result = TypeVar("Result")


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
        known = one.audit if one.audit and one.audit.about(text) else Audit()
        found = {"attempts": untrusted.attempts(text), "protocol": protocol.check(text, race.answer.messages)}
        checked[one.id] = known.model_copy(update=found)
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
    contenders: Sequence[Contender], duel: Callable[[Contender, Contender], Awaitable[tuple[bool, Result]]]
) -> tuple[Contender, list[tuple[Contender, Contender, Result]]]:
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
