"""The rows of all sources, parsed, checked and described; in several processes where they are many."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from duel.audit import duplicates
from duel.audit.contamination import Benchmarks
from duel.errors import ItemError
from duel.exports.example import Dropped
from duel.history import estimate_tokens
from duel.processes import spread
from duel.scaling.near_copies import bands_of
from duel.scaling.row_checks import RowChecks, facets
from duel.scaling.scaled_rows import Kind, ScaledRow
from duel.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH, BATCH_BYTES = 500, 4_000_000
ALONE = 30_000_000  # bytes of rows that one process reads; from there on it pays to start others


@dataclass(slots=True)
class ReadRow:
    """A row that passed its checks, and what later steps ask for; bands are made for all of a batch at once."""

    id: str
    line: bytes
    tokens: int
    facets: tuple[str, ...]
    keys: list[str]
    digest: bytes
    words: NDArray[np.uint32]
    notes: Counter[str]
    scrubbed: Counter[str]
    bands: NDArray[np.uint64]


RowBatch: TypeAlias = tuple[Kind, str, int, list[bytes]]  # source, file, number of the first line, lines
ReadBatch: TypeAlias = tuple[Kind, str, list[ReadRow | Dropped]]  # source, file, its rows or why they are none


def read(
    files: Sequence[tuple[Kind, Path]],
    settings: Settings,
    benchmarks: Benchmarks,
    key: bytes,
    refused_words: frozenset[str] = frozenset(),
) -> Iterator[ReadBatch]:
    given = settings, benchmarks, key, refused_words
    if not are_many(files):
        _prepare(*given)
        yield from map(_batch, _batches(files))
    else:
        yield from spread(_batch, _batches(files), processes(), _prepare, given)


def are_many(files: Sequence[tuple[Kind, Path]]) -> bool:
    return sum(path.stat().st_size for _, path in files) > ALONE and processes() > 1


def processes() -> int:
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _batches(files: Sequence[tuple[Kind, Path]]) -> Iterator[RowBatch]:
    for kind, path in files:
        number, lines, size = 1, list[bytes](), 0
        with path.open("rb") as file:
            for line in file:
                lines.append(line)
                size += len(line)
                if len(lines) >= BATCH or size >= BATCH_BYTES:
                    yield kind, path.name, number, lines
                    number, lines, size = number + len(lines), [], 0
        if lines or number == 1:
            yield kind, path.name, number, lines


_checks: RowChecks


def _prepare(*given: Any) -> None:
    global _checks
    _checks = RowChecks(*given)


def _batch(batch: RowBatch) -> ReadBatch:
    kind, file, first, lines = batch
    no_bands = bands_of([])
    found: list[ReadRow | Dropped] = []
    for number, line in enumerate(lines, first):
        name = f"{kind}/{file}:{number}"
        try:
            row = ScaledRow.of_line(line)
            name = row.id
            if row.source.kind != kind:
                raise ItemError("damaged", f"a row of {row.source.kind} among those of {kind}")
            row, calls = _checks(row)
            text = row.text()
            found.append(
                ReadRow(
                    id=row.id,
                    line=row.line(),
                    tokens=estimate_tokens(text),
                    facets=facets(row, calls),
                    keys=row.tied_by(),
                    digest=digest(text.encode("utf-8", "replace")),
                    words=duplicates.hashed_words(text),
                    notes=+_checks.notes,
                    scrubbed=_checks.scrubbed,
                    bands=no_bands,
                )
            )
        except ItemError as error:
            found.append(Dropped(name, kind, error.reason, error.what))
    rows = [one for one in found if isinstance(one, ReadRow)]
    for one, bands in zip(rows, bands_of([one.words for one in rows]), strict=True):
        one.bands = bands
    return kind, file, found


def digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).digest()
