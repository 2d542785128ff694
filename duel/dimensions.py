"""What two replies are compared on: five dimensions, and further ones that a package brings.

A further one is asked for by its name in `[judge] metric_keys`. It then stands in the rubric behind the five, in every
vote beside them, and counts as they do.
"""

from dataclasses import dataclass

from duel.records import DIMENSIONS, PersonVote, Vote
from duel.records.record import DIMENSION
from duel.registry import Registry


@dataclass(frozen=True)
class Dimension:
    """One line each, in the words in which judges and people are asked."""

    ask: str  # "does the command leave alone what is not its business?"
    high: str
    low: str


FURTHER: Registry[Dimension] = Registry("dimension")

_FIELDS = {*Vote.model_fields, *PersonVote.model_fields, "said", "format"}


def countable(names: list[str]) -> list[str]:
    """`names` as they are. Raises ValueError where they cannot be the dimensions that count."""
    if len(set(names)) != len(names) or not all(name in DIMENSIONS or name in FURTHER for name in names):
        raise ValueError(f"must be distinct names out of {', '.join([*DIMENSIONS, *FURTHER])}")
    unfit = [name for name in names if name not in DIMENSIONS and (not DIMENSION.fullmatch(name) or name in _FIELDS)]
    if unfit:
        raise ValueError(f"a dimension cannot be called {', '.join(unfit)}")
    return names
