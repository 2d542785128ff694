"""A stage by batches: what came back is taken in, the jobs run against the ledger, what they lack goes out."""

import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from duel.calls.batches.batch_rows import Batch, BatchAsked, BatchRows
from duel.calls.batches.batch_steps import BY_FILE, FAILS_BEFORE_LIVE, Passage, shape_of
from duel.calls.client import MOST_RAISE, Client
from duel.calls.ledger import CUT, Ledger, now_in_utc
from duel.calls.request import Reply, Request
from duel.calls.route import ModelRole, Route
from duel.calls.run_summary import Summary
from duel.calls.runner import Ask, Job, Pending, drive
from duel.calls.wire import encode
from duel.command import say
from duel.errors import UserError
from duel.settings import Settings
from duel.workspace import Workspace, disk_errors

# Of what a provider takes so much is used: it may count otherwise.
SHARE_OF_LIMITS = 0.9


def _absorb_file(path: Path, passage: Passage) -> None:
    """Take in a file of results by the keys in it, whichever of the files that were written it answers."""
    if not path.is_file():
        raise UserError("there is no such file of results", where=path)
    with path.open("rb") as file:
        if b'"method":"POST"' in file.read(300):  # it stands right behind the key, in requests alone
            hint = "--absorb takes the file of results that a provider makes of it"
            raise UserError("this file holds requests, not replies", where=path, hint=hint)
    known = sum(passage.absorb(batch, path)[0] for batch in passage.rows.all("state = 'out'"))
    say(f"{path.name}: {known:,} results of requests that were written here, {passage.summary.batched:,} new replies")


def unless_out(client: Client) -> Ask:
    """`client`, for what is asked at once. Raises UserError where requests of its stage are out: none is paid twice."""
    ledger, stage = client.ledger, client.summary.stage
    if count := sum(batch.requests for batch in BatchRows(ledger).running(stage)):
        hint = "--batch waits for them; `duel batches --cancel all` calls them off"
        raise UserError(f"{count:,} requests of {stage} are out in batches", where=ledger.path, hint=hint)
    return client


@dataclass
class _Outgoing:
    """The input of a batch as it is written."""

    id: str
    model: str
    path: Path
    file: BinaryIO
    asked: list[BatchAsked] = field(default_factory=list)
    size: int = 0
    worst_cost: float = 0.0


