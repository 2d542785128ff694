"""Values that wait in a file instead of in memory, until they are looked at."""

import os
import tempfile
import weakref
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from duel.workspace import cannot_write


class Spill:
    """A file without a name, in `folder` or where temporary files go; it is gone when the process is.

    `level` is zlib's: 0 stores plainly, for what is read often; 1 makes a fifth of a conversation.
    """

    def __init__(self, folder: Path | None = None, level: int = 0) -> None:
        self.folder, self._level = folder, level
        with tempfile.TemporaryFile(dir=folder) as file:
            self._file = os.dup(file.fileno())
        self._end = 0
        weakref.finalize(self, os.close, self._file)

    def put(self, value: Any) -> "Spilled":
        """Write what JSON can hold. Raises WorkspaceError where the disk is full."""
        data = zlib.compress(orjson.dumps(value), self._level)
        spilled = Spilled(self, self._end, len(data))
        try:
            while data:
                written = os.pwrite(self._file, data, self._end)
                data, self._end = data[written:], self._end + written
        except OSError as error:
            raise cannot_write(self.folder or Path(tempfile.gettempdir()), error) from None
        return spilled

    def get(self, start: int, size: int) -> Any:
        return orjson.loads(zlib.decompress(os.pread(self._file, size, start)))


@dataclass(frozen=True, slots=True)
class Spilled:
    """Where one value waits."""

    spill: Spill
    start: int
    size: int

    def value(self) -> Any:
        return self.spill.get(self.start, self.size)
