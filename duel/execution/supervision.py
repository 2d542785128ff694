"""Watching over one process: both streams are read, and time, memory and output are bounded, whoever the user is."""

import codecs
import contextlib
import os
import re
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from duel.execution.executor import Limits, Outcome, Printed

# How often memory is looked at. Most commands are over in 5 ms and never see it.
GLANCE_S = 0.25
# How long the kernel may take to end a sandbox that was killed.
END_SECONDS = 10
_CHILD = re.compile(rb'"child-pid":\s*(\d+)')
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
        return Printed(self.head, self.tail, self.total)


def supervise(
    words: Sequence[str] | Callable[[int], Sequence[str]],
    limits: Limits,
    *,
    environment: Mapping[str, str],
    merged: bool = False,
    disk: Path | None = None,
    handles: tuple[int, ...] = (),
) -> Outcome:
    """Run `words` until they end or exceed a limit; then the whole process group is killed.

    As a function they are asked for with a handle, to which the program writes `"child-pid": N`: that process is then
    waited for too. bubblewrap ends before the sandbox does, and a process in it may write a moment longer. `disk` is a
    folder whose size counts, where no file system bounds it; `handles` stay open in the program. Blocks.
    """
    with contextlib.ExitStack() as stack:
        told = None
        if callable(words):
            told, tell = os.pipe()
            stack.callback(os.close, told)
            with os.fdopen(tell, "wb"):
                process = _start(words(tell), merged, environment, (*handles, tell))
        else:
            process = _start(words, merged, environment, handles)
        return _supervised(stack.enter_context(process), limits, merged, disk, told)


def _start(
    words: Sequence[str], merged: bool, environment: Mapping[str, str], handles: tuple[int, ...]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - the words are a sandbox's; what it runs is untrusted and shut in
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merged else subprocess.PIPE,
        start_new_session=True,
        env=environment,
        cwd="/",
        pass_fds=handles,
    )


def _supervised(
    process: subprocess.Popen[bytes], limits: Limits, merged: bool, disk: Path | None, told: int | None
) -> Outcome:
    started = time.monotonic()
    streams = [Capture(limits.keep) for _ in range(1 if merged else 2)]
    pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe]
    try:
        ended_by = _watch(process, list(zip(pipes, streams, strict=True)), limits, started, disk, told)
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
    told: int | None,
) -> str:
    """Read until the process has ended and its streams are dry; returns the limit that was exceeded, or ""."""
    deadline, glance = started + limits.seconds, started + GLANCE_S
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        _follow(selector, stack, process.pid)
        if told is not None:
            selector.register(told, selectors.EVENT_READ, "child")
        for pipe, capture in streams:
            selector.register(pipe, selectors.EVENT_READ, capture)
        while selector.get_map():
            now = time.monotonic()
            if now >= deadline:
                return _killed(process, "time")
            if now >= glance:
                glance = now + GLANCE_S
                if resident_bytes(process.pid) > limits.memory_mb << 20:
                    return _killed(process, "memory")
                if disk and used_bytes(disk) > limits.disk_mb << 20:
                    return _killed(process, "disk")
            for key, _ in selector.select(max(0.0, min(deadline, glance) - now)):
                if key.data == "child":
                    selector.unregister(key.fileobj)
                    if match := _CHILD.search(os.read(key.fd, 4096)):
                        _follow(selector, stack, int(match[1]))
                elif not _read(key, selector, limits):
                    return _killed(process, "output")
    return ""


def _killed(process: subprocess.Popen[bytes], limit: str) -> str:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    return limit


def _follow(selector: selectors.BaseSelector, stack: contextlib.ExitStack, pid: int) -> None:
    """Wait for the end of a process too, in the loop and behind it; one that has ended already is passed over."""
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(pid)
        selector.register(handle, selectors.EVENT_READ, None)
        stack.callback(os.close, handle)
        stack.callback(_await_end, handle)


def _await_end(handle: int) -> None:
    """Wait until a killed process is gone; the first process of a sandbox ends after all others in it."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.poll(1000 * END_SECONDS)


def _read(key: selectors.SelectorKey, selector: selectors.BaseSelector, limits: Limits) -> bool:
    if key.data is None:  # a process that was followed has ended
        selector.unregister(key.fileobj)
        return True
    chunk = os.read(key.fd, 1 << 16)
    key.data.add(chunk)
    if not chunk:
        selector.unregister(key.fileobj)
    return bool(key.data.size <= limits.output_mb << 20)


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
