"""Watching over one process: both streams are read, and time, memory and output are bounded, whoever the user is."""

from __future__ import annotations

import codecs
import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from duel.execution.executor import Limits, Outcome, Printed

# How often memory is looked at. Most commands are over in 5 ms and never see it.
GLANCE_S = 0.25
PAGE = os.sysconf("SC_PAGE_SIZE")
EXIT_OF = {"time": 124, "memory": 137, "output": 137, "disk": 137}


class Capture:
    """Decodes a stream as UTF-8 and keeps both ends of it."""

    def __init__(self, keep: int) -> None:
        self.keep, self.head, self.tail, self.total, self.size = keep, "", "", 0, 0
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def add(self, chunk: bytes) -> None:
        """Take what was read; b"" ends the stream."""
        text = self._decode(chunk, not chunk)
        self.size += len(chunk)
        self.total += len(text)
        room = self.keep - len(self.head)
        self.head += text[:room] if room > 0 else ""
        rest = text[max(room, 0) :]
        if rest:
            self.tail = (self.tail + rest)[-self.keep :]

    @property
    def printed(self) -> Printed:
        """What is kept of it."""
        return Printed(self.head, self.tail, self.total)


def supervise(
    words: Sequence[str], limits: Limits, *, merged: bool = False, disk: Path | None = None, **how: Any
) -> Outcome:
    """Run `words` until they end or exceed a limit; then the whole process group is killed.

    `how` goes to subprocess.Popen. `disk` is a folder whose size counts, where no file system bounds it. Blocks: call
    it in a thread.
    """
    started = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 - the words are a sandbox's; what it runs is untrusted and shut in
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merged else subprocess.PIPE,
        start_new_session=True,
        **how,
    )
    with process:
        streams = [Capture(limits.keep) for _ in range(1 if merged else 2)]
        pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe]
        try:
            ended_by = _watch(process, list(zip(pipes, streams, strict=True)), limits, started, disk)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    return Outcome(
        stdout=streams[0].printed,
        stderr=Printed() if merged else streams[1].printed,
        exit=EXIT_OF.get(ended_by, code if code >= 0 else 128 - code),
        ended_by=ended_by,
        seconds=time.monotonic() - started,
    )


def _watch(
    process: subprocess.Popen[bytes],
    streams: list[tuple[IO[bytes], Capture]],
    limits: Limits,
    started: float,
    disk: Path | None,
) -> str:
    """Read until the process has ended and its streams are dry; returns the limit that was exceeded, or ""."""
    deadline, glance = started + limits.seconds, started + GLANCE_S
    with selectors.DefaultSelector() as selector, _pidfd(process.pid) as ended:
        selector.register(ended, selectors.EVENT_READ, None)
        for pipe, capture in streams:
            selector.register(pipe, selectors.EVENT_READ, capture)
        while selector.get_map():
            now = time.monotonic()
            if now >= deadline:
                return "time"
            if now >= glance:
                glance = now + GLANCE_S
                if resident_bytes(process.pid) > limits.memory_mb << 20:
                    return "memory"
                if disk and used_bytes(disk) > limits.disk_mb << 20:
                    return "disk"
            for key, _ in selector.select(max(0.0, min(deadline, glance) - now)):
                if not _read(key, selector, limits):
                    return "output"
    return ""


def _read(key: selectors.SelectorKey, selector: selectors.BaseSelector, limits: Limits) -> bool:
    if key.data is None:  # the process has ended, and whatever it started with it
        selector.unregister(key.fileobj)
        return True
    chunk = os.read(key.fd, 1 << 16)
    key.data.add(chunk)
    if not chunk:
        selector.unregister(key.fileobj)
    return bool(key.data.size <= limits.output_mb << 20)


@contextlib.contextmanager
def _pidfd(pid: int) -> Any:
    handle = os.pidfd_open(pid)
    try:
        yield handle
    finally:
        os.close(handle)


def resident_bytes(pid: int) -> int:
    """Memory that a process and all its descendants hold; what ends while it is counted counts as nothing."""
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        with contextlib.suppress(OSError, ValueError, IndexError):
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * PAGE
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return total


def used_bytes(folder: Path) -> int:
    """Bytes that a tree occupies; links are not followed."""
    total = 0
    for root, _folders, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(f"{root}/{name}").st_blocks * 512
    return total
