"""Async functions for callers that do not await: from plain code, and inside a running event loop, as in a notebook."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Value = TypeVar("Value")


def synchronous(function: Callable[Parameters, Coroutine[Any, Any, Value]]) -> Callable[Parameters, Value]:
    """`function` for callers that do not await. Inside a running event loop it works in a thread with its own loop."""

    @wraps(function)
    def call(*arguments: Parameters.args, **named: Parameters.kwargs) -> Value:
        import asyncio  # 40 ms, which a help text need not wait for

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(function(*arguments, **named))
        return _in_a_thread(function(*arguments, **named))

    return call


def _in_a_thread(coroutine: Coroutine[Any, Any, Value]) -> Value:
    """Run `coroutine` in a loop of its own. Ctrl-C cancels it and waits until it has kept what was in flight."""
    import asyncio
    import threading
    from concurrent.futures import Future

    result: Future[Value] = Future()
    loop = asyncio.new_event_loop()
    task = loop.create_task(coroutine)

    def work() -> None:
        try:
            result.set_result(loop.run_until_complete(task))
        except BaseException as error:
            result.set_exception(error)
        finally:
            loop.close()

    thread = threading.Thread(target=work, name="stage")
    thread.start()
    try:
        return result.result()
    except KeyboardInterrupt:
        if not result.done():
            loop.call_soon_threadsafe(task.cancel)
        raise
    finally:
        thread.join()
