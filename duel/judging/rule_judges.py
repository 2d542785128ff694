"""Judges that are plain functions: `rule:<name>` in `[judge] models` is a part from outside, and costs nothing.

Its votes count like those of any other judge, so a length rule or a linter may sit beside models.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from duel.judging.rubric import JudgedPair
from duel.records import DIMENSIONS, Message, Order, Vote
from duel.registry import Registry

PairJudge: TypeAlias = Callable[[Sequence[Message], str, str], int | Mapping[str, int]]
"""(history, first reply, second reply) -> 1 for the first, 2 for the second, 0 for a draw, or these by dimension."""

JUDGES: Registry[PairJudge] = Registry("judge")


def cast_vote(name: str, judge: PairJudge, pair: JudgedPair, order: Order) -> Vote:
    """The vote of one function on one pair in one order. Raises ValueError for anything but 0, 1 and 2."""
    king_first = order == "king_first"
    first, second = (pair.opponent, pair.challenger) if king_first else (pair.challenger, pair.opponent)
    said = judge(pair.history, first, second)
    choices = dict.fromkeys(DIMENSIONS, said) if isinstance(said, int) else dict(said)
    if choices.keys() != set(DIMENSIONS) or not set(choices.values()) <= {0, 1, 2}:
        raise ValueError(f"the judge {name} must give 0, 1 or 2, or one of them for each of {', '.join(DIMENSIONS)}")
    challenger = 2 if king_first else 1
    values = {key: 0.5 if choice == 0 else float(choice == challenger) for key, choice in choices.items()}
    return Vote(judge=name, order=order, asked=1, **values)


def attempt(name: str, judge: PairJudge, pair: JudgedPair, order: Order) -> Vote:
    """As `cast_vote`; whatever the function raises is the vote's error, so that one bad rule ends no run."""
    try:
        return cast_vote(name, judge, pair, order)
    except Exception as error:
        return Vote(judge=name, order=order, error=f"rule-failed: {type(error).__name__}: {error}"[:300])
