"""Room for calls in flight: open files, which all models of a run share."""

import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# Files that a run may hold at most where the system lets it choose; three models at their highest level need 2,700.
WANTED = 8192
# Kept for the ledger, records on their way to disk, name look-ups and libraries.
RESERVE = 64
# What stays usable however few files there are.
FEWEST = 4
SHRINK = 0.9


def open_files_left() -> int:
    """Files that this process may still open, beyond the reserve; the soft limit is raised where that is allowed."""
    try:
        import resource
    except ImportError:  # a system without limits
        return WANTED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft == resource.RLIM_INFINITY:
        return WANTED
    try:
        taken = sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:
        taken = 32
    return max(FEWEST, soft - taken - RESERVE)


@dataclass
class Seats:
    """So many calls may be in flight over all models together."""

    limit: int
    taken: int = 0
    _waiting: deque[Callable[[], None]] = field(default_factory=deque)

    @property
    def free(self) -> bool:
        return self.taken < self.limit

    def wait(self, dispatch: Callable[[], None]) -> None:
        """Have `dispatch` called once a seat is free again."""
        if dispatch not in self._waiting:
            self._waiting.append(dispatch)

    def give_back(self) -> None:
        """A call has ended; the lanes that wait take turns, and one that may not go now passes its turn on."""
        self.taken -= 1
        while self._waiting and self.free:
            self._waiting.popleft()()

    def resize(self, limit: int) -> None:
        """From now on so many; the lanes that wait take up what is new."""
        self.limit, waiting = limit, list(self._waiting)
        self._waiting.clear()
        for dispatch in waiting:
            dispatch()

    def shrink(self) -> None:
        """The system had no file for a call: others hold some of what was counted on."""
        self.limit = max(FEWEST, min(self.limit, int(self.taken * SHRINK)))
