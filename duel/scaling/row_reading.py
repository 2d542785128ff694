"""The rows of all sources, parsed, checked and described; in several processes where they are many."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

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

BATCH_BYTES = 2_000_000
ALONE = 30_000_000  # bytes of rows that one process reads; from there on it pays to start others


@dataclass(slots=True)
class RowFacts:
    """What later steps ask of a row that passed its checks."""

    id: str
    tokens: int
    facets: tuple[str, ...]
    origin: tuple[str, str]  # name and revision of its source
    keys: list[str]  # what ties it to other rows
    digest: bytes
    start: int = 0  # where its line begins in the spool's file


class ReadRow(NamedTuple):
    facts: RowFacts
    line: bytes
    words: NDArray[np.uint32]
    notes: Counter[str]
    scrubbed: Counter[str]


RowBatch: TypeAlias = tuple[Kind, str, int, list[bytes]]  # source, file, number of the first line, lines


class ReadBatch(NamedTuple):
    """Rows of one file, or why they are none, and the bands of each."""

    kind: Kind
    file: str
    rows: list[ReadRow | Dropped]
    bands: NDArray[np.uint64]


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
        number = 1
        with path.open("rb") as file:
            while (lines := file.readlines(BATCH_BYTES)) or number == 1:
                yield kind, path.name, number, lines
                number += len(lines) or 1


_checks: RowChecks


def _prepare(*given: Any) -> None:
    global _checks
    _checks = RowChecks(*given)


def _batch(batch: RowBatch) -> ReadBatch:
    kind, file, first, lines = batch
    found: list[ReadRow | Dropped] = []
    for number, line in enumerate(lines, first):
        name = f"{kind}/{file}:{number}"
        try:
            row = ScaledRow.of_line(line)
            name = row.id
            if row.source.kind != kind:
                raise ItemError("damaged", f"a row of {row.source.kind} among those of {kind}")
            row, calls = _checks(row)
        except ItemError as error:
            found.append(Dropped(name, kind, error.reason, error.what))
            continue
        text, origin = row.text(), (row.source.name, row.source.revision)
        known = digest(text.encode("utf-8", "replace"))
        keys = [key for key in row.tied_by() if key != f"row {row.id}"]
        facts = RowFacts(row.id, estimate_tokens(text), facets(row, calls), origin, keys, known)
        found.append(ReadRow(facts, row.line(), duplicates.hashed_words(text), +_checks.notes, _checks.scrubbed))
    nothing = duplicates.hashed_words("")
    return ReadBatch(kind, file, found, bands_of([nothing if isinstance(one, Dropped) else one.words for one in found]))


def digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).digest()
