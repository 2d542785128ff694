"""A call, its line to a model, and what a failure asks for: another try, budget or provider; the end of item or run."""

import asyncio
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import orjson

from duel.calls import prices
from duel.calls.failures import THOUGHT_ALONE, Failure, Meaning, down_error, fitting_tokens
from duel.calls.lane import Lane
from duel.calls.request import Reply, Request
from duel.calls.route import Provider
from duel.calls.wire import Dialect, encode
from duel.errors import DuelError, ItemError
from duel.history import BYTES_PER_TOKEN, estimate_tokens
from duel.sections import Price

if TYPE_CHECKING:
    from duel.calls.client import Client

GONE = Failure("model-down", Meaning.REFUSED, "held back for too long without one reply")
# The kind of a call that was given up because its neighbors took far less time.
HUNG = "hung"
# A model that is down is tried again so often by a single call, as long as the run goes on without it.
PROBE_AGAIN_S = 60.0
# Requests in a row that fail for good: where none was ever answered; where some were (a few prompts may be filtered, or
# too long for the model); refusals that concern the account or the model (401, 402, 403, 404); a spent quota.
FAILED_IN_A_ROW, FAILED_AMONG_GOOD, REFUSED_AMONG_GOOD, SPENT_AMONG_GOOD = 3, 20, 5, 2
# Connections tried before an address that has never answered is reported.
FIRST_TRIES = 2
# A reply smaller than this is not worth asking for.
SMALLEST_BUDGET = 256
# Not a matter of one request, however many were answered before.
_ALWAYS = frozenset({"tls", "address", "proxy-scheme"})


@dataclass(kw_only=True)
class Line(Lane):
    """One model of one provider, as calls meet it: its queue, its price, how it wants to be asked, whether it is up."""

    provider: Provider
    model: str
    price: Price | None
    dialect: Dialect = field(default_factory=Dialect)
    last_failure: Failure = GONE
    down: asyncio.Task[DuelError] | None = None  # why it is given up; the task looks up what helps the user
    down_at: float = 0.0
    probe_at: float = 0.0
    reached: bool = False  # anything came back, so that the address is right
    cut_for_good: int = 0  # replies in a row that were thought alone, at the largest budget
    complete: bool = False  # a reply was complete
    _tokens_per_byte: float = 1 / BYTES_PER_TOKEN

    def worst_case(self, body_bytes: int, max_tokens: int) -> float:
        """Dollars that one call costs at most; 0 where the price is unknown."""
        usage = {"prompt_tokens": int(body_bytes / BYTES_PER_TOKEN), "completion_tokens": max_tokens}
        return prices.cost(self.price, usage) or 0.0

    def estimate(self, body_bytes: int, completion_tokens: int) -> dict[str, int]:
        prompt = max(1, round(body_bytes * self._tokens_per_byte))
        return {"prompt_tokens": prompt, "completion_tokens": completion_tokens, "estimated": 1}

    def usage_of(self, reply: Reply, body_bytes: int) -> Mapping[str, int]:
        """What a reply took; an endpoint that names no usage gets an estimate, so that a budget holds all the same."""
        if reply.usage.get("completion_tokens") is None:
            return self.estimate(body_bytes, estimate_tokens(reply.text + reply.reasoning))
        if told := reply.usage.get("prompt_tokens"):
            self._tokens_per_byte += 0.1 * (told / body_bytes - self._tokens_per_byte)
        return reply.usage


