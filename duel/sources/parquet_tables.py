"""A table in parquet files, wherever it lies: on the Hub at a pinned commit, or in a local file, folder or glob."""

import fnmatch
import glob
import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from duel.conversation import record_files
from duel.conversation.record_files import decoder_of
from duel.environment import expanded
from duel.errors import SourceError
from duel.sources.hub import Hub
from duel.workspace import Workspace

TEXT = ("string", "large_string")
"""Arrow's types of which a value is a text as it is."""


@dataclass
class LocalTable:
    """Files on this machine; the revision is a hash of their names, sizes and footers."""

    name: str
    paths: dict[str, Path]

    @property
    def names(self) -> list[str]:
        return list(self.paths)

    @cached_property
    def revision(self) -> str:
        digest = hashlib.sha256()
        for name, path in self.paths.items():
            digest.update(f"{name}\0{path.stat().st_size}\0{footer(path, name).digest}\n".encode())
        return f"local-{digest.hexdigest()[:32]}"

    def fetch(self, name: str) -> Path:
        return self.paths[name]

    def size(self, name: str) -> int:
        return self.paths[name].stat().st_size

    def missing(self, name: str) -> bool:
        return False

    def known_rows(self) -> int | None:
        return sum(footer(path, name).rows for name, path in self.paths.items())


@dataclass
class HubTable:
    """Files of a dataset repository at one commit. Nothing is asked of the Hub before it is needed."""

    hub: Hub
    name: str
    asked: str
    pattern: str

    @cached_property
    def revision(self) -> str:
        return self.hub.commit(self.name, self.asked)

    @cached_property
    def sizes(self) -> dict[str, int]:
        files = self.hub.files(self.name, self.revision)
        matching = {name: size for name, size in sorted(files.items()) if fnmatch.fnmatchcase(name, self.pattern)}
        if not matching:
            found = ", ".join(sorted(files)[:8]) + (" …" if len(files) > 8 else "")
            hint = "set `shard_glob` in [sample] to where its parquet files lie"
            what = f"the dataset has no file that matches `{self.pattern}`"
            raise SourceError(what, where=self.name, value=found, hint=hint)
        return matching

    @property
    def names(self) -> list[str]:
        return list(self.sizes)

    def fetch(self, name: str) -> Path:
        return self.hub.download(self.name, self.revision, name, self.sizes[name])

    def size(self, name: str) -> int:
        return self.sizes[name]

    def missing(self, name: str) -> bool:
        return not self.hub.is_cached(self.name, self.revision, name)

    def known_rows(self) -> int | None:
        return None


# `name` is what records call it, never a path of this machine; the same `revision` has the same rows; `fetch` downloads
# a file once where it is `missing`; `size` is in bytes; `known_rows` is None where counting rows needs a download.
ParquetTable: TypeAlias = LocalTable | HubTable


def open_table(
    spec: str, workspace: Workspace, hub: Callable[[], Hub] | None, *, revision: str = "", pattern: str = "*.parquet"
) -> ParquetTable:
    """The table that a setting names: a local path where there is one, else a dataset on the Hub.

    A relative path is looked up in the workspace, then in the current folder. Without a `hub` (offline) only local
    files will do. Raises SourceError where `spec` is neither.
    """
    if paths := record_files.find(spec, (workspace.root, Path.cwd())):
        # Records travel, and a home folder's name should not: the last two parts name the table.
        return LocalTable("/".join(Path(spec).parts[-2:]).lstrip("/") or spec, paths)
    # A glob, a parquet file, an absolute or dotted path can only be meant as a path.
    if glob.has_magic(spec) or spec.endswith(".parquet") or spec[:1] in ("/", ".", "~") or spec.count("/") != 1:
        hint = "give a parquet file, a folder of them or a glob, relative to the workspace or to the current folder"
        raise SourceError("no parquet file is there", where=spec, hint=hint)
    if hub is None:
        raise SourceError("not a local file, and the Hub is not asked offline", where=spec)
    return HubTable(hub(), spec, revision, pattern)


def from_command_line(spec: str | None) -> str | None:
    """A `--source` or `--pulls` as the settings take it: a path is relative to where the command was typed."""
    if spec and (glob.has_magic(spec) or expanded(spec).exists()):
        return str(expanded(spec).absolute())
    return spec


@dataclass(frozen=True)
class Footer:
    """What a parquet file says of itself."""

    rows: int
    columns: dict[str, Any]  # arrow types by name
    digest: str
    """Hash of the footer, which holds place, size and value range of every column chunk: it stands for the content."""


def footer(path: Path, shown: str, needed: Iterable[str] = ()) -> Footer:
    """Read a file's footer. `shown` is its name in messages.

    Raises SourceError where it is not parquet, or lacks a needed column.
    """
    import pyarrow
    import pyarrow.parquet as pq

    finished = "is the download or export finished?"
    try:
        if not path.stat().st_size:
            raise SourceError("the parquet file is empty", where=shown, hint=finished)
        with path.open("rb") as file, pq.ParquetFile(file) as parquet:
            columns = {field.name: field.type for field in parquet.schema_arrow}
            size = parquet.metadata.serialized_size
            file.seek(-8 - size, 2)  # the footer's length and the magic number stand behind it
            found = Footer(parquet.metadata.num_rows, columns, hashlib.sha256(file.read(size)).hexdigest())
    except (pyarrow.ArrowException, OSError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise SourceError("not a readable parquet file", where=shown, value=why, hint=finished) from None
    if missing := next((column for column in needed if column not in columns), ""):
        hint = f"the columns there are: {', '.join(columns) or 'none'}"
        raise SourceError("a needed column is missing", where=shown, value=missing, hint=hint)
    return found


def texts(column: Any) -> list[str | None]:
    """A column as text; a value that is not UTF-8 counts as null."""
    if str(column.type) in TEXT:
        with suppress(UnicodeDecodeError):
            return list(column.to_pylist())
    return [None if told is None else str(told) for told in values(column)]


def values(column: Any) -> Iterator[Any]:
    """A column's plain values, one by one: parquet does not check that text is UTF-8, and one that is not is null."""
    decode = decoder_of(column.type) or (lambda value: value)
    for value in column:
        told = None
        with suppress(UnicodeDecodeError):
            told = decode(value.as_py())
        yield told
