"""Batches and their requests as the ledger's file holds them, beside the replies, and what a provider of batches does.

The states of a batch: `written` (its input lies on disk) → `uploaded` → `creating` (the provider may have it) →
`created`, or `found` among those that it lists → `done`; `out` is a file that somebody else takes to a provider. Each
is durable before the next step.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from duel.calls.ledger import reply_row
from duel.calls.ledger_file import INSERT, LedgerFile, cannot_use, proof
from duel.calls.request import Reply, Request

if TYPE_CHECKING:
    from duel.calls.batches.batch_link import Link
    from duel.calls.failures import Failure
    from duel.calls.wire import Completion

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    id TEXT PRIMARY KEY, stage TEXT NOT NULL, role TEXT NOT NULL, model TEXT NOT NULL, provider TEXT NOT NULL,
    address TEXT NOT NULL, path TEXT NOT NULL, requests INTEGER NOT NULL, worst_cost REAL NOT NULL,
    generation INTEGER NOT NULL, at TEXT NOT NULL, state TEXT NOT NULL, file TEXT NOT NULL DEFAULT '',
    batch TEXT NOT NULL DEFAULT '', status TEXT NOT NULL DEFAULT '', others TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS batch_requests (
    home TEXT NOT NULL, key TEXT NOT NULL, item TEXT NOT NULL, asked_tokens INTEGER NOT NULL, tokens INTEGER NOT NULL,
    outcome TEXT NOT NULL DEFAULT '', PRIMARY KEY (home, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS batch_requests_by_key ON batch_requests (key);
"""
ANSWERED, CANCELED = "answered", "canceled"
# What one batch failed goes into the next round, what two failed is asked at once.
FAILS_BEFORE_LIVE = 2


@dataclass(frozen=True)
class Batch:
    """One batch."""

    id: str
    stage: str
    role: str
    model: str
    provider: str
    address: str
    """The endpoint's base URL; a batch is looked for nowhere else."""
    path: str
    """Its input, one line a request."""
    requests: int
    worst_cost: float
    """Dollars at most, at the batch price."""
    generation: int
    at: str
    state: str
    file: str = ""
    """The provider's id of the uploaded input."""
    batch: str = ""
    """The provider's id of the batch."""
    status: str = ""
    others: str = ""
    """Ids at the provider that are known to be other batches, apart by spaces."""


class BatchAsked(NamedTuple):
    """One request of a batch: what a reply's row needs to know of it."""

    key: str
    item: str
    asked_tokens: int
    """The budget that was asked for."""
    tokens: int
    """The budget that was sent, larger where an earlier reply was cut."""
    stage: str = ""
    model: str = ""

    @property
    def request(self) -> Request:
        """The request as far as the ledger must know it: the question itself is in its key."""
        digest, attempt, occurrence = self.key.split("-")
        numbers = {"attempt": int(attempt), "occurrence": int(occurrence)}
        made = Request(self.stage, self.item, self.model, (), self.asked_tokens, **numbers)  # type: ignore[arg-type]
        made.__dict__["digest"] = bytes.fromhex(digest)
        return made


@dataclass(frozen=True)
class Standing:
    """How a batch stands at its provider. A status that nobody knows means that it runs."""

    status: str
    ended: bool
    told: str = ""
    """How many requests are done, in words."""
    why: str = ""
    """Why the whole batch failed."""
    answer: Mapping[str, Any] | None = None


class BatchProvider(Protocol):
    """The shape in which one kind of provider takes batches. Whatever asks raises LinkFailed."""

    most_requests: int
    most_bytes: int

    def line(self, key: str, model: str, body: Mapping[str, Any]) -> Mapping[str, Any]: ...
    async def upload(self, link: Link, batch: Batch) -> str:
        """The id of the uploaded input; "" where it goes out with the batch itself."""
        ...

    async def create(self, link: Link, batch: Batch) -> str: ...
    async def find(self, link: Link, batch: Batch, taken: Collection[str]) -> str:
        """The id of a batch that was created and not recorded; "" where there is none. `taken` are others' ids."""
        ...

    async def look(self, link: Link, batch: Batch) -> Standing: ...
    async def fetch(self, link: Link, batch: Batch, standing: Standing, into: Path) -> list[Path]:
        """The files of results that an ended batch has, whatever its status; saved below `into`."""
        ...

    async def cancel(self, link: Link, batch: Batch) -> None: ...
    def read(self, row: Mapping[str, Any]) -> tuple[str, Completion | Failure]:
        """The custom id of one result, and what it says."""
        ...


