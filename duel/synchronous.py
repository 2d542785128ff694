"""Async functions for callers that do not await: from plain code, and inside a running event loop, as in a notebook."""

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import wraps
from types import FrameType
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Value = TypeVar("Value")


def synchronous(function: Callable[Parameters, Coroutine[Any, Any, Value]]) -> Callable[Parameters, Value]:
    """`function` for callers that do not await. Inside a running event loop it works in a thread with its own loop."""

    @wraps(function)
    def call(*arguments: Parameters.args, **named: Parameters.kwargs) -> Value:
        running: list[asyncio.AbstractEventLoop] = []
        with suppress(RuntimeError):
            running.append(asyncio.get_running_loop())
        if not running:
            found: list[Value] = []

            async def work() -> None:  # asyncio.run takes the repr of what its task gives, and a summary's is long
                with _interrupts_between_steps():
                    found.append(await function(*arguments, **named))

            asyncio.run(work())
            return found[0]
        with ThreadPoolExecutor(1, "stage") as thread:
            loop = asyncio.new_event_loop()
            task = loop.create_task(function(*arguments, **named))
            ending = thread.submit(loop.run_until_complete, task)
            ending.add_done_callback(lambda _: loop.close())
            try:
                return ending.result()
            except KeyboardInterrupt:  # the task keeps what is in flight; leaving this block waits for it
                if not ending.done():
                    loop.call_soon_threadsafe(task.cancel)
                raise

    return call


@contextmanager
def _interrupts_between_steps() -> Iterator[None]:
    """Ctrl-C cancels the task between two steps of the loop; a second one does not wait for that.

    asyncio's own handler cancels at once, also between a library's `future.done()` and its `set_result`: that fails.
    """
    loop = asyncio.get_running_loop()
    cancel: Any = signal.getsignal(signal.SIGINT)
    asked: list[asyncio.Handle] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        if asked:
            asked[0].cancel()
            signal.default_int_handler(number, frame)
        asked.append(loop.call_soon_threadsafe(cancel, number, frame))

    if threading.current_thread() is threading.main_thread() and callable(cancel):
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, cancel)
