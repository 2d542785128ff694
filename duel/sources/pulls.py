"""Pull requests out of parquet files: looked up by instance id, read only where they are wanted.

Where an `instance_id` repeats, the last row counts (files in the order of their names, then rows), as it did for the
builder of the trajectories.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from duel.conversation.diffs import changed_files
from duel.conversation.record_files import decoder_of
from duel.errors import SourceError
from duel.records import Commit, Source
from duel.sources.parquet_tables import ParquetTable, footer

NEEDED = ("instance_id", "repo", "base_commit", "problem_statement", "patch")
OPTIONAL = ("pull_number", "pr_description", "test_patch", "license", "created_at")
# Columns whose types vary between uploads (list, struct or JSON string); they survive in the record under their names.
EXTRAS = tuple("hints_text interface FAIL_TO_PASS PASS_TO_PASS install_config meta image_name docker_image".split())
# Rows are about 50 KB; a column chunk is read in pieces, since one of 1,000 rows is 50 MB.
BATCH_ROWS, BUFFER_BYTES = 64, 1 << 20
_CHANGED = re.compile(r"^\+\+\+ b/([^\t\r\n]+)", re.MULTILINE)


class Head(NamedTuple):
    repo: str
    base_commit: str
    problem_statement: str
    license: str


@dataclass
class Pulls:
    """A table of pull requests. `damaged` collects ids whose row cannot be read, and why."""

    table: ParquetTable
    damaged: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.paths = {name: self.table.fetch(name) for name in self.table.names}
        self.columns = {name: footer(path, name, NEEDED).columns for name, path in self.paths.items()}

    def heads(self, ids: Collection[str]) -> dict[str, Head]:
        rows = self._rows(ids, ("instance_id", *Head._fields))
        return {row["instance_id"]: Head(*(_text(row.get(name)) for name in Head._fields)) for _, row in rows}

    def changed(self) -> dict[str, list[str]]:
        """The paths that each pull request changes."""
        rows = self._rows(None, ("instance_id", "patch"))
        return {row["instance_id"]: _CHANGED.findall(_text(row["patch"])) for _, row in rows}

    def commits(self, ids: Collection[str]) -> Iterator[Commit]:
        for source, row in self._rows(ids, (*NEEDED, *OPTIONAL, *EXTRAS)):
            yield _commit(row, source)

    def _rows(self, ids: Collection[str] | None, columns: Sequence[str]) -> Iterator[tuple[Source, dict[str, Any]]]:
        """The last row of each of these ids, of every id for None."""
        last: dict[str, tuple[str, int]] = {}
        for name in self.paths:
            for number, row in self._read(name, ["instance_id"]):
                with suppress(UnicodeDecodeError):
                    last[_plain(row["instance_id"]) or ""] = (name, number)
        for name, known in self.columns.items():
            rows = {n: key for key, (file, n) in last.items() if file == name and key and (ids is None or key in ids)}
            for number, row in self._read(name, [column for column in columns if column in known], rows):
                source = Source(dataset=self.table.name, revision=self.table.revision, file=name, row=number)
                try:
                    yield source, {column: _plain(value) for column, value in row.items()}
                except UnicodeDecodeError as error:
                    self.damaged[rows[number]] = f"{name} row {number}: {error}"

    def _read(
        self, name: str, columns: list[str], wanted: Mapping[int, str] | None = None
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """(number, Arrow's values by column) of the wanted rows. A row group that breaks costs the rest of its rows."""
        import pyarrow
        import pyarrow.parquet as pq

        behind = 0
        with pq.ParquetFile(self.paths[name], buffer_size=BUFFER_BYTES) as file:
            for group in range(file.num_row_groups):
                row, behind = behind, behind + file.metadata.row_group(group).num_rows
                if wanted is not None and wanted.keys().isdisjoint(range(row, behind)):
                    continue
                try:
                    for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False):
                        for at in range(batch.num_rows):
                            if wanted is None or row + at in wanted:
                                yield row + at, {column: batch.column(column)[at] for column in columns}
                        row += batch.num_rows
                except (pyarrow.ArrowException, OSError) as error:
                    if wanted is None:
                        raise SourceError("the pull requests cannot be read", where=name, value=error) from None
                    lost = wanted.keys() & range(row, behind)
                    self.damaged |= {wanted[number]: f"{name} row {number}: {error}" for number in sorted(lost)}


def _commit(row: Mapping[str, Any], source: Source) -> Commit:
    told = {name: _text(row.get(name)) for name in (*NEEDED, *OPTIONAL)}
    # The pull request's number, else the one that an id such as `owner__repo-123` ends on.
    number = told["pull_number"] or told["instance_id"].rpartition("-")[2]
    extras: dict[str, Any] = {}
    for name in EXTRAS:
        if row.get(name) is not None:
            extras[name] = orjson.loads(orjson.dumps(row[name], default=str))
            if isinstance(row[name], str) and row[name].lstrip()[:1] in ("[", "{"):
                with suppress(ValueError):  # it holds a list or an object as JSON
                    extras[name] = orjson.loads(row[name])
    return Commit(
        instance_id=told["instance_id"],
        repo=told["repo"],
        pull_number=int(number) if number.strip().isdecimal() else None,
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


def _plain(value: Any) -> Any:
    """What an Arrow value holds. Raises UnicodeDecodeError: parquet does not check that text is UTF-8."""
    decode = decoder_of(value.type)
    return decode(value.as_py()) if decode else value.as_py()


def _text(value: Any) -> str:
    return "" if value is None else str(value)