class BatchRows:
    """The rows. Use as a context manager; raises WorkspaceError where they cannot be read or written."""

    def __init__(self, ledger: Path) -> None:
        self._path = ledger

    def __enter__(self) -> BatchRows:
        with self._told():
            self._database = LedgerFile(self._path).open()
            self._database.executescript(_SCHEMA)
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def all(self, condition: str = "1", *values: object) -> list[Batch]:
        names = ", ".join(field.name for field in fields(Batch))
        query = f"SELECT {names} FROM batches WHERE {condition} ORDER BY at, id"  # noqa: S608 - constants alone
        with self._told():
            return [Batch(*row) for row in self._database.execute(query, values)]

    def running(self, stage: str) -> list[Batch]:
        return self.all("state NOT IN ('done', 'out') AND stage = ?", stage)

    def add(self, batch: Batch, asked: Iterable[BatchAsked]) -> None:
        """A batch and its requests; one that was written to a file before is of the newer file alone."""
        rows = [(batch.id, *one[:4]) for one in asked]
        marks = ", ".join("?" * len(fields(Batch)))
        with self._told(), self._database:
            self._database.executemany(
                "DELETE FROM batch_requests WHERE key = ? AND home IN (SELECT id FROM batches WHERE state = 'out')",
                [(row[1],) for row in rows],
            )
            values = [getattr(batch, field.name) for field in fields(Batch)]
            self._database.execute(f"INSERT INTO batches VALUES ({marks})", values)  # noqa: S608 - question marks
            self._database.executemany(
                "INSERT INTO batch_requests (home, key, item, asked_tokens, tokens) VALUES (?, ?, ?, ?, ?)", rows
            )

    def set(self, row: Batch, **changes: str) -> Batch:
        """`row` with these changes, durable."""
        names = ", ".join(f"{name} = ?" for name in changes)
        with self._told(), self._database:
            self._database.execute(f"UPDATE batches SET {names} WHERE id = ?", (*changes.values(), row.id))  # noqa: S608
        return replace(row, **changes)  # type: ignore[arg-type]

    def asked(self, batch: Batch) -> dict[str, BatchAsked]:
        """The requests of `batch` by key."""
        query = "SELECT key, item, asked_tokens, tokens FROM batch_requests WHERE home = ?"
        with self._told():
            rows = self._database.execute(query, (batch.id,)).fetchall()
        return {row[0]: BatchAsked(row[0], row[1], row[2], row[3], batch.stage, batch.model) for row in rows}

    def absorb(self, batch: Batch, found: Iterable[tuple[BatchAsked, Reply | str]]) -> list[Reply]:
        """Keep replies, or why there is none, each once: a reply and the mark that it came are one transaction.

        A reply takes the place of a failure, so a wrong or damaged file that came first costs nothing.
        """
        mark = "UPDATE batch_requests SET outcome = ? WHERE home = ? AND key = ? AND outcome"
        kept: list[Reply] = []
        with self._told(), self._database:
            for asked, reply in found:
                outcome, gives_way = (ANSWERED, f"!= '{ANSWERED}'") if isinstance(reply, Reply) else (reply, "= ''")
                new = self._database.execute(f"{mark} {gives_way}", (outcome, batch.id, asked.key)).rowcount
                if new and isinstance(reply, Reply):
                    row = reply_row(asked.request, reply, batch.generation)
                    self._database.execute(INSERT, (*row, proof(row)))
                    kept.append(reply)
        return kept

    def close(self, batch: Batch, status: str, outcome: str) -> int:
        """The batch is done; requests without an outcome failed with `outcome`. How many there were."""
        with self._told(), self._database:
            rest = "UPDATE batch_requests SET outcome = ? WHERE home = ? AND outcome = ''"
            open_requests = self._database.execute(rest, (outcome, batch.id)).rowcount
            self._database.execute("UPDATE batches SET state = 'done', status = ? WHERE id = ?", (status, batch.id))
        return open_requests

    def drop(self, batch: Batch) -> None:
        """Forget a batch of which the provider knows nothing."""
        with self._told(), self._database:
            self._database.execute("DELETE FROM batch_requests WHERE home = ?", (batch.id,))
            self._database.execute("DELETE FROM batches WHERE id = ?", (batch.id,))

    def past(self, key: str) -> tuple[int, int]:
        """How often batches failed this request, and the largest budget it was sent with."""
        query = "SELECT COALESCE(SUM(outcome NOT IN ('', ?, ?)), 0), COALESCE(MAX(tokens), 0) FROM batch_requests"
        with self._told():
            row = self._database.execute(f"{query} WHERE key = ?", (ANSWERED, CANCELED, key)).fetchone()
        return int(row[0]), int(row[1])

    def refusals(self, model: str) -> list[str]:
        """The words with which requests to this model failed, each once, oldest batch first."""
        query = (
            "SELECT outcome FROM batch_requests JOIN batches ON home = id WHERE model = ? AND outcome NOT IN "
            "('', ?, ?) GROUP BY outcome ORDER BY MIN(at) LIMIT 20"
        )
        with self._told():
            return [row[0] for row in self._database.execute(query, (model, ANSWERED, CANCELED))]

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise cannot_use(self._path, error) from None
