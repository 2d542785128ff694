"""The ledger's file: its tables, what proves a row, whether it is whole, and what becomes of it if it is not.

A full check reads the whole file (11.5 s at 2.4 GB), so it is made only after an unclean end: each row proves itself
when it is read. A damaged file is set aside, never emptied, and what can still be read of it moves to a new one.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any

from duel import command
from duel.errors import WorkspaceError
from duel.workspace import disk_full

SCHEMA_VERSION = 2
# What version 1 lacks. Its rows have no proof and are taken as they are.
_FROM_1 = (
    "ALTER TABLE replies ADD COLUMN proof BLOB",
    "ALTER TABLE faults ADD COLUMN tokens_in INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE faults ADD COLUMN tokens_out INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE faults ADD COLUMN cost REAL NOT NULL DEFAULT 0",
)
COLUMNS = (
    "digest, attempt, occurrence, generation, stage, item, asked_model, text, reasoning, finish_reason, model, "
    "provider, usage, cost, latency_s, tries, at, rejected, proof"
)
ROW = f"({', '.join('?' * 19)})"
INSERT = f"INSERT INTO replies ({COLUMNS}) VALUES {ROW}"  # noqa: S608 - constants alone
_REJECTED = 17
# What is carried over of a damaged file: each table in the order of its key, and which of its rows can be true.
_CARRIED = {
    "replies": ("id", "id > 0"),
    "faults": ("stage", "calls > 0"),
    "generations": ("stage", "generation > 0"),
    "batches": ("rowid", "state IN ('written', 'uploaded', 'creating', 'created', 'found', 'out', 'done')"),
    "batch_requests": ("home", "tokens > 0"),
}
# Another stage of the same workspace may be committing; it never holds the file for long.
BUSY_S = 60.0
# A reply of 8,000 tokens, with its reasoning, takes 40 KB of the write-ahead log.
BYTES_PER_CALL, CALLS_A_STEP = 64 * 1024, 64
# A header that claims more is damaged itself.
MOST_BYTES = 1 << 36
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MAGIC = b"SQLite format 3\0"
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# The file, and what SQLite keeps beside it.
_COMPANIONS = ("", "-wal", "-shm")


def proof(row: Sequence[Any]) -> bytes:
    """8 bytes that a row has only while it is unchanged; why a reply was rejected is written later and left out."""
    told = "\x1f".join(map(str, row[1:_REJECTED]))
    return hashlib.blake2b(row[0] + told.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def is_whole(row: Sequence[Any]) -> bool:
    """True if `row`, its proof last, is as it was written; a row of version 1 has no proof."""
    return row[-1] is None or (isinstance(row[0], bytes) and proof(row) == row[-1])


def is_damage(error: object) -> bool:
    """True if the file itself is damaged; anything else may pass (a lock, a full disk, a disk that does not answer)."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGE or "decode" in str(error)


def is_full(error: object) -> bool:
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_FULL


def cannot_use(path: Path, error: object) -> WorkspaceError:
    if isinstance(error, WorkspaceError):
        return error
    if is_full(error):
        return disk_full(path)
    hint = "run the same command again: a damaged ledger is then set aside, its readable replies kept"
    if isinstance(error, sqlite3.Error) and not is_damage(error):
        hint = "is the disk well? The ledger itself stays as it is; run the same command again"
        if not os.access(path.parent, os.W_OK):
            hint = "to look at a ledger writes in its folder too: copy the workspace to where you may write"
    return WorkspaceError("cannot use the ledger of paid replies", where=path, value=error, hint=hint)


