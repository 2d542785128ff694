"""When the next call to a model may start: limits on requests and tokens per time, told in headers or learnt."""

from __future__ import annotations

from dataclasses import dataclass, field

from duel.calls.rates import Left, Rates

# A pace that was learnt from refusals is tried faster with each reply: quickly until it is refused once, then gently,
# so that one call in ten or so is refused at the limit; 1.03 back and 0.997 forth stay within 3 % of it.
FIRST_RELAX, RELAX, BACK_OFF, HARD_BACK_OFF = 0.93, 0.997, 1.03, 1.3
# Replies between two refusals from which the pace counts as nearly right.
NEARLY_RIGHT = 5
# Timers are not finer.
SHORTEST_S = 0.02


@dataclass
class _Bucket:
    """One limit as headers tell of it, refilled evenly until a refusal shows that it is refilled all at once."""

    limit: float = 0.0
    """0: no header has told of it."""
    used: float = 0.0
    """What has been sent in all, so that an older response does not bring back what was sent after its call."""
    _left: float = 0.0
    _at: float = 0.0
    _rate: float = 0.0
    _whole_at: float = 0.0
    _at_once: bool = False

    def observe(self, told: Left, used_before: float, now: float) -> None:
        """Headers that came now with the response to a call before which `used_before` had been sent."""
        self.limit, self._at, self._whole_at = told.limit, now, now + told.reset_s
        self._left = told.remaining - (self.used - used_before)
        self._rate = (told.limit - told.remaining) / told.reset_s if told.reset_s else 0.0

    def wait(self, cost: float, now: float) -> float:
        """Seconds until `cost` is there. A cost above the limit needs the whole of it."""
        missing = min(cost, self.limit) - self._now_left(now)
        if missing <= 0:
            return 0.0
        until_whole = max(self._whole_at - now, 0.0)
        return until_whole if self._at_once or not self._rate else min(missing / self._rate, until_whole)

    def take(self, cost: float, now: float) -> None:
        """A call goes out."""
        self.used += cost
        self._left, self._at = self._now_left(now) - cost, now

    def _now_left(self, now: float) -> float:
        if now >= self._whole_at:
            return self.limit if self._at < self._whole_at else self._left + (now - self._at) * self._rate
        return self._left if self._at_once else self._left + (now - self._at) * self._rate

    def refused(self) -> None:
        """A call that fitted was refused all the same: the limit does not refill evenly."""
        self._at_once = self.limit > 0


@dataclass
class Pace:
    """The pace of the calls to one model."""

    interval_s: float = 0.0
    """Seconds between two starts, learnt from refusals; 0: none."""
    tokens: float = 0.0
    """What a call takes of a limit on tokens, on average."""
    _calls: _Bucket = field(default_factory=_Bucket)
    _tokens: _Bucket = field(default_factory=_Bucket)
    _answered: int = 0
    """Replies since the last refusal."""
    _met: bool = False
    """True once the learnt pace was refused, so that the limit is near."""

    @property
    def learnt(self) -> bool:
        """True while refusals are a matter of pace and not of how many calls are out."""
        return self.interval_s > 0 or self._calls.limit > 0 or self._tokens.limit > 0

    def wait(self, now: float) -> float:
        """Seconds until headers let another call go."""
        if not self._calls.limit and not self._tokens.limit:
            return 0.0
        return max(self._calls.wait(1.0, now), self._tokens.wait(self.tokens, now))

    def sent(self, now: float) -> tuple[float, float]:
        """A call goes out; returns what to hand to `observe` with its response."""
        before = (self._calls.used, self._tokens.used)
        self._calls.take(1.0, now)
        self._tokens.take(self.tokens, now)
        return before

    def observe(self, rates: Rates, before: tuple[float, float], now: float) -> None:
        """What the headers of a response say."""
        if rates.requests is not None:
            self._calls.observe(rates.requests, before[0], now)
        if rates.tokens is not None:
            self._tokens.observe(rates.tokens, before[1], now)

    def answered(self, tokens: int) -> None:
        """A reply came that took `tokens`, prompt and completion together."""
        self._answered += 1
        self.tokens += (tokens - self.tokens) * (0.1 if self.tokens else 1.0)
        if self.interval_s:
            self.interval_s *= RELAX if self._met else FIRST_RELAX
            if self.interval_s < SHORTEST_S:
                self.interval_s, self._met = 0.0, False

    def refused(self, longest_s: float) -> None:
        """A call was refused although it kept to the pace."""
        self._calls.refused()
        self._tokens.refused()
        if self.interval_s:
            self._met = True
            step = BACK_OFF if self._answered >= NEARLY_RIGHT else HARD_BACK_OFF
            self.interval_s = min(self.interval_s * step, longest_s)
        self._answered = 0

    def learn(self, interval_s: float) -> None:
        """Refusals have shown that calls may start so far apart."""
        if not self.interval_s:
            self.interval_s, self._met = interval_s, False
