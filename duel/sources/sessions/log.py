"""A file that may be a session log: its first records for sniffing, its lines for reading, what was wrong with it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from duel.errors import ItemError
from duel.workspace import natural_order

# Formats tell themselves apart in their first records.
SNIFFED_RECORDS = 40
SNIFFED_BYTES = 4 << 20
# A log that is one JSON document is parsed whole, at about ten times its size in memory.
LARGEST_DOCUMENT = 256 << 20
# Rows of a parquet file decoded at a time: a trajectory is about 50 KB.
ROWS_AT_ONCE = 64
EVENTS = "events"
ENDINGS = (".jsonl", ".ndjson", ".json", ".traj", ".parquet")


@dataclass
class Log:
    """One file, or one folder of event files, below the folder that was searched."""

    path: Path
    name: str
    """The path below the searched folder: what reports show."""
    notes: Counter[str] = field(default_factory=Counter)
    """What was left out or could not be read, by its name."""

    @cached_property
    def is_parquet(self) -> bool:
        """True for a parquet file, told by its first bytes."""
        with self.path.open("rb") as file:
            return file.read(4) == b"PAR1"

    @cached_property
    def is_lines(self) -> bool:
        """True where lines are JSON objects of their own, False where the file is one JSON document over many lines."""
        with self.path.open("rb") as file:
            lines = [line for _ in range(SNIFFED_RECORDS) if (line := file.readline(SNIFFED_BYTES).strip())]
        opens_document = bool(lines) and lines[0] in (b"{", b"[")
        return not opens_document and any(isinstance(_parsed(line), dict) for line in lines)

    @cached_property
    def sample(self) -> list[dict[str, Any]]:
        """The first records: lines, rows, or what a JSON document is or lists."""
        first = list(islice(self.values(quietly=True), SNIFFED_RECORDS))
        if len(first) == 1 and isinstance(first[0], list):
            first = first[0][:SNIFFED_RECORDS]
        return [record for record in first if isinstance(record, dict)]

    @cached_property
    def document(self) -> Any:
        """The whole file as one JSON value. Raises ItemError (`not-a-session`) where it is none."""
        if self.path.stat().st_size > LARGEST_DOCUMENT:
            raise ItemError("too-large", f"a JSON document of more than {LARGEST_DOCUMENT >> 20} MB", where=self.name)
        value = _parsed(self.path.read_bytes())
        if value is None:
            raise ItemError("not-a-session", "not JSON", where=self.name)
        return value

    def records(self, quietly: bool = False) -> Iterator[dict[str, Any]]:
        """The JSON objects of the lines, one in memory at a time; a line that is none is noted by its number."""
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                record = _parsed(line)
                if isinstance(record, dict):
                    yield record
                elif line.strip() and not quietly:
                    self.notes[f"broken line {number}"] += 1

    def values(self, quietly: bool = False) -> Iterator[Any]:
        """Each row of a parquet file, each line's record, or the one document."""
        if self.is_parquet:
            yield from _rows(self.path)
        elif self.is_lines:
            yield from self.records(quietly)
        else:
            yield self.document

    def note(self, what: str) -> None:
        """Count one thing that was left out."""
        self.notes[what] += 1


class EventFolder(Log):
    """A folder `events` in which each file is one event, as OpenHands stores a conversation."""

    @property
    def is_parquet(self) -> bool:
        """False: it is many JSON files."""
        return False

    def values(self, quietly: bool = False) -> Iterator[Any]:
        """The events in the order of the numbers in their names."""
        for path in sorted(self.path.glob("*.json"), key=lambda path: natural_order(path.stem)):
            value = _parsed(path.read_bytes())
            if isinstance(value, dict):
                yield value
            elif not quietly:
                self.notes[f"broken file {path.name}"] += 1


def find(root: Path) -> Iterator[Log]:
    """The files below `root` (or `root` itself) that may be logs, in the order of their paths; no link is followed."""
    if root.is_file():
        yield Log(root, root.name)
        return
    closed: list[OSError] = []
    for folder, folders, files in os.walk(root, onerror=closed.append):
        folders.sort()
        if Path(folder).name == EVENTS and any(name.endswith(".json") for name in files):
            yield EventFolder(Path(folder), Path(folder).relative_to(root).as_posix())
            continue
        for name in sorted(files):
            path = Path(folder) / name
            if name.endswith(ENDINGS) and path.is_file() and not path.is_symlink():
                yield Log(path, path.relative_to(root).as_posix())
    for error in closed:  # a folder that cannot be listed fails as a file that cannot be read, and is counted so
        yield Log(Path(error.filename), Path(error.filename).relative_to(root).as_posix())


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise ItemError("damaged", f"not a parquet file: {str(error).splitlines()[0]}", where=path.name) from None


def _parsed(raw: bytes) -> Any:
    """The JSON value of some bytes; None where they are none."""
    import orjson

    try:
        return orjson.loads(raw)
    except ValueError:
        return None
