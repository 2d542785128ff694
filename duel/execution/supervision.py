"""Watching over one process: both streams are read, and time, memory and output are bounded, whoever the user is."""

import codecs
import contextlib
import mmap
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from duel.execution.executor import Limits, Outcome, Printed

GLANCE_S = 0.25  # how often memory is looked at; most commands are over in 5 ms and never see it
END_SECONDS = 10  # how long the kernel may take to end a sandbox that was killed
EXIT_OF = {"time": 124, "memory": 137, "output": 137, "disk": 137}
_CHILD = re.compile(rb'"child-pid":\s*(\d+)')


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
        room = max(self.keep - len(self.head), 0)
        self.head += text[:room]
        if rest := text[room:]:
            self.tail = (self.tail + rest)[-self.keep :]


def supervise(
    words: Callable[[int], Sequence[str]],
    limits: Limits,
    *,
    environment: Mapping[str, str],
    merged: bool = False,
    disk: Path | None = None,
    handles: tuple[int, ...] = (),
) -> Outcome:
    """Run a program until it ends or exceeds a limit; then its whole process group is killed. Blocks.

    `words` are asked for with a handle, to which a sandbox writes `"child-pid": N`: that process is then waited for
    too, since bubblewrap ends before the sandbox does, and a process in it may write a moment longer. `disk` is a
    folder whose size counts, where no file system bounds it; `handles` stay open in the program.
    """
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())

        def follow(pid: int) -> None:
            with contextlib.suppress(OSError):  # it has ended already
                handle = os.pidfd_open(pid)
                stack.callback(os.close, handle)
                selector.register(handle, selectors.EVENT_READ)

        told, tell = os.pipe()
        stack.callback(os.close, told)
        with os.fdopen(tell, "wb"):
            process = subprocess.Popen(  # noqa: S603 - the words are a sandbox's; what it runs is untrusted and shut in
                words(tell),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if merged else subprocess.PIPE,
                start_new_session=True,
                env=environment,
                cwd="/",
                pass_fds=(*handles, tell),
            )
        stack.enter_context(process)
        out, err = Capture(limits.keep), Capture(limits.keep)
        for pipe, capture in ((process.stdout, out), (process.stderr, err)):
            if pipe:
                selector.register(pipe, selectors.EVENT_READ, capture)
        selector.register(told, selectors.EVENT_READ, follow)
        follow(process.pid)
        started = time.monotonic()
        try:
            ended_by = _watch(process.pid, selector, limits, disk)
        finally:
            _kill(process.pid)
        code = process.wait()
        exit_code = EXIT_OF.get(ended_by, code if code >= 0 else 128 - code)
        printed, complained = (Printed(one.head + one.tail, one.total) for one in (out, err))
        return Outcome(printed, complained, exit_code, ended_by, time.monotonic() - started)


def _watch(pid: int, selector: selectors.BaseSelector, limits: Limits, disk: Path | None) -> str:
    """Read until all that is followed has ended and is dry; returns the limit for which the group was killed, or ""."""
    now = time.monotonic()
    deadline, glance, exceeded = now + limits.seconds, now + GLANCE_S, ""
    while selector.get_map() and now < deadline:
        flooded = False
        for key, _ in selector.select(max(0.0, min(deadline, glance) - now)):
            if isinstance(key.data, Capture):
                chunk = os.read(key.fd, 1 << 16)
                key.data.add(chunk)
                flooded = flooded or key.data.size > limits.output_mb << 20
                if chunk:
                    continue
            selector.unregister(key.fileobj)  # a stream is dry, or a process that was followed has ended
            if callable(key.data) and (match := _CHILD.search(os.read(key.fd, 4096))):
                key.data(int(match[1]))
        now = time.monotonic()
        if exceeded:
            continue  # the kernel ends what was killed
        if now >= deadline or flooded:
            exceeded = "output" if flooded else "time"
        elif now >= glance:
            glance = now + GLANCE_S
            if resident_bytes(pid) > limits.memory_mb << 20:
                exceeded = "memory"
            elif disk and _used_bytes(disk) > limits.disk_mb << 20:
                exceeded = "disk"
        if exceeded:
            _kill(pid)
            deadline = glance = now + END_SECONDS
    return exceeded


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def resident_bytes(pid: int) -> int:
    """Memory that a process and all its descendants hold; what ends while it is counted counts as nothing."""
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        with contextlib.suppress(OSError, ValueError, IndexError):
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * mmap.PAGESIZE
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return total


def _used_bytes(folder: Path) -> int:
    total = 0
    for root, _folders, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(f"{root}/{name}").st_blocks * 512
    return total
