"""What can go wrong with one call, what each kind means for the request, the model and the run, and what helps."""

import difflib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import orjson

from duel.calls.rates import seconds_in
from duel.calls.route import Provider, proxy_for
from duel.errors import EndpointError, printable

# Words of an endpoint, never our own, with which it says that a request does not fit the model's window.
_TOO_LONG = re.compile(
    r"(?i)context[ _]?(length|window|size|limit)|maximum context|too (long|many tokens)|shorten|input.{0,4} too large|"
    r"max_(completion_)?tokens['`\" or_a-z]{0,40} is too large|at most \d+ (completion|output) tokens"
)
_LIMITED = re.compile(r"(?i)rate.?limit|too many requests|capacity|overloaded|no instances")
# A quota that only time or money brings back.
_SPENT = re.compile(r"(?i)insufficient_quota|per.?day|\bdaily\b|for today|monthly|exceeded your current quota")
# Limits on calls or tokens per time, as words tell of them.
_PER_TIME = re.compile(r"(?i)per.?(min|sec)|/ ?(min|sec)|\b[rt]p[ms]\b")
_WAIT = re.compile(r"(?i)(?:try|retry)\w* (?:again )?(?:in|after) ((?:[\d.]+ ?(?:ms|s|m|h|sec\w*|min\w*) ?)+)")
_NO_MODEL = re.compile(
    r"(?i)model\b.{0,120}\b(not found|does ?n.t exist|does not exist)|(invalid|unknown|no such) model|not a valid model"
)


class Meaning(Enum):
    REFUSED = "refused"  # no capacity now (429, 503, 529, a timeout): the level backs off, the request asks again
    FAULT = "fault"  # this call went wrong; the next may not
    ITEM = "item"  # this request will never be answered (400, 422); others may
    RUN = "run"  # every further call to this model would fail the same way, unless it has answered others


@dataclass(frozen=True)
class Failure:
    """One call without a usable reply."""

    kind: str  # counted under this name: "http-429", "timeout", "connection", "truncated", "empty", …
    meaning: Meaning
    words: str = ""  # the endpoint's own words, or the transport's
    status: int = 0
    retry_after_s: float | None = None
    usage: Mapping[str, int] = field(default_factory=dict)  # what the endpoint says it billed for the call
    billed: bool = False  # the endpoint worked for it, so that it costs money although no usage says how much
    unsent: bool = False  # the call never reached an endpoint (no connection)
    too_long: bool = False  # the request does not fit the model, which says nothing about other requests
    no_model: bool = False  # the endpoint does not know the model
    spent: bool = False  # the quota is used up, and no wait within a run brings it back
    per_time: bool = False  # the refusal speaks of calls or tokens per time, not of how many are out

    @property
    def told(self) -> str:
        return f"{self.kind}: {self.words}" if self.words else self.kind


def broken_reply(kind: str, words: str, usage: Mapping[str, int] | None = None) -> Failure:
    """A reply in a good status that is of no use, though the endpoint worked for it."""
    return Failure(kind, Meaning.FAULT, words, status=200, usage=usage or {}, billed=True)


def from_status(status: int, body: Any, retry_after_s: float | None = None) -> Failure:
    """What an HTTP status other than 200 means. `retry_after_s` is what the headers ask for."""
    words, code = error_words(body)
    failure = Failure(f"http-{status}", Meaning.RUN, words, status, retry_after_s)
    if status == 429 and _SPENT.search(f"{code} {words}"):
        return replace(failure, spent=True)
    if status in (429, 503, 529):
        wait = retry_after_s if retry_after_s is not None else wait_in_words(words)
        per_time = status == 429 and _PER_TIME.search(words) is not None
        return replace(failure, meaning=Meaning.REFUSED, retry_after_s=wait, per_time=per_time)
    if status in (400, 413, 422):
        words = words or ("the request is too large" if status == 413 else "")
        too_long = status == 413 or _TOO_LONG.search(words) is not None
        meaning = Meaning.RUN if (no_model := _NO_MODEL.search(words) is not None) else Meaning.ITEM
        return replace(failure, meaning=meaning, words=words, too_long=too_long, no_model=no_model)
    if status in (408, 409, 425) or status >= 500:
        return replace(failure, meaning=Meaning.FAULT)
    return replace(failure, no_model=status == 404)


def from_error_object(error: Any, usage: Mapping[str, int] | None = None) -> Failure:
    """An error that came with HTTP 200, in the body or as an event of the stream."""
    fields = error if isinstance(error, dict) else {}
    for code in (fields.get("code"), fields.get("status")):
        if isinstance(code, str) and code.isdecimal() and len(code) < 4:
            code = int(code)
        if isinstance(code, int) and 400 <= code <= 599:
            return replace(from_status(code, {"error": error}), usage=usage or {})
    words, label = error_words({"error": error})
    meaning = Meaning.REFUSED if _LIMITED.search(f"{label} {words}") else Meaning.FAULT
    return Failure("error-in-reply", meaning, words, usage=usage or {}, retry_after_s=wait_in_words(words))


