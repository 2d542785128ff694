"""Where processes of one user on one endpoint meet: what they know of its level, and who has how many calls out.

Each maps a small file into its memory, one per endpoint, key and model. A row whose process is gone, or that is not
renewed for 10 s, is a dead one's. Nothing is locked but joining: two events within the same microsecond may lose a
count, which the level gets over.
"""

import ctypes
import hashlib
import mmap
import os
import platform
from functools import cache
from inspect import get_annotations
from pathlib import Path

from filelock import FileLock

from duel.calls.route import Provider
from duel.environment import environment, expanded

TTL_S = 10.0
ROWS = 128


class Findings(ctypes.Structure):
    """What is known of a level, numbers alone: they may lie in memory that several processes share."""

    limit: float
    settled_at: float  # up to here the level doubles; above it is probed
    background: float  # share of refusals that have nothing to do with the level
    expected: float  # the share against which refusals are weighed now
    suspicion: float
    exhausted: float  # nothing is to be had; `collapse` ends it
    crowded: float  # nearly all calls beyond those that stood were refused when the level last fell
    next: float  # number of the next call
    epoch: float  # number of the first call sent after the last change of the level
    taken: float  # calls of this epoch that were answered
    refused: float  # … and that were refused
    newest_refused: float
    since: float  # number of the refused call with which suspicion began
    refused_since: float
    full: float  # number of the newest call that filled the level: one that is not used need not grow
    counting: float  # a count is on, and nothing goes out
    standing: float  # calls in flight when it began, less those refused since
    slowest_refusal_s: float
    trial: float  # the level before a fall that waits for its verdict; 0: none does
    before_probe: float
    fruitless: float
    quiet: float
    step: float


class ProcessRow(ctypes.Structure):
    """A process. Times are seconds since the epoch."""

    beat: float
    joined: float
    hungry_at: float
    in_flight: int
    machine: int
    process: int

    def lives(self, now: float) -> bool:
        """False for one that is silent, or of this machine and gone. Windows has no harmless way to ask."""
        if not (self.beat > 0 and abs(now - self.beat) < TTL_S):
            return False
        if os.name == "posix" and self.machine == _machine() and 0 < self.process != os.getpid():
            try:
                os.kill(self.process, 0)
            except OSError as error:  # of another user's there is only no right
                return not isinstance(error, ProcessLookupError)
        return True


for structure in (Findings, ProcessRow):
    kinds = get_annotations(structure).items()
    structure._fields_ = [(name, ctypes.c_double if kind is float else ctypes.c_int64) for name, kind in kinds]


class _Cells(ctypes.Structure):
    known: Findings
    rows: ctypes.Array[ProcessRow]
    _fields_ = (("known", Findings), ("rows", ProcessRow * ROWS))


class LeaseFile:
    """What processes share. Raises OSError where it cannot be had."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(f"{path}.lock", timeout=5)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        size = ctypes.sizeof(_Cells)
        with self._lock, open(path, "a+b", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            if os.fstat(file.fileno()).st_size != size:
                file.truncate(size)
            cells = _Cells.from_buffer(mmap.mmap(file.fileno(), size))
        self.known = cells.known
        self._rows: list[ProcessRow] = list(cells.rows)

    def join(self, now: float, afresh: Findings) -> ProcessRow:
        """Take a free row; where nobody else is there, the level begins `afresh`."""
        with self._lock:
            taken = self.alive(now)
            row = next(row for row in self._rows if row not in taken)
            if not taken:
                ctypes.memmove(ctypes.byref(self.known), ctypes.byref(afresh), ctypes.sizeof(Findings))
            row.joined, row.hungry_at, row.in_flight = now, now, 0
            row.machine, row.process, row.beat = _machine(), os.getpid(), now
        return row

    def alive(self, now: float) -> list[ProcessRow]:
        # Most rows are free, and this is asked 50 times a second.
        return sorted((row for row in self._rows if row.beat and row.lives(now)), key=lambda row: row.joined)


@cache
def _machine() -> int:
    """This machine and, in a container, its own numbers of processes: a home folder may be shared."""
    space = Path("/proc/self/ns/pid")
    told = f"{platform.node()} {space.readlink() if space.is_symlink() else ''}"
    return int.from_bytes(hashlib.sha256(told.encode()).digest()[:8], signed=True)


def lease_path(provider: Provider, model: str) -> Path | None:
    """The file of all processes that ask `model` at this endpoint with this key; None where there is no home folder."""
    base = Path(environment("XDG_CACHE_HOME", Path()) or expanded("~/.cache"))
    told = hashlib.sha256("\0".join((provider.base_url, provider.api_key, model)).encode())
    # The layout stands in the name: another version of this project maps another file.
    name = f"{told.hexdigest()[:32]}-{ctypes.sizeof(_Cells)}"
    return base / "duel-curation" / "neighbors" / name if base.is_absolute() else None