class SpareRoom:
    """A file that takes up disk space beside the ledger, for the replies in flight; freed once the disk is full."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._calls = 0 if hasattr(os, "posix_fallocate") else 1 << 60

    def keep(self, calls: int) -> bool:
        """Make sure of room for so many replies; False where there is none."""
        if calls <= self._calls:
            return True
        wanted = -(-calls // CALLS_A_STEP) * CALLS_A_STEP
        try:
            with self._path.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, wanted * BYTES_PER_CALL)
        except OSError as error:
            if error.errno in _NO_SPACE:
                return False
            wanted = 1 << 60  # a file system on which no room can be kept
        self._calls = wanted
        return True

    def give_back(self) -> None:
        self._calls = 0
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


class LedgerFile:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.suspect = False  # once reading met damage: the next run checks the whole file
        self._stamp = Path(f"{path}.closed")

    def prepare(self) -> None:
        """Set a damaged file aside and go on with what can be read of it.

        Whatever ends this leaves the damaged file in its place, for the next run to try again. Raises WorkspaceError,
        OSError, sqlite3.Error.
        """
        wrong = self._what_is_wrong() if self.path.exists() else ""
        if not wrong:
            return
        copy, new = Path(f"{self.path}.copy"), Path(f"{self.path}.new")
        _remove(new)  # of a run that was killed over this
        try:
            for companion in ("", "-wal"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copyfile(f"{self.path}{companion}", f"{copy}{companion}")
            # As long as its header says: SQLite reads no row of a file that was cut, but reads around missing pages.
            with copy.open("r+b") as file:
                header = file.read(32)
                size = int.from_bytes(header[16:18], "big") * int.from_bytes(header[28:32], "big")
                if file.seek(0, 2) < size < MOST_BYTES:
                    file.truncate(size)
            kept = LedgerFile(new)._carry_over(copy)
        finally:
            _remove(copy)
        damaged = next(path for n in count(1) if not (path := Path(f"{self.path}.damaged-{n}")).exists())
        for companion in _COMPANIONS:
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{companion}").rename(f"{damaged}{companion}")
        new.rename(self.path)
        command.say(
            f"warning: the ledger of paid replies is damaged ({wrong.splitlines()[0]}); it is set aside as "
            f"`{damaged}`, {kept} were carried over. Finished items stand as they are."
        )

    def open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=BUSY_S, check_same_thread=False)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        if int(database.execute("PRAGMA user_version").fetchone()[0]) == 1:
            with contextlib.suppress(sqlite3.OperationalError), database:  # another stage may have been first
                for statement in _FROM_1:
                    database.execute(statement)
        database.executescript((resources.files("duel.calls") / "ledger.sql").read_text())
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        return database

    def closed(self) -> None:
        """Remember how the file was left, unless it is suspect or another stage still writes."""
        with contextlib.suppress(OSError):
            if state := "" if self.suspect else self._state():
                self._stamp.write_text(state)
            else:
                self._stamp.unlink(missing_ok=True)

    def _state(self) -> str:
        """Size and time of the file; "" while a log stands beside it."""
        status, log = self.path.stat(), Path(f"{self.path}-wal")
        return "" if log.exists() and log.stat().st_size else f"{status.st_size} {status.st_mtime_ns}"

    def _what_is_wrong(self) -> str:
        try:
            with self.path.open("rb") as file:
                header = file.read(100)
        except OSError as error:
            raise cannot_use(self.path, error.strerror) from None
        if not header.startswith(_MAGIC):
            return "the file is not a database" if header else "the file is empty"
        self._refuse_newer(int.from_bytes(header[60:64]))
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if self._stamp.read_text() == self._state() != "":
                return ""
        return self._check()

    def _refuse_newer(self, version: int) -> None:
        if version > SCHEMA_VERSION:
            what = "the ledger was written by a newer version"
            raise WorkspaceError(what, where=self.path, hint="update this project")

    def _check(self) -> str:
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=BUSY_S)) as database:
                found = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
                self._refuse_newer(int(database.execute("PRAGMA user_version").fetchone()[0]))
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise cannot_use(self.path, error) from None
            return str(error)
        code = re.search(r"error code=(\d+)", found)
        if code is not None and int(code[1]) & 0xFF not in _DAMAGE:  # a disk that does not answer is no damage
            raise cannot_use(self.path, found)
        return "" if found == "ok" else found

    def _carry_over(self, damaged: Path) -> str:
        """Take in what can be read of a damaged ledger; in words how much that is."""
        # What a constraint of its table forbids is no row: in a page that was lost columns are empty that never are.
        with contextlib.closing(self.open()) as database, database:
            for table in _CARRIED:
                for names, row in _readable(damaged, table):
                    if table != "replies" or is_whole(row[1:] if "proof" in names else (*row[1:], None)):
                        marks = ", ".join("?" * len(row))
                        database.execute(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})", row)  # noqa: S608
            replies = database.execute("SELECT COUNT(*) FROM replies").fetchone()[0]
            batches = database.execute("SELECT COUNT(*) FROM batches WHERE state != 'done'").fetchone()[0]
        return f"{replies:,} replies" + (f" and {batches:,} batches that are out" if batches else "")


def _remove(path: Path) -> None:
    for companion in _COMPANIONS:
        Path(f"{path}{companion}").unlink(missing_ok=True)


def _readable(damaged: Path, table: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(columns, row) of the rows before the first unreadable one, then of those behind the last, from the end."""
    order, true = _CARRIED[table]
    for direction in ("ASC", "DESC"):
        with contextlib.suppress(sqlite3.Error):
            with contextlib.closing(sqlite3.connect(f"{damaged.absolute().as_uri()}?mode=rw", uri=True)) as database:
                rows = database.execute(f"SELECT * FROM {table} WHERE {true} ORDER BY {order} {direction}")  # noqa: S608
                names = ", ".join(column[0] for column in rows.description)
                yield from ((names, row) for row in rows)
            return
