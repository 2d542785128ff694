"""Pull requests out of parquet files, looked up by instance id: what is not wanted is never made a Python value.

Where an `instance_id` repeats, the last row counts (files in the order of their names, then rows), as it did for the
builder of the trajectories.
"""

import re
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple

import orjson

from duel.conversation.diffs import changed_files
from duel.conversation.record_files import decoder_of
from duel.errors import SourceError
from duel.records import Commit, Source
from duel.sources.parquet_tables import ParquetTable, footer, texts

NEEDED = ("instance_id", "repo", "base_commit", "problem_statement", "patch")
OPTIONAL = ("pull_number", "pr_description", "test_patch", "license", "created_at")
# Columns whose types vary between uploads (list, struct or JSON string); they survive in the record under their names.
EXTRAS = tuple("hints_text interface FAIL_TO_PASS PASS_TO_PASS install_config meta image_name docker_image".split())
# Wanted rows that are in memory at a time: of 50 KB each, 10 MB. A row group is read once for every so many.
WINDOW = 200
# Rows decoded at a time, and the piece in which a column chunk is read.
BATCH_ROWS, BUFFER_BYTES = 64, 1 << 18
_CHANGED = re.compile(r"^\+\+\+ b/([^\t\r\n]+)", re.MULTILINE)


class Head(NamedTuple):
    repo: str
    base_commit: str
    problem_statement: str
    license: str


@dataclass
class Pulls:
    """A table of pull requests. `damaged` collects ids whose row cannot be read, with Arrow's words."""

    table: ParquetTable
    damaged: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.paths = {name: self.table.fetch(name) for name in self.table.names}
        self.columns = {name: footer(path, name, NEEDED).columns for name, path in self.paths.items()}

    def heads(self, ids: Collection[str]) -> dict[str, Head]:
        rows = self._rows(ids, ("instance_id", *Head._fields))
        return {row["instance_id"]: Head(*(_text(row.get(name)) for name in Head._fields)) for _, row in rows}

    def changed(self) -> dict[str, list[str]]:
        """The files that each pull request changes."""
        found: dict[str, list[str]] = {}
        for name in self.paths:
            with self._opened(name) as file:
                for batch in file.iter_batches(BATCH_ROWS, columns=["instance_id", "patch"], use_threads=False):
                    ids, patches = texts(batch.column("instance_id")), texts(batch.column("patch"))
                    told = zip(ids, patches, strict=True)
                    found |= {name: _CHANGED.findall(patch) for name, patch in told if name and patch}
        return found

    def commits(self, ids: Collection[str]) -> Iterator[Commit]:
        for source, row in self._rows(ids, (*NEEDED, *OPTIONAL, *EXTRAS)):
            yield _commit(row, source)

    def _rows(self, ids: Collection[str], columns: Sequence[str]) -> Iterator[tuple[Source, Mapping[str, Any]]]:
        for name, wanted in self._locate(ids).items():
            there = [column for column in columns if column in self.columns[name]]
            for number, row in self._read(name, wanted, there):
                yield Source(dataset=self.table.name, revision=self.table.revision, file=name, row=number), row

    def _locate(self, ids: Collection[str]) -> dict[str, dict[int, str]]:
        """The wanted rows of each file: the id by the row's number, in the order of the rows."""
        wanted, last = frozenset(ids), dict[str, tuple[str, int]]()
        for name in self.paths:
            with self._opened(name) as file:
                batches = file.iter_batches(columns=["instance_id"], use_threads=False)
                for row, instance_id in enumerate(chain.from_iterable(texts(batch.column(0)) for batch in batches)):
                    if instance_id in wanted:
                        last[instance_id] = (name, row)
        places: dict[str, dict[int, str]] = {name: {} for name in self.paths}
        for instance_id, (name, row) in sorted(last.items(), key=lambda found: found[1]):
            places[name][row] = instance_id
        return places

    def _read(
        self, name: str, wanted: Mapping[int, str], columns: Sequence[str]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """The wanted rows of one file. One that cannot be read costs itself, a row group those of its rows."""
        import pyarrow

        rows, decoders = list(wanted), [decoder_of(self.columns[name][column]) for column in columns]
        with self._opened(name) as file:
            ends = accumulate((file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)), initial=0)
            for group, (start, end) in enumerate(pairwise(ends)):
                inside = rows[bisect_left(rows, start) : bisect_left(rows, end)]
                for window in (inside[at : at + WINDOW] for at in range(0, len(inside), WINDOW)):
                    try:
                        taken = [_taken(file, group, column, [row - start for row in window]) for column in columns]
                    except (pyarrow.ArrowException, OSError) as error:
                        self.damaged |= {wanted[row]: f"{name} row {row}: {error}" for row in window}
                        continue
                    for row, *values in zip(window, *taken, strict=True):
                        try:
                            told = [value.as_py() for value in values]
                        except UnicodeDecodeError as error:
                            self.damaged[wanted[row]] = f"{name} row {row}: {error}"
                            continue
                        plain = (decode(v) if decode else v for decode, v in zip(decoders, told, strict=True))
                        yield row, dict(zip(columns, plain, strict=True))
                if inside:
                    pyarrow.default_memory_pool().release_unused()

    @contextmanager
    def _opened(self, name: str) -> Iterator[Any]:
        import pyarrow
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.paths[name], buffer_size=BUFFER_BYTES) as file:
                yield file
        except (pyarrow.ArrowException, OSError) as error:
            raise SourceError("the pull requests cannot be read", where=name, value=error) from None


