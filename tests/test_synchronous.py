"""Ctrl-C in what is awaited for callers that do not await."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import Any

import pytest

from duel.synchronous import synchronous


def test_ctrl_c_between_a_look_at_a_future_and_its_result_breaks_nothing() -> None:
    """As a network library does when a name is found: were the future canceled in between, that would be an error."""
    told: list[dict[str, Any]] = []
    over: list[str] = []

    @synchronous
    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context))
        found = loop.create_future()

        def arrives() -> None:
            if not found.done():
                signal.raise_signal(signal.SIGINT)
                found.set_result("an address")

        loop.call_soon(arrives)
        try:
            await found
            await asyncio.Event().wait()
        finally:
            over.append("what was open is kept")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        work()
    assert told == []
    assert over == ["what was open is kept"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_does_not_wait_for_the_loop() -> None:
    reached: list[str] = []

    @synchronous
    async def work() -> None:
        signal.raise_signal(signal.SIGINT)
        reached.append("after the first")
        signal.raise_signal(signal.SIGINT)
        reached.append("after the second")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["after the first"]


def test_ctrl_c_in_the_last_stretch_is_not_lost() -> None:
    @synchronous
    async def work() -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        work()


def test_an_error_is_told_without_another_one_before_it() -> None:
    @synchronous
    async def work() -> None:
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing") as told:
        work()
    assert told.value.__context__ is None


def test_a_callers_own_handler_stays_his() -> None:
    caught: list[int] = []

    def own(number: int, _: object) -> None:
        caught.append(number)

    @synchronous
    async def work() -> str:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0)
        return "done"

    before = signal.signal(signal.SIGINT, own)
    try:
        assert work() == "done"
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught == [signal.SIGINT]


def test_outside_the_main_thread_no_handler_is_set() -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(synchronous(lambda: asyncio.sleep(0, 5))()))
    thread.start()
    thread.join()
    assert found == [5]
