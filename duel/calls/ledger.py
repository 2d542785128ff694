"""The ledger: every reply that was paid for, durable before it is used. One SQLite file under the workspace.

Replies are only ever added, and the newest row of a request wins. Those that come within the same few milliseconds
share one commit (synchronous=FULL costs 286 µs), made by one writer thread: a slow disk never stops the calls.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson

from duel.calls import ledger_file
from duel.calls.ledger_file import COLUMNS, INSERT, ROW, LedgerFile, SpareRoom, cannot_use, is_damage, is_whole, proof
from duel.calls.request import Reply, Request
from duel.command import say
from duel.errors import ItemError
from duel.workspace import cannot_write, disk_full

# Why a reply that its budget cut stands in the ledger: the request is asked once more, with a larger one.
CUT = "cut"
# One statement for many rows: each statement gives up the interpreter and must win it back from the busy event loop.
_ROWS_A_STATEMENT = 40
_FIND = (
    f"SELECT {COLUMNS} FROM replies "  # noqa: S608 - constants alone
    "WHERE digest = ? AND attempt = ? AND occurrence = ? AND generation >= ? ORDER BY id DESC"
)
# The columns from the eighth, but for the proof.
_TOLD = (
    "text", "reasoning", "finish_reason", "model", "provider", "usage", "cost", "latency_s", "tries", "at", "rejected",
)  # fmt: skip
_REJECT = (
    "UPDATE replies SET rejected = ? WHERE id = "
    "(SELECT MAX(id) FROM replies WHERE digest = ? AND attempt = ? AND occurrence = ?)"
)
_FAULT = (
    "INSERT INTO faults VALUES (?, ?, ?, 1, ?, ?, ?) ON CONFLICT (stage, asked_model, kind) DO UPDATE SET "
    "calls = calls + 1, tokens_in = tokens_in + excluded.tokens_in, tokens_out = tokens_out + excluded.tokens_out, "
    "cost = cost + excluded.cost"
)
_SPENT = "SELECT (SELECT COALESCE(SUM(cost), 0) FROM replies) + (SELECT COALESCE(SUM(cost), 0) FROM faults)"
# Rows of another ledger that are not here; `at` tells a reply from a later one to the same request.
_TAKE_OVER = (
    f"INSERT INTO replies ({COLUMNS}) SELECT {COLUMNS} FROM other.replies AS their "  # noqa: S608 - constants alone
    "WHERE NOT EXISTS (SELECT 1 FROM replies AS ours WHERE ours.digest = their.digest AND ours.attempt = their.attempt "
    "AND ours.occurrence = their.occurrence AND ours.generation = their.generation AND ours.at = their.at)"
)
_TAKE_GENERATIONS = "INSERT OR IGNORE INTO generations SELECT stage, generation, finished FROM other.generations"
_TAKE_FAULTS = (
    "INSERT OR REPLACE INTO faults SELECT stage, asked_model, kind || ', ' || ?, calls, tokens_in, tokens_out, cost "
    "FROM other.faults"
)


class _Entry(NamedTuple):
    statement: str
    values: tuple[Any, ...]
    durable: asyncio.Future[None] | None = None  # of a reply, whose statement is `INSERT`: whoever asked waits for it
    can_wait: bool = True  # for the next commit: by itself it is not worth 300 µs, or 20 ms on a slow disk


class Ledger:
    """The ledger of one workspace. Use as a context manager; raises WorkspaceError where it cannot be kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.generation = 0  # replies older than this are not looked at: set by `begin_again`
        self.damaged = 0  # rows that were met and cannot be used; their requests are asked anew
        self._file = LedgerFile(path)
        self._room = SpareRoom(path.with_name(path.name + ".room"))
        self._waiting: deque[_Entry] = deque()
        self._due = False  # a commit of what waits is on its way
        self._writer = ThreadPoolExecutor(1, "ledger")
        self._broken: Exception | None = None
        self._full = False

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file.prepare()
            # One connection reads while the other commits: a look-up never waits for the disk.
            self._database, self._writing = self._file.open(), self._file.open()
        except OSError as error:
            raise cannot_write(self.path, error) from None
        except sqlite3.Error as error:
            raise cannot_use(self.path, error) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.shutdown()
        if self._waiting:
            self._commit()
        self._room.give_back()
        with contextlib.suppress(sqlite3.Error):
            self._writing.close()
            self._database.close()
        self._file.suspect = self._file.suspect or (self._broken is not None and is_damage(self._broken))
        self._file.closed()
        if self.damaged:
            say(f"warning: {self.damaged:,} replies in the ledger are damaged; what they answered is asked anew")

    def find(self, request: Request) -> Reply | None:
        """The newest whole reply to this very request, or None. A rejected one is returned with its reason.

        Raises ItemError where the disk does not answer: to ask anew would pay twice.
        """
        key = (request.digest, request.attempt, request.occurrence, self.generation)
        try:
            rows = self._database.execute(_FIND, key).fetchall()
        except sqlite3.Error as error:
            if not is_damage(error):
                raise ItemError("ledger-unreadable", str(error), where=self.path) from None
            self._file.suspect = True
            rows = [()]
        whole = [row for row in rows if row and is_whole(row)]
        self.damaged += len(rows) - len(whole)
        if not whole:
            return None
        told = dict(zip(_TOLD, whole[0][7:-1], strict=True))
        return Reply(**{**told, "usage": orjson.loads(told["usage"])}, key=request.key, from_ledger=True)

    def spent(self) -> float:
        return float(self.query(_SPENT)[0][0])

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.transaction() as database:
            return database.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """What is written in it becomes durable together."""
        try:
            with self._database:
                yield self._database
        except sqlite3.Error as error:
            self._file.suspect = self._file.suspect or is_damage(error)
            raise cannot_use(self.path, error) from None

    async def put(self, request: Request, reply: Reply) -> None:
        durable = asyncio.get_running_loop().create_future()
        question = (request.digest, request.attempt, request.occurrence, self.generation)
        row = reply_row(question, (request.stage, request.item, request.model), reply)
        self._add(_Entry(INSERT, row, durable))
        await durable

    def reject(self, key: str, reason: str) -> None:
        digest, attempt, occurrence = key.split("-")
        self._add(_Entry(_REJECT, (reason, bytes.fromhex(digest), int(attempt), int(occurrence))))

    def count_fault(self, request: Request, kind: str, usage: Mapping[str, int], cost: float | None) -> None:
        tokens = (usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0))
        if self._broken is None:
            self._add(_Entry(_FAULT, (request.stage, request.model, kind, *tokens, cost or 0.0), can_wait=not cost))

    def keep_room(self, calls: int) -> None:
        if self._full or not self._room.keep(calls):
            raise disk_full(self.path)

    def begin_again(self, stage: str) -> None:
        """Only replies from here on answer; an earlier `--again` of this stage that did not finish is gone on with."""
        last = "SELECT generation, finished FROM generations WHERE stage = ? ORDER BY generation DESC LIMIT 1"
        newest, finished = next(iter(self.query(last, stage)), (0, True))
        self.generation = newest + bool(finished)
        self.query("INSERT OR IGNORE INTO generations VALUES (?, ?, 0)", stage, self.generation)

    def finish_again(self, stage: str) -> None:
        self.query("UPDATE generations SET finished = 1 WHERE stage = ?", stage)

    def take_over(self, path: Path, items: Collection[str] | None = None, of: str = "") -> int:
        """Copy the replies of another ledger that are not here, only those for `items` where given; returns how many.

        `of` names the other ledger: its failed calls are kept under this name, so that none is counted twice.
        """
        if not path.exists():
            return 0
        ours = self._database
        chosen = "" if items is None else " AND their.item IN (SELECT item FROM wanted)"
        try:
            ours.execute("ATTACH ? AS other", (str(path),))
            with ours:
                ours.execute("CREATE TEMP TABLE wanted (item TEXT PRIMARY KEY)")
                ours.executemany("INSERT INTO wanted VALUES (?)", ((item,) for item in items or ()))
                copied = ours.execute(_TAKE_OVER + chosen + " ORDER BY their.id").rowcount
                ours.execute(_TAKE_GENERATIONS)
                if of:
                    ours.execute(_TAKE_FAULTS, (of,))
                ours.execute("DROP TABLE wanted")
            ours.execute("DETACH other")
        except sqlite3.Error as error:
            raise cannot_use(path, error) from None
        return copied

    def _add(self, entry: _Entry) -> None:
        if self._broken is not None:
            raise cannot_use(self.path, self._broken)
        self._waiting.append(entry)
        if not self._due and (entry.durable is not None or not entry.can_wait):
            self._due = True
            self._writer.submit(self._commit)

    def _commit(self) -> None:
        """One commit for all that came while the last one ran. Not on the event loop, which may lag by 20 ms.

        In the order in which it came: a rejection follows the reply that it means, which was durable before.
        """
        self._due = False  # first: what is not in this batch is due anew
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            if self._broken is not None:
                raise self._broken
            try:
                self._write(batch)
            except Exception as error:
                with contextlib.suppress(sqlite3.Error):
                    self._writing.rollback()
                if not ledger_file.is_full(error) or self._full:
                    raise
                # Use the room that was kept for what is in flight; no further call goes out.
                self._full = True
                self._room.give_back()
                self._write(batch)
        except Exception as error:  # whatever it is: nobody may wait for a thread that has ended
            self._broken = self._broken or error
        failure = None if self._broken is None else cannot_use(self.path, self._broken)
        waiting = [entry.durable for entry in batch if entry.durable is not None]

        def settle() -> None:
            for durable in waiting:
                if not durable.done():
                    durable.set_result(None) if failure is None else durable.set_exception(failure)

        if waiting:  # all of one run, and so of one loop
            waiting[0].get_loop().call_soon_threadsafe(settle)

    def _write(self, batch: list[_Entry]) -> None:
        replies = [entry.values for entry in batch if entry.durable is not None]
        for start in range(0, len(replies), _ROWS_A_STATEMENT):
            rows = [(*row, proof(row)) for row in replies[start : start + _ROWS_A_STATEMENT]]
            self._writing.execute(INSERT + f", {ROW}" * (len(rows) - 1), [value for row in rows for value in row])
        for entry in batch:
            if entry.durable is None:
                self._writing.execute(entry.statement, entry.values)
        self._writing.commit()


def spent(path: Path) -> float:
    """Dollars paid so far by the workspace with this ledger; a run that is writing it is not disturbed."""
    if not path.exists():
        return 0.0
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            return float(database.execute(_SPENT).fetchone()[0])
    except sqlite3.Error:  # an older version's, or damaged
        with Ledger(path) as ledger:
            return ledger.spent()


def now_in_utc() -> str:
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")


def reply_row(question: tuple[bytes, int, int, int], origin: tuple[str, str, str], reply: Reply) -> tuple[Any, ...]:
    """A reply's row, but for its proof: to (digest, attempt, occurrence, generation), for (stage, item, model)."""
    usage, cost = orjson.dumps(dict(reply.usage)).decode(), None if reply.cost is None else float(reply.cost)
    # SQLite keeps UTF-8; a lone surrogate out of broken JSON escapes is replaced.
    texts = (text.encode("utf-8", "replace").decode() for text in (reply.text, reply.reasoning))
    told = (reply.finish_reason, reply.model, reply.provider, usage, cost, float(reply.latency_s))
    return (*question, *origin, *texts, *told, reply.tries, reply.at, reply.rejected)