def _taken(file: Any, group: int, column: str, rows: Sequence[int]) -> list[Any]:
    """One column's values in these rows of a row group, undecoded.

    A column at a time: its pages are all in memory, 60 MB where those of all columns took 104 MB.
    """
    import pyarrow

    taken, start, found = list[Any](), 0, 0
    for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=[column], use_threads=False):
        end = bisect_left(rows, start + batch.num_rows, found)
        taken += batch.column(0).take(pyarrow.array([row - start for row in rows[found:end]], pyarrow.int64()))
        start, found = start + batch.num_rows, end
    return taken


def _commit(row: Mapping[str, Any], source: Source) -> Commit:
    told = {name: _text(row.get(name)) for name in (*NEEDED, *OPTIONAL)}
    # The pull request's number, else the one that an id such as `owner__repo-123` ends on.
    number = told["pull_number"] or told["instance_id"].rpartition("-")[2]
    extras: dict[str, Any] = {}
    for name in EXTRAS:
        if row.get(name) is not None:
            # A string that holds a list or an object as JSON is that list or object.
            told_as = orjson.dumps(row[name], default=_text, option=orjson.OPT_PASSTHROUGH_DATETIME)
            value = extras[name] = orjson.loads(told_as)
            if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
                with suppress(ValueError, TypeError):  # TypeError: nested deeper than JSON is written
                    parsed = orjson.loads(value)
                    orjson.dumps([[parsed]])
                    extras[name] = parsed
    return Commit(
        instance_id=told["instance_id"],
        repo=told["repo"],
        pull_number=int(number) if len(number) < 19 and number.strip().isdecimal() else None,  # 64 bits are written
        commit=told["base_commit"],
        issue=told["problem_statement"],
        description=told["pr_description"],
        files=changed_files(told["patch"], told["test_patch"]),
        patch=told["patch"],
        test_patch=told["test_patch"],
        license=told["license"],
        created_at=told["created_at"],
        source=source,
        **extras,
    )


def _text(value: Any) -> str:
    if isinstance(value, datetime):  # the same on every machine
        value = value.astimezone(UTC).isoformat(" ").removesuffix(":00") if value.tzinfo else value.isoformat(" ")
    return "" if value is None else str(value)
