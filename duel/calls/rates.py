"""Limits on requests and tokens per time: what headers tell, what refusals teach, when the next call may start."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import NamedTuple

# A text reads in one way only: in two ways, a header of a kilobyte would take longer to refuse than the run lasts.
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?: ?(ms|h|m|s)|(?![\d.]))\s*")
_SPAN = re.compile(rf"(?:{_PART.pattern})+")
_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
# A number above this is a point in time (seconds, or milliseconds, since the epoch), not a span.
_EPOCH_S, _EPOCH_MS = 1e9, 1e12
# The limit, and the names of what it allows, leaves and when it is whole again; the first that is there counts.
_HEADERS = (
    ("requests", "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("requests", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),
    ("tokens", "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
)

# A learned pace is tried faster with each call: quickly until it is refused once, then the quicker the more calls were
# taken since, so that one in ten or so is refused at the limit; 1.06 back and 0.997 forth stay within 3 % of it.
FIRST_FASTER, FASTER, GENTLE_CALLS = 0.88, 0.997, 12
# Back at the first refusal, after some calls that were taken, after few, and after none.
FIRST_BACK, BACK, BACK_SOON, BACK_AGAIN, FEW_TAKEN = 1.2, 1.06, 1.1, 1.3, 4
# A refusal that asks for no pause is tried again after this share of the interval, four times that after the next.
PAUSE = 0.2
# The pace to begin with where nothing is known.
FIRST_S = 1.0
# Retry-After counts in whole seconds, rounded up.
ROUNDED_UP_S = 1.0
# Timers are not finer.
SHORTEST_S = 0.005
# Going slower brings no more calls through than before, nor fewer, where a limit per time refuses them. Where so many
# were taken that much faster than the pace has become, it is not what refuses.
WINDOW, SLOWER = 10, 2.0
# Replies after which refusals may show a pace again, doubled each time: 15 % of refusals by chance look like one.
DOUBT = 200


class Left(NamedTuple):
    limit: float
    remaining: float
    reset_s: float


def limits_left(headers: Mapping[str, str], now: float) -> dict[str, Left]:
    """What `headers` tell of the limits on "requests" and on "tokens"; `now` in seconds since the epoch."""
    found: dict[str, Left] = {}
    for name, *spelling in _HEADERS:
        limit, remaining = _number(headers.get(spelling[0])), _number(headers.get(spelling[1]))
        if name in found or not limit or remaining is None:
            continue
        reset = seconds_in(headers.get(spelling[2]) or "60")  # a minute where it does not say
        reset = 60.0 if reset is None else reset / 1000 if reset > _EPOCH_MS else reset
        found[name] = Left(limit, remaining, max(0.0, reset - now) if reset > _EPOCH_S else reset)
    return found


def seconds_in(text: str) -> float | None:
    """`1m30s`, `250ms`, `2.5` in seconds; None where it is none of these."""
    text = re.sub(r"sec\w*", "s", re.sub(r"min\w*", "m", text.strip().lower().rstrip(".")))
    if not _SPAN.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the headers of a refusal ask to wait, a number or an HTTP date; None where they ask for none."""
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    value = headers.get("Retry-After") or ""
    if (seconds := _number(value, float("-inf"))) is not None:
        return max(0.0, seconds)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return seconds_in(value)


def _number(value: str | None, least: float = 0.0) -> float | None:
    try:
        number = float(value or "nan")
    except ValueError:
        return None
    return number if least <= number < float("inf") else None


@dataclass
class _Bucket:
    """One limit as headers tell of it, refilled evenly until a refusal shows that it is refilled all at once."""

    limit: float = 0.0  # 0: no header has told of it
    used: float = 0.0  # sent in all, so that an older response does not bring back what was sent after its call
    _left: float = 0.0
    _at: float = 0.0
    _rate: float = 0.0
    _whole_at: float = 0.0
    at_once: bool = False

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
        return until_whole if self.at_once or not self._rate else min(missing / self._rate, until_whole)

    def take(self, cost: float, now: float) -> None:
        self.used += cost
        self._left, self._at = self._now_left(now) - cost, now

    def _now_left(self, now: float) -> float:
        if now >= self._whole_at > self._at:
            return self.limit
        return self._left if self.at_once and now < self._whole_at else self._left + (now - self._at) * self._rate