def error_words(body: Any) -> tuple[str, str]:
    """(the endpoint's own words on one line, its error code) out of an error body of any shape, bytes or parsed."""
    try:
        parsed = orjson.loads(body) if isinstance(body, bytes) else body
        error = parsed.get("error", parsed) if isinstance(parsed, dict) else parsed
        if not isinstance(error, dict):
            return printable(error, 300), ""
        words = printable(error.get("message") or error.get("detail") or error.get("error") or error, 300)
        metadata = error.get("metadata")
        if raw := metadata.get("raw") if isinstance(metadata, dict) else None:  # of the provider behind OpenRouter
            behind, _ = error_words(raw.encode("utf-8", "replace") if isinstance(raw, str) else raw)
            words += f" ({printable(behind, 300)})"
        return words, str(error.get("code") or error.get("type") or "")
    except RecursionError:
        return "nested too deep", ""
    except ValueError:
        text = re.sub(r"<[^>]*>", " ", body[:4000].decode("utf-8", "replace"))
        return printable(" ".join(text.split()), 300), ""


def wait_in_words(words: str) -> float | None:
    """Seconds out of "Please try again in 1m2.5s"; None where no wait is named."""
    found = _WAIT.search(words)
    return seconds_in(found[1]) if found else None


def fitting_tokens(words: str, max_tokens: int) -> int | None:
    """The budget that would have fitted, out of the words that refuse `max_tokens`; None where they do not tell."""
    if most := re.search(r"(?i)at most (\d+) (?:completion|output) tokens", words):
        return int(most[1])
    window = re.search(r"(?i)(?:context (?:length|window|size|limit)|maximum)\D{0,40}?(?:\d+ \+ \d+ > )?(\d+)", words)
    if window is None:
        return None
    size, numbers = int(window[1]), [int(number) for number in re.findall(r"\d+", words.replace(",", ""))]
    asked = [number for number in numbers if number != max_tokens and number < size < number + max_tokens]
    asked += [number - max_tokens for number in numbers if size < number < size + max_tokens + size]
    asked = [number for number in asked if 0 < number < size]
    return size - max(asked) if asked else None


LISTED_MODELS = 5
# Not a failure of any call: replies that never reach their answer.
THOUGHT_ALONE = Failure("cut", Meaning.RUN, "the budget ends before the answer begins, also after it was raised")
_LATER = "is the model up? Run the same command again later: what was paid for is kept"
_REFUSED = "the request itself is refused: look at the model and its parameters in chain.toml"
_HINTS = dict.fromkeys(range(300, 400), "the key is never sent on: put the final address into the base URL") | {
    400: _REFUSED,
    401: "is the key in .env the right one for this endpoint?",
    402: "the account has no money left: pay in, then run the same command again",
    403: "the key is not allowed to do this: look at the account's permissions",
    405: "is the base URL the address of an OpenAI-compatible endpoint, such as https://host/v1?",
    422: _REFUSED,
    429: "the account's quota is used up: raise it, then run the same command again",
}


def down_error(failure: Failure, provider: Provider, model: str, listed: Sequence[str] = ()) -> EndpointError:
    """Why no call to `model` is worth making. `listed` are the model ids that the endpoint names."""
    name = printable(model)
    if failure is THOUGHT_ALONE:
        what = f"{name} thinks until every reply is cut"
    elif failure.meaning is not Meaning.RUN:
        what = f"no call to {name} is answered"
    elif failure.status:
        what = f"the endpoint refuses every call to {name}"
    else:
        what = f"the endpoint cannot be called for {name}"
    return EndpointError(what, where=provider.name, value=failure.told, hint=_hint(failure, provider, model, listed))


def _hint(failure: Failure, provider: Provider, model: str, listed: Sequence[str]) -> str:
    if failure is THOUGHT_ALONE or failure.kind == "empty":
        return (
            "raise [generate] max_tokens (for a judge: name it in thinking_models and raise thinking_max_tokens), "
            "or set [generate] thinking = false"
        )
    if failure.no_model and (not listed or model in listed):
        lists = "this model and yet does not find it" if listed else "no models"
        return f"the endpoint lists {lists}: is the base URL right, such as https://host/v1, and the model's id?"
    if failure.no_model:
        near = difflib.get_close_matches(model, listed, n=LISTED_MODELS, cutoff=0.3) or list(listed)
        names = ", ".join(printable(name, 100) for name in near[:LISTED_MODELS])
        return f"the endpoint lists {len(listed):,} models; nearest: {names}"
    if failure.spent and failure.retry_after_s:
        until = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + failure.retry_after_s))
        return f"it can go on at {until}: run the same command again then, what was paid for is kept"
    if failure.kind == "tls":
        return "certificates are always verified: is the address right, and is this machine's clock?"
    if failure.unsent:  # the address may be wrong, or the proxy, whose own key stays out of sight
        proxy = printable((proxy_for(provider.base_url) or "").rpartition("@")[2])
        if not proxy:
            return "is the base URL right, and is the network there?"
        named = f"the environment names the proxy {proxy} (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY): is it there"
        return f"{named}, and is the base URL right? NO_PROXY names hosts that need none"
    known = failure.meaning is Meaning.RUN or failure.status in (400, 422)
    return _HINTS.get(failure.status, "is the base URL right?") if known else _LATER
