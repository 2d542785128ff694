"""Who is shown which turns, in which order: drawn for a person once, and kept in `review/draws.jsonl`.

Every prefix of the seeded order is a probability sample: first one turn of each pull request, pull requests in random
order; once all have one, a second turn of each, and so on. A larger sample contains every smaller one, so raters may
stop early and further raters may go on where others end.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

from pydantic import Field

from duel.records import Lot, Record

OVERLAP = 4  # one turn in so many is one that others are shown as well, as far as there are any: agreement among people
REPEATS = 10  # one repeat for so many turns: agreement of a person with themselves


class Showing(Record):
    """One turn before one person. Its place in the file is its place on the person's page."""

    format: str = "duel-showing/1"
    rater: str
    item: str = Field(min_length=1)
    repeat: bool = False
    drawn: Lot | None = None
    """None for a turn that the person wanted to see."""


def sequence(turns: Mapping[str, str], seed: int) -> list[str]:
    """The names of `turns` {name: pull request} in the order in which they are drawn."""
    pulls: dict[str, list[str]] = {}
    for name in sorted(turns, key=lambda name: _place(seed, "turn", name)):
        pulls.setdefault(turns[name], []).append(name)
    ranked = [
        (rank, _place(seed, "pull", pull), name) for pull, names in pulls.items() for rank, name in enumerate(names)
    ]
    return [name for _, _, name in sorted(ranked)]


def chances(turns: Mapping[str, str], count: int) -> dict[str, float]:
    """The chance of each turn to be among the first `count` of the sequence, over all seeds; exact."""
    size = Counter(turns.values())
    whole, rest = 0, 0.0
    left = min(count, len(turns))
    while left > 0:
        open_pulls = sum(1 for turns_of_pull in size.values() if turns_of_pull > whole)
        if left < open_pulls:
            rest = left / open_pulls
            break
        whole, left = whole + 1, left - open_pulls
    of_size = {n: (min(n, whole) + rest * (n > whole)) / n for n in set(size.values())}
    return {name: of_size[size[pull]] for name, pull in turns.items()}


def _place(seed: int, kind: str, name: str) -> bytes:
    return hashlib.sha256(f"duel-review:{seed}:{kind}:{name}".encode("utf-8", "surrogatepass")).digest()


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
    shared = iter([name for name in order if name in others])
    fresh = iter([name for name in order if name not in others])
    # Every OVERLAP-th from those shared, as far as there are any of either.
    both = [chain(shared, fresh) if place % OVERLAP == 0 else chain(fresh, shared) for place in range(wanted)]
    chosen = [next(source) for source in both]
    chance = chances(turns, len(own | others | set(chosen)))
    lots = {name: Lot(probability=chance[name], seed=seed) for name in chosen}
    half, step = len(chosen) // 2, REPEATS // 2
    shown = []
    for place, name in enumerate(chosen):
        shown.append(Showing(rater=rater, item=name, drawn=lots[name]))
        if place >= half and (place - half) % step == step - 1:  # behind every fifth one of the first half once more
            again = chosen[place - half - step + 1]
            shown.append(Showing(rater=rater, item=again, repeat=True, drawn=lots[again]))
    return shown


def browse_for(rater: str, names: Sequence[str], earlier: Sequence[Showing]) -> list[Showing]:
    """Showings of turns that `rater` names. What was drawn for the person before stays drawn."""
    known = {showing.item for showing in earlier if showing.rater == rater}
    return [Showing(rater=rater, item=name) for name in names if name not in known]
