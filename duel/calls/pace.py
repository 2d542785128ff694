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

    told: Left | None = None
    left: float = 0.0
    at: float = 0.0
    used: float = 0.0
    """What has been sent in all, so that an older response does not bring back what was sent after its call."""
    at_once: bool = False

    def observe(self, told: Left, used_before: float, now: float) -> None:
        """Headers that came now with the response to a call before which `used_before` had been sent."""
        self.told, self.at = told, now
        self.left = told.remaining - (self.used - used_before)

    def wait(self, cost: float, now: float) -> float:
        """Seconds until `cost` is there. A cost above the limit needs the whole of it."""
        told = self.told
        if told is None:
            return 0.0
        since, missing = now - self.at, min(cost, told.limit) - self.left
        if missing <= 0:
            return 0.0
        if self.at_once or told.reset_s <= 0:
            return max(0.0, told.reset_s - since)
        refill = max(told.limit - told.remaining, 1.0) / told.reset_s
        return max(0.0, min(missing / refill, told.reset_s) - since)

    def take(self, cost: float, now: float) -> None:
        """A call goes out."""
        self.used += cost
        if self.told is None:
            return
        since = now - self.at
        whole = since >= self.told.reset_s
        if whole:
            self.left = self.told.limit
        elif not self.at_once and self.told.reset_s > 0:
            refill = max(self.told.limit - self.told.remaining, 1.0) / self.told.reset_s
            self.left = min(self.told.limit, self.left + since * refill)
        if whole or not self.at_once:
            self.told = Left(self.told.limit, self.told.remaining, max(0.0, self.told.reset_s - since))
            self.at = now
        self.left -= cost

    def refused(self) -> None:
        """A call that fitted was refused all the same: the limit does not refill evenly."""
        self.at_once = self.told is not None


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
        return self.interval_s > 0 or self._calls.told is not None or self._tokens.told is not None

    def wait(self, now: float) -> float:
        """Seconds until headers let another call go."""
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
