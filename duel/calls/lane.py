"""The queue before one model: who goes out next, when, and when nobody may.

A call holds a slot from its start until its reply is durable; a waiting retry holds none, and comes before new work
when its wait is over. Each provider and model has its own lane, so that one which is held back stops no other.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from duel.calls.level import Level
from duel.calls.rates import FIRST_S, SHORTEST_S, Pace
from duel.calls.seats import WANTED, Seats
from duel.sections import EndpointSection

# Fewer replies than this between two holds show a limit on calls per time.
FEW_ANSWERS = 10
# A row of failures of any kind, no reply between them, is an outage if chance makes one so long once in 100,000 calls:
# 8 in a row up to 24 % of faults, 23 at 60 %. The share of faults is that of the last 100 calls or so.
SHORTEST_ROW, LONGEST_ROW, ONCE_IN = 8, 100, 100_000
MEMORY = 0.99
# While a model is out one call at a time tries it, at least so often; a refused call costs nothing.
LONGEST_PROBE_S = 5.0
# A model that has never answered is given up after this share of `outage_s`.
NEVER_ANSWERED = 0.2

# A call that takes this many times what the slowest of the last replies took is hanging; after few replies, twice that.
HANGING = 8.0
# Replies that are looked back at, and from how many on they say anything, and say it well.
LATENCIES, FEW, ENOUGH = 50, 8, 20
# A burst of replies is followed by as many requests; more that wait would only take memory.
MOST_WAITING = 512


class ModelGone(Exception):
    """The model has been out for longer than anybody waits, or the call is to be routed anew."""


@dataclass(slots=True)
class Departure:
    ticket: int
    at: float
    before: tuple[float, float]  # what the pace had counted until then
    early: bool = False  # the pace would have had it wait for longer than anybody does
    beyond: tuple[int, float, float] | None = None
    """Of a call beyond the level: replies and epoch at which its fate says something, and how long the next waits."""
    ended: bool = False


@dataclass
class Lane:
    level: Level = field(default_factory=Level)
    endpoint: EndpointSection = field(default_factory=EndpointSection)
    seats: Seats = field(default_factory=lambda: Seats(WANTED))
    min_interval_s: float = 0.0
    hung_s: float = 15.0  # no call is given up sooner: an endpoint, or a busy machine, may well take ten seconds once
    reroutes: bool = False  # what waits while the model is held can be asked elsewhere
    pace: Pace = field(default_factory=Pace)
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES))
    answered_calls: int = 0
    answered_at: float = 0.0  # when the last reply came (loop time)
    given_up: int = 0  # requests that failed for good since the last reply
    out: bool = False  # the model counts as out: one call at a time tries it
    gone: bool = False  # it has been out for longer than anybody waits; `revive` lets one call try it all the same
    _retries: deque[asyncio.Future[Departure]] = field(default_factory=deque)
    _fresh: deque[asyncio.Future[Departure]] = field(default_factory=deque)
    _began: float = 0.0
    _next_start: float = 0.0
    _held_until: float = 0.0
    _holds: int = 0
    _failed_in_a_row: int = 0
    _silent_since: float = math.inf  # when the first call failed since the last reply
    _failures: float = 0.0  # like all calls in `_outcomes`: before the present row, the older the lighter
    _outcomes: float = 1.0
    _answered_since_hold: int = FEW_ANSWERS
    _first_start_since_hold: float = 0.0
    _timer: asyncio.TimerHandle | None = None

    @property
    def queued(self) -> int:
        return len(self._retries) + len(self._fresh)

    @property
    def hunger(self) -> int:
        """Requests that would be put to use: less than a round is waiting (a level may double in one)."""
        return 0 if self.out else max(0, min(max(4, self.level.share), MOST_WAITING) - self.queued)

    @property
    def held_s(self) -> float:
        return max(0.0, self._held_until - _now())

    @property
    def silent_s(self) -> float:
        """Seconds since the first failure after the last reply."""
        return _now() - min(self._silent_since, _now())

    @property
    def over(self) -> bool:
        """True if the model has been out for longer than anybody waits."""
        return self.out and self.silent_s > self.endpoint.outage_s * (1.0 if self.answered_calls else NEVER_ANSWERED)

    @property
    def slowest_s(self) -> float:
        return max(self.latencies, default=0.0)

    @property
    def longest_s(self) -> float:
        """How long a call is waited for, learned from how long its neighbors took."""
        few = len(self.latencies)
        return max(self.hung_s, HANGING * self.slowest_s * (1 if few >= ENOUGH else 2)) if few >= FEW else math.inf

    async def enter(self, *, retry: bool = False) -> Departure:
        """Wait for a turn and take the slot; retries come first. Raises ModelGone."""
        if self.gone:
            raise ModelGone
        turn: asyncio.Future[Departure] = asyncio.get_running_loop().create_future()
        (self._retries if retry else self._fresh).append(turn)
        self._dispatch()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.failed(turn.result(), counts=False)  # the turn had just come: it goes to the next
            raise

    def answered(self, start: Departure, tokens: int = 0) -> None:
        """A reply came that took `tokens`. Its slot stays taken until `saved`."""
        start.ended = True
        self.answered_calls += 1
        row = 0 if self.out else self._failed_in_a_row
        fade = MEMORY ** (row + 1)
        self._failures, self._outcomes = self._failures * fade + row, self._outcomes * fade + row + 1
        self.given_up = self._holds = self._failed_in_a_row = 0
        self.out = self.gone = False
        self._silent_since, self._held_until = math.inf, 0.0
        self.answered_at = _now()
        self._began = self._began or start.at
        self.latencies.append(self.answered_at - start.at)
        if not self._answered_since_hold:
            self._first_start_since_hold = start.at
        self._answered_since_hold += 1
        if start.early:
            self.pace.forget()
        self.pace.answered(tokens)
        self.level.answered(start.ticket)
        self.seats.give_back()

    def saved(self) -> None:
        """The reply of an answered call is durable, or can never be."""
        self.level.unsaved -= 1
        self._dispatch()

    def failed(self, start: Departure, *, counts: bool = True) -> None:
        """The call went wrong in a way that says nothing about capacity, unless all of them do; or it was not made."""
        self._ended(start, failed=counts)
        self.level.failed()
        if counts and (self.out or (self._is_outage and self.answered_calls)):
            self._hold(None)
        self.seats.give_back()
        self._dispatch()

    def refused(self, start: Departure, retry_after_s: float | None, *, limited: bool = True) -> None:
        """The endpoint had no capacity for the call, or the call timed out. `limited`: it names a limit (429)."""
        self._ended(start)
        asked = None if retry_after_s is None else min(retry_after_s, self.endpoint.max_429_wait_s)
        paced = limited and self.pace.learned and not self.out and not self._is_outage
        if limited:
            self.pace.refused(start.at, _now(), asked)
        if start.beyond is not None:
            replies, epoch, delay = start.beyond
            self.level.failed()
            self.level.confirm(4)
            _later(delay, self._try_one_more, replies, epoch, 3 * delay)
        elif paced:
            self.level.failed()
        else:
            if pause := self.level.refused(start.ticket, _now() - start.at):
                _later(pause, self._count, self.answered_calls, asked, limited)
            self._settle(retry_after_s, limited)
        self.seats.give_back()
        self._dispatch()

    def is_paced(self) -> None:
        """The limit is one of time: what was answered so far is the first guess at it."""
        if not self.pace.interval_s:
            guess = (_now() - self._began) / self.answered_calls if self.answered_calls else FIRST_S
            self.pace.learn(_now(), max(SHORTEST_S, guess))
            self.level.restore()

    @property
    def _is_outage(self) -> bool:
        row, out, usual = self._failed_in_a_row, self.level.in_flight, self._failures / self._outcomes
        if self.pace.interval_s and out > 1:  # refused for its pace, while replies are on their way
            return False
        if row < SHORTEST_ROW or row >= LONGEST_ROW:
            return row >= LONGEST_ROW
        # A refusal takes a millisecond, a reply seconds: what is still out may yet be answered. Chernoff's bound of so
        # many failures in so many calls; with none out it is `usual ** row`.
        share = row / (row + out)
        chance = (usual / share) ** row * ((1 - usual) / (1 - share)) ** out if out else usual**row
        return usual < share and chance < 1 / ONCE_IN

    def _ended(self, start: Departure, *, failed: bool = True) -> None:
        """A call brought nothing; where it failed, that counts to the row of failures."""
        start.ended = True
        self._failed_in_a_row += failed
        self._silent_since = min(self._silent_since, _now() if failed else math.inf)

    def _count(self, replies: int, retry_after_s: float | None, limited: bool) -> None:
        self.level.count()
        self._settle(retry_after_s, limited)
        if limited and self.level.known.crowded:
            delay = FIRST_S if retry_after_s is None else max(retry_after_s, SHORTEST_S)
            _later(delay, self._try_one_more, replies, self.level.known.epoch, 3 * delay)
        self._dispatch()

    def _try_one_more(self, replies: int, epoch: float, delay: float) -> None:
        """While all calls that stood are still out, one more is taken only where the limit is one of time."""
        undecided = (self.answered_calls, self.level.known.epoch) == (replies, epoch) and not self.pace.learned
        if undecided and self.queued and self.seats.free and not self.held_s and not (turn := self._next_turn()).done():
            start = self._start(turn)
            start.beyond = (replies, epoch, delay)

            def look() -> None:
                if not start.ended:
                    self.is_paced()
                    self._dispatch()

            _later(self.level.patience_s, look)

    def _settle(self, retry_after_s: float | None, limited: bool) -> None:
        """Hold the model back where nothing is to be had."""
        if self.held_s or not (self.level.known.exhausted or (self.out and not self.level.in_flight)):
            return
        # A model that takes a few calls and then none, again and again, is limited in calls per time.
        if limited and 0 < self._answered_since_hold < FEW_ANSWERS and self._failed_in_a_row:
            until = _now() + self._hold_s(retry_after_s)
            apart = (until - self._first_start_since_hold) / self._answered_since_hold
            self.pace.learn(_now(), min(apart, self.endpoint.max_429_wait_s))
        self._hold(retry_after_s)

    def _hold(self, retry_after_s: float | None) -> None:
        """Wait as long as the endpoint says, longer each time, then try with a single call."""
        if self.held_s:
            return
        self.out, self._answered_since_hold = True, 0
        self._held_until = _now() + self._hold_s(retry_after_s)
        self._holds += 1
        self.level.collapse()
        if self.gone or self.over or self.reroutes:
            self.send_away(for_good=self.over)

    def _hold_s(self, retry_after_s: float | None) -> float:
        first_s = self.endpoint.retry_initial_backoff_s
        growing = min(first_s * 2.0 ** min(self._holds - 1, 20), LONGEST_PROBE_S) if self._holds else 0.0
        return min(max(first_s if retry_after_s is None else retry_after_s, growing), self.endpoint.max_429_wait_s)

    def revive(self) -> None:
        self.gone, self._held_until = False, 0.0

    def send_away(self, *, for_good: bool = False) -> None:
        """Every request in the queue meets ModelGone, and so does every further one where it is `for_good`."""
        self.gone = self.gone or for_good
        while self.queued:
            if not (turn := self._next_turn()).done():
                turn.set_exception(ModelGone())

    def _dispatch(self) -> None:
        """Give turns to whoever may go now. Called after every event, so that what waits always has one to come.

        What a request waits for is a call in flight, a reply on its way to disk, a count that has a timer (all of them
        the level's), a seat (`Seats` calls back), or time, for which a timer is set here.
        """
        if self.queued:
            self.level.wait(self._dispatch)
        while self.queued and self.level.free:
            if not self.seats.free:
                self.seats.wait(self._dispatch)
                return
            now = _now()
            # No pace, told or learned, holds the next call back for longer than an outage.
            paced = min(now + self.pace.wait(now), self._next_start + self.endpoint.outage_s)
            if (delay := max(self._held_until, self._next_start, paced) - now) > 0:
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = _later(delay, self._dispatch)
                return
            turn = self._next_turn()
            if not turn.done():
                self._start(turn)

    def _start(self, turn: asyncio.Future[Departure]) -> Departure:
        now = _now()
        self._next_start = now + self.min_interval_s
        early = self.pace.wait(now) > SHORTEST_S
        start = Departure(self.level.sent(), now, self.pace.sent(now), early)
        self.seats.taken += 1
        turn.set_result(start)
        return start

    def _next_turn(self) -> asyncio.Future[Departure]:
        """A retry first; while the model is out in turn with new work, so that no single request keeps it out."""
        if self._fresh and (not self._retries or (self.out and self._holds % 2)):
            return self._fresh.popleft()
        return self._retries.popleft()


def _later(delay: float, work: Callable[..., None], *arguments: object) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(delay, work, *arguments)


def _now() -> float:
    return asyncio.get_running_loop().time()
