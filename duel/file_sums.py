"""What tells that no file has changed without opening one: a sum over names, sizes, times and numbers of all files.

A sum takes in what a process saves itself as it goes (`Workspace.save`); an edit by somebody else meanwhile shows, as
the sum over the files is then another. 100,000 files take 0.6 s.
"""

import contextlib
import hashlib
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duel.workspace import Workspace

MODULUS = 1 << 128
TICK_S = 0.02
"""File systems stamp files with a clock that moves at every change, or every few milliseconds: within this time."""


def term(inside: str, path: Path | os.DirEntry[str]) -> int:
    """What the file at `path`, `inside` the workspace, adds to a sum; nothing where it is no record of a turn."""
    name = inside.rpartition("/")[2]
    if name[:1] in "._" or not name.endswith(".json"):
        return 0
    try:
        found = path.stat()
    except FileNotFoundError:  # also a link that leads nowhere
        return 0
    told = f"{inside}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ctime_ns}\0{found.st_ino}"
    return int.from_bytes(hashlib.blake2b(told.encode("utf-8", "surrogateescape"), digest_size=16).digest())


@dataclass
class Saves:
    """What the saves of this process have added to the sums of the files of each kind, in one workspace."""

    root: Path
    added: Counter[str] = field(default_factory=Counter)
    last: float = 0.0

    @contextlib.contextmanager
    def counted(self, path: Path) -> Iterator[None]:
        above, _, inside = str(path).partition(f"{self.root}{os.sep}")
        inside = "" if above else inside.replace(os.sep, "/")  # a file elsewhere: `duel review --page bo.html`
        before = term(inside, path)
        yield
        self.take({inside.partition("/")[0].partition("_")[0]: term(inside, path) - before})

    def take(self, added: Mapping[str, int]) -> None:
        for kind, terms in added.items():
            self.added[kind] += terms
        self.last = time.time()

    @contextlib.contextmanager
    def apart(self) -> Iterator[Counter[str]]:
        """What the body adds, for whoever takes it."""
        before, self.added = self.added, Counter()
        try:
            yield self.added
        finally:
            self.added = before

    def let_the_clock_move(self) -> None:
        """Wait until a file that is written from now on has another time than the last that was saved here."""

        def stamp() -> int:
            probe.write(b".")
            return os.fstat(probe.fileno()).st_mtime_ns

        # A full disk is told by the save that waits for this.
        with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=self.root, buffering=0) as probe:
            first = stamp()
            while time.time() < self.last + TICK_S and stamp() == first:
                time.sleep(TICK_S / 20)


@dataclass(frozen=True)
class Snapshot:
    """The files of some kinds when it was taken: "prompt", "commit", "answer", "score" (of all contests), a bucket."""

    workspace: "Workspace"
    kinds: tuple[str, ...]
    found: int
    added: int  # what this process had added by then

    @classmethod
    def take(cls, workspace: "Workspace", *kinds: str) -> "Snapshot":
        found, added = 0, sum(workspace.saves.added[kind] for kind in kinds)
        folders: list[Path] = []
        for kind in kinds:
            if kind == "answer":
                folders += workspace.answer_folders()
            else:
                contests = workspace.side_contests() if kind == "score" else []
                for folder in (workspace.root / kind, *(workspace.root / kind / f"_{name}" for name in contests)):
                    folders += workspace.folders.inside(folder)
        for folder in folders:
            inside = folder.relative_to(workspace.root).as_posix()
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
                found += sum(term(f"{inside}/{entry.name}", entry) for entry in entries)
        return cls(workspace, kinds, found % MODULUS, added)

    @property
    def before(self) -> str:
        return f"{self.found:032x}"

    def now(self) -> str:
        """The sum as it is if nobody but this process has changed a file since: one edited meanwhile is not in it."""
        added = sum(self.workspace.saves.added[kind] for kind in self.kinds) - self.added
        return f"{(self.found + added) % MODULUS:032x}"
