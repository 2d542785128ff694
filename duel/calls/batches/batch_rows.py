"""Batches as rows of the ledger's file, each state durable before the next step.

`written` (its input lies on disk) → `uploaded` → `creating` (the provider may have it) → `created`, or `found` among
those that it lists → `done`; `out` is a file that somebody else takes to a provider.
"""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields, replace
from typing import NamedTuple

from duel.calls.ledger import Ledger, reply_row
from duel.calls.ledger_file import INSERT, proof
from duel.calls.request import Reply

ANSWERED, CANCELED = "answered", "canceled"
# Begins the outcome of requests whose results can never be read: a further batch would bring no other.
UNREADABLE = "unreadable"


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


_FIELDS = ", ".join(one.name for one in fields(Batch))


class BatchAsked(NamedTuple):
    """One request of a batch, as far as the ledger must know it: the question itself is in its key."""

    key: str
    item: str
    asked_tokens: int  # the budget that was asked for
    tokens: int  # the budget that was sent, larger where an earlier reply was cut


@dataclass
class BatchRows:
    """The rows, in the ledger's file. Raises WorkspaceError where they cannot be read or written."""

    ledger: Ledger

    def all(self, condition: str = "1", *values: object) -> list[Batch]:
        query = f"SELECT {_FIELDS} FROM batches WHERE {condition} ORDER BY at, rowid"  # noqa: S608 - constants alone
        return [Batch(*row) for row in self.ledger.query(query, *values)]

    def running(self, stage: str) -> list[Batch]:
        return self.all("state NOT IN ('done', 'out') AND stage = ?", stage)

    def add(self, batch: Batch, asked: Iterable[BatchAsked]) -> None:
        """A batch and its requests; one that was written to a file before is of the newer file alone."""
        rows = [(batch.id, *one) for one in asked]
        old = "DELETE FROM batch_requests WHERE key = ? AND home IN (SELECT id FROM batches WHERE state = 'out')"
        new = "INSERT INTO batch_requests (home, key, item, asked_tokens, tokens) VALUES (?, ?, ?, ?, ?)"
        marks = ", ".join("?" * len(fields(Batch)))
        with self.ledger.transaction() as database:
            database.executemany(old, [(row[1],) for row in rows])
            database.execute(f"INSERT INTO batches ({_FIELDS}) VALUES ({marks})", astuple(batch))  # noqa: S608
            database.executemany(new, rows)

    def set(self, row: Batch, **changes: str) -> Batch:
        names = ", ".join(f"{name} = ?" for name in changes)
        self.ledger.query(f"UPDATE batches SET {names} WHERE id = ?", *changes.values(), row.id)  # noqa: S608 - own names
        return replace(row, **changes)  # type: ignore[arg-type]

    def asked(self, batch: Batch) -> dict[str, BatchAsked]:
        rows = self.ledger.query("SELECT key, item, asked_tokens, tokens FROM batch_requests WHERE home = ?", batch.id)
        return {row[0]: BatchAsked(*row) for row in rows}

    def absorb(self, batch: Batch, found: Iterable[tuple[BatchAsked, Reply | str]]) -> list[Reply]:
        """Keep replies, or why there is none, each once: a reply and the mark that it came are one transaction.

        A reply takes the place of a failure, so a wrong or damaged file that came first costs nothing.
        """
        mark = "UPDATE batch_requests SET outcome = ? WHERE home = ? AND key = ? AND outcome"
        kept: list[Reply] = []
        with self.ledger.transaction() as database:
            for asked, reply in found:
                outcome, gives_way = (ANSWERED, f"!= '{ANSWERED}'") if isinstance(reply, Reply) else (reply, "= ''")
                new = database.execute(f"{mark} {gives_way}", (outcome, batch.id, asked.key)).rowcount
                if new and isinstance(reply, Reply):
                    digest, attempt, occurrence = asked.key.split("-")
                    question = (bytes.fromhex(digest), int(attempt), int(occurrence), batch.generation)
                    row = reply_row(question, (batch.stage, asked.item, batch.model), reply)
                    database.execute(INSERT, (*row, proof(row)))
                    kept.append(reply)
        return kept

    def close(self, batch: Batch, status: str, outcome: str) -> int:
        """The batch is done; requests without an outcome failed with `outcome`. How many there were."""
        with self.ledger.transaction() as database:
            rest = "UPDATE batch_requests SET outcome = ? WHERE home = ? AND outcome = ''"
            open_requests = database.execute(rest, (outcome, batch.id)).rowcount
            database.execute("UPDATE batches SET state = 'done', status = ? WHERE id = ?", (status, batch.id))
        return open_requests

    def drop(self, batch: Batch) -> None:
        with self.ledger.transaction() as database:
            database.execute("DELETE FROM batch_requests WHERE home = ?", (batch.id,))
            database.execute("DELETE FROM batches WHERE id = ?", (batch.id,))

    def past(self, key: str) -> tuple[int, int]:
        """How often batches failed this request, twice where results are unreadable; its largest budget so far."""
        failed = f"(outcome NOT IN ('', ?, ?)) + (outcome LIKE '{UNREADABLE}%')"
        query = f"SELECT COALESCE(SUM({failed}), 0), COALESCE(MAX(tokens), 0) FROM batch_requests WHERE key = ?"  # noqa: S608
        row = self.ledger.query(query, ANSWERED, CANCELED, key)[0]
        return int(row[0]), int(row[1])

    def refusals(self, model: str) -> list[str]:
        """The words with which requests to this model failed, each once, oldest batch first."""
        query = (
            "SELECT outcome FROM batch_requests JOIN batches ON home = id WHERE model = ? AND outcome NOT IN "
            "('', ?, ?) GROUP BY outcome ORDER BY MIN(at) LIMIT 20"
        )
        return [row[0] for row in self.ledger.query(query, model, ANSWERED, CANCELED)]
