"""Async functions for callers that do not await: from plain code, and inside a running event loop, as in a notebook."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Value = TypeVar("Value")


def synchronous(function: Callable[Parameters, Coroutine[Any, Any, Value]]) -> Callable[Parameters, Value]:
    """`function` for callers that do not await. Inside a running event loop it works in a thread with its own loop."""

    @wraps(function)
    def call(*arguments: Parameters.args, **named: Parameters.kwargs) -> Value:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            found: list[Value] = []

            async def work() -> None:  # asyncio.run takes the repr of what its task gives, and a summary's is long
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
