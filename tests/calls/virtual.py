"""An event loop whose time jumps to the next timer, and an endpoint with a capacity on it: hours pass in a second."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

from duel.calls.lane import Departure, Lane, ModelGone
from duel.calls.level import START, Level


class _Call:
    """A callback that waits. asyncio's own handles cost more than what most of them call here."""

    __slots__ = ("arguments", "context", "is_off", "what")

    def __init__(self, what: Callable[..., object], arguments: tuple[Any, ...], context: Context | None) -> None:
        self.what, self.arguments, self.context, self.is_off = what, arguments, context or copy_context(), False

    def cancel(self) -> None:
        self.is_off = True

    def cancelled(self) -> bool:
        return self.is_off


class VirtualLoop(asyncio.SelectorEventLoop):
    """Does not wait: it moves the clock to the next timer. Nothing here has a file to look at."""

    def __init__(self) -> None:
        super().__init__()
        self._now, self._number = 0.0, itertools.count()
        self._soon: deque[_Call] = deque()
        self._later: list[tuple[float, int, _Call]] = []

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Any, *arguments: Any, context: Context | None = None) -> Any:
        call = _Call(callback, arguments, context)
        self._soon.append(call)
        return call

    def call_at(self, when: float, callback: Any, *arguments: Any, context: Context | None = None) -> Any:
        call = _Call(callback, arguments, context)
        heapq.heappush(self._later, (when, next(self._number), call))
        return call

    def call_later(self, delay: float, callback: Any, *arguments: Any, context: Context | None = None) -> Any:
        return self.call_at(self._now + delay, callback, *arguments, context=context)

    def _run_once(self) -> None:
        soon, later = self._soon, self._later
        while later and (later[0][2].is_off or not soon or later[0][0] <= self._now):
            when, _, call = heapq.heappop(later)
            if not call.is_off:
                self._now = max(self._now, when)
                soon.append(call)
        assert soon, "all wait, and nothing is to come"
        for _ in range(len(soon)):
            call = soon.popleft()
            if not call.is_off:
                call.context.run(call.what, *call.arguments)


class Crowd:
    """Tasks, of which another one begins when one has ended. `asyncio.wait` would look at all of them each time."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._over)

    async def change(self, longest_s: float | None = None) -> None:
        """Wait until a task has ended, and not longer than so."""
        self._changed.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), longest_s)

    async def end(self) -> None:
        while self.tasks:
            await self.change()

    def _over(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self._changed.set()
        task.cancelled() or task.result()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


@dataclass
class World:
    """Many calls through one lane to an endpoint that takes `capacity(now)` at a time and refuses some at random."""

    calls: int
    capacity: Callable[[float], float] = lambda now: float("inf")
    latency_s: float = 1.0
    refusal_s: float = 0.001
    noise: float = 0.0
    retry_after_s: float | None = 1.0
    per_minute: float = 0.0
    says_so: bool = False
    """Refusals speak of the limit per minute."""
    outage: tuple[float, float] = (0.0, 0.0)
    """From when to when no call is answered, and in which shape."""
    shape: str = "refused"
    commit_s: float = 0.0
    """How long the disk takes for a reply."""
    most_undurable: int = 0
    cap: int = 0
    start: int = START
    spread: float = 0.2
    seed: int = 1
    sent: int = 0
    refused: int = 0
    gone: int = 0
    most_tries: int = 0
    seconds: float = 0.0
    _busy: int = 0
    _undurable: int = 0
    _tokens: float = 1.0
    _token_time: float = 0.0
    lane: Lane = field(init=False)

    def __post_init__(self) -> None:
        self.lane = Lane(Level(self.cap, self.start))
        self._random = random.Random(self.seed)

    def run(self) -> World:
        run(self._all())
        return self

    @property
    def share_refused(self) -> float:
        return self.refused / self.sent

    async def _all(self) -> None:
        crowd = Crowd()
        for _ in range(self.calls):
            while crowd.tasks and not self.lane.hunger:
                await crowd.change()
            crowd.begin(self._one())
            await asyncio.sleep(0)
        await crowd.end()
        self.seconds = asyncio.get_running_loop().time()

    async def _one(self) -> None:
        loop = asyncio.get_running_loop()
        tries = 0
        while True:
            try:
                start = await self.lane.enter(retry=tries > 0)
            except ModelGone:
                self.gone += 1
                return
            start.at = loop.time()
            self.sent, tries = self.sent + 1, tries + 1
            self.most_tries = max(self.most_tries, tries)
            await asyncio.sleep(0.0003)  # what a request costs the client
            if self.outage[0] <= loop.time() < self.outage[1]:
                await self._go_wrong(start)
                continue
            if await self._endpoint(loop.time()):
                self.lane.answered(start)
                self._undurable += 1
                self.most_undurable = max(self.most_undurable, self._undurable)
                await asyncio.sleep(self.commit_s)
                self._undurable -= 1
                self.lane.saved()
                return
            self.refused += 1
            if self.says_so:
                self.lane.is_paced()
            self.lane.refused(start, self.retry_after_s)
            await asyncio.sleep(1.5 * 2 ** min(tries - 1, 5) if self.retry_after_s is None else self.retry_after_s)

    async def _go_wrong(self, start: Departure) -> None:
        if self.shape == "silent":
            await asyncio.sleep(5.0)
        if self.shape == "refused":
            self.lane.refused(start, None)
        else:
            self.lane.failed(start)
        if not self.lane.out:
            await asyncio.sleep(1.0)

    async def _endpoint(self, now: float) -> bool:
        if self._busy >= self.capacity(now) or self._random.random() < self.noise or not self._token(now):
            await asyncio.sleep(self.refusal_s)
            return False
        self._busy += 1
        await asyncio.sleep(self.latency_s * (1 + self.spread * (2 * self._random.random() - 1)))
        self._busy -= 1
        return True

    def _token(self, now: float) -> bool:
        """A bucket that holds one second's calls."""
        if not self.per_minute:
            return True
        self._tokens = min(
            max(1.0, self.per_minute / 60), self._tokens + (now - self._token_time) * self.per_minute / 60
        )
        self._token_time = now
        taken = self._tokens >= 1
        self._tokens -= taken
        return taken
