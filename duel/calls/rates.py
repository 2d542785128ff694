"""Limits on requests and tokens per time, as `x-ratelimit-*` and `Retry-After` headers tell of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import NamedTuple

_PART = re.compile(r"([\d.]+) ?(ms|h|m|s|)")
_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
# A number above this is a point in time (seconds, or milliseconds, since the epoch), not a span.
_EPOCH_S, _EPOCH_MS = 1e9, 1e12
_PARTS = ("limit", "remaining", "reset")
_HEADERS = {
    "requests": [[f"x-ratelimit-{part}-requests" for part in _PARTS], [f"x-ratelimit-{part}" for part in _PARTS]],
    "tokens": [[f"x-ratelimit-{part}-tokens" for part in _PARTS]],
}


class Left(NamedTuple):
    """What one limit leaves: `remaining` of `limit`, all of it again in `reset_s` seconds."""

    limit: float
    remaining: float
    reset_s: float


@dataclass(frozen=True)
class Rates:
    """What the headers of one response say; None where they do not."""

    requests: Left | None = None
    tokens: Left | None = None

    @staticmethod
    def read(headers: Mapping[str, str], now: float) -> Rates | None:
        """The limits in `headers`, or None. `now` in seconds since the epoch."""
        found = {name: _left(headers, spellings, now) for name, spellings in _HEADERS.items()}
        return Rates(**found) if any(found.values()) else None

    @staticmethod
    def seconds(text: str) -> float | None:
        """`1m30s`, `250ms`, `2.5` in seconds; None where it is none of these."""
        total, place = 0.0, 0
        text = text.strip().lower().rstrip(".")
        text = re.sub(r"sec\w*", "s", re.sub(r"min\w*", "m", text))
        while place < len(text):
            part = _PART.match(text, place)
            if part is None or part[1].count(".") > 1 or part[1] == ".":
                return None
            total += float(part[1]) * _UNITS[part[2]]
            place = part.end() + len(text[part.end() :]) - len(text[part.end() :].lstrip())
        return total if text else None


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the headers of a refusal ask to wait, or None."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    return parse_retry_after(headers.get("Retry-After"), now)


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait out of a Retry-After header, in seconds or as an HTTP date; None where it says nothing usable."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return Rates.seconds(value)
    return max(0.0, seconds) if seconds == seconds and seconds != float("inf") else None


def _left(headers: Mapping[str, str], spellings: list[list[str]], now: float) -> Left | None:
    for limit_name, remaining_name, reset_name in spellings:
        limit = _number(headers.get(limit_name))
        if limit and (remaining := _number(headers.get(remaining_name))) is not None:
            return Left(limit, remaining, _reset(headers.get(reset_name), now))
    return None


def _reset(value: str | None, now: float) -> float:
    """Seconds until a limit is whole again; a minute where it does not say."""
    seconds = Rates.seconds(value) if value else None
    if seconds is None:
        return 60.0
    if seconds > _EPOCH_MS:
        seconds /= 1000
    return max(0.0, seconds - now) if seconds > _EPOCH_S else seconds


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value else -1.0
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
