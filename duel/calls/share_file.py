"""What a run may take, as somebody else keeps it in a file: `{"calls": 12, "dollars": 3.5}`.

Who writes it does not matter: a scheduler, another process of this project, a person. `calls` at a time, over all
models; `dollars` that are left from the moment the file was written. What is not named, or damaged, stays as it was.
"""

from __future__ import annotations

from pathlib import Path

import orjson

from duel.calls.prices import Spending
from duel.calls.seats import Seats
from duel.errors import SettingsError


class ShareFile:
    """Keeps seats and spending at what the file says. Raises SettingsError where there is no such file."""

    def __init__(self, path: Path, seats: Seats, spending: Spending) -> None:
        self._path, self._seats, self._spending = path, seats, spending
        self._most_calls, self._most_dollars = seats.limit, spending.limit
        self._seen: tuple[int, int, int] | None = None
        if not path.is_file():
            hint = 'whoever shares out calls writes it: {"calls": 12, "dollars": 3.5}'
            raise SettingsError("there is no such share", where=path, hint=hint)
        self.look()

    def look(self) -> None:
        """Take in the file where it has changed since the last look."""
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            told = orjson.loads(self._path.read_bytes()) if seen != self._seen else None
        except (OSError, ValueError):  # it is being written
            return
        self._seen = seen
        if not isinstance(told, dict):
            return
        if (calls := _number(told.get("calls"))) is not None:
            self._seats.resize(min(int(calls), self._most_calls))
        if (dollars := _number(told.get("dollars"))) is not None:
            left = self._spending.spent + dollars
            self._spending.allow(left if self._most_dollars is None else min(left, self._most_dollars))


def _number(value: object) -> float | None:
    """A number of zero or more; None for anything else, NaN included."""
    return float(value) if isinstance(value, int | float) and 0 <= value < float("inf") else None
