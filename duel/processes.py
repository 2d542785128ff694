"""Work in processes of its own that hold no lock of their parent and end when it does."""

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

Chunk = TypeVar("Chunk")
Done = TypeVar("Done")
_made: list[Any] = []  # what this process works with


def cores() -> int:
    """Those that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spread(
    work: Callable[..., Done], chunks: Iterable[Chunk], processes: int, make: Callable[[], Any] | None = None
) -> Iterator[Done]:
    """`work` of each chunk, in order, or of what each process first makes by `make()`, and the chunk.

    Where `processes`, the most that are worth starting, or the cores are one, all of it is done in this process.
    Processes are spawned: a forked one keeps the parent's locks, and after a SIGKILL of the parent holds the workspace.
    """
    if (processes := min(processes, cores())) < 2:
        made = [make()] if make else []
        yield from (work(*made, chunk) for chunk in chunks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(make,)) as pool:
        try:
            waiting: deque[Future[Done]] = deque()
            for chunk in chunks:  # not all at once: they and their results may be more than memory holds
                with _nameless_script():
                    waiting.append(pool.submit(_do, work, chunk))
                if len(waiting) > 3 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except KeyboardInterrupt:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextmanager
def _nameless_script() -> Iterator[None]:
    """Processes that start here do not run the user's script, which without a guard would start all of it again."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _begin(make: Callable[[], Any] | None) -> None:
    """Ctrl-C is the parent's to handle: a chunk in work is finished."""

    def end_with_parent() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    gc.set_threshold(100_000)  # records hold no cycles: to look for some after every 700 objects takes 8 %
    _made[:] = [make()] if make else []


def _do(work: Callable[..., Done], chunk: Any) -> Done:
    return work(*_made, chunk)
