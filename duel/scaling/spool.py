"""The rows of a set on their way through the steps: their lines in a file, a few hundred bytes of each in memory."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, overload

from duel.exports.example import Dropped, Example
from duel.scaling.scaled_rows import ScaledRow

if TYPE_CHECKING:
    from duel.scaling.row_reading import ReadRow

FACETS = ("source", "type", "license", "language", "tool", "complexity")


@dataclass
class RowLines:
    """The rows' lines in one file, and where each begins."""

    path: Path
    starts: array[int] = field(default_factory=lambda: array("q", [0]))

    def row(self, place: int) -> ScaledRow:
        with self.path.open("rb") as file:
            file.seek(self.starts[place])
            return ScaledRow.of_line(file.read(self.starts[place + 1] - self.starts[place]))


@dataclass
class Spool:
    """The rows that passed their checks: their lines in a file, and of each what later steps ask for."""

    lines: RowLines
    tokens: array[int] = field(default_factory=lambda: array("q"))
    ids: list[str] = field(default_factory=list)
    facets: list[tuple[str, ...]] = field(default_factory=list)
    keys: list[list[str]] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    """What was noticed of them and kept."""
    scrubbed: Counter[str] = field(default_factory=Counter)

    _shared: dict[str, str] = field(default_factory=dict)

    def add(self, row: ReadRow, out: BinaryIO) -> None:
        out.write(row.line)
        self.lines.starts.append(self.lines.starts[-1] + len(row.line))
        self.tokens.append(row.tokens)
        self.ids.append(row.id)
        self.facets.append(tuple(self._one(value) for value in row.facets))
        self.keys.append([self._one(key) for key in row.keys])
        self.digests.append(row.digest)
        self.notes.update(row.notes)
        self.scrubbed.update(row.scrubbed)

    def _one(self, text: str) -> str:
        """The one copy in memory of a text that many rows share."""
        return self._shared.setdefault(text, text)

    def drop(self, place: int, reason: str, detail: str) -> Dropped:
        """The account of a row that a later step leaves out."""
        return Dropped(self.ids[place], dict(zip(FACETS, self.facets[place], strict=True))["source"], reason, detail)


class SpoolPart(Sequence[Example]):
    """The rows of one split, each made into an example when it is written."""

    def __init__(self, lines: RowLines, places: Sequence[int]) -> None:
        self._lines, self._places = lines, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> SpoolPart: ...
    def __getitem__(self, place: int | slice) -> Example | SpoolPart:
        if isinstance(place, slice):
            return SpoolPart(self._lines, self._places[place])
        return self._lines.row(self._places[place]).example()
