"""The steps of a batch on its way, until what it brought is in the ledger."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path

from duel.calls import prices
from duel.calls.batches import PROVIDERS
from duel.calls.batches.batch_rows import CANCELED, UNREADABLE, Batch, BatchAsked, BatchRows
from duel.calls.batches.batch_shapes import BatchProvider, Link, Standing
from duel.calls.client import larger_budget
from duel.calls.failures import Failure, Meaning
from duel.calls.ledger import CUT, now_in_utc
from duel.calls.request import Reply
from duel.calls.route import Route
from duel.calls.run_summary import Summary
from duel.calls.transport import MAX_REPLY_BYTES, NoAnswer
from duel.calls.wire import parse_json
from duel.command import say
from duel.errors import EndpointError, SettingsError, printable
from duel.history import estimate_tokens
from duel.settings import Settings

# No provider: requests go to a file, replies come from one (`--batch-out`, `--absorb`).
BY_FILE = "file"
# What one batch fails goes into the next round, what two failed is asked at once.
FAILS_BEFORE_LIVE = 2
# Results that become durable together.
AT_ONCE = 200
# After its deadline a batch is canceled; so much later it is given up, canceled or not.
GRACE_S = 3600.0
# An answer that makes no sense may be a proxy's; results that made none so often never will.
TRIES_TO_FETCH = 3
# Looks grow apart by this factor, up to so many times `poll_s`.
SLOWER, SLOWEST = 1.5, 20
# A provider that was never reached is tried so often.
FIRST_TRIES = 2
# The whole batch was refused because too much waits at the provider already: it goes again later.
_FULL = re.compile(r"(?i)token.?limit|enqueued|too many|rate.?limit|queue")


def shape_of(provider: str) -> BatchProvider:
    """A file has OpenAI's shape, as vLLM and every console take it."""
    return PROVIDERS["openai" if provider == BY_FILE else provider]


