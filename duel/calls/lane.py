"""The queue before one model: who goes out next, when, and when nobody may.

A call holds a slot only while it is in flight; a waiting retry holds none, and comes before new work when its wait is
over. Each provider and model has its own lane, so that one which is held back stops no other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from duel.calls.level import Level, Ticket

# Fewer replies than this between two holds show a limit on calls per time. The pace that is learnt from it is tried 2 %
# faster with each reply, slowed by a tenth when that was too fast, and forgotten below 20 ms (timers are not finer).
FEW_ANSWERS = 10
PACE_RELAX, PACE_BACK_OFF = 0.98, 1.1
SHORTEST_PACE_S = 0.02
# Once a level had to fall, a round of calls is spread over half of their latency. Calls of 8 s under a limit of 180 a
# minute: 28 of 1,528 refused, 443 of 1,943 without; 0.8 costs an endpoint with a plain capacity 1 % of its throughput.
SPACING = 0.5
# For so long nobody asks a model that was held back `most_holds` times without one reply.
GONE_S = 60.0


class ModelGone(Exception):
    """The model was held back so often without one reply that waiting for it is no use now."""


@dataclass
class Lane:
    """The calls to one model of one provider."""

    level: Level = field(default_factory=Level)
    min_interval_s: float = 0.0
    first_hold_s: float = 1.5
    longest_hold_s: float = 60.0
    most_holds: int = 8
    answered_calls: int = 0
    given_up: int = 0
    """Requests that failed for good since the last reply."""
    _retries: deque[asyncio.Future[Ticket]] = field(default_factory=deque)
    _fresh: deque[asyncio.Future[Ticket]] = field(default_factory=deque)
    _next_start: float = 0.0
    _held_until: float = 0.0
    _holds: int = 0
    _pace_s: float = 0.0

    _latency_s: float = 0.0
    _answered_since_hold: int = FEW_ANSWERS
    _first_start_since_hold: float = 0.0
    _timer: asyncio.TimerHandle | None = None

    @property
    def queued(self) -> int:
        """Requests that wait for a slot."""
        return len(self._retries) + len(self._fresh)

    @property
    def hungry(self) -> bool:
        """True where more work would be put to use: less than a round is waiting (a level may double in one)."""
        return self.queued < max(4.0, self.level.limit)

    @property
    def held(self) -> bool:
        """True while nobody may go out."""
        return _now() < self._held_until

    async def enter(self, *, retry: bool = False) -> Ticket:
        """Wait for a turn and take the slot; retries come first. Raises ModelGone."""
        if self._holds > self.most_holds and self.held:
            raise ModelGone
        turn: asyncio.Future[Ticket] = asyncio.get_running_loop().create_future()
        (self._retries if retry else self._fresh).append(turn)
        self._dispatch()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.failed(turn.result())  # the turn had just come: it goes to the next
            raise

    # -- what became of a call -------------------------------------------------------------------------------------

    def answered(self, ticket: Ticket, started: float) -> None:
        """A reply came to the call that went out at `started` (loop time)."""
        self.answered_calls += 1
        self.given_up = 0
        self._holds = 0
        latency = _now() - started
        self._latency_s += (latency - self._latency_s) * (0.1 if self.answered_calls > 1 else 1.0)
        if not self._answered_since_hold:
            self._first_start_since_hold = started
        self._answered_since_hold += 1
        self._pace_s = self._pace_s * PACE_RELAX if self._pace_s > SHORTEST_PACE_S else 0.0
        self.level.answered(ticket)
        self._dispatch()

    def failed(self, ticket: Ticket) -> None:
        """The call went wrong in a way that says nothing about capacity."""
        self.level.failed(ticket)
        self._dispatch()

    def refused(self, ticket: Ticket, started: float, retry_after_s: float | None) -> None:
        """The endpoint had no capacity for the call that went out at `started`, or the call timed out."""
        self._pace_s = min(self._pace_s * PACE_BACK_OFF, self.longest_hold_s)
        pause = self.level.refused(ticket, _now() - started)
        if pause:
            asyncio.get_running_loop().call_later(pause, self._count, retry_after_s)
        self._settle(retry_after_s)

    def _count(self, retry_after_s: float | None) -> None:
        self.level.count()
        self._settle(retry_after_s)

    def _settle(self, retry_after_s: float | None) -> None:
        if self.level.exhausted and not self.held:
            self._hold(retry_after_s)
        self._dispatch()

    def _hold(self, retry_after_s: float | None) -> None:
        """Nothing is to be had: wait as long as the endpoint says, longer each time, then try with a single call."""
        growing = self.first_hold_s * 2 ** (self._holds - 1) if self._holds else 0.0
        asked = self.first_hold_s if retry_after_s is None else retry_after_s
        self._held_until = _now() + min(max(asked, growing), self.longest_hold_s)
        self._learn_pace()
        self._holds += 1
        self.level.collapse()
        if self._holds > self.most_holds:
            self._held_until = _now() + GONE_S
            self._send_away()

    def _learn_pace(self) -> None:
        """A model that takes a few calls and then none, again and again, is limited in calls per time."""
        if 0 < self._answered_since_hold < FEW_ANSWERS and not self._pace_s:
            apart = (self._held_until - self._first_start_since_hold) / self._answered_since_hold
            self._pace_s = min(apart, self.longest_hold_s)
        self._answered_since_hold = 0

    def _send_away(self) -> None:
        for turn in (*self._retries, *self._fresh):
            if not turn.done():
                turn.set_exception(ModelGone())
        self._retries.clear()
        self._fresh.clear()

    # -- letting calls out -----------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Give turns to whoever may go now; set a timer where only time is missing."""
        while self.queued and self.level.free:
            now = _now()
            if (delay := max(self._held_until, self._next_start) - now) > 0:
                self._wake_in(delay)
                return
            turn = (self._retries or self._fresh).popleft()
            if not turn.done():
                self._next_start = now + max(self.min_interval_s, self._pace_s, self._spacing_s)
                turn.set_result(self.level.sent())

    @property
    def _spacing_s(self) -> float:
        """Once the level had to fall, calls do not start in bursts: a limit on calls per time would refuse those."""
        spacing = SPACING * self._latency_s / self.level.limit
        return spacing if self.level.fell and spacing > SHORTEST_PACE_S else 0.0

    def _wake_in(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay, self._dispatch)


def _now() -> float:
    return asyncio.get_running_loop().time()
