"""A table in parquet files, wherever it lies: on the Hub at a pinned commit, or in a local file, folder or glob."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from duel.conversation import record_files
from duel.errors import SourceError
from duel.sources import parquet
from duel.sources.hub import Hub
from duel.workspace import Workspace


class ParquetTable(Protocol):
    """Parquet files under one name and revision."""

    @property
    def name(self) -> str:
        """What records call it; never a path of this machine."""

    @property
    def revision(self) -> str:
        """A commit sha, or a hash of the local files' footers: the same revision has the same rows."""

    @property
    def names(self) -> list[str]:
        """Its files, in order."""

    def fetch(self, name: str) -> Path:
        """The file on this machine, downloaded once where it must be. Raises SourceError."""

    def size(self, name: str) -> int:
        """Its bytes."""

    def missing(self, name: str) -> bool:
        """True where `fetch` would download it."""

    def known_rows(self) -> int | None:
        """The rows of all files, where that is known without a download."""


@dataclass
class LocalTable:
    """Files on this machine."""

    name: str
    paths: dict[str, Path]

    @property
    def names(self) -> list[str]:
        return list(self.paths)

    @cached_property
    def revision(self) -> str:
        digest = hashlib.sha256()
        for name, path in self.paths.items():
            digest.update(f"{name}\0{path.stat().st_size}\0{parquet.footer(path, name).digest}\n".encode())
        return f"local-{digest.hexdigest()[:32]}"

    def fetch(self, name: str) -> Path:
        return self.paths[name]

    def size(self, name: str) -> int:
        return self.paths[name].stat().st_size

    def missing(self, name: str) -> bool:
        return False

    def known_rows(self) -> int | None:
        return sum(parquet.footer(path, name).rows for name, path in self.paths.items())


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
            found = sorted(files)
            raise SourceError(
                f"the dataset has no file that matches `{self.pattern}`",
                where=self.name,
                value=", ".join(found[:8]) + (" …" if len(found) > 8 else ""),
                hint="set `shard_glob` in [sample] to where its parquet files lie",
            )
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


def open_table(
    spec: str, workspace: Workspace, hub: Callable[[], Hub] | None, *, revision: str = "", pattern: str = "*.parquet"
) -> ParquetTable:
    """The table that a setting names: a local path where there is one, else a dataset on the Hub.

    A relative path is looked up in the workspace, then in the current folder. Without a `hub` (offline) only local
    files will do. Raises SourceError where `spec` is neither.
    """
    if paths := record_files.find(spec, (workspace.root, Path.cwd())):
        return LocalTable(_public_name(spec), paths)
    if parquet.looks_local(spec):
        raise SourceError(
            "no parquet file is there",
            where=spec,
            hint="give a parquet file, a folder of them or a glob, relative to the workspace or to the current folder",
        )
    if hub is None:
        raise SourceError("not a local file, and the Hub is not asked offline", where=spec)
    return HubTable(hub(), spec, revision, pattern)


def _public_name(spec: str) -> str:
    """The last two parts of a path: records travel, and a home folder's name should not."""
    return "/".join(Path(spec).parts[-2:]).lstrip("/") or spec
