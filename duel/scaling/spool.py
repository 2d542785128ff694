"""The rows of a set on their way through the steps: their lines in a file, a few hundred bytes of each in memory."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from duel.exports.example import Dropped, Example
from duel.scaling.scaled_rows import ScaledRow

FACETS = ("source", "type", "license", "language", "tool", "complexity")


@dataclass
class Spool:
    """The rows that passed their checks: their lines in a file, and of each what later steps ask for."""

    path: Path
    starts: array[int] = field(default_factory=lambda: array("q", [0]))
    tokens: array[int] = field(default_factory=lambda: array("q"))
    ids: list[str] = field(default_factory=list)
    facets: list[tuple[str, ...]] = field(default_factory=list)
    keys: list[list[str]] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)

    _texts: dict[str, str] = field(default_factory=dict)

    def one(self, text: str) -> str:
        """The one copy in memory of a text that many rows share."""
        return self._texts.setdefault(text, text)

    def row(self, place: int) -> ScaledRow:
        """A row, read again."""
        with self.path.open("rb") as file:
            file.seek(self.starts[place])
            return ScaledRow.of_line(file.read(self.starts[place + 1] - self.starts[place]))

    def drop(self, place: int, reason: str, detail: str) -> Dropped:
        """The account of a row that a later step leaves out."""
        return Dropped(self.ids[place], dict(zip(FACETS, self.facets[place], strict=True))["source"], reason, detail)


class SpoolPart(Sequence[Example]):
    """The rows of one split, each made into an example when it is written."""

    def __init__(self, spool: Spool, places: Sequence[int]) -> None:
        self._spool, self._places = spool, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> SpoolPart: ...
    def __getitem__(self, place: int | slice) -> Example | SpoolPart:
        if isinstance(place, slice):
            return SpoolPart(self._spool, self._places[place])
        return self._spool.row(self._places[place]).example()
