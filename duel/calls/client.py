"""Answers requests: from the ledger, else from an endpoint, with retries, a raised budget and a fallback.

A call, once it is sent, is waited for and recorded even where whoever asked has gone in the meantime: it is paid for.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from duel.calls import prices, trouble
from duel.calls.failures import Failure, Meaning, is_too_long
from duel.calls.lane import Lane, ModelGone
from duel.calls.ledger import Ledger, now_in_utc
from duel.calls.level import START, Level
from duel.calls.request import Reply, Request
from duel.calls.route import Provider, Route
from duel.calls.spending import BYTES_PER_TOKEN, Spending
from duel.calls.summary import Summary
from duel.calls.transport import Transport
from duel.calls.wire import Completion, encode
from duel.errors import DuelError, ItemError, SettingsError
from duel.sections import Price
from duel.settings import Settings

# So many requests in a row that fail for good mean that every one would: where none was ever answered, and where some
# were (a few prompts may be too long for a model, or filtered).
FAILED_IN_A_ROW, FAILED_AMONG_GOOD = 3, 20
CUT = "cut"
GONE = Failure("unavailable", Meaning.REFUSED, "held back too often without one reply")


@dataclass
class Line:
    """One model of one provider, as calls meet it."""

    provider: Provider
    model: str
    lane: Lane
    price: Price | None
    without: frozenset[str] = frozenset()
    """Optional parameters that it refuses."""
    last_failure: Failure = GONE


@dataclass
class Call:
    """One request on its way to an answer."""

    request: Request
    max_tokens: int
    refusals: int = 0
    faults: int = 0
    tries: int = 0
    latency_s: float = 0.0
    sent: bool = False
    """True from the moment it costs money until its reply is durable."""

    def jitter(self) -> float:
        """0 to 1, the same in every run."""
        return zlib.crc32(f"{self.request.key} {self.tries}".encode()) / 2**32


@dataclass
class Client:
    """The `Ask` that jobs are given."""

    route: Route
    settings: Settings
    ledger: Ledger
    transport: Transport
    spending: Spending
    summary: Summary
    on_stop: Callable[[DuelError], None]
    """Told, once or more, why the run must end."""
    stopped: bool = False
    lines: dict[tuple[bool, str], Line] = field(default_factory=dict)
    """By whether the provider is the first, and the model's id there."""
    _calls: dict[asyncio.Task[Reply], Call] = field(default_factory=dict)

    async def __call__(self, request: Request) -> Reply:
        """The reply to `request`, durable. Raises ItemError where there is none to be had."""
        known = self.ledger.find(request)
        if known is not None and known.rejected != CUT:
            self.summary.from_ledger += 1
            return known
        if self.stopped:
            raise asyncio.CancelledError
        call = Call(request, request.max_tokens if known is None else self._raised(request))
        task = asyncio.create_task(self._answer(call))
        self._calls[task] = call
        task.add_done_callback(self._forget)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not call.sent:
                task.cancel()
            raise

    def reject(self, reply: Reply, reason: str) -> None:
        """Keep the reply, and remember why it was not taken."""
        if reply.rejected != reason:
            self.ledger.reject(reply.key, reason)

    # -- what the runner needs -------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Calls that are out."""
        return sum(line.lane.level.in_flight for line in self.lines.values())

    @property
    def hungry(self) -> bool:
        """True where some model could take more work than is waiting for it."""
        return not self.lines or any(line.lane.hungry and not line.lane.held for line in self.lines.values())

    def stop(self, *, at_once: bool = False) -> None:
        """Let no further call out. Those in flight are waited for, unless `at_once`."""
        self.stopped = True
        for task, call in list(self._calls.items()):
            if at_once or not call.sent:
                task.cancel()

    async def drain(self) -> None:
        """Wait for every call in flight; each is recorded."""
        while self._calls:
            await asyncio.wait(list(self._calls))

    def _forget(self, task: asyncio.Task[Reply]) -> None:
        self._calls.pop(task, None)
        if not task.cancelled():
            task.exception()  # seen, also where whoever asked has gone

    # -- one request -----------------------------------------------------------------------------------------------

    async def _answer(self, call: Call) -> Reply:
        try:
            line, completion = await self._complete(call)
            if completion.finish_reason == "length" and call.max_tokens < self._raised(call.request):
                await self._keep(call, line, completion, rejected=CUT)
                call.max_tokens, call.sent = self._raised(call.request), False
                line, completion = await self._complete(call)
            return await self._keep(call, line, completion)
        except ItemError:
            raise
        except DuelError as error:  # the run ends: the item did not fail, it stays open
            self.on_stop(error)
            raise asyncio.CancelledError from None

    async def _complete(self, call: Call) -> tuple[Line, Completion]:
        """Try until there is a completion. Raises ItemError where retries are used up, EndpointError, BudgetSpent."""
        line = self._choose(call, None)
        while True:
            outcome = await self._try(call, line)
            if isinstance(outcome, Completion):
                return line, outcome
            call.sent = False
            if outcome is not GONE:
                self.summary.faults[outcome.kind] += 1
                self.ledger.count_fault(call.request, outcome.kind)
            following = self._choose(call, line if outcome.meaning is Meaning.REFUSED else None)
            wait = await self._after(call, line, outcome, may_wait=following is line)
            if wait > 0:
                await asyncio.sleep(wait)
            line = following

    async def _try(self, call: Call, line: Line) -> Completion | Failure:
        """One call, from its turn in the lane to what came back."""
        try:
            ticket = await line.lane.enter(retry=call.tries > 0)
        except ModelGone:
            return GONE
        body = encode(call.request, line.model, call.max_tokens, stream=self.route.stream, without=line.without)
        worst_case = self._worst_case(line, call, len(body))
        try:
            await self.spending.reserve(worst_case)
        except BaseException:
            line.lane.failed(ticket)
            raise
        loop = asyncio.get_running_loop()
        started = loop.time()
        call.sent, call.tries = True, call.tries + 1
        self.summary.calls += 1
        outcome = await self.transport.send(line.provider, body, stream=self.route.stream)
        call.latency_s = loop.time() - started
        if isinstance(outcome, Completion):
            # The slot is free before the reply is durable: the disk must not slow the wire.
            line.lane.answered(ticket, started)
            outcome = _with_usage(outcome, len(body))
            self.spending.settle(worst_case, prices.cost(line.price, outcome.usage))
            return outcome
        self.spending.settle(worst_case, None)
        line.last_failure = outcome
        if outcome.meaning is Meaning.REFUSED or outcome.unsent:
            line.lane.refused(ticket, started, outcome.retry_after_s)
        else:
            line.lane.failed(ticket)
        return outcome

    async def _keep(self, call: Call, line: Line, completion: Completion, rejected: str = "") -> Reply:
        """Make a reply of it, durable."""
        dollars = prices.cost(line.price, completion.usage)
        reply = Reply(
            text=completion.text,
            reasoning=completion.reasoning,
            finish_reason=completion.finish_reason,
            model=completion.model or line.model,
            provider=line.provider.name,
            usage=completion.usage,
            cost=dollars,
            latency_s=round(call.latency_s, 4),
            tries=call.tries,
            at=now_in_utc(),
            rejected=rejected,
            key=call.request.key,
        )
        await self.ledger.put(call.request, reply)
        self.summary.count_reply(completion.usage, dollars, line.model)
        return reply

    # -- what a failure asks for -----------------------------------------------------------------------------------

    async def _after(self, call: Call, line: Line, failure: Failure, *, may_wait: bool) -> float:
        """Seconds to wait before the next try; raises where there is none."""
        if failure.meaning is Meaning.RUN:
            raise await self._end_of_run(call, line, failure)
        if failure.drop and failure.drop not in line.without:
            line.without |= {failure.drop}
            return 0.0
        if failure.meaning is Meaning.ITEM:
            raise self._given_up(call, line, failure)
        if failure is GONE and may_wait:
            raise self._given_up(call, line, failure)
        if failure.status in (429, 503, 529) or failure.kind == "error-in-reply":
            call.refusals += 1
            if call.refusals > self.route.max_429_retries:
                raise self._given_up(call, line, failure)
            count = call.refusals
        else:
            call.faults += failure is not GONE
            if call.faults > self.route.retry_max:
                raise self._given_up(call, line, failure)
            count = call.faults
        return self._wait(call, failure, count) if may_wait else 0.0

    async def _end_of_run(self, call: Call, line: Line, failure: Failure) -> DuelError:
        """What to tell the user; the first call that learns it stops the others while it looks up what helps."""
        if self.stopped:
            raise asyncio.CancelledError
        call.sent = True  # this one is to go on
        self.stop()
        listed = await self.transport.models(line.provider) if failure.status == 404 else []
        return trouble.endpoint_error(failure, line.provider, line.model, listed)

    def _wait(self, call: Call, failure: Failure, count: int) -> float:
        """As long as the endpoint says and a little more; else anywhere up to a time that doubles with each try."""
        if failure.retry_after_s is not None:
            return min(failure.retry_after_s, self.route.max_429_wait_s) * (1 + 0.03 * call.jitter())
        longest = self.route.retry_initial_backoff_s * 2.0 ** (count - 1)
        if failure.status in (0, 200):  # a broken connection or reply: no sign of load, which backing off would ease
            longest /= 4
        return min(longest, self.route.max_429_wait_s) * call.jitter()

    def _given_up(self, call: Call, line: Line, failure: Failure) -> DuelError:
        """The item fails; or the run ends, where every further item would fail as well."""
        if is_too_long(failure):
            return ItemError("too-long", failure.words, where=call.request.item)
        seen = line.last_failure if failure is GONE else failure
        line.lane.given_up += 1
        enough = FAILED_AMONG_GOOD if line.lane.answered_calls else FAILED_IN_A_ROW
        others_answer = failure is GONE and any(not other.lane.held for other in self.lines.values())
        if line.lane.given_up >= enough and not others_answer:
            return trouble.silent_error(seen, line.provider, line.model)
        return ItemError(failure.kind, seen.words, where=call.request.item)

    def verdict(self) -> DuelError | None:
        """At the end of a run: the error of a model that failed every request and answered none, where there is one."""
        for line in self.lines.values():
            if line.lane.given_up and not line.lane.answered_calls:
                return trouble.silent_error(line.last_failure, line.provider, line.model)
        return None

    # -- where a call goes -----------------------------------------------------------------------------------------

    def _choose(self, call: Call, refused_by: Line | None) -> Line:
        """The first provider; the second where the first has just refused the call, or is held back."""
        first = self._line(self.route.provider, call.request.model)
        if self.route.fallback is None or (refused_by is not first and not first.lane.held):
            return first
        model = self.route.model_map.get(call.request.model, call.request.model)
        second = self._line(self.route.fallback, model)
        return first if refused_by is second and not first.lane.held else second

    def _line(self, provider: Provider, model: str) -> Line:
        key = (provider is self.route.provider, model)
        if key not in self.lines:
            limit = self.route.limit(model)
            caps = [cap for cap in (limit.max_concurrency, self.route.concurrency) if cap]
            lane = Lane(
                Level(min(caps, default=0), self.route.concurrency or START),
                min_interval_s=limit.min_interval_s,
                first_hold_s=self.route.retry_initial_backoff_s,
                longest_hold_s=self.route.max_429_wait_s,
                most_holds=self.route.max_429_retries,
            )
            price = prices.price_of(model, self.settings, offline=provider.offline)
            if price is None and self.spending.limit is not None:
                raise SettingsError(
                    "a budget needs a price for every model",
                    where="chain.toml [prices]",
                    value=model,
                    hint='write it as "model" = { input = …, output = … }, in dollars a million tokens',
                )
            self.lines[key] = Line(provider, model, lane, price)
        return self.lines[key]

    def _raised(self, request: Request) -> int:
        return max(request.max_tokens, min(2 * request.max_tokens, self.route.max_tokens_cap))

    def _worst_case(self, line: Line, call: Call, body_bytes: int) -> float:
        usage = {"prompt_tokens": int(body_bytes / BYTES_PER_TOKEN), "completion_tokens": call.max_tokens}
        return prices.cost(line.price, usage) or 0.0


def _with_usage(completion: Completion, body_bytes: int) -> Completion:
    """An endpoint that names no usage gets an estimate, marked as one, so that a budget holds all the same."""
    if completion.usage.get("completion_tokens") is not None:
        return completion
    said = len(completion.text.encode("utf-8", "replace")) + len(completion.reasoning.encode("utf-8", "replace"))
    usage = {
        "prompt_tokens": int(body_bytes / BYTES_PER_TOKEN),
        "completion_tokens": int(said / BYTES_PER_TOKEN) + 1,
        "estimated": 1,
    }
    return Completion(completion.text, completion.reasoning, completion.finish_reason, completion.model, usage)
