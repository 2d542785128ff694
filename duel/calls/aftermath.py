"""What a failed call asks for: another try, another budget or provider, the end of its item, its model or the run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import orjson

from duel.calls.failures import THOUGHT_ALONE, Failure, Meaning, down_error, fitting_tokens
from duel.calls.line import GONE, HUNG, PROBE_AGAIN_S, Call, Line
from duel.calls.wire import Completion, encode
from duel.errors import DuelError, ItemError

if TYPE_CHECKING:
    from duel.calls.client import Client

# Requests in a row that fail for good: where none was ever answered; where some were (a few prompts may be filtered, or
# too long for the model); refusals that concern the account or the model (401, 402, 403, 404); a spent quota.
FAILED_IN_A_ROW, FAILED_AMONG_GOOD, REFUSED_AMONG_GOOD, SPENT_AMONG_GOOD = 3, 20, 5, 2
# Connections tried before an address that has never answered is reported.
FIRST_TRIES = 2
# A reply smaller than this is not worth asking for.
SMALLEST_BUDGET = 256
# Not a matter of one request, however many were answered before.
_ALWAYS = frozenset({"tls", "address", "proxy-scheme"})


@dataclass
class Aftermath:
    """Decides for one client. A model that is given up fails its own calls; the run ends where too few are left."""

    client: Client

    async def wait_after(self, call: Call, line: Line, failure: Failure) -> float:
        """Seconds to wait before this model is tried again. Raises ItemError, or the error that ends the run."""
        if failure is GONE:
            return await self._after_gone(call, line)
        line.reached = line.reached or not failure.unsent
        if failure.status in (400, 422) and self._adapts(call, line, failure):
            return 0.0
        if failure.too_long:
            return self._fit(call, failure)
        route = self.client.route
        # An endpoint that asks to wait for longer than a run does has nothing left for today.
        longest_s = max(route.outage_s, route.max_429_wait_s)
        if failure.meaning is Meaning.REFUSED and (failure.retry_after_s or 0.0) > longest_s:
            failure = replace(failure, meaning=Meaning.RUN, spent=True)
        if self._is_for_good(call, line, failure):
            self._take_down(call, line, failure)
        if line.down is not None:
            return await self.meet_down(call, line)
        if failure.meaning in (Meaning.ITEM, Meaning.RUN):
            return await self._fail_item(call, line, failure)
        count = call.charge(failure)
        most = route.max_429_retries if failure.meaning is Meaning.REFUSED else route.retry_max
        if count > (3 * most if failure.kind == HUNG else most):
            return await self._fail_item(call, line, failure)
        return 0.0 if line.lane.out else self._delay(call, failure, count)

    def answered(self, call: Call, line: Line, completion: Completion, *, final: bool) -> None:
        """A reply came; `final` where no larger budget is tried. An older one revives no model that is down."""
        line.reached = True
        if line.down is not None and call.sent_at > line.down_at:
            line.down = None
            self.client.summary.down.pop(line.model, None)
        if final and not completion.thought_only:
            line.complete, line.cut_for_good = True, 0
        elif final:
            line.cut_for_good += 1
            if line.cut_for_good >= FAILED_IN_A_ROW and not line.complete and line.down is None:
                self._take_down(call, line, THOUGHT_ALONE)

    async def meet_down(self, call: Call, line: Line) -> float:
        """A call to a model that is down goes elsewhere, or now and then tries it; else it fails."""
        if self.client.choose(call, line).down is None:
            return 0.0
        now = asyncio.get_running_loop().time()
        if now >= line.probe_at:
            line.probe_at = now + PROBE_AGAIN_S
            line.lane.revive()
            return 0.0
        assert line.down is not None
        error = await asyncio.shield(line.down)
        if self.models_left < self.client.route.needed:
            raise error
        raise ItemError("model-down", f"{line.model}: {error.value}", where=call.request.item)

    @property
    def models_left(self) -> int:
        client = self.client
        models = {*client.route.models, *(model for first, model in client.lines if first)}
        return sum(not self._is_down(model) for model in models)

    def verdict(self) -> DuelError | None:
        """At the end of a run: the error of a model that answered nothing, if no other answered either."""
        lines = self.client.lines.values()
        silent = [line for line in lines if line.lane.given_up and not line.lane.answered_calls]
        for line in silent:
            self.client.summary.down.setdefault(line.model, line.last_failure.told)
        down = [line.down for line in lines if line.down is not None and line.down.done()]
        if down and self.models_left < self.client.route.needed:
            return down[0].result()
        if silent and not any(line.lane.answered_calls for line in lines):
            return down_error(silent[0].last_failure, silent[0].provider, silent[0].model)
        return None

    # -- the model -------------------------------------------------------------------------------------------------

    def _is_for_good(self, call: Call, line: Line, failure: Failure) -> bool:
        """True if every further call to this model would fail the same way."""
        answered = line.lane.answered_calls
        if failure.unsent and failure.meaning is Meaning.FAULT:
            reached = any(other.reached for other in self.client.lines.values() if other.provider is line.provider)
            return not reached and call.tries >= FIRST_TRIES
        if failure.kind == HUNG:
            return not answered
        if failure.meaning is not Meaning.RUN:
            return False
        if not answered or failure.kind in _ALWAYS:
            return True
        return line.lane.given_up + 1 >= (SPENT_AMONG_GOOD if failure.spent else REFUSED_AMONG_GOOD)

    def _take_down(self, call: Call, line: Line, failure: Failure) -> None:
        if line.down is None:
            line.down_at = asyncio.get_running_loop().time()
            line.probe_at = line.down_at + PROBE_AGAIN_S
            line.down = asyncio.create_task(self._explain(line, failure))
            line.lane.out = True
            line.lane.give_up()
            if self._is_down(call.request.model):
                self.client.summary.down[line.model] = failure.told

    async def _explain(self, line: Line, failure: Failure) -> DuelError:
        listed = await self.client.transport.models(line.provider) if failure.no_model else []
        return down_error(failure, line.provider, line.model, listed)

    def _is_down(self, model: str) -> bool:
        route, lines = self.client.route, self.client.lines
        keys = [(True, model)]
        if route.fallback is not None:
            keys.append((False, route.model_map.get(model, model)))
        return all(key in lines and lines[key].down is not None for key in keys)

    # -- the item --------------------------------------------------------------------------------------------------

    async def _after_gone(self, call: Call, line: Line) -> float:
        if line.lane.gone:
            self._take_down(call, line, line.last_failure)
        if line.down is not None:
            return await self.meet_down(call, line)
        if self.client.choose(call, line) is not line:
            return 0.0
        raise ItemError("model-out", f"{line.model} is out: {line.last_failure.told}", where=call.request.item)

    async def _fail_item(self, call: Call, line: Line, failure: Failure) -> float:
        """The item fails; after several in a row the model is given up."""
        line.lane.given_up += 1
        if line.lane.given_up >= (FAILED_AMONG_GOOD if line.lane.answered_calls else FAILED_IN_A_ROW):
            self._take_down(call, line, failure)
            return await self.meet_down(call, line)
        raise ItemError(failure.kind, failure.words, where=call.request.item)

    def _adapts(self, call: Call, line: Line, failure: Failure) -> bool:
        """True if the model was asked in a way that it refuses and that can be changed."""
        if call.asked_in != line.dialect.changes:  # another call has met the same refusal
            return True
        client = self.client
        body = encode(call.request, line.model, call.max_tokens, stream=client.route.stream, dialect=line.dialect)
        change = line.dialect.learn(failure.words, orjson.loads(body))
        if change:
            client.summary.adapted.append(f"{line.model}: {change}")
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

    # -- the wait --------------------------------------------------------------------------------------------------

    def _delay(self, call: Call, failure: Failure, count: int) -> float:
        """As long as the endpoint says and a little more; else anywhere up to a time that doubles with each try."""
        route = self.client.route
        if failure.retry_after_s is not None:
            return min(failure.retry_after_s, route.max_429_wait_s) * (1 + 0.03 * call.jitter())
        longest = route.retry_initial_backoff_s * 2.0 ** (max(count, 1) - 1)
        if failure.status in (0, 200):  # a broken connection or reply: no sign of load, which backing off would ease
            longest /= 4
        return min(longest, route.max_429_wait_s) * call.jitter()
