"""What can go wrong with one call, and what each kind means for the request, the model and the run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

import orjson

from duel.errors import printable

# A context that is too long is the item's fault alone, however many calls to the model have succeeded.
_TOO_LONG = re.compile(
    r"(?i)context[ _]?(length|window|size)|maximum context|too (long|many tokens)|shorten|input.{0,4} too large"
)
# Parameters that can be left out without loss, by the words with which endpoints refuse them.
_OPTIONAL = ("response_format", "chat_template_kwargs", "stream_options")


class Meaning(Enum):
    """What a failure asks for."""

    REFUSED = "refused"
    """No capacity now (429, 503, 529, a timeout): the level backs off, the request waits and asks again."""
    FAULT = "fault"
    """This call went wrong; the next may not."""
    ITEM = "item"
    """This request will never be answered (400, 422); others may."""
    RUN = "run"
    """Every further call would fail the same way."""


@dataclass(frozen=True)
class Failure:
    """One call without a usable reply."""

    kind: str
    """Counted under this name: "http-429", "timeout", "connection", "truncated", "empty", …"""
    meaning: Meaning
    words: str = ""
    """The endpoint's own words, or the transport's."""
    status: int = 0
    retry_after_s: float | None = None
    drop: str = ""
    """The optional parameter that the endpoint does not know: leave it out and ask again."""
    unsent: bool = False
    """The call never reached an endpoint (no connection)."""


def from_status(status: int, body: bytes, retry_after: str | None, now: float) -> Failure:
    """What an HTTP status other than 200 means. `now` is the time in seconds since the epoch."""
    words, code = error_words(body)
    kind = f"http-{status}"
    if status == 429 and code == "insufficient_quota":
        return Failure(kind, Meaning.RUN, words, status)
    if status in (429, 503, 529):
        return Failure(kind, Meaning.REFUSED, words, status, parse_retry_after(retry_after, now))
    if status in (400, 422):
        drop = next((name for name in _OPTIONAL if name in words), "")
        return Failure(kind, Meaning.ITEM, words, status, drop=drop)
    if status in (408, 409, 425) or status >= 500:
        return Failure(kind, Meaning.FAULT, words, status, parse_retry_after(retry_after, now))
    if status == 413:
        return Failure(kind, Meaning.ITEM, words or "the request is too large", status)
    return Failure(kind, Meaning.RUN, words, status)


def from_error_object(error: Any, now: float) -> Failure:
    """An error that came with HTTP 200, in the body or as an event of the stream."""
    code = error.get("code") if isinstance(error, dict) else None
    if not isinstance(code, int) and not (isinstance(code, str) and code.isdigit()):
        code = error.get("status") if isinstance(error, dict) else None
    status = int(code) if isinstance(code, int) or (isinstance(code, str) and code.isdigit()) else 0
    if not 400 <= status <= 599:
        words = error_words(orjson.dumps({"error": error}))[0]
        limited = re.search(r"(?i)rate.?limit|too many requests|capacity|overloaded|no instances", words)
        return Failure("error-in-reply", Meaning.REFUSED if limited else Meaning.FAULT, words)
    return from_status(status, orjson.dumps({"error": error}), None, now)


def is_too_long(failure: Failure) -> bool:
    """True where the request does not fit the model, so that it says nothing about other requests."""
    return failure.status == 413 or bool(_TOO_LONG.search(failure.words))


def error_words(body: bytes) -> tuple[str, str]:
    """(the endpoint's own words on one line, its error code) out of an error body of any shape."""
    try:
        parsed = orjson.loads(body)
    except ValueError:
        text = re.sub(r"<[^>]*>", " ", body[:4000].decode("utf-8", "replace"))
        return printable(" ".join(text.split()), 300), ""
    error = parsed.get("error", parsed) if isinstance(parsed, dict) else parsed
    if not isinstance(error, dict):
        return printable(error, 300), ""
    words = error.get("message") or error.get("detail") or error.get("error") or error
    return printable(words, 300), str(error.get("code") or error.get("type") or "")


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
            return None
    return max(0.0, seconds) if seconds == seconds and seconds != float("inf") else None
