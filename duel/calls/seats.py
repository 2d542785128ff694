"""Room for calls in flight, which all models of a run share: open files, and what somebody else allows the run."""

import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from duel.calls.prices import Spending
from duel.errors import SettingsError, printable

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
    if soft == resource.RLIM_INFINITY:
        return WANTED
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    held = Path("/proc/self/fd")
    return max(FEWEST, soft - (sum(1 for _ in held.iterdir()) if held.exists() else 32) - RESERVE)


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
        if dispatch not in self._waiting:
            self._waiting.append(dispatch)

    def give_back(self) -> None:
        """The lanes that wait take turns, and one that may not go now passes its turn on."""
        self.taken -= 1
        while self._waiting and self.free:
            self._waiting.popleft()()

    def resize(self, limit: int) -> None:
        """From now on so many; the lanes that wait take up what is new."""
        self.limit, waiting, self._waiting = limit, self._waiting, deque()
        for dispatch in waiting:
            dispatch()

    def shrink(self) -> None:
        """The system had no file for a call: others hold some of what was counted on."""
        self.limit = max(FEWEST, min(self.limit, int(self.taken * SHRINK)))


class Share:
    """What somebody keeps in a file that a run, or a whole of shards, may take: `{"calls": 12, "dollars": 3.5}`.

    Who writes it does not matter: a scheduler, another process of this project, a person. `calls` at a time, over all
    models; `dollars` that are left from the moment the file was written; `budget_usd`, as in `[endpoint]`, is what a
    workspace may spend in all. What is not named, or cannot be read, stays as it was.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls: float | None = None
        self.dollars: float | None = None
        self.budget_usd: float | None = None
        self.trouble = ""  # why the file cannot be followed now
        self._seen: tuple[int, int, int] | None = None
        self.look()
        if self.trouble:
            hint = 'whoever shares out calls writes it: {"calls": 12, "dollars": 3.5}'
            raise SettingsError(f"the share {self.trouble}", where=path, hint=hint)

    @property
    def told(self) -> str:
        if self.trouble:
            return printable(f"the share {self.path} {self.trouble}: what it said before holds", 200)
        return printable(f"waiting: the share {self.path} allows no call", 200) if self.calls == 0 else ""

    def look(self) -> bool:
        """Take in the file; True where it says something new."""
        try:
            status = self.path.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen == self._seen:
                return False
            told = orjson.loads(self.path.read_bytes())
        except (OSError, ValueError) as error:  # it is being written, perhaps
            self.trouble = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
            self._seen = None
            return False
        named = told if isinstance(told, dict) else {}
        values = [named.get(name) for name in ("calls", "dollars", "budget_usd")]
        found = [float(it) if isinstance(it, int | float) and 0 <= it < float("inf") else None for it in values]
        self._seen, self.trouble = seen, "" if found != [None] * 3 else "names no number of calls or dollars"
        if not self.trouble:
            self.calls, self.dollars, self.budget_usd = found
        return not self.trouble


class ShareOfRun(Share):
    """Keeps the seats and the spending of a run at what a share allows, never above what the user does."""

    def __init__(self, path: Path, seats: Seats, spending: Spending, paid: Callable[[], float] = float) -> None:
        """`paid` are the dollars of this run and of all before it."""
        self._seats, self._spending = seats, spending
        self._most_calls, self._before = seats.limit, paid() - spending.spent
        self._most_dollars = float("inf") if spending.limit is None else spending.limit
        super().__init__(path)

    def look(self) -> bool:
        changed, spending = super().look(), self._spending
        if changed and self.calls is not None:
            self._seats.resize(min(int(self.calls), self._most_calls))
        if changed and self.budget_usd is not None:
            spending.allow(min(self.budget_usd - self._before, self._most_dollars))
        elif changed and self.dollars is not None:
            spending.allow(min(spending.spent + self.dollars, self._most_dollars))
        return changed
