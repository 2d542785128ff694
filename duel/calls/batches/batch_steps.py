"""A batch on its way, a step at a time, each durable before the next, until what it brought is in the ledger."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from duel.calls import prices
from duel.calls.batches.batch_link import Link, LinkFailed
from duel.calls.batches.batch_rows import CANCELED, Batch, BatchAsked, BatchProvider, BatchRows, Standing
from duel.calls.client import larger_budget
from duel.calls.failures import Failure, Meaning
from duel.calls.ledger import CUT, now_in_utc
from duel.calls.prices import BYTES_PER_TOKEN
from duel.calls.request import Reply
from duel.calls.route import Route
from duel.calls.run_summary import Summary
from duel.calls.transport import MAX_REPLY_BYTES
from duel.calls.wire import CUT as CUT_SHORT
from duel.calls.wire import WINDOW_FULL, Completion, parse_json
from duel.command import say
from duel.errors import EndpointError, printable
from duel.settings import Settings

# Results that become durable together.
AT_ONCE = 200
# After its deadline a batch is canceled; so much later it is given up, canceled or not.
GRACE_S = 3600.0
# The provider has a batch: it said so when asked to create it, or lists one that seems to be it.
KNOWN_THERE = frozenset({"created", "found"})
# Results that are not there, and will not be.
GONE = frozenset({404, 410})
# The whole batch was refused because too much waits at the provider already: it goes again later.
_FULL = re.compile(r"(?i)token.?limit|enqueued|too many|rate.?limit|queue")


@dataclass
class Passage:
    """The steps of the batches at one provider."""

    rows: BatchRows
    link: Link
    shape: BatchProvider
    route: Route
    settings: Settings
    summary: Summary
    """Counts the replies that come."""

    async def step(self, batch: Batch) -> bool:
        """Go as far as possible now; True once the batch is done. Raises LinkFailed, EndpointError."""
        if batch.state not in KNOWN_THERE:
            try:
                batch = await self.hand_in(batch)
            except FileNotFoundError:
                say(f"batch {batch.id}: its input `{batch.path}` is gone; what it asked is asked anew")
                self._forget(batch)
                return True
        try:
            standing = await self.shape.look(self.link, batch)
        except LinkFailed as error:
            if error.failure.status != 404:
                raise
            return self._done(batch, "gone", "gone")
        if standing.status != batch.status:
            batch = self.rows.set(batch, status=standing.status)
            say(f"batch {batch.id}: {batch.model}, {_shown(standing)}")
        if not standing.ended:
            return await self._is_overdue(batch, standing)
        try:
            return await self._bring(batch, standing)
        except LinkFailed as error:
            if self._over_s(batch) <= GRACE_S or error.failure.status not in GONE:
                raise
            return self._done(batch, "gone", "gone")

    async def hand_in(self, batch: Batch) -> Batch:
        """Upload and create what is not; a batch that may be there already is looked for first. Raises LinkFailed."""
        try:
            if batch.state == "written":
                batch = self.rows.set(batch, file=await self.shape.upload(self.link, batch), state="uploaded")
            found = ""
            if batch.state == "creating":
                taken = {row.batch for row in self.rows.all()} | set(batch.others.split())
                found = await self.shape.find(self.link, batch, taken)
            else:
                batch = self.rows.set(batch, state="creating")
            if found:
                return self.rows.set(batch, batch=found, state="found")
            return self.rows.set(batch, batch=await self.shape.create(self.link, batch), state="created")
        except LinkFailed as error:
            if _is_final(error.failure):
                self._forget(batch)
                raise refused(batch, error.failure.told) from None
            raise

    async def cancel(self, batch: Batch) -> None:
        """Have a batch end; what is done by then comes with the next step. Raises LinkFailed."""
        if batch.state == "creating":
            taken = {row.batch for row in self.rows.all()} | set(batch.others.split())
            if found := await self.shape.find(self.link, batch, taken):
                batch = self.rows.set(batch, batch=found, state="found")
        if batch.state in KNOWN_THERE:
            await self.shape.cancel(self.link, batch)
        else:
            self._forget(batch)

    async def _is_overdue(self, batch: Batch, standing: Standing) -> bool:
        over_s = self._over_s(batch)
        if over_s > GRACE_S:
            return self._done(batch, "deadline", "deadline")
        if over_s > 0 and not standing.status.startswith("cancel"):
            say(f"batch {batch.id} is past `deadline_h`: it is canceled")
            await self.shape.cancel(self.link, batch)
        return False

    async def _bring(self, batch: Batch, standing: Standing) -> bool:
        """Take in the results of a batch that has ended, however it ended: what it did is paid for."""
        paths = await self.shape.fetch(self.link, batch, standing, Path(batch.path).parent)
        known = strange = 0
        for path in paths:
            found = self.absorb(batch, path)
            known, strange = known + found[0], strange + found[1]
        for path in paths:
            path.unlink(missing_ok=True)
        if strange and not known and batch.state == "found":  # by its size alone, and it is another's
            self.rows.set(batch, state="creating", batch="", others=f"{batch.others} {batch.batch}".strip())
            return False
        if standing.status == "failed" and not known:
            if _FULL.search(standing.why):
                say(f"batch {batch.id} waits: {printable(standing.why, 200)}")
                others = f"{batch.others} {batch.batch}".strip()
                self.rows.set(batch, state="written", batch="", file="", others=others)
                return False
            self._forget(batch)
            raise refused(batch, standing.why or "the batch failed")
        if strange and not known:  # another one would be paid for in vain as well
            self._done(batch, standing.status, "no request is named")
            raise refused(batch, f"none of its {strange:,} results names a request")
        by_user = standing.status.startswith("cancel") and self._over_s(batch) <= 0
        return self._done(batch, standing.status, CANCELED if by_user else f"no result ({standing.status})")

    def _over_s(self, batch: Batch) -> float:
        """Seconds since the batch should have ended."""
        return time.time() - datetime.fromisoformat(batch.at).timestamp() - 3600 * self.settings.batch.deadline_h

    def absorb(self, batch: Batch, path: Path) -> tuple[int, int]:
        """Keep what a file of results holds; how many of its lines are of this batch, and how many are not."""
        asked, known, strange = self.rows.asked(batch), 0, 0
        lines = _lines(path)
        while rows := list(islice(lines, AT_ONCE)):
            read = [self.shape.read(row) for row in rows]
            found = [(asked[key], self._outcome(asked[key], told)) for key, told in read if key in asked]
            known, strange = known + len(found), strange + len(read) - len(found)
            for reply in self.rows.absorb(batch, found):
                self.summary.batched += 1
                self.summary.count_reply(reply.usage, reply.cost, batch.model)
        if strange and known:
            say(f"batch {batch.id}: {strange:,} results name no request of it and are left out")
        return known, strange

    def _outcome(self, asked: BatchAsked, told: Completion | Failure) -> Reply | str:
        """The reply as the ledger keeps it, or why there is none."""
        if isinstance(told, Failure):
            return printable(told.told, 300)
        usage = dict(told.usage)
        if usage.get("completion_tokens") is None:
            said = len((told.text + told.reasoning).encode("utf-8", "replace"))
            usage |= {"completion_tokens": int(said / BYTES_PER_TOKEN) + 1, "estimated": 1}
        larger = larger_budget(told, asked.asked_tokens, asked.tokens, self.route.max_tokens_cap)
        return Reply(
            text=told.text,
            reasoning=told.reasoning,
            finish_reason=CUT_SHORT if told.finish_reason == WINDOW_FULL else told.finish_reason,
            model=told.model or asked.model,
            provider=f"{self.route.provider.name} (batch)",
            usage=usage,
            cost=prices.batch_cost(prices.price_of(asked.model, self.settings), usage),
            tries=0,
            at=now_in_utc(),
            rejected=CUT if larger else "",
            key=asked.key,
        )

    def _done(self, batch: Batch, status: str, outcome: str) -> bool:
        Path(batch.path).unlink(missing_ok=True)  # first: a batch that is done is not looked at again
        lacking = self.rows.close(batch, status, outcome)
        told = f", {lacking:,} without a result" if lacking else ""
        say(f"batch {batch.id}: {batch.requests:,} requests of {batch.stage}, {printable(status)}{told}")
        return True

    def _forget(self, batch: Batch) -> None:
        self.rows.drop(batch)
        Path(batch.path).unlink(missing_ok=True)


def refused(batch: Batch, why: str) -> EndpointError:
    return EndpointError(
        "the provider takes no such batch",
        where=f"{batch.address} ({batch.provider})",
        value=why,
        hint="[batch] provider names the shape in which it takes batches; without --batch calls go out at once",
    )


def unreached(batch: Batch, failure: Failure) -> EndpointError:
    hint = "is the address right? What was written waits: run the same command again"
    return EndpointError(
        "the provider of batches cannot be reached", where=batch.address, value=failure.told, hint=hint
    )


def _is_final(failure: Failure) -> bool:
    """True if the provider has refused, and will again."""
    return failure.meaning in (Meaning.RUN, Meaning.ITEM) and 400 <= failure.status < 500


def _shown(standing: Standing) -> str:
    return printable(f"{standing.status or 'unknown'}{f', {standing.told}' if standing.told else ''}", 100)


def _lines(path: Path) -> Iterator[dict[str, object]]:
    """The objects in a file of results; a damaged line, or one that no reply fills, is a missing result."""
    with path.open("rb") as file:
        while line := file.readline(MAX_REPLY_BYTES):
            if not line.endswith(b"\n") and len(line) == MAX_REPLY_BYTES:
                while (more := file.readline(MAX_REPLY_BYTES)) and not more.endswith(b"\n"):
                    pass
                continue
            try:
                row = parse_json(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row
