"""Values that wait in a file instead of in memory, until they are looked at."""

import os
import tempfile
import weakref
import zlib
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from duel.workspace import disk_errors


class Spill:
    """A file without a name, in `folder` or where temporary files go; it is gone when the process is.

    `level` is zlib's: 0 stores plainly, for what is read often; 1 makes a fifth of a conversation. The last `newest`
    values are still in memory: what nobody holds any more by then is never written.
    """

    def __init__(self, folder: Path | None = None, level: int = 0, newest: int = 0) -> None:
        self.folder, self._level, self._newest = folder, level, newest
        with tempfile.TemporaryFile(dir=folder) as file:
            self.file = os.dup(file.fileno())
        self._end = 0
        self._waiting: deque[weakref.ref[Spilled]] = deque()
        weakref.finalize(self, os.close, self.file)

    def put(self, value: Any) -> "Spilled":
        """Take in what JSON can hold. Raises WorkspaceError where the disk is full."""
        spilled = Spilled(self, value)
        self._waiting.append(weakref.ref(spilled))
        if len(self._waiting) > self._newest and (oldest := self._waiting.popleft()()) is not None:
            data, start = zlib.compress(orjson.dumps(oldest.held), self._level), self._end
            with disk_errors(self.folder or Path(tempfile.gettempdir())):
                while data:
                    written = os.pwrite(self.file, data, self._end)
                    data, self._end = data[written:], self._end + written
            oldest.place, oldest.held = (start, self._end - start), None
        return spilled


@dataclass(slots=True, weakref_slot=True, eq=False)
class Spilled:
    """Where one value waits."""

    spill: Spill
    held: Any
    place: tuple[int, int] | None = None

    def value(self) -> Any:
        if self.place is None:
            return self.held
        start, size = self.place
        return orjson.loads(zlib.decompress(os.pread(self.spill.file, size, start)))
