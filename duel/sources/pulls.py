"""Pull requests out of parquet files, with DuckDB: looked up by instance id, read only where they are wanted.

Where an `instance_id` repeats, the last row counts (files in the order of their names, then rows), as it did for the
builder of the trajectories.
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from duel.conversation.diffs import changed_files
from duel.errors import SourceError
from duel.records import Commit, Source
from duel.sources.parquet_tables import ParquetTable, footer

NEEDED = ("instance_id", "repo", "base_commit", "problem_statement", "patch")
OPTIONAL = ("pull_number", "pr_description", "test_patch", "license", "created_at")
# Columns whose types vary between uploads (list, struct or JSON string); they survive in the record under their names.
EXTRAS = tuple("hints_text interface FAIL_TO_PASS PASS_TO_PASS install_config meta image_name docker_image".split())
# Rows of one look-up: of 20,000 rows of 50 KB, 2,000 wanted, 2.0 s at 100, 7.0 s at 50, and the memory was the same.
WINDOW = 100
# What DuckDB may take at first and at most. The limit doubles where it is reached: a query needs one row group, and
# 1,000 such rows fit in 160 MB, but a file may have larger ones.
MEMORY_MB, MOST_MEMORY_MB = 160, 6400


class Head(NamedTuple):
    repo: str
    base_commit: str
    problem_statement: str
    license: str


@dataclass
class Pulls:
    """A table of pull requests. `damaged` collects ids whose row cannot be read, with DuckDB's words."""

    table: ParquetTable
    damaged: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import duckdb

        self.paths = {name: self.table.fetch(name) for name in self.table.names}
        self.columns = {name: footer(path, name, NEEDED).columns for name, path in self.paths.items()}
        # One thread: two hold two row groups at once, and ran out of 300 MB where one took 270 MB. Each query says its
        # order; where DuckDB is to keep that of the rows as well, it takes 20 MB more.
        config: dict[str, Any] = {"threads": 1, "temp_directory": "", "preserve_insertion_order": False}
        self.database = duckdb.connect(":memory:", config=config)
        self._allow(MEMORY_MB)
        # Read ahead serves remote files; here it cost 50 MB and saved no time.
        self.database.execute("SET disable_parquet_prefetching = true")
        self.database.execute("SET TimeZone = 'UTC'")  # times read the same on every machine

    def _allow(self, megabytes: int) -> None:
        self.memory_mb = megabytes
        self.database.execute(f"SET memory_limit = '{megabytes}MB'")

    def heads(self, ids: Collection[str]) -> dict[str, Head]:
        rows = self._rows(ids, ("instance_id", *Head._fields))
        return {row["instance_id"]: Head(*(_text(row.get(name)) for name in Head._fields)) for _, row in rows}

    def changed(self) -> dict[str, list[str]]:
        sql = (
            r"SELECT instance_id, regexp_extract_all(patch, '(?m)^\+\+\+ b/([^\t\r\n]+)', 1)"
            " FROM read_parquet(?, file_row_number = true)"
            " WHERE instance_id IS NOT NULL AND patch IS NOT NULL ORDER BY file_row_number"
        )
        return dict(row for name, path in self.paths.items() for row in self._execute(name, sql, [_literal(path)]))

    def commits(self, ids: Collection[str]) -> Iterator[Commit]:
        for source, row in self._rows(ids, (*NEEDED, *OPTIONAL, *EXTRAS)):
            yield _commit(row, source)

    def _rows(self, ids: Collection[str], columns: Sequence[str]) -> Iterator[tuple[Source, Mapping[str, Any]]]:
        for name, rows in self._locate(ids).items():
            there = [column for column in columns if column in self.columns[name]]
            for start in range(0, len(rows), WINDOW):
                for number, row in self._read(name, rows[start : start + WINDOW], there):
                    yield Source(dataset=self.table.name, revision=self.table.revision, file=name, row=number), row

    def _locate(self, ids: Collection[str]) -> dict[str, list[tuple[int, str]]]:
        last: dict[str, tuple[str, int]] = {}
        for name, path in self.paths.items():
            sql = (
                "SELECT instance_id, file_row_number FROM read_parquet(?, file_row_number = true) "
                "SEMI JOIN (SELECT unnest(?::VARCHAR[]) AS instance_id) USING (instance_id) ORDER BY file_row_number"
            )
            for instance_id, row in self._execute(name, sql, [_literal(path), list(ids)]):
                last[instance_id] = (name, row)
        places: dict[str, list[tuple[int, str]]] = {name: [] for name in self.paths}
        for instance_id, (name, row) in last.items():
            places[name].append((row, instance_id))
        return {name: sorted(rows) for name, rows in places.items()}

    def _read(
        self, name: str, wanted: list[tuple[int, str]], columns: Sequence[str]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """The wanted rows of one file; where one of them breaks the query, the others are still read."""
        chosen = ", ".join(f'to_json("{c}")' if c in EXTRAS else f'CAST("{c}" AS VARCHAR)' for c in columns)
        sql = (
            f"SELECT file_row_number, {chosen} FROM read_parquet(?, file_row_number = true) "  # noqa: S608 - own names
            "WHERE file_row_number BETWEEN ? AND ? "  # lets DuckDB pass over row groups
            "AND file_row_number IN (SELECT unnest(?::BIGINT[])) ORDER BY file_row_number"
        )
        numbers = [row for row, _ in wanted]
        try:
            rows = self._execute(name, sql, [_literal(self.paths[name]), numbers[0], numbers[-1], numbers])
        except SourceError as error:
            if len(wanted) == 1:
                self.damaged[wanted[0][1]] = f"{name} row {numbers[0]}: {error.value}"
                return
            middle = len(wanted) // 2
            yield from self._read(name, wanted[:middle], columns)
            yield from self._read(name, wanted[middle:], columns)
            return
        for number, *values in rows:
            yield number, dict(zip(columns, values, strict=True))

    def _execute(self, name: str, sql: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
        import duckdb

        try:
            return list(self.database.execute(sql, parameters).fetchall())
        except duckdb.OutOfMemoryException as error:
            if self.memory_mb >= MOST_MEMORY_MB:
                raise SourceError("the pull requests need too much memory", where=name, value=error) from None
            self._allow(2 * self.memory_mb)
            return self._execute(name, sql, parameters)
        except (duckdb.Error, UnicodeDecodeError) as error:
            raise SourceError("the pull requests cannot be read", where=name, value=error) from None


def _commit(row: Mapping[str, Any], source: Source) -> Commit:
    told = {name: _text(row.get(name)) for name in (*NEEDED, *OPTIONAL)}
    # The pull request's number, else the one that an id such as `owner__repo-123` ends on.
    number = told["pull_number"] or told["instance_id"].rpartition("-")[2]
    extras: dict[str, Any] = {}
    for name in EXTRAS:
        if row.get(name) is not None:
            # A string that holds a list or an object as JSON is that list or object.
            value = extras[name] = orjson.loads(row[name])
            if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
                with contextlib.suppress(ValueError):
                    extras[name] = orjson.loads(value)
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


def _literal(path: Path) -> str:
    """A path for read_parquet, which takes a glob: its special characters stand for themselves."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in str(path))


def _text(value: Any) -> str:
    return "" if value is None else str(value)
