"""The rows of a set on their way through the steps: their lines in a file, a few hundred bytes of each in memory."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from duel.exports.example import Dropped, Example
from duel.scaling.row_checks import FACETS
from duel.scaling.scaled_rows import ScaledRow

if TYPE_CHECKING:
    from duel.scaling.row_reading import ReadRow

Shared = TypeVar("Shared")


@dataclass
class RowLines:
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
    keys: list[list[str]] = field(default_factory=list)  # what ties each to others, but for its own id
    digests: list[bytes] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)  # what was noticed of them and kept
    scrubbed: Counter[str] = field(default_factory=Counter)
    _shared: dict[Any, Any] = field(default_factory=dict)

    def add(self, row: ReadRow, out: BinaryIO) -> None:
        out.write(row.line)
        self.lines.starts.append(self.lines.starts[-1] + len(row.line))
        self.tokens.append(row.tokens)
        self.ids.append(row.id)
        self.facets.append(self._one(row.facets))
        self.keys.append([self._one(key) for key in row.keys if key != f"row {row.id}"])
        self.digests.append(row.digest)
        self.notes.update(row.notes)
        self.scrubbed.update(row.scrubbed)

    def _one(self, value: Shared) -> Shared:
        return cast(Shared, self._shared.setdefault(value, value))

    def drop(self, place: int, reason: str, detail: str) -> Dropped:
        return Dropped(self.ids[place], self.facets[place][0], reason, detail)

    def statistics(self, places: Sequence[int]) -> dict[str, Any]:
        rows: Counter[tuple[str, ...]] = Counter()
        tokens: Counter[tuple[str, ...]] = Counter()
        for place in places:
            rows[self.facets[place]] += 1
            tokens[self.facets[place]] += self.tokens[place]
        alone = {name: Counter[str]() for name in FACETS}
        for values, count in rows.items():
            for name, value in zip(FACETS, values, strict=True):
                alone[name][value] += count
        return {
            "rows": len(places),
            "tokens": sum(tokens.values()),
            "by": {name: dict(sorted(c.items(), key=lambda item: (-item[1], item[0]))) for name, c in alone.items()},
            "cells": [
                {**dict(zip(FACETS, values, strict=True)), "rows": rows[values], "tokens": tokens[values]}
                for values in sorted(rows)
            ],
        }


class SpoolPart(Sequence[Example]):
    """The rows of one split, each made into an example when it is written."""

    def __init__(self, lines: RowLines, places: Sequence[int]) -> None:
        self._lines, self._places = lines, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return SpoolPart(self._lines, self._places[place])
        return self._lines.row(self._places[place]).example()
