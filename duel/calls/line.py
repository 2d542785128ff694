"""One model of one provider, as calls meet it: its queue, its price, its dialect, and whether it is down."""

import asyncio
import zlib
from dataclasses import dataclass, field

from duel.calls import prices
from duel.calls.failures import Failure, Meaning
from duel.calls.lane import Lane
from duel.calls.prices import BYTES_PER_TOKEN
from duel.calls.request import Request
from duel.calls.route import Provider
from duel.calls.wire import Completion, Dialect
from duel.errors import DuelError
from duel.price_sections import Price

GONE = Failure("model-down", Meaning.REFUSED, "held back for too long without one reply")
# The kind of a call that was given up because its neighbors took far less time.
HUNG = "hung"
# A model that is down is tried again so often by a single call, as long as the run goes on without it.
PROBE_AGAIN_S = 60.0


@dataclass
class Line:
    """One model of one provider."""

    provider: Provider
    model: str
    lane: Lane
    price: Price | None
    dialect: Dialect = field(default_factory=Dialect)
    last_failure: Failure = GONE
    down: asyncio.Task[DuelError] | None = None
    """Why it is given up; the task looks up what helps the user."""
    down_at: float = 0.0
    probe_at: float = 0.0
    reached: bool = False
    """True once anything came back, so that the address is right."""
    cut_for_good: int = 0
    """Replies in a row that were thought alone, at the largest budget."""
    complete: bool = False
    """True once a reply was complete."""
    _tokens_per_byte: float = 1 / BYTES_PER_TOKEN

    def worst_case(self, body_bytes: int, max_tokens: int) -> float:
        """Dollars that one call costs at most; 0 where the price is unknown."""
        usage = {"prompt_tokens": int(body_bytes / BYTES_PER_TOKEN), "completion_tokens": max_tokens}
        return prices.cost(self.price, usage) or 0.0

    def estimate(self, body_bytes: int, completion_tokens: int) -> dict[str, int]:
        """The usage of a call of which nobody told, marked as an estimate."""
        prompt = max(1, round(body_bytes * self._tokens_per_byte))
        return {"prompt_tokens": prompt, "completion_tokens": completion_tokens, "estimated": 1}

    def usage_of(self, completion: Completion, body_bytes: int) -> dict[str, int]:
        """What a reply took; an endpoint that names no usage gets an estimate, so that a budget holds all the same."""
        if completion.usage.get("completion_tokens") is not None:
            if told := completion.usage.get("prompt_tokens"):
                self._tokens_per_byte += 0.1 * (told / body_bytes - self._tokens_per_byte)
            return completion.usage
        return self.estimate(body_bytes, completion.tokens_said)


@dataclass
class Call:
    """One request on its way to an answer."""

    request: Request
    max_tokens: int
    cut_tokens: int = 0
    """The budget at which the last reply was cut; 0: none was."""
    most_tokens: int = 0
    """The largest budget that fits the model's window; 0: not known."""
    refusals: int = 0
    faults: int = 0
    hung: int = 0
    tries: int = 0
    charged_at: int = -1
    """Replies of the model when this call was last charged with a failure."""
    latency_s: float = 0.0
    body_bytes: int = 0
    asked_in: int = 0
    """Changes that the model's dialect had seen when the body was made."""
    line: Line | None = None
    sent_at: float = 0.0
    limit: asyncio.Timeout | None = None
    """Ends the exchange that is going on; None: none is."""
    sent: bool = False
    """True from the moment it costs money until its reply is durable."""

    def jitter(self) -> float:
        """0 to 1, the same in every run."""
        return zlib.crc32(f"{self.request.key} {self.tries}".encode()) / 2**32

    def charge(self, failure: Failure) -> int:
        """Count a failure against this call, and return how many of its kind there were.

        Not while the model is out for everybody: then no call is to blame.
        """
        assert self.line is not None
        answered = self.line.lane.answered_calls
        if not self.line.lane.out or answered != self.charged_at:
            self.charged_at = answered
            if failure.meaning is Meaning.REFUSED:
                self.refusals += 1
            elif failure.kind != HUNG:
                self.faults += 1
        if failure.kind == HUNG:
            return self.hung
        return self.refusals if failure.meaning is Meaning.REFUSED else self.faults
