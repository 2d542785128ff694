"""Answers requests: from the ledger, else from an endpoint, with retries, a raised budget and a fallback.

A call, once it is sent, is waited for and recorded even where whoever asked has gone in the meantime: it is paid for.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from duel.calls import prices
from duel.calls.aftermath import GONE, HUNG, Aftermath, Call, Line
from duel.calls.failures import Failure, Meaning
from duel.calls.lane import NEVER_ANSWERED, Departure, ModelGone
from duel.calls.ledger import CUT, Ledger, now_in_utc
from duel.calls.level import START, Level
from duel.calls.neighbors import lease_path
from duel.calls.prices import Spending
from duel.calls.request import CUT_SHORT, Reply, Request
from duel.calls.route import Provider, Route
from duel.calls.run_summary import Summary
from duel.calls.seats import Seats, ShareOfRun, open_files_left
from duel.calls.wire import encode
from duel.errors import DuelError, ItemError, SettingsError
from duel.settings import Settings

if TYPE_CHECKING:
    from duel.calls.transport import HttpTransport

# How often calls in flight are looked at: which of them hang, which models are out for good.
LOOK_EVERY_S = 0.25
# A budget that thinking eats up is doubled until it is so many times what was asked; a cut answer is asked once more.
MOST_RAISE, ANSWER_RAISE = 8, 2


@dataclass
class Client:
    """The `Ask` that jobs are given."""

    route: Route
    settings: Settings
    ledger: Ledger
    transport: "HttpTransport"
    spending: Spending
    summary: Summary
    stopped: bool = False
    error: BaseException | None = None  # the first one that ends the run
    lines: dict[tuple[bool, str], Line] = field(default_factory=dict)  # is it the first provider, and the id there
    calls: dict[asyncio.Task[Reply], Call] = field(default_factory=dict)
    open_bytes: int = 0  # of the questions in `calls`
    _budgets: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """Stage, item and model -> the budget that the next try starts from, where a reply was cut."""
    _look: asyncio.TimerHandle | None = None

    def __post_init__(self) -> None:
        self.seats = Seats(open_files_left())
        self.aftermath = Aftermath(self)
        share = self.settings.endpoint.share
        self.share = ShareOfRun(Path(share), self.seats, self.spending, self.ledger.spent) if share else None

    async def __call__(self, request: Request) -> Reply:
        """The reply to `request`, durable. Raises ItemError where there is none to be had."""
        known = self.ledger.find(request)
        if known is not None and known.rejected != CUT:
            self.summary.from_ledger += 1
            return known
        if self.stopped:
            raise asyncio.CancelledError
        call = Call(request, self.first_budget(request, known))
        task = asyncio.create_task(self._answer(call))
        self.calls[task], self.open_bytes = call, self.open_bytes + request.size
        task.add_done_callback(self._closed)
        if self._look is None:
            self._look_again()
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not call.sent:
                task.cancel()
            raise

    def _closed(self, task: asyncio.Task[Reply]) -> None:
        self.open_bytes -= self.calls.pop(task).request.size
        if not task.cancelled():
            task.exception()  # it is seen, also where whoever asked has gone

    def reject(self, reply: Reply, reason: str) -> None:
        if reply.rejected != reason:
            self.ledger.reject(reply.key, reason)

    @property
    def hunger(self) -> int:
        if not self.lines:
            return 1
        return max((line.hunger for line in self.lines.values() if not line.held_s), default=0)

    def stop(self, error: BaseException | None = None, *, at_once: bool = False) -> None:
        """Let no further call out. Those in flight are waited for, unless `at_once`."""
        self.stopped, self.error = True, self.error or error
        for task, call in list(self.calls.items()):
            if at_once or not call.sent:
                self.summary.dropped += call.sent
                task.cancel()

    async def drain(self) -> None:
        while self.calls:
            await asyncio.wait(list(self.calls))
        if self._look is not None:
            self._look.cancel()
        for line in self.lines.values():
            line.level.leave()
            if line.down is not None:
                line.down.cancel()  # nothing is looked up any more

    def _look_again(self) -> None:
        """End what hangs, give up models that have been out for too long, and see what is shared out to this run."""
        loop = asyncio.get_running_loop()
        now, self._look = loop.time(), loop.call_later(LOOK_EVERY_S, self._look_again)
        if self.share is not None:
            self.share.look()
        known = [line.longest_s for line in self.lines.values() if line.answered_calls]
        for call in self.calls.values():
            if call.limit is None:
                continue
            line, longest_s = call.line, call.line.longest_s
            if not line.answered_calls:  # measured by the others
                longest_s = max([*known, line.endpoint.outage_s * NEVER_ANSWERED]) if known else float("inf")
            if line.over or now - call.sent_at > longest_s * 2 ** min(call.hung, 1):
                with contextlib.suppress(RuntimeError):  # it is ending already: the others are looked at all the same
                    call.limit.reschedule(now)
        for line in self.lines.values():
            if line.over and not line.gone:
                line.send_away(for_good=True)

    async def _answer(self, call: Call) -> Reply:
        """Ask until there is a reply that no larger budget would improve."""
        cut: Reply | None = None
        try:
            call.line = self.choose(call, None)
            while True:
                if call.line.down is not None:
                    await self.aftermath.meet_down(call, call.line.last_failure)
                outcome = await self._try(call)
                if isinstance(outcome, Reply):
                    most = min(self.route.max_tokens_cap, call.most_tokens or 2**53)
                    larger = larger_budget(outcome, call.request.max_tokens, call.max_tokens, most)
                    reply = await self._keep(call, outcome, rejected=CUT if larger else "")
                    if larger is None:
                        return reply
                    cut, call.cut_tokens, call.max_tokens, call.sent = reply, call.max_tokens, larger, False
                    self._budgets[call.request.stage, call.request.item, call.request.model] = larger
                    following = self.choose(call, None)
                else:
                    call.sent = False
                    wait = await self.aftermath.wait_after(call, outcome)
                    away = outcome.meaning is Meaning.REFUSED or outcome.unsent or call.faults > 1
                    following = self.choose(call, call.line if away else None)
                    if following is call.line and wait > 0:
                        await asyncio.sleep(wait)
                        following = self.choose(call, None)
                call.line = following
        except ItemError as error:
            if cut is None or error.reason != "too-long":
                raise
            self.ledger.reject(cut.key, "")  # nothing larger fits: the cut reply is all there is
            return replace(cut, rejected="")
        except DuelError as error:  # the run ends: the item did not fail, it stays open
            self.stop(error)
            raise asyncio.CancelledError from None

    async def _try(self, call: Call) -> Reply | Failure:
        """One call, from its turn in the lane to what came back, or takes many times as long as others."""
        loop, line = asyncio.get_running_loop(), call.line
        try:
            start = await line.enter(retry=call.tries > 0)
        except ModelGone:
            return GONE
        try:
            stream = self.route.endpoint.stream
            body = encode(call.request, line.model, call.max_tokens, stream=stream, dialect=line.dialect)
            call.body_bytes, call.asked_in = len(body), line.dialect.changes
            worst_case = line.worst_case(len(body), call.max_tokens)
            self.ledger.keep_room(self.seats.taken)
            await self.spending.reserve(worst_case)
            start.at = call.sent_at = loop.time()
            call.sent, call.tries = True, call.tries + 1
            self.summary.calls += 1
            try:
                async with asyncio.timeout(None) as call.limit:
                    outcome, rates = await self.transport.send(line.provider, body)
            except TimeoutError:
                call.hung += 1
                words = f"no reply for {loop.time() - start.at:.1f} s; others took {line.slowest_s:.1f} s"
                outcome, rates = Failure(HUNG, Meaning.FAULT, words, billed=True), {}
            finally:
                call.limit = None
        except BaseException:
            line.failed(start, counts=False)
            raise
        call.latency_s = loop.time() - start.at
        line.pace.observe(rates, start.before, loop.time())
        return self._settle(call, start, outcome, worst_case)

    def _settle(self, call: Call, start: Departure, outcome: Reply | Failure, worst_case: float) -> Reply | Failure:
        """Tell lane and spending what became of a call. A failed one costs what is told, or the worst case."""
        line, usage = call.line, outcome.usage
        if isinstance(outcome, Reply):
            usage = line.usage_of(outcome, call.body_bytes)
            line.answered(start, usage.get("prompt_tokens", 0) + usage.get("completion_tokens", 0))
            self.spending.settle(worst_case, prices.cost(line.price, usage))
            return outcome if usage is outcome.usage else replace(outcome, usage=usage)
        if outcome.billed and usage.get("completion_tokens") is None:  # the endpoint worked for it
            usage = line.estimate(call.body_bytes, call.max_tokens)
        dollars = prices.cost(line.price, usage) if usage else None
        self.summary.count(usage, dollars, line.model, outcome.kind)
        self.ledger.count_fault(call.request, outcome.kind, usage, dollars)
        self.spending.settle(worst_case, dollars)
        line.last_failure, self.summary.last_fault = outcome, outcome.told
        if outcome.kind == "no-file":
            self.seats.shrink()
        if outcome.meaning is Meaning.REFUSED:
            if outcome.per_time:
                line.is_paced()
            line.refused(start, outcome.retry_after_s, limited=outcome.status == 429)
        else:  # a call that hung while others were answered shows no outage
            late = outcome.kind == HUNG and line.answered_at > start.at
            line.failed(start, counts=outcome.meaning is Meaning.FAULT and not late)
        return outcome

    async def _keep(self, call: Call, reply: Reply, rejected: str = "") -> Reply:
        line, dollars = call.line, prices.cost(call.line.price, reply.usage)
        kept = reply.kept(
            line.model, provider=line.provider.name, cost=dollars, latency_s=round(call.latency_s, 4), tries=call.tries,
            at=now_in_utc(), rejected=rejected, key=call.request.key,
        )  # fmt: skip
        try:
            await self.ledger.put(call.request, kept)
        finally:
            line.saved()
        self.summary.count(reply.usage, dollars, line.model)
        self.aftermath.answered(call, reply, final=not rejected)
        return kept

    def first_budget(self, request: Request, known: Reply | None) -> int:
        """Tokens: what was asked for; more where a reply to this item was cut before."""
        budget = self._budgets.get((request.stage, request.item, request.model), request.max_tokens)
        if known is not None and known.rejected == CUT:
            used = 0 if known.usage.get("estimated") else int(known.usage.get("completion_tokens") or 0)
            budget = max(budget, 2 * max(used, request.max_tokens))
        return max(request.max_tokens, min(budget, MOST_RAISE * request.max_tokens, self.route.max_tokens_cap))

    def choose(self, call: Call, failed_at: Line | None) -> Line:
        """The first provider; the second where the first has just failed the call, is held back or is down."""
        model = call.request.model
        lines = [self.line(self.route.elsewhere.get(model, self.route.provider), model)]
        if self.route.fallback is not None and model not in self.route.elsewhere:
            lines.append(self.line(self.route.fallback, self.route.model_map.get(model, model)))
        if failed_at is lines[0]:
            lines.reverse()
        up = [line for line in lines if line.down is None]
        ready = [line for line in up if not line.out and not line.held_s]
        return (ready or up or lines)[0]

    def line(self, provider: Provider, model: str) -> Line:
        """Raises SettingsError where a budget is to hold and the model has no price."""
        key = (provider is not self.route.fallback, model)
        if key in self.lines:
            return self.lines[key]
        price = prices.price_of(model, self.settings, offline=provider.offline)
        if price is None and self.spending.limit is not None:
            what, where = "a budget needs a price for every model", "chain.toml [prices]"
            hint = 'write it as "model" = { input = …, output = … }, in dollars a million tokens; "*" is all others'
            raise SettingsError(what, where=where, value=model, hint=hint)
        limit = self.route.limits.get(model, self.route.default_limit)
        cap = min((cap for cap in (limit.max_concurrency, self.route.endpoint.concurrency) if cap), default=0)
        alone = cap or provider.offline or not self.settings.endpoint.neighbors
        lease = None if alone else lease_path(provider, model)
        self.lines[key] = Line(
            Level(cap, self.route.endpoint.concurrency or START, lease), self.route.endpoint, self.seats,
            limit.min_interval_s, self.route.hung_s, self.route.fallback is not None,
            provider=provider, model=model, price=price,
        )  # fmt: skip
        return self.lines[key]


def larger_budget(reply: Reply, asked: int, sent: int, most: int) -> int | None:
    """The budget to ask with after a reply that was cut at `sent` tokens; None where that reply is the last word."""
    if reply.finish_reason != CUT_SHORT:
        return None
    most = min((MOST_RAISE if reply.thought_only else ANSWER_RAISE) * asked, most)
    return min(2 * sent, most) if most > sent else None
