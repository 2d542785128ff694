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

from duel.execution.executor import Limits, Outcome, Printed

# How often memory is looked at. Most commands are over in 5 ms and never see it.
GLANCE_S = 0.25
# How long the kernel may take to end a sandbox that was killed.
END_SECONDS = 10
EXIT_OF = {"time": 124, "memory": 137, "output": 137, "disk": 137}
_CHILD = re.compile(rb'"child-pid":\s*(\d+)')
_PAGE = os.sysconf("SC_PAGE_SIZE")


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
            handles = (*handles, tell)
            with os.fdopen(tell, "wb"):
                process = _started(words(tell), merged, environment, handles)
        else:
            process = _started(words, merged, environment, handles)
        stack.enter_context(process)
        started = time.monotonic()
        out, err = Capture(limits.keep), Capture(limits.keep)
        try:
            ended_by = _watch(process, out, err, limits, started, disk, told)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        exit_code = EXIT_OF.get(ended_by, code if code >= 0 else 128 - code)
        return Outcome(out.printed, err.printed, exit_code, ended_by, time.monotonic() - started)


def _started(
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


def _watch(
    process: subprocess.Popen[bytes],
    out: Capture,
    err: Capture,
    limits: Limits,
    started: float,
    disk: Path | None,
    told: int | None,
) -> str:
    """Read until the process has ended and its streams are dry; returns the limit that was exceeded, or "".

    On the way out the process group is killed where a limit was exceeded, and its end is waited for.
    """
    deadline, glance = started + limits.seconds, started + GLANCE_S
    exceeded = ""
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        _follow(selector, stack, process.pid)
        if told is not None:
            selector.register(told, selectors.EVENT_READ, "child")
        for pipe, capture in ((process.stdout, out), (process.stderr, err)):
            if pipe:
                selector.register(pipe, selectors.EVENT_READ, capture)
        while selector.get_map() and not exceeded:
            now = time.monotonic()
            if now >= deadline:
                exceeded = "time"
                break
            if now >= glance:
                glance = now + GLANCE_S
                if resident_bytes(process.pid) > limits.memory_mb << 20:
                    exceeded = "memory"
                elif disk and _used_bytes(disk) > limits.disk_mb << 20:
                    exceeded = "disk"
            for key, _ in () if exceeded else selector.select(max(0.0, min(deadline, glance) - now)):
                if isinstance(key.data, Capture):
                    chunk = os.read(key.fd, 1 << 16)
                    key.data.add(chunk)
                    if chunk and key.data.size > limits.output_mb << 20:
                        exceeded = "output"
                        break
                    if chunk:
                        continue
                selector.unregister(key.fileobj)  # a stream is dry, or a process that was followed has ended
                if key.data == "child" and (match := _CHILD.search(os.read(key.fd, 4096))):
                    _follow(selector, stack, int(match[1]))
        if exceeded:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    return exceeded


def _follow(selector: selectors.BaseSelector, stack: contextlib.ExitStack, pid: int) -> None:
    """Wait for the end of a process too, in the loop and behind it; one that has ended already is passed over."""

    def await_end(handle: int) -> None:
        poll = select.poll()  # the first process of a sandbox ends after all others in it
        poll.register(handle, select.POLLIN)
        poll.poll(1000 * END_SECONDS)
        os.close(handle)

    with contextlib.suppress(OSError):
        handle = os.pidfd_open(pid)
        selector.register(handle, selectors.EVENT_READ)
        stack.callback(await_end, handle)


def resident_bytes(pid: int) -> int:
    """Memory that a process and all its descendants hold; what ends while it is counted counts as nothing."""
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        with contextlib.suppress(OSError, ValueError, IndexError):
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * _PAGE
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
