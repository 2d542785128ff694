"""Room on the disk for the replies in flight, kept before they are asked for, given back when the disk is full."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

# A reply of 8,000 tokens, with its reasoning, takes 40 KB of the write-ahead log.
BYTES_PER_CALL, CALLS_A_STEP = 64 * 1024, 16
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DiskFull(Exception):
    """There is no room for one more reply."""


class Room:
    """A file that takes up space beside the ledger."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._calls = 0 if hasattr(os, "posix_fallocate") else 1 << 60

    def keep(self, calls: int) -> None:
        """Make sure of room for so many replies. Raises DiskFull."""
        if calls <= self._calls:
            return
        wanted = -(-calls // CALLS_A_STEP) * CALLS_A_STEP
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, wanted * BYTES_PER_CALL)
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno in _FULL:
                raise DiskFull from None
            wanted = 1 << 60  # a file system on which no room can be kept
        self._calls = wanted

    def give_back(self) -> None:
        """Free the space."""
        self._calls = 0
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