@dataclass
class Pace:
    interval_s: float = 0.0  # between two starts, learned from refusals; 0: none
    tokens: float = 0.0  # what a call takes of a limit on tokens, on average
    _calls: _Bucket = field(default_factory=_Bucket)
    _tokens: _Bucket = field(default_factory=_Bucket)
    _next: float = 0.0  # when the next call may start
    _taken: int = 0  # calls since the last refusal
    _in_a_row: int = 0  # refusals without a call between them
    _refused_at: float = 0.0
    _met: bool = False  # the learned pace was refused once, so that the limit is near
    _window: tuple[int, float] = (0, 0.0)  # calls taken lately, and since when
    _best_s: float = float("inf")  # seconds a call that was taken, in the best window near the limit
    _answered: int = 0
    _doubted_until: int = 0  # replies up to which no pace is learned: the last had nothing to do with the refusals
    _doubt: int = DOUBT

    @property
    def learned(self) -> bool:
        """True while refusals are a matter of pace and not of how many calls are out."""
        return self.interval_s > 0 or self._calls.limit > 0 or self._tokens.limit > 0

    def wait(self, now: float) -> float:
        wait = self._next - now if self.interval_s else 0.0
        if self._calls.limit or self._tokens.limit:
            wait = max(wait, self._calls.wait(1.0, now), self._tokens.wait(self.tokens, now))
        return wait

    def sent(self, now: float) -> tuple[float, float]:
        """A call goes out; returns what to hand to `observe` with its response."""
        before = (self._calls.used, self._tokens.used)
        self._calls.take(1.0, now)
        self._tokens.take(self.tokens, now)
        if self.interval_s:
            self._next = now + self.interval_s
            gentle = FASTER ** (1 + (self._taken / GENTLE_CALLS) ** 2)
            self.interval_s = max(SHORTEST_S, self.interval_s * (gentle if self._met else FIRST_FASTER))
            self._taken += 1
        return before

    def observe(self, told: Mapping[str, Left], before: tuple[float, float], now: float) -> None:
        for name, bucket, used in (("requests", self._calls, before[0]), ("tokens", self._tokens, before[1])):
            if name in told:
                bucket.observe(told[name], used, now)

    def answered(self, tokens: int) -> None:
        """A reply came that took `tokens`, prompt and completion together."""
        self._answered += 1
        self.tokens += (tokens - self.tokens) * (0.1 if self.tokens else 1.0)

    def refused(self, started: float, now: float, retry_after_s: float | None) -> None:
        """A call that kept to the pace was refused: the bucket is empty. One of an older pace tells nothing."""
        for bucket in (self._calls, self._tokens):  # a call that fitted was refused: it does not refill evenly
            bucket.at_once = bucket.limit > 0
        if not self.interval_s or started < self._refused_at:
            return
        taken = self._taken - 1
        self._in_a_row = 1 if taken > 0 else self._in_a_row + 1
        if taken <= 0:
            self.interval_s *= BACK_AGAIN if self._in_a_row > 1 else 1.0
        elif self._met:
            self.interval_s *= BACK if taken >= FEW_TAKEN else BACK_SOON
        else:
            self.interval_s *= FIRST_BACK
            self._met, self._window, taken = True, (0, now), 0
        pause = self.interval_s * PAUSE * 4.0 ** min(self._in_a_row - 1, 6)
        self._next = now + max(pause, (retry_after_s or 0.0) - ROUNDED_UP_S)
        self._refused_at, self._taken = now, 0
        # Forget a pace that has nothing to do with the refusals: they come however slow the calls are.
        count, since = self._window[0] + max(taken, 0), self._window[1]
        if count >= WINDOW:
            self._best_s = min(self._best_s, (now - since) / count)
            count, since = 0, now
        self._window = (count, since)
        if self.interval_s > SLOWER * self._best_s:
            self.forget()

    def forget(self) -> None:
        """What was told and learned is wrong; for a while nothing is learned anew."""
        self.interval_s = 0.0
        self._calls, self._tokens = _Bucket(used=self._calls.used), _Bucket(used=self._tokens.used)
        self._doubted_until, self._doubt = self._answered + self._doubt, 2 * self._doubt

    def learn(self, now: float, interval_s: float = FIRST_S) -> None:
        """Refusals have shown that the limit is one of time; calls may start so far apart to begin with."""
        if not self.interval_s and self._answered >= self._doubted_until:
            self.interval_s, self._met, self._next = interval_s, False, now
            self._window, self._best_s, self._in_a_row = (0, now), float("inf"), 0
