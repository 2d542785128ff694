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