@dataclass
class Passage:
    """The steps of the batches at one endpoint. Each raises NoAnswer, EndpointError or SettingsError."""

    rows: BatchRows
    route: Route
    settings: Settings
    summary: Summary  # counts the replies that come
    _unreached: int = 0  # tries until now, none of which reached the provider; -1: one did
    _malformed: Counter[str] = field(default_factory=Counter)  # times that a batch's results made no sense, by its id

    def __post_init__(self) -> None:
        self.link = Link(self.route.provider, self.route.endpoint.connect_timeout_s)

    async def bring_home(self, running: list[Batch]) -> None:
        """Wait until every batch of `running` is done and what it brought is in the ledger."""
        poll_s = wait = self.settings.batch.poll_s
        try:
            async with self.link:
                while running:
                    still = [again for batch in running for again in await self._look(batch)]
                    wait = poll_s if len(still) < len(running) else wait
                    running = still
                    await asyncio.sleep(wait if running else 0)
                    wait = min(wait * SLOWER, SLOWEST * poll_s)
        except asyncio.CancelledError:
            told = "run the same command again to take in what they bring"
            say(f"batches that go on at the provider: {len(running):,}; {told}")
            raise

    async def _look(self, batch: Batch) -> list[Batch]:
        """The batch as it stands after a further step; nothing once it is done."""
        try:
            done, self._unreached = await self.step(batch), -1
        except NoAnswer as error:
            told, done = error.failure, False
            self._unreached = self._unreached + 1 if told.unsent and self._unreached >= 0 else -1
            say(f"batch {batch.id}: {told.told}; it is looked at again")
            if not batch.status and self._unreached >= FIRST_TRIES:
                hint = "is the address right? What was written waits: run the same command again"
                what = "the provider of batches cannot be reached"
                raise EndpointError(what, where=batch.address, value=told.told, hint=hint) from None
        return [] if done else self.rows.all("id = ?", batch.id)

    async def step(self, batch: Batch) -> bool:
        """Go as far as possible now; True once the batch is done."""
        self._check(batch)
        if not batch.known_there:
            try:
                batch = await self._hand_in(batch)
            except FileNotFoundError:
                say(f"batch {batch.id}: its input `{batch.path}` is gone; what it asked is asked anew")
                self._forget(batch)
                return True
        try:
            standing = await shape_of(batch.provider).look(self.link, batch)
        except NoAnswer as error:
            if error.failure.status != 404:
                raise
            return self._done(batch, "gone", "gone")
        if standing.status != batch.status:
            batch = self.rows.set(batch, status=standing.status)
            shown = f"{standing.status or 'unknown'}{f', {standing.told}' if standing.told else ''}"
            say(f"batch {batch.id}: {batch.model}, {printable(shown, 100)}")
        if standing.ended:
            return await self._bring(batch, standing)
        if self._over_s(batch) > GRACE_S:
            return self._done(batch, "deadline", "deadline")
        if self._over_s(batch) > 0 and not standing.status.startswith("cancel"):
            say(f"batch {batch.id} is past `deadline_h`: it is canceled")
            await shape_of(batch.provider).cancel(self.link, batch)
        return False

    async def cancel(self, batch: Batch) -> None:
        """Have a batch end; what is done by then comes with the next step."""
        self._check(batch)
        if batch.state == "creating":
            batch = await self._found(batch)
        if batch.known_there:
            await shape_of(batch.provider).cancel(self.link, batch)
        else:
            self._forget(batch)

    def _check(self, batch: Batch) -> None:
        if batch.address != self.route.provider.name:
            hint = "set the address back, or forget the batch with `duel batches --cancel`"
            what, now = "a batch runs at another endpoint", self.route.provider.name
            raise SettingsError(what, where=batch.address, value=now, hint=hint)

    async def _hand_in(self, batch: Batch) -> Batch:
        """Upload and create what is not; a batch that may be there already is looked for first."""
        shape = shape_of(batch.provider)
        try:
            if batch.state == "written":
                batch = self.rows.set(batch, file=await shape.upload(self.link, batch), state="uploaded")
            if batch.state == "creating":
                batch = await self._found(batch)
            else:
                batch = self.rows.set(batch, state="creating")
            if not batch.known_there:
                batch = self.rows.set(batch, batch=await shape.create(self.link, batch), state="created")
            return batch
        except NoAnswer as error:
            # It has refused, and will again.
            if error.failure.meaning in (Meaning.RUN, Meaning.ITEM) and 400 <= error.failure.status < 500:
                self._forget(batch)
                raise _refusal(batch, error.failure.told) from None
            raise

    async def _found(self, batch: Batch) -> Batch:
        """`batch`, as `found` where the provider lists it although nobody recorded that it was created."""
        taken = {row.batch for row in self.rows.all()} | set(batch.others.split())
        found = await shape_of(batch.provider).find(self.link, batch, taken)
        return self.rows.set(batch, batch=found, state="found") if found else batch

    async def _bring(self, batch: Batch, standing: Standing) -> bool:
        """Take in the results of a batch that has ended, however it ended: what it did is paid for."""
        folder, lacking = Path(batch.path).parent, f"no result ({standing.status})"
        try:
            await shape_of(batch.provider).fetch(self.link, batch, standing, folder)
        except NoAnswer as error:
            self._malformed[batch.id] += error.failure.kind == "malformed"
            if error.failure.kind == "too-large" or self._malformed[batch.id] >= TRIES_TO_FETCH:
                lacking = f"{UNREADABLE}: {printable(error.failure.told, 200)}"
                say(f"batch {batch.id}: {lacking}; what is lacking is asked at once")
            elif self._over_s(batch) > GRACE_S and error.failure.status in (404, 410):
                return self._done(batch, "gone", "gone")
            else:
                raise
        known = strange = 0
        for path in folder.glob(f"{batch.id}.*.jsonl"):
            found = self.absorb(batch, path)
            known, strange = known + found[0], strange + found[1]
            path.unlink()
        nothing = not known and not lacking.startswith(UNREADABLE)
        if nothing and strange and batch.state == "found":  # by its size alone, and it is another's
            return self._is_not(batch, state="creating")
        if nothing and standing.status == "failed" and _FULL.search(standing.why):
            say(f"batch {batch.id} waits: {printable(standing.why, 200)}")
            return self._is_not(batch, state="written", file="")
        if nothing and standing.status == "failed":
            self._forget(batch)
            raise _refusal(batch, standing.why or "the batch failed")
        by_user = standing.status.startswith("cancel") and self._over_s(batch) <= 0
        self._done(batch, standing.status, CANCELED if by_user and not lacking.startswith(UNREADABLE) else lacking)
        if nothing and strange:  # another one would be paid for in vain as well
            raise _refusal(batch, f"none of its {strange:,} results names a request")
        return True

    def _is_not(self, batch: Batch, **goes_on: str) -> bool:
        """What the provider has under this id is not the batch."""
        self.rows.set(batch, batch="", others=f"{batch.others} {batch.batch}".strip(), **goes_on)
        return False

    def _over_s(self, batch: Batch) -> float:
        return time.time() - datetime.fromisoformat(batch.at).timestamp() - 3600 * self.settings.batch.deadline_h

    def absorb(self, batch: Batch, path: Path) -> tuple[int, int]:
        """Keep what a file of results holds; how many of its lines are of this batch, and how many are not."""
        asked, known, strange = self.rows.asked(batch), 0, 0
        lines = _lines(path)
        while rows := list(islice(lines, AT_ONCE)):
            read = [shape_of(batch.provider).read(row) for row in rows]
            found = [(asked[key], self._outcome(batch, asked[key], told)) for key, told in read if key in asked]
            known, strange = known + len(found), strange + len(read) - len(found)
            for reply in self.rows.absorb(batch, found):
                self.summary.batched += 1
                self.summary.count(reply.usage, reply.cost, batch.model)
        if strange and known:
            say(f"batch {batch.id}: {strange:,} results name no request of it and are left out")
        return known, strange

    def _outcome(self, batch: Batch, asked: BatchAsked, told: Reply | Failure) -> Reply | str:
        if isinstance(told, Failure):
            return printable(told.told, 300)
        usage = dict(told.usage)
        if usage.get("completion_tokens") is None:
            usage |= {"completion_tokens": estimate_tokens(told.text + told.reasoning), "estimated": 1}
        dollars = prices.cost(prices.price_of(batch.model, self.settings), usage, batch=True)
        larger = larger_budget(told, asked.asked_tokens, asked.tokens, self.route.max_tokens_cap)
        return told.kept(
            batch.model, provider=f"{self.route.provider.name} (batch)", usage=usage, cost=dollars, tries=0,
            at=now_in_utc(), rejected=CUT if larger else "", key=asked.key,
        )  # fmt: skip

    def _done(self, batch: Batch, status: str, outcome: str) -> bool:
        Path(batch.path).unlink(missing_ok=True)  # first: a batch that is done is not looked at again
        lacking = self.rows.close(batch, status, outcome)
        told = f", {lacking:,} without a result" if lacking else ""
        say(f"batch {batch.id}: {batch.requests:,} requests of {batch.stage}, {printable(status)}{told}")
        return True

    def _forget(self, batch: Batch) -> None:
        self.rows.drop(batch)
        Path(batch.path).unlink(missing_ok=True)


def _refusal(batch: Batch, why: str) -> EndpointError:
    hint = "[batch] provider names the shape in which it takes batches; without --batch calls go out at once"
    where = f"{batch.address} ({batch.provider})"
    return EndpointError("the provider takes no such batch", where=where, value=why, hint=hint)


def _lines(path: Path) -> Iterator[dict[str, object]]:
    """The objects in a file of results; a damaged line, or one that no reply fills, is a missing result."""
    with path.open("rb") as file:
        while line := file.readline(MAX_REPLY_BYTES):
            whole = line.endswith(b"\n") or len(line) < MAX_REPLY_BYTES
            while not line.endswith(b"\n") and len(line) == MAX_REPLY_BYTES:
                line = file.readline(MAX_REPLY_BYTES)
            try:
                row = parse_json(line) if whole else None
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row
