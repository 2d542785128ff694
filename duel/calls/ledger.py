"""The ledger: every reply that was paid for, durable before it is used. One SQLite file under the workspace.

Replies are only ever added. A reply is found by its request's key; the newest row wins, so that `--again` (a new
generation) takes precedence and what was paid for before stays. Replies that come within the same few milliseconds
share one commit (synchronous=FULL costs 286 µs), made by one writer thread: a slow disk never stops the calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import orjson

from duel.calls.request import Reply, Request
from duel.calls.salvage import set_aside
from duel.errors import WorkspaceError
from duel.workspace import cannot_write

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL, attempt INTEGER NOT NULL, occurrence INTEGER NOT NULL, generation INTEGER NOT NULL,
    stage TEXT NOT NULL, item TEXT NOT NULL, asked_model TEXT NOT NULL,
    text TEXT NOT NULL, reasoning TEXT NOT NULL, finish_reason TEXT NOT NULL,
    model TEXT NOT NULL, provider TEXT NOT NULL, usage TEXT NOT NULL, cost REAL,
    latency_s REAL NOT NULL, tries INTEGER NOT NULL, at TEXT NOT NULL, rejected TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS replies_by_request ON replies (digest, attempt, occurrence);
CREATE TABLE IF NOT EXISTS faults (
    stage TEXT NOT NULL, asked_model TEXT NOT NULL, kind TEXT NOT NULL, calls INTEGER NOT NULL,
    PRIMARY KEY (stage, asked_model, kind)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS generations (
    stage TEXT NOT NULL, generation INTEGER NOT NULL, finished INTEGER NOT NULL, PRIMARY KEY (stage, generation)
) WITHOUT ROWID;
"""
_COLUMNS = (
    "digest, attempt, occurrence, generation, stage, item, asked_model, text, reasoning, finish_reason, model, "
    "provider, usage, cost, latency_s, tries, at, rejected"
)
_ROW = f"({', '.join('?' * 18)})"
_INSERT = f"INSERT INTO replies ({_COLUMNS}) VALUES {_ROW}"  # noqa: S608 - constants alone
# One statement for many rows: each statement gives up the interpreter and must win it back from the busy event loop.
_ROWS_A_STATEMENT = 40
_FIND = (
    "SELECT text, reasoning, finish_reason, model, provider, usage, cost, latency_s, tries, at, rejected FROM replies "
    "WHERE digest = ? AND attempt = ? AND occurrence = ? AND generation >= ? ORDER BY id DESC LIMIT 1"
)
_REJECT = (
    "UPDATE replies SET rejected = ? WHERE id = "
    "(SELECT MAX(id) FROM replies WHERE digest = ? AND attempt = ? AND occurrence = ?)"
)
_FAULT = (
    "INSERT INTO faults VALUES (?, ?, ?, ?) "
    "ON CONFLICT (stage, asked_model, kind) DO UPDATE SET calls = calls + excluded.calls"
)
# Another stage of the same workspace may be committing; it never holds the file for long.
_BUSY_S = 60.0


@dataclass(frozen=True)
class _Put:
    """A reply on its way to disk, and whoever waits for it."""

    row: tuple[Any, ...]
    durable: asyncio.Future[None]


@dataclass(frozen=True)
class _Rejection:
    """Why a reply was not taken."""

    values: tuple[Any, ...]