@dataclass
class Prefill:
    """The `Ask` of a round: it answers from the ledger and writes down what is missing."""

    workspace: Workspace
    settings: Settings
    route: Route
    role: ModelRole
    stage: str
    client: Client = field(init=False)  # for what two batches have failed
    rows: BatchRows = field(init=False)
    written: list[_Outgoing] = field(default_factory=list)
    """A batch holds requests to one model; the last one of each model may have room."""
    unaffordable: int = 0
    _keys: set[str] = field(default_factory=set)
    _learned: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.by_file = self.settings.batch.provider == BY_FILE
        self.shape = shape_of(self.settings.batch.provider)

    async def drive(self, jobs: Iterable[Job], **options: Any) -> Summary:
        """One round: `drive` with these `options`; `Summary.waiting` is above 0 where another is to follow."""
        came = Summary(self.stage)
        with self.workspace.lock("batches", f"{self.stage} --batch"), Ledger(self.workspace.ledger) as ledger:
            passage = Passage(BatchRows(ledger), self.route, self.settings, came)
            if not self.by_file:
                await passage.bring_home(passage.rows.running(self.stage))
            elif self.settings.batch.absorb:
                _absorb_file(Path(self.settings.batch.absorb), passage)
        try:
            summary = await drive(jobs, asker=self.over, summary=came, **options)
            if not summary.interrupted:
                with Ledger(self.workspace.ledger) as ledger:
                    self.hand_in(BatchRows(ledger), summary)
        finally:
            self.discard()
        return summary

    def over(self, client: Client) -> Ask:
        self.client, self.rows = client, BatchRows(client.ledger)
        return self

    @property
    def stopped(self) -> bool:
        return self.client.stopped

    async def __call__(self, request: Request) -> Reply:
        known = self.client.ledger.find(request)
        if known is not None and known.rejected != CUT:
            self.client.summary.from_ledger += 1
            return known
        failed, sent = self.rows.past(request.key)
        if failed >= FAILS_BEFORE_LIVE and not self.by_file:
            return await self.client(request)
        tokens = self.client.first_budget(request, known)
        if known is not None:
            most = min(MOST_RAISE * request.max_tokens, self.route.max_tokens_cap)
            tokens = max(tokens, min(2 * sent, most))
        if request.key not in self._keys:
            self._keys.add(request.key)
            self._write(request, tokens)
        raise Pending

    def reject(self, reply: Reply, reason: str) -> None:
        self.client.reject(reply, reason)

    def hand_in(self, rows: BatchRows, summary: Summary) -> None:
        """Make what was written durable: from here on each batch is brought to its end, whatever ends this process."""
        batches, self.written = self.written, []
        batch, state = self.settings.batch, "out" if self.by_file else "written"
        for number, out in enumerate(batches, start=1):
            out.file.flush()
            os.fsync(out.file.fileno())
            out.file.close()
            if self.by_file:
                wanted = Path(batch.out)
                name = wanted.name if number == 1 else f"{wanted.stem}-{number}{wanted.suffix}"
                with disk_errors(wanted.with_name(name)):
                    out.path = Path(shutil.move(out.path, wanted.with_name(name)))  # it may lie on another disk
                say(f"{len(out.asked):,} requests to {out.model} are in {out.path}")
            origin = (out.id, self.stage, self.role, out.model, batch.provider, self.route.provider.name, str(out.path))
            told = (len(out.asked), out.worst_cost, self.client.ledger.generation, now_in_utc(), state)
            rows.add(Batch(*origin, *told), out.asked)
        count = sum(len(out.asked) for out in batches)
        summary.waiting = 0 if self.by_file else count
        summary.budget_spent = not count and (summary.budget_spent or self.unaffordable > 0)
        if count:
            where = "are in files: have them answered, then --absorb FILE" if self.by_file else "wait for batches"
            summary.stopped = f"{count:,} requests {where}"

    def discard(self) -> None:
        for out in self.written:
            out.file.close()
            out.path.unlink(missing_ok=True)

    def _write(self, request: Request, tokens: int) -> None:
        if self.by_file and not self.settings.batch.out:
            return
        line = self.client.line(self.route.provider, request.model)
        if request.model not in self._learned:  # a parameter that a model refuses is left out from then on
            self._learned.add(request.model)
            for words in self.rows.refusals(request.model):
                line.dialect.learn(words, orjson.loads(encode(request, request.model, tokens)))
        body = encode(request, request.model, tokens, dialect=line.dialect)
        worst = line.worst_case(len(body), tokens) * (line.price.batch if line.price else 1)
        if not self.client.spending.has_room(worst):
            self.unaffordable += 1
            return
        self.client.spending.committed += worst
        data = orjson.dumps(self.shape.line(request.key, request.model, orjson.loads(body))) + b"\n"
        out = self._room(request.model, len(data))
        out.file.write(data)
        out.size, out.worst_cost = out.size + len(data), out.worst_cost + worst
        out.asked.append(BatchAsked(request.key, request.item, request.max_tokens, tokens))

    def _room(self, model: str, size: int) -> _Outgoing:
        """The input that takes `size` more bytes, a new one where the present is full."""
        batch = self.settings.batch
        most_requests = batch.max_requests or int(SHARE_OF_LIMITS * self.shape.most_requests)
        most_bytes = batch.max_bytes or int(SHARE_OF_LIMITS * self.shape.most_bytes)
        out = next((out for out in reversed(self.written) if out.model == model), None)
        if out is None or len(out.asked) >= most_requests or out.size + size > most_bytes:
            name, folder = secrets.token_hex(8), self.workspace.private / "batches"
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{name}.jsonl"
            out = _Outgoing(name, model, path, path.open("wb"))
            self.written.append(out)
        return out
