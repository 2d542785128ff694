"""Pull requests out of parquet files, looked up by instance id: what is not wanted is never made a Python value.

Of a repeated `instance_id` the last row counts (files by name, then rows), as for the builder of the trajectories.
"""

import re
from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from itertools import accumulate, count, pairwise, repeat
from typing import Any, NamedTuple

import orjson
import pyarrow

from duel.conversation.diffs import changed_files
from duel.conversation.record_files import decoder_of
from duel.records import Commit, Source
from duel.sources.parquet_tables import ParquetTable, footer, opened, texts

NEEDED = ("instance_id", "repo", "base_commit", "problem_statement", "patch")
OPTIONAL = ("pull_number", "pr_description", "test_patch", "license", "created_at")
# The fields of a record, by the columns that they are in.
FIELDS = {name: name for name in ("instance_id", "repo", "patch", "test_patch", "license", "created_at")}
FIELDS |= {"commit": "base_commit", "issue": "problem_statement", "description": "pr_description"}
# Columns whose types vary between uploads (list, struct or JSON string); they survive in the record under their names.
EXTRAS = tuple("hints_text interface FAIL_TO_PASS PASS_TO_PASS install_config meta image_name docker_image".split())
# Wanted rows that are in memory at a time: of 50 KB each, 10 MB. A row group is read once for every so many.
WINDOW = 200
# Rows decoded at a time, and the piece in which a column chunk is read.
BATCH_ROWS, BUFFER_BYTES = 64, 1 << 18
_CHANGED = re.compile(r"^\+\+\+ b/([^\t\r\n]+)", re.MULTILINE)


class Head(NamedTuple):
    base_commit: str
    problem_statement: str
    license: str


class Pulls:
    """A table of pull requests. `damaged` collects ids whose row cannot be read, with Arrow's words."""

    def __init__(self, table: ParquetTable) -> None:
        self.table, self.damaged = table, dict[str, str]()

    @cached_property
    def columns(self) -> dict[str, dict[str, Any]]:
        """The Arrow types by file and column; the files are downloaded by then."""
        return {name: footer(self.table.fetch(name), name, NEEDED).columns for name in self.table.sizes}

    def heads(self, ids: Collection[str]) -> dict[str, Head]:
        rows = self._rows(ids, ("instance_id", *Head._fields))
        return {row["instance_id"]: Head(*(_text(row.get(name)) for name in Head._fields)) for _, row in rows}

    def changed(self) -> dict[str, list[str]]:
        """The files that each pull request changes."""
        told = self._texts("instance_id", "patch")
        return {key: _CHANGED.findall(patch) for _, _, key, patch in told if key and patch}

    def commits(self, ids: Collection[str]) -> Iterator[Commit]:
        for source, row in self._rows(ids, (*NEEDED, *OPTIONAL, *EXTRAS)):
            told = {name: _text(row.get(name)) for name in (*NEEDED, *OPTIONAL)}
            # The pull request's number, else the one that an id such as `owner__repo-123` ends on, as 64 bits hold it.
            number = told["pull_number"] or told["instance_id"].rpartition("-")[2]
            yield Commit(
                pull_number=int(number) if len(number) < 19 and number.strip().isdecimal() else None,
                files=changed_files(told["patch"], told["test_patch"]),
                source=source,
                **{name: told[column] for name, column in FIELDS.items()},
                **{name: _plain(row[name]) for name in EXTRAS if row.get(name) is not None},
            )

    def _rows(self, ids: Collection[str], columns: Sequence[str]) -> Iterator[tuple[Source, Mapping[str, Any]]]:
        wanted = frozenset(ids)
        last = {key: (name, row) for name, row, key in self._texts("instance_id") if key in wanted}
        places = sorted((*place, key) for key, place in last.items())
        for name, known in self.columns.items():
            here = {row: key for file, row, key in places if file == name}
            for number, row in self._read(name, here, [column for column in columns if column in known]):
                yield Source(dataset=self.table.name, revision=self.table.revision, file=name, row=number), row

    def _texts(self, *columns: str) -> Iterator[tuple[Any, ...]]:
        """(file, row, text of each of these columns) of every row."""
        for name in self.columns:
            row = 0
            with opened(self.table.fetch(name), name, BUFFER_BYTES) as file:
                for batch in file.iter_batches(BATCH_ROWS, columns=list(columns), use_threads=False):
                    told = (texts(batch.column(column)) for column in columns)
                    yield from zip(repeat(name), count(row), *told, strict=False)
                    row += batch.num_rows

    def _read(
        self, name: str, wanted: Mapping[int, str], columns: Sequence[str]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """The wanted rows of one file (its ids by row, ascending). One that is damaged costs itself or its group's."""
        rows, decoders = list(wanted), [decoder_of(self.columns[name][column]) for column in columns]
        with opened(self.table.fetch(name), name, BUFFER_BYTES) as file, ThreadPoolExecutor(1) as ahead:

            def taken(group: int, start: int, window: Sequence[int]) -> list[list[Any]]:
                pyarrow.default_memory_pool().release_unused()  # else 305 MB at the peak, not 285
                return [_taken(file, group, column, [row - start for row in window]) for column in columns]

            ends = accumulate((file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)), initial=0)
            windows = [
                (group, start, inside[at : at + WINDOW])
                for group, (start, end) in enumerate(pairwise(ends))
                for inside in [rows[bisect_left(rows, start) : bisect_left(rows, end)]]
                for at in range(0, len(inside), WINDOW)
            ]
            coming = deque(ahead.submit(taken, *one) for one in windows[:1])
            for number, (_, _, window) in enumerate(windows, start=1):
                coming.extend(ahead.submit(taken, *one) for one in windows[number : number + 1])  # while these are used
                try:
                    found = coming.popleft().result()
                except (pyarrow.ArrowException, OSError) as error:
                    self.damaged |= {wanted[row]: f"{name} row {row}: {error}" for row in window}
                    continue
                for row, *values in zip(window, *found, strict=True):
                    try:
                        told = [value.as_py() for value in values]
                    except UnicodeDecodeError as error:
                        self.damaged[wanted[row]] = f"{name} row {row}: {error}"
                        continue
                    plain = (decode(v) if decode else v for decode, v in zip(decoders, told, strict=True))
                    yield row, dict(zip(columns, plain, strict=True))
                del found


def _taken(file: Any, group: int, column: str, rows: Sequence[int]) -> list[Any]:
    """One column's values in these rows, undecoded: its pages are in memory, 60 MB, where all columns' took 104 MB."""
    taken, start, found = list[Any](), 0, 0
    for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=[column], use_threads=False):
        end = bisect_left(rows, start + batch.num_rows, found)
        taken += batch.column(0).take(pyarrow.array([row - start for row in rows[found:end]], pyarrow.int64()))
        start, found = start + batch.num_rows, end
    return taken


def _plain(value: Any) -> Any:
    """What JSON can hold; a text that is a list or an object in JSON is that. What is nested too deep is its text."""
    with suppress(ValueError, TypeError):
        told = orjson.loads(value) if isinstance(value, str) and value.lstrip()[:1] in ("[", "{") else value
        written = orjson.dumps([[told]], default=_text, option=orjson.OPT_PASSTHROUGH_DATETIME)
        return orjson.loads(written)[0][0]
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, datetime):  # the same on every machine
        value = value.astimezone(UTC).isoformat(" ").removesuffix(":00") if value.tzinfo else value.isoformat(" ")
    return "" if value is None else str(value)