class Ledger:
    """The ledger of one workspace. Use as a context manager; raises WorkspaceError where it cannot be kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.generation = 0
        """Replies older than this are not looked at: set by `begin_again`."""
        self._entries: queue.SimpleQueue[_Put | _Rejection | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._faults: Counter[tuple[str, str, str]] = Counter()
        self._broken: sqlite3.Error | None = None

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from None
        set_aside(self.path, self._check, self._copy_into_new)
        try:
            # One connection reads while the other commits: a look-up never waits for the disk.
            self._database, self._writing = self._open(), self._open()
        except sqlite3.Error as error:
            raise self._cannot(error) from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._entries.put(None)
            self._writer.join()
        try:
            if self._faults and self._broken is None:
                self._writing.executemany(_FAULT, [(*key, count) for key, count in self._faults.items()])
                self._writing.commit()
        except sqlite3.Error as error:
            raise self._cannot(error) from None
        finally:
            self._writing.close()
            self._database.close()

    # -- reading ---------------------------------------------------------------------------------------------------

    def find(self, request: Request) -> Reply | None:
        """The newest reply to this very request, or None. A rejected one is returned with its reason."""
        key = (request.digest, request.attempt, request.occurrence, self.generation)
        try:
            row = self._database.execute(_FIND, key).fetchone()
        except sqlite3.Error as error:
            if "decode" in str(error):  # a damaged text is no reply
                return None
            raise self._cannot(error) from None
        return _reply(row, request.key) if row else None

    def spent(self) -> float:
        """Dollars paid in this workspace so far."""
        return float(self._database.execute("SELECT COALESCE(SUM(cost), 0) FROM replies").fetchone()[0])

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a reading statement, for the figures."""
        try:
            return self._database.execute(statement).fetchall()
        except sqlite3.Error as error:
            raise self._cannot(error) from None

    # -- writing ---------------------------------------------------------------------------------------------------

    async def put(self, request: Request, reply: Reply) -> None:
        """Keep a reply; returns once it is on disk."""
        put = _Put(self._row(request, reply), asyncio.get_running_loop().create_future())
        self._add(put)
        await put.durable

    def reject(self, key: str, reason: str) -> None:
        """Remember why the reply to the request of this key was not taken."""
        digest, attempt, occurrence = key.split("-")
        self._add(_Rejection((reason, bytes.fromhex(digest), int(attempt), int(occurrence))))

    def count_fault(self, request: Request, kind: str) -> None:
        """Count a call that brought no reply; saved with the next commit."""
        self._faults[request.stage, request.model, kind] += 1

    def begin_again(self, stage: str) -> None:
        """Only replies from here on answer; an earlier `--again` of this stage that did not finish is gone on with."""
        newest, finished = self._database.execute(
            "SELECT COALESCE(MAX(generation), 0), COALESCE(MAX(finished), 1) FROM generations WHERE stage = ? AND "
            "generation = (SELECT MAX(generation) FROM generations WHERE stage = ?)",
            (stage, stage),
        ).fetchone()
        self.generation = newest if not finished else newest + 1
        self._execute("INSERT OR IGNORE INTO generations VALUES (?, ?, 0)", (stage, self.generation))

    def finish_again(self, stage: str) -> None:
        """Everything was asked anew; the next `--again` begins a new generation."""
        self._execute("UPDATE generations SET finished = 1 WHERE stage = ?", (stage,))

    def _execute(self, statement: str, values: tuple[Any, ...]) -> None:
        try:
            with self._database:
                self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise self._cannot(error) from None

    def _row(self, request: Request, reply: Reply) -> tuple[Any, ...]:
        return (
            request.digest,
            request.attempt,
            request.occurrence,
            self.generation,
            request.stage,
            request.item,
            request.model,
            _storable(reply.text),
            _storable(reply.reasoning),
            reply.finish_reason,
            reply.model,
            reply.provider,
            orjson.dumps(dict(reply.usage)).decode(),
            reply.cost,
            reply.latency_s,
            reply.tries,
            reply.at,
            reply.rejected,
        )

    # -- the writer thread -----------------------------------------------------------------------------------------

    def _add(self, entry: _Put | _Rejection) -> None:
        if self._broken is not None:
            raise self._cannot(self._broken)
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_all, name="ledger", daemon=True)
            self._writer.start()
        self._entries.put(entry)

    def _write_all(self) -> None:
        """One commit for all that came while the last one ran. Not on the event loop, which may lag by 20 ms."""
        running = True
        while running:
            batch = [self._entries.get()]
            while not self._entries.empty():
                batch.append(self._entries.get())
            running = None not in batch
            self._commit([entry for entry in batch if entry is not None])

    def _commit(self, batch: list[_Put | _Rejection]) -> None:
        """In the order in which it came: a rejection follows the reply that it means, which was durable before."""
        puts = [entry for entry in batch if isinstance(entry, _Put)]
        try:
            if self._broken is not None:
                raise self._broken
            for start in range(0, len(puts), _ROWS_A_STATEMENT):
                some = puts[start : start + _ROWS_A_STATEMENT]
                self._writing.execute(
                    _INSERT + f", {_ROW}" * (len(some) - 1), [value for put in some for value in put.row]
                )
            self._writing.executemany(_REJECT, [entry.values for entry in batch if isinstance(entry, _Rejection)])
            self._writing.commit()
        except sqlite3.Error as error:
            self._broken = error
        failure = None if self._broken is None else self._cannot(self._broken)
        for loop in {put.durable.get_loop() for put in puts}:
            loop.call_soon_threadsafe(_settle, [put.durable for put in puts], failure)

    # -- the file --------------------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=_BUSY_S, check_same_thread=False)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.executescript(_SCHEMA)
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        return database

    def _check(self, path: Path) -> str:
        """What is wrong with the file; "" where nothing is."""
        if not path.stat().st_size:
            return "the file is empty"
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_S)) as database:
                version = int(database.execute("PRAGMA user_version").fetchone()[0])
                found = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
        except sqlite3.OperationalError as error:
            raise self._cannot(error) from None
        except sqlite3.DatabaseError as error:
            return str(error)
        if version > SCHEMA_VERSION:
            raise WorkspaceError("the ledger was written by a newer version", where=path, hint="update this project")
        return "" if found == "ok" else found

    def _copy_into_new(self, rows: Iterable[tuple[Any, ...]]) -> int:
        """Start a new ledger with the rows that could still be read."""
        database = self._open()
        count = 0
        with database:
            for row in rows:
                database.execute(_INSERT, row)
                count += 1
        database.close()
        return count

    def _cannot(self, error: Exception) -> WorkspaceError:
        if isinstance(error, WorkspaceError):
            return error
        if "full" in str(error):
            return WorkspaceError(
                "the disk is full", where=self.path, hint="free some space and run the same command again"
            )
        return WorkspaceError(
            "cannot use the ledger of paid replies",
            where=self.path,
            value=error,
            hint="run the same command again: a damaged ledger is then set aside, its readable replies kept",
        )


def _settle(waiting: list[asyncio.Future[None]], failure: WorkspaceError | None) -> None:
    for durable in waiting:
        if durable.done():
            continue
        if failure is None:
            durable.set_result(None)
        else:
            durable.set_exception(failure)


def now_in_utc() -> str:
    """The time as records write it."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")


def _storable(text: str) -> str:
    """SQLite keeps UTF-8; a lone surrogate out of broken JSON escapes is replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _reply(row: tuple[Any, ...], key: str) -> Reply:
    text, reasoning, finish_reason, model, provider, usage, cost, latency_s, tries, at, rejected = row
    return Reply(
        text=text,
        reasoning=reasoning,
        finish_reason=finish_reason,
        model=model,
        provider=provider,
        usage=orjson.loads(usage),
        cost=cost,
        latency_s=latency_s,
        tries=tries,
        at=at,
        rejected=rejected,
        key=key,
        from_ledger=True,
    )
