"""Processes of one user on one endpoint find its level together: eight of them misjudge it, each by itself.

They meet in a small file that each maps into its memory, one per endpoint, key and model (a hash of the three names
it). Each has a row there with what it has sent, what was answered and what was refused. The oldest leads: it takes the
others' calls for its own and runs the level's algorithm on all of them; its level is everybody's, in equal shares of
those who have work. A refused neighbor sends nothing until the leader has seen it. A row whose process is gone, or that
is not renewed for 10 s, is a dead one's, and its share returns. What 8 processes achieve stands in bench/README.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import os
import platform
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from duel.calls.level import START, Level
from duel.calls.route import Provider
from duel.environment import environment, expanded

TTL_S = 10.0
ROWS, WIDTH = 128, 10
# A cell holds 53 bits exactly; Linux numbers processes with 22.
PROCESS_BITS = 22
# What stands where in the first row, and in every other.
LIMIT, COUNTING, SETTLED = 0, 1, 2
BEAT, JOINED, IN_FLIGHT, HUNGRY_AT, SENT, ANSWERED, REFUSED, FAILED, SEEN, PROCESS = range(WIDTH)
# Neighbors look at each other so often, a process alone looks for some so often.
TICK_S, ALONE_S = 0.02, 0.25
# Who has had nothing to send for so long leaves its share to the others.
HUNGRY_S = 1.0
# A refused neighbor waits for the leader no longer than this.
UNSEEN_S = 1.0
# Where shares differ by one, they change hands so often.
TURN_S = 5.0


class LeaseFile:
    """The rows that processes share. Raises OSError where they cannot be had."""

    def __init__(self, path: Path) -> None:
        from filelock import FileLock

        self._lock = FileLock(f"{path}.lock", timeout=5)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        size = 8 * WIDTH * (ROWS + 1)
        with self._lock:
            number = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                if os.fstat(number).st_size != size:
                    os.ftruncate(number, size)
                self._map = mmap.mmap(number, size)
            finally:
                os.close(number)
        self.cells = memoryview(self._map).cast("d")

    def join(self, now: float) -> int:
        """Take a free row; where its cells begin."""
        with self._lock:
            taken = set(self.alive(now))
            base = next(base for base in range(WIDTH, len(self.cells), WIDTH) if base not in taken)
            row = dict.fromkeys((JOINED, HUNGRY_AT, BEAT), now)
            row[PROCESS] = float(_machine() << PROCESS_BITS | os.getpid())
            for cell in range(WIDTH):
                self.cells[base + cell] = row.get(cell, 0.0)
        return base

    def alive(self, now: float) -> list[int]:
        """The rows of living processes, the oldest first."""
        cells, bases = self.cells, range(WIDTH, len(self.cells), WIDTH)
        fresh = [base for base in bases if now - TTL_S < cells[base + BEAT] > 0]
        living = [base for base in fresh if not _gone(int(cells[base + PROCESS]))]
        return sorted(living, key=lambda base: (cells[base + JOINED], base))

    def close(self) -> None:
        self.cells.release()
        self._map.close()


@cache
def _machine() -> int:
    """31 bits for this machine and, in a container, its own numbers of processes: a home folder may be shared."""
    space = Path("/proc/self/ns/pid")
    told = f"{platform.node()} {space.readlink() if space.is_symlink() else ''}"
    return int.from_bytes(hashlib.sha256(told.encode()).digest()[:4]) >> 1


def _gone(process: int) -> bool:
    """True for a process of this machine that has ended. Windows has no harmless way to ask."""
    if os.name == "posix" and process >> PROCESS_BITS == _machine():
        try:
            os.kill(process & ((1 << PROCESS_BITS) - 1), 0)
        except ProcessLookupError:
            return True
        except OSError:  # it is another user's
            pass
    return False


@dataclass
class _Neighbor:
    """Another process as the leader knows it."""

    joined: float
    read: list[float]  # its counts of sent, answered, refused and failed calls, as far as they were taken in
    numbers: deque[int] = field(default_factory=deque)  # those of its calls in flight in the leader's level, in order


class SharedLevel(Level):
    """The level of one provider and model, with whoever else of this user is there."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        super().__init__(0, START)
        self.leads = True
        self._path, self._clock = path, clock
        self._file: LeaseFile | None = None
        self._base = 0
        self._own: set[int] = set()
        self._others: dict[int, _Neighbor] = {}
        self._alone = True
        self._rows: list[int] = []
        self._slots = START
        self._unseen_since = 0.0
        self._count_at = 0.0
        self._wake: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def in_flight(self) -> int:
        return len(self._own)

    @property
    def free(self) -> bool:
        if self._file is None or self._alone:
            return super().free
        now, cells = self._clock(), self._file.cells
        cells[self._base + HUNGRY_AT] = now
        if cells[COUNTING] or now - self._unseen_since < UNSEEN_S:
            return False
        # Somebody may still have more out than its share.
        standing = sum(cells[base + IN_FLIGHT] for base in self._rows)
        return len(self._own) + self.unsaved < self._slots and standing < cells[LIMIT]

    def wait(self, dispatch: Callable[[], None]) -> None:
        """Have `dispatch` called whenever the share may have grown. The first time this joins the others."""
        joined, self._wake = self._wake is not None, dispatch
        if joined:
            return
        try:
            file = LeaseFile(self._path)
            self._base = file.join(self._clock())
        except (OSError, ValueError, StopIteration):  # no folder to meet in, or too many: each for itself
            return
        self._file = file
        self._look(file)
        self._timer = asyncio.get_running_loop().call_later(ALONE_S if self._alone else TICK_S, self._tick)

    def leave(self) -> None:
        """The run ends; the share goes to the others at once."""
        if self._timer is not None:
            self._timer.cancel()
        if self._file is not None:
            self._file.cells[self._base + BEAT] = 0.0
            self._file.close()
            self._file = None

    # -- own calls -------------------------------------------------------------------------------------------------

    def sent(self) -> int:
        number = super().sent()
        self._own.add(number)
        self._tell(SENT)
        return number

    def failed(self, number: int) -> None:
        self._tell(FAILED, number)
        super().failed(number)

    def answered(self, number: int) -> None:
        self._tell(ANSWERED, number)
        super().answered(number) if self.leads else super().failed(number)

    def refused(self, number: int, took_s: float) -> float:
        self._tell(REFUSED, number)
        if self.leads:
            pause = super().refused(number, took_s)
            self._publish()
            return pause
        super().failed(number)
        self._unseen_since = self._clock()
        return 0.0

    def is_out(self, number: int) -> bool:
        return number in self._own

    def count(self) -> None:
        if self.leads:
            super().count()
            self._publish()

    def restore(self) -> None:
        if self.leads:
            super().restore()

    def confirm(self, later: int = 2) -> None:
        if self.leads:
            super().confirm(later)

    def collapse(self) -> None:
        if self.leads and not self._flying:  # while a neighbor has calls out, it is this process that has bad luck
            super().collapse()
            self._publish()

    def _tell(self, cell: int, ended: int = -1) -> None:
        """Count one more call that was sent, or the one of this number, which has ended."""
        self._own.discard(ended)
        if self._file is not None:
            self._file.cells[self._base + cell] += 1
            self._file.cells[self._base + IN_FLIGHT] = len(self._own)

    def _publish(self) -> None:
        if self._file is not None:
            cells = self._file.cells
            cells[LIMIT], cells[SETTLED] = self.limit, self._settled_at
            cells[COUNTING] = float(self._counting is not None)

    # -- the others ------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        # The next tick first: what goes wrong in this one may not be the last that waiting calls hear of.
        self._timer = asyncio.get_running_loop().call_later(ALONE_S if self._alone else TICK_S, self._tick)
        if self._file is not None and self._wake is not None:
            self._look(self._file)
            self._wake()

    def _look(self, file: LeaseFile) -> None:
        now, cells = self._clock(), file.cells
        cells[self._base + BEAT] = now
        rows = file.alive(now)
        if self._base not in rows:  # suspended for so long that the row is another's
            self._base = file.join(now)
            rows = file.alive(now)
        self._rows, self._alone = rows, len(rows) == 1
        leads = rows[0] == self._base
        if leads and not self.leads:  # the leader has gone: go on from what it had found
            self.limit, self._settled_at = max(1.0, cells[LIMIT]), cells[SETTLED] or self.cap
            self._counting = None
            self._change()
        self.leads = leads
        if leads:
            self._take_in(cells, rows)
            if self._count_at and now >= self._count_at:
                self._count_at = 0.0
                super().count()
            self._publish()
        elif cells[self._base + SEEN] >= cells[self._base + REFUSED]:
            self._unseen_since = 0.0
        # Equal shares for all with work, of the level less what those without still have out.
        hungry = [row for row in rows if row == self._base or now - cells[row + HUNGRY_AT] < HUNGRY_S]
        left = int(cells[LIMIT]) - int(sum(cells[row + IN_FLIGHT] for row in rows if row not in hungry))
        each, over = divmod(max(0, left), len(hungry))
        self._slots = each + ((hungry.index(self._base) + int(now / TURN_S)) % len(hungry) < over)
        if not leads:
            self._others.clear()
            self.limit = float(max(1, self._slots))

    def _take_in(self, cells: memoryview[float], rows: list[int]) -> None:
        """The others' calls since the last look, as if they were this process's own."""
        for base in [base for base in self._others if base not in rows]:
            for number in self._others.pop(base).numbers:
                super().failed(number)
        for base in rows:
            if base == self._base:
                continue
            counts = [cells[base + cell] for cell in (SENT, ANSWERED, REFUSED, FAILED)]
            known = self._others.get(base)
            if known is None or known.joined != cells[base + JOINED]:
                begun = [counts[0] - cells[base + IN_FLIGHT], *counts[1:]]
                known = self._others[base] = _Neighbor(cells[base + JOINED], begun)
            sent, answered, refused, failed = (int(new - old) for new, old in zip(counts, known.read, strict=True))
            known.read = counts
            for _ in range(sent):
                known.numbers.append(super().sent())
            for _ in range(min(answered, len(known.numbers))):
                super().answered(known.numbers.popleft())
            for _ in range(min(refused, len(known.numbers))):
                if pause := super().refused(known.numbers.pop(), 0.0):  # a refusal comes sooner than a reply
                    self._count_at = self._clock() + pause
            for _ in range(min(failed, len(known.numbers))):
                super().failed(known.numbers.popleft())
            cells[base + SEEN] = counts[2]


def lease_path(provider: Provider, model: str) -> Path | None:
    """The file of all processes that ask `model` at this endpoint with this key; None where there is no home folder."""
    base = Path(environment("XDG_CACHE_HOME", Path()) or expanded("~/.cache"))
    told = hashlib.sha256("\0".join((provider.base_url, provider.api_key, model)).encode())
    return base / "duel-curation" / "neighbors" / told.hexdigest()[:32] if base.is_absolute() else None
