"""Who is shown which turns, in which order: drawn for a person once, and kept in `review/draws.jsonl`."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import ClassVar

from pydantic import Field

from duel.records import Lot, Record
from duel.review.drawn_turns import chances, sequence

OVERLAP = 4  # one turn in so many is one that others are shown as well, as far as there are any: agreement among people
REPEATS = 10  # one repeat for so many turns: agreement of a person with themselves


class Showing(Record):
    """One turn before one person. Its place in the file is its place on the person's page."""

    FORMAT: ClassVar[str] = "duel-showing/1"
    format: str = FORMAT
    rater: str
    item: str = Field(min_length=1)
    repeat: bool = False
    drawn: Lot | None = None
    """None for a turn that the person wanted to see."""


def draw_for(rater: str, count: int, seed: int, turns: Mapping[str, str], earlier: Sequence[Showing]) -> list[Showing]:
    """The showings that bring `rater` to `count` drawn turns; [] where the person has as many.

    `turns` {name: pull request} are all judged turns; `earlier` is what was drawn before, for anyone. A quarter is
    taken from what others are shown, the rest goes on where the draw has come to, so that all draws together are one
    sample. Repeats of the first half are mixed into the second.
    """
    drawn = [showing for showing in earlier if showing.drawn is not None and not showing.repeat]
    own = {showing.item for showing in drawn if showing.rater == rater}
    others = {showing.item for showing in drawn if showing.rater != rater}
    order = [name for name in sequence(turns, seed) if name not in own]
    wanted = min(count - len(own), len(order))
    if wanted <= 0:
        return []
    shared = [name for name in order if name in others]
    fresh = [name for name in order if name not in others]
    chosen = _interleaved(shared, fresh, wanted)
    chance = chances(turns, len(own | others | set(chosen)))
    lots = {name: Lot(probability=chance[name], seed=seed) for name in chosen}
    return [Showing(rater=rater, item=name, repeat=again, drawn=lots[name]) for name, again in _with_repeats(chosen)]


def _interleaved(shared: Sequence[str], fresh: Sequence[str], wanted: int) -> list[str]:
    """Every OVERLAP-th from `shared`, the others from `fresh`; from the other list where one runs out."""
    first, second = iter(shared), iter(fresh)
    picked = []
    for place in range(wanted):
        source = chain(first, second) if place % OVERLAP == 0 else chain(second, first)
        picked.append(next(source))
    return picked


def _with_repeats(chosen: Sequence[str]) -> list[tuple[str, bool]]:
    """(name, is a repeat): behind every fifth turn of the second half one of the first half once more."""
    half, step = len(chosen) // 2, REPEATS // 2
    shown = []
    for place, name in enumerate(chosen):
        shown.append((name, False))
        if place >= half and (place - half) % step == step - 1:
            shown.append((chosen[place - half - step + 1], True))
    return shown


def browse_for(rater: str, names: Sequence[str], earlier: Sequence[Showing]) -> list[Showing]:
    """Showings of turns that `rater` names. What was drawn for the person before stays drawn."""
    known = {showing.item for showing in earlier if showing.rater == rater}
    return [Showing(rater=rater, item=name) for name in names if name not in known]
