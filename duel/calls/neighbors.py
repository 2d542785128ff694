"""Processes of one user on one endpoint find its level together: eight of them misjudge it, each by itself.

They meet in a small file that each maps into its memory, one per endpoint, key and model (a hash of the three names
it). What is known of the level lies there, and each process goes on with it as if all calls were its own; a row for
each tells how many calls it has out, so that those with work take equal shares. A row whose process is gone, or that is
not renewed for 10 s, is a dead one's, and its share returns. Nothing is locked but joining: two events within the same
microsecond may lose a count, which the level gets over. What 8 processes achieve stands in bench/README.md.
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import mmap
import os
import platform
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from duel.calls.level import Findings, Level
from duel.calls.route import Provider
from duel.environment import environment, expanded

TTL_S = 10.0
ROWS = 128
# Neighbors look at each other so often, a process alone looks for some so often.
TICK_S, ALONE_S = 0.02, 0.25
# Who has had nothing to send for so long leaves its share to the others.
HUNGRY_S = 1.0
# Whoever was to count has died meanwhile.
COUNTED_S = 1.0
# Where shares differ by one, they change hands so often.
TURN_S = 5.0


class _Row(ctypes.Structure):
    """A process. Times are seconds since the epoch."""

    beat: float
    joined: float
    hungry_at: float
    in_flight: int
    machine: int
    process: int
    _fields_ = (
        *((name, ctypes.c_double) for name in ("beat", "joined", "hungry_at")),
        *((name, ctypes.c_int64) for name in ("in_flight", "machine", "process")),
    )

    def lives(self, now: float) -> bool:
        """False for one that is silent, or of this machine and gone. Windows has no harmless way to ask."""
        if not (self.beat > 0 and abs(now - self.beat) < TTL_S):
            return False
        if os.name == "posix" and self.machine == _machine() and self.process > 0:
            try:
                os.kill(self.process, 0)
            except ProcessLookupError:
                return False
            except OSError:  # it is another user's
                pass
        return True


class _Cells(ctypes.Structure):
    known: Findings
    rows: ctypes.Array[_Row]
    _fields_ = (("known", Findings), ("rows", _Row * ROWS))


class LeaseFile:
    """What processes share. Raises OSError where it cannot be had."""

    def __init__(self, path: Path) -> None:
        from filelock import FileLock

        self._lock = FileLock(f"{path}.lock", timeout=5)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        size = ctypes.sizeof(_Cells)
        with self._lock:
            number = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                if os.fstat(number).st_size != size:
                    os.ftruncate(number, size)
                cells = _Cells.from_buffer(mmap.mmap(number, size))
            finally:
                os.close(number)
        self.known = cells.known
        self._rows: list[_Row] = list(cells.rows)

    def join(self, now: float, afresh: Findings) -> _Row:
        """Take a free row; where nobody else is there, the level begins `afresh`."""
        with self._lock:
            taken = self.alive(now)
            row = next(row for row in self._rows if row not in taken)
            if not taken:
                ctypes.memmove(ctypes.byref(self.known), ctypes.byref(afresh), ctypes.sizeof(Findings))
            row.joined, row.hungry_at, row.in_flight = now, now, 0
            row.machine, row.process, row.beat = _machine(), os.getpid(), now
        return row

    def alive(self, now: float) -> list[_Row]:
        """The rows of living processes, the oldest first."""
        return sorted((row for row in self._rows if row.lives(now)), key=lambda row: row.joined)


@cache
def _machine() -> int:
    """This machine and, in a container, its own numbers of processes: a home folder may be shared."""
    space = Path("/proc/self/ns/pid")
    told = f"{platform.node()} {space.readlink() if space.is_symlink() else ''}"
    return int.from_bytes(hashlib.sha256(told.encode()).digest()[:8], signed=True)


class SharedLevel(Level):
    """The level of one provider and model, with whoever else of this user is there."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock
        self._file: LeaseFile | None = None
        self._row = _Row()
        self._joined = 0.0
        self._alive = [self._row]
        self._counting_since = 0.0
        self._wake: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        super().__init__()

    @property
    def limit(self) -> float:
        return max(1.0, self._share)

    @property
    def in_flight(self) -> int:
        return self._row.in_flight

    @in_flight.setter
    def in_flight(self, count: int) -> None:
        self._row.in_flight = count

    @property
    def everywhere(self) -> int:
        return sum(row.in_flight for row in self._alive)

    @property
    def free(self) -> bool:
        self._row.hungry_at = self._clock()
        full = self.in_flight + self.unsaved >= self._share or self.everywhere + self.unsaved >= int(self.known.limit)
        return not (self.known.counting or full)

    @property
    def _share(self) -> int:
        """Equal shares for all with work, of the level less what those without still have out."""
        now = self._clock()
        hungry = [row for row in self._alive if row is self._row or now - row.hungry_at < HUNGRY_S]
        left = int(self.known.limit) - sum(row.in_flight for row in self._alive if row not in hungry)
        each, over = divmod(max(0, left), len(hungry))
        return each + ((hungry.index(self._row) + int(now / TURN_S)) % len(hungry) < over)

    def wait(self, dispatch: Callable[[], None]) -> None:
        """Have `dispatch` called whenever the share may have grown. The first time this joins the others."""
        joined, self._wake = self._wake is not None, dispatch
        if joined:
            return
        try:
            file = LeaseFile(self._path)
            self._join(file)
        except (OSError, ValueError, StopIteration):  # no folder to meet in, or too many: each for itself
            return
        self._file = file
        self._tick()

    def leave(self) -> None:
        """The run ends; the share goes to the others at once."""
        if self._timer is not None:
            self._timer.cancel()
        if self._file is not None:
            self._row.beat = 0.0
            self._file = None

    def collapse(self) -> None:
        if not self.everywhere:  # while a neighbor has calls out, it is this process that has bad luck
            super().collapse()

    def _join(self, file: LeaseFile) -> None:
        self._joined, out = self._clock(), self.in_flight
        self._row = file.join(self._joined, self.known)
        self._row.in_flight = out
        self.known, self._alive = file.known, file.alive(self._joined)

    def _tick(self) -> None:
        loop, now = asyncio.get_running_loop(), self._clock()
        # The next tick first: what goes wrong in this one may not be the last that waiting calls hear of.
        self._timer = loop.call_later(TICK_S if len(self._alive) > 1 else ALONE_S, self._tick)
        if self._file is None or self._wake is None:
            return
        if self._row.joined != self._joined:  # suspended for so long that the row is another's
            self._join(self._file)
        self._row.beat = now
        self._alive = self._file.alive(now)
        self._counting_since = (self._counting_since or now) if self.known.counting else 0.0
        if self._counting_since and now - self._counting_since > COUNTED_S:
            self.count()
        self._wake()


def lease_path(provider: Provider, model: str) -> Path | None:
    """The file of all processes that ask `model` at this endpoint with this key; None where there is no home folder."""
    base = Path(environment("XDG_CACHE_HOME", Path()) or expanded("~/.cache"))
    told = hashlib.sha256("\0".join((provider.base_url, provider.api_key, model)).encode())
    # The layout stands in the name: another version of this project maps another file.
    name = f"{told.hexdigest()[:32]}-{ctypes.sizeof(_Cells)}"
    return base / "duel-curation" / "neighbors" / name if base.is_absolute() else None
