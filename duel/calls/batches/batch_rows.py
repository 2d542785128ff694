"""Batches and their requests as the ledger's file holds them, beside the replies, and what a provider of batches does.

The states of a batch: `written` (its input lies on disk) → `uploaded` → `creating` (the provider may have it) →
`created`, or `found` among those that it lists → `done`; `out` is a file that somebody else takes to a provider. Each
is durable before the next step.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from duel.calls.ledger import reply_row
from duel.calls.ledger_file import INSERT, LedgerFile, cannot_use, proof
from duel.calls.request import Reply

if TYPE_CHECKING:
    from duel.calls.batches.batch_link import Link
    from duel.calls.failures import Failure
    from duel.calls.wire import Completion

# No provider: requests go to a file, replies come from one (`--batch-out`, `--absorb`).
BY_FILE = "file"
ANSWERED, CANCELED = "answered", "canceled"
# Begins the outcome of requests whose results can never be read: a further batch would bring no other.
UNREADABLE = "unreadable"
# What one batch fails goes into the next round, what two failed is asked at once.
FAILS_BEFORE_LIVE = 2


@dataclass(frozen=True)
class Batch:
    id: str
    stage: str
    role: str
    model: str
    provider: str
    address: str  # the endpoint's base URL; a batch is looked for nowhere else
    path: str  # its input, one line a request
    requests: int
    worst_cost: float  # dollars at most, at the batch price
    generation: int
    at: str
    state: str
    file: str = ""  # the provider's id of the uploaded input
    batch: str = ""  # the provider's id of the batch
    status: str = ""
    others: str = ""  # ids at the provider that are known to be other batches, apart by spaces

    @property
    def known_there(self) -> bool:
        """True if the provider has it: it said so when asked to create it, or lists one that seems to be it."""
        return self.state in ("created", "found")


_FIELDS = ", ".join(field.name for field in fields(Batch))


class BatchAsked(NamedTuple):
    """One request of a batch, as far as the ledger must know it: the question itself is in its key."""

    key: str
    item: str
    asked_tokens: int  # the budget that was asked for
    tokens: int  # the budget that was sent, larger where an earlier reply was cut


@dataclass(frozen=True)
class Standing:
    """How a batch stands at its provider. A status that nobody knows means that it runs."""

    status: str
    ended: bool
    told: str = ""  # how many requests are done, in words
    why: str = ""  # why the whole batch failed
    answer: Mapping[str, Any] | None = None


class BatchProvider(Protocol):
    """The shape in which one kind of provider takes batches. Whatever asks raises NoAnswer."""

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
    async def fetch(self, link: Link, batch: Batch, standing: Standing, into: Path) -> None:
        """Save what an ended batch brought, whatever its status, as files `<id of the batch>.<any name>` in `into`."""
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
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def all(self, condition: str = "1", *values: object) -> list[Batch]:
        query = f"SELECT {_FIELDS} FROM batches WHERE {condition} ORDER BY at, rowid"  # noqa: S608 - constants alone
        return [Batch(*row) for row in self._run(query, *values)]

    def add(self, batch: Batch, asked: Iterable[BatchAsked]) -> None:
        """A batch and its requests; one that was written to a file before is of the newer file alone."""
        rows = [(batch.id, *one) for one in asked]
        old = "DELETE FROM batch_requests WHERE key = ? AND home IN (SELECT id FROM batches WHERE state = 'out')"
        new = "INSERT INTO batch_requests (home, key, item, asked_tokens, tokens) VALUES (?, ?, ?, ?, ?)"
        marks = ", ".join("?" * len(fields(Batch)))
        with self._told(), self._database:
            self._database.executemany(old, [(row[1],) for row in rows])
            self._database.execute(f"INSERT INTO batches ({_FIELDS}) VALUES ({marks})", astuple(batch))  # noqa: S608
            self._database.executemany(new, rows)

    def set(self, row: Batch, **changes: str) -> Batch:
        names = ", ".join(f"{name} = ?" for name in changes)
        self._run(f"UPDATE batches SET {names} WHERE id = ?", *changes.values(), row.id)  # noqa: S608 - own names
        return replace(row, **changes)  # type: ignore[arg-type]

    def asked(self, batch: Batch) -> dict[str, BatchAsked]:
        rows = self._run("SELECT key, item, asked_tokens, tokens FROM batch_requests WHERE home = ?", batch.id)
        return {row[0]: BatchAsked(*row) for row in rows}

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
                    digest, attempt, occurrence = asked.key.split("-")
                    question = (bytes.fromhex(digest), int(attempt), int(occurrence), batch.generation)
                    row = reply_row(question, (batch.stage, asked.item, batch.model), reply)
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
        with self._told(), self._database:
            self._database.execute("DELETE FROM batch_requests WHERE home = ?", (batch.id,))
            self._database.execute("DELETE FROM batches WHERE id = ?", (batch.id,))

    def past(self, key: str) -> tuple[int, int]:
        """How often batches failed this request, twice where results are unreadable; its largest budget so far."""
        failed = f"(outcome NOT IN ('', ?, ?)) + (outcome LIKE '{UNREADABLE}%')"
        query = f"SELECT COALESCE(SUM({failed}), 0), COALESCE(MAX(tokens), 0) FROM batch_requests WHERE key = ?"  # noqa: S608
        row = self._run(query, ANSWERED, CANCELED, key)[0]
        return int(row[0]), int(row[1])

    def refusals(self, model: str) -> list[str]:
        """The words with which requests to this model failed, each once, oldest batch first."""
        query = (
            "SELECT outcome FROM batch_requests JOIN batches ON home = id WHERE model = ? AND outcome NOT IN "
            "('', ?, ?) GROUP BY outcome ORDER BY MIN(at) LIMIT 20"
        )
        return [row[0] for row in self._run(query, model, ANSWERED, CANCELED)]

    def _run(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._told(), self._database:
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise cannot_use(self._path, error) from None
