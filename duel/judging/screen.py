"""The screen: every turn gets one vote, and only turns that can still be worth keeping get the rest of the panel's.

Round one asks one judge in one order, drawn by a keyed hash of the turn, so that judges and orders are spread evenly
and no property of a turn decides who sees it. The gate rests on these votes alone: each is an unbiased draw of what the
full panel would have said.

Round two asks a second opinion where the first vote gives at least `defeat_min` points, then all other votes where the
two together reach `final_min`. A turn that gets all votes has the very score that the full panel gives; the others
stop, and are named as stopped. At a mean of 60 that asks 51 to 60 % fewer votes than the full panel and finds 85 to
94 % of its final turns (`python -m bench.screen`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from duel.judging.rubric import Key, owed_votes
from duel.records import Vote
from duel.settings import Settings

if TYPE_CHECKING:
    from duel.judging.scoring import Columns, Flags


def first_vote(item: str, settings: Settings) -> Key:
    votes = owed_votes(item, settings)
    key = str(settings.duel.seed).encode()
    digest = hashlib.blake2b(item.encode("utf-8", "surrogatepass"), key=key, digest_size=8).digest()
    return votes[int.from_bytes(digest) % len(votes)]


def second_vote(item: str, settings: Settings) -> Key | None:
    """The second opinion: another judge in the other order, if possible; None where the first is the only vote."""
    votes, first = owed_votes(item, settings), first_vote(item, settings)
    place = votes.index(first)
    others = [*votes[place + 1 :], *votes[:place]]
    return max(others, key=lambda key: (key[0] != first[0]) + (key[1] != first[1]), default=None)


def next_votes(item: str, votes: Sequence[Vote], settings: Settings) -> list[Key]:
    """The votes to ask for next; [] once the turn is stopped or nothing is left to ask.

    `votes` are those cast so far; one that did not parse is among them and is not asked again here.
    """
    first, second = first_vote(item, settings), second_vote(item, settings)
    cast = {(vote.judge, vote.order): vote for vote in votes}
    said = [points(cast[key], settings) for key in (first, second) if key in cast and cast[key].parsed]
    if first not in cast:
        return [first]
    if not cast[first].parsed or said[0] < settings.report.defeat_min:
        return []
    if second is not None and second not in cast:
        return [second]
    if sum(said) < len(said) * settings.report.final_min:
        return []
    return [key for key in owed_votes(item, settings) if key not in cast]


def stopped(item: str, votes: Sequence[Vote], settings: Settings) -> bool:
    """True when votes were left unasked because those that were cast are too low."""
    unasked = {(vote.judge, vote.order) for vote in votes} < set(owed_votes(item, settings))
    return unasked and any(vote.parsed for vote in votes) and not next_votes(item, votes, settings)


def points(vote: Vote, settings: Settings) -> float:
    keys = settings.judge.metric_keys
    return 100 * float(sum(getattr(vote, name) for name in keys)) / len(keys)


def first_votes(columns: Columns, settings: Settings) -> Flags:
    """(T, J, 2): the vote of round one of every turn."""
    import numpy as np

    due: Flags = np.zeros(columns.asked.shape, dtype=bool)
    for row, item in enumerate(columns.files):
        judge, order = first_vote(item, settings)
        due[row, columns.judges.index(judge), int(order == "challenger_first")] = True
    return due