@dataclass
class Call:
    request: Request
    max_tokens: int
    line: Line = field(init=False)  # where it goes now
    cut_tokens: int = 0  # the budget at which the last reply was cut; 0: none was
    most_tokens: int = 0  # the largest budget that fits the model's window; 0: not known
    refusals: int = 0
    faults: int = 0
    hung: int = 0
    tries: int = 0
    charged_at: int = -1  # replies of the model when this call was last charged with a failure
    latency_s: float = 0.0
    body_bytes: int = 0
    asked_in: int = 0  # changes that the model's dialect had seen when the body was made
    sent_at: float = 0.0
    limit: asyncio.Timeout | None = None  # ends the exchange that is going on; None: none is
    sent: bool = False  # from the moment it costs money until its reply is durable

    def charge(self, failure: Failure) -> int:
        """Count a failure against this call, and return how many of its kind there were.

        Not while the model is out for everybody: then no call is to blame.
        """
        answered, refused = self.line.answered_calls, failure.meaning is Meaning.REFUSED
        if not self.line.out or answered != self.charged_at:
            self.charged_at = answered
            self.refusals += refused
            self.faults += not refused and failure.kind != HUNG
        return self.hung if failure.kind == HUNG else self.refusals if refused else self.faults


@dataclass
class Aftermath:
    """Decides for one client. A model that is given up fails its own calls; the run ends where too few are left."""

    client: "Client"

    async def wait_after(self, call: Call, failure: Failure) -> float:
        """Seconds to wait before this model is tried again. Raises ItemError, or the error that ends the run."""
        line, endpoint, refused = call.line, self.client.route.endpoint, failure.meaning is Meaning.REFUSED
        if failure is GONE:
            if line.gone or line.down is not None:
                return await self.meet_down(call, line.last_failure)
            if self.client.choose(call, line) is not line:
                return 0.0
            raise ItemError("model-out", f"{line.model} is out: {line.last_failure.told}", where=call.request.item)
        line.reached = line.reached or not failure.unsent
        if failure.status in (400, 422) and self._adapts(call, failure):
            return 0.0
        if failure.too_long:
            return self._fit(call, failure)
        # An endpoint that asks to wait for longer than a run does has nothing left for today.
        if refused and (failure.retry_after_s or 0.0) > max(endpoint.outage_s, endpoint.max_429_wait_s):
            failure, refused = replace(failure, meaning=Meaning.RUN, spent=True), False
        if line.down is not None or self._is_for_good(call, failure):
            return await self.meet_down(call, failure)
        passing = failure.meaning not in (Meaning.ITEM, Meaning.RUN)
        count = call.charge(failure) if passing else 0
        most = endpoint.max_429_retries if refused else endpoint.retry_max * (3 if failure.kind == HUNG else 1)
        if not passing or count > most:
            line.given_up += 1
            if line.given_up < (FAILED_AMONG_GOOD if line.answered_calls else FAILED_IN_A_ROW):
                raise ItemError(failure.kind, failure.words, where=call.request.item)
            return await self.meet_down(call, failure)
        if line.out:
            return 0.0
        jitter = zlib.crc32(f"{call.request.key} {call.tries}".encode()) / 2**32  # 0 to 1, the same in every run
        # As long as the endpoint says and a little more; else anywhere up to a time that doubles with each try.
        if failure.retry_after_s is not None:
            return min(failure.retry_after_s, endpoint.max_429_wait_s) * (1 + 0.03 * jitter)
        longest = endpoint.retry_initial_backoff_s * 2.0 ** (max(count, 1) - 1)
        if failure.status in (0, 200):  # a broken connection or reply: no sign of load, which backing off would ease
            longest /= 4
        return min(longest, endpoint.max_429_wait_s) * jitter

    def answered(self, call: Call, reply: Reply, *, final: bool) -> None:
        """A reply came; `final` where no larger budget is tried. An older one revives no model that is down."""
        line = call.line
        line.reached = True
        if line.down is not None and call.sent_at > line.down_at:
            line.down = None
            self.client.summary.down.pop(line.model, None)
        if final and not reply.thought_only:
            line.complete, line.cut_for_good = True, 0
        elif final:
            line.cut_for_good += 1
            if line.cut_for_good >= FAILED_IN_A_ROW and not line.complete and line.down is None:
                self._take_down(call, THOUGHT_ALONE)

    async def meet_down(self, call: Call, why: Failure) -> float:
        """The model is down, or is given up now: a call goes elsewhere, or now and then tries it; else it fails."""
        down = self._take_down(call, why)
        line, now = call.line, asyncio.get_running_loop().time()
        if self.client.choose(call, line).down is None:
            return 0.0
        if now >= line.probe_at:
            line.probe_at = now + PROBE_AGAIN_S
            line.revive()
            return 0.0
        error = await asyncio.shield(down)
        if self._too_few_are_left():
            raise error
        raise ItemError("model-down", f"{line.model}: {error.value}", where=call.request.item)

    def verdict(self) -> DuelError | None:
        """At the end of a run: the error of a model that answered nothing, if no other answered either."""
        lines = self.client.lines.values()
        silent = [line for line in lines if line.given_up and not line.answered_calls]
        for line in silent:
            self.client.summary.down.setdefault(line.model, line.last_failure.told)
        down = [line.down for line in lines if line.down is not None and line.down.done()]
        if down and self._too_few_are_left():
            return down[0].result()
        if silent and not any(line.answered_calls for line in lines):
            return down_error(silent[0].last_failure, silent[0].provider, silent[0].model)
        return None

    def _too_few_are_left(self) -> bool:
        models = {*self.client.route.models, *(model for first, model in self.client.lines if first)}
        return sum(not self._is_down(model) for model in models) < self.client.route.needed

    def _is_down(self, model: str) -> bool:
        route, lines = self.client.route, self.client.lines
        keys = [(True, model)] + [(False, route.model_map.get(model, model))] * (route.fallback is not None)
        return all(key in lines and lines[key].down is not None for key in keys)

    def _is_for_good(self, call: Call, failure: Failure) -> bool:
        """True if every further call to this model would fail the same way."""
        line = call.line
        if failure.unsent and failure.meaning is Meaning.FAULT:
            reached = any(other.reached for other in self.client.lines.values() if other.provider is line.provider)
            return not reached and call.tries >= FIRST_TRIES
        if failure.kind == HUNG:
            return not line.answered_calls
        if failure.meaning is not Meaning.RUN:
            return False
        most = SPENT_AMONG_GOOD if failure.spent else REFUSED_AMONG_GOOD
        return not line.answered_calls or failure.kind in _ALWAYS or line.given_up + 1 >= most

    def _take_down(self, call: Call, failure: Failure) -> asyncio.Task[DuelError]:
        line = call.line
        if line.down is not None:
            return line.down

        async def explain() -> DuelError:
            listed = await self.client.transport.models(line.provider) if failure.no_model else []
            return down_error(failure, line.provider, line.model, listed)

        line.down, line.down_at = asyncio.create_task(explain()), asyncio.get_running_loop().time()
        line.probe_at = line.down_at + PROBE_AGAIN_S
        line.out = True
        line.send_away(for_good=True)
        if self._is_down(call.request.model):
            self.client.summary.down[line.model] = failure.told
        return line.down

    def _adapts(self, call: Call, failure: Failure) -> bool:
        """True if the model was asked in a way that it refuses and that can be changed."""
        line, asked = call.line, call.request
        if call.asked_in != line.dialect.changes:  # another call has met the same refusal
            return True
        stream = self.client.route.endpoint.stream
        body = encode(asked, line.model, call.max_tokens, stream=stream, dialect=line.dialect)
        if change := line.dialect.learn(failure.words, orjson.loads(body)):
            self.client.summary.adapted.append(f"{line.model}: {change}")
        return bool(change)

    def _fit(self, call: Call, failure: Failure) -> float:
        """Ask for what fits the model's window, where that is more than what was cut before."""
        fitting = fitting_tokens(failure.words, call.max_tokens)
        if fitting is None and call.cut_tokens and call.max_tokens - call.cut_tokens > call.cut_tokens // 8:
            fitting = (call.cut_tokens + call.max_tokens) // 2
        least = max(call.cut_tokens, min(SMALLEST_BUDGET, call.request.max_tokens - 1))
        if fitting is None or not least < fitting < call.max_tokens:
            raise ItemError("too-long", failure.words, where=call.request.item)
        call.max_tokens = call.most_tokens = fitting
        return 0.0
