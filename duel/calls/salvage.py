"""A damaged ledger is set aside, never emptied: its file stays, and what can still be read moves to a new one."""

import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from duel import command

# Columns behind the id, a proof behind them; all but the cost are always filled, and in a page that was lost none is.
_COLUMNS, _COST = 18, 14
# A header that claims more is damaged itself.
MOST_BYTES = 1 << 36


def set_aside(
    path: Path, what_is_wrong: Callable[[Path], str], into_new: Callable[[Iterable[tuple[Any, ...]]], int]
) -> None:
    """Where the ledger at `path` is damaged, rename it and its companions, and carry over its readable rows."""
    wrong = what_is_wrong(path) if path.exists() else ""
    if not wrong:
        return
    damaged = _free_name(path)
    for companion in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + companion).rename(damaged.with_name(damaged.name + companion))
    count = into_new(_readable(damaged))
    command.say(
        f"warning: the ledger of paid replies is damaged ({wrong.splitlines()[0]}); it is set aside as `{damaged}`, "
        f"{count:,} replies were carried over. Finished items stand as they are."
    )


def _free_name(path: Path) -> Path:
    number = 1
    while (candidate := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return candidate


def _readable(damaged: Path) -> Iterator[tuple[Any, ...]]:
    """The rows before the first unreadable one, and those behind the last."""
    copy = damaged.with_name(f"{damaged.name}.copy")
    try:
        _copy_whole(damaged, copy)
        last = 0
        for row in _rows(copy, "id > 0 ORDER BY id"):
            last = max(last, row[0])
            yield row[1:]
        behind = [row[1:] for row in _rows(copy, f"id > {last} ORDER BY id DESC")]
        yield from reversed(behind)
    finally:
        for companion in ("", "-wal", "-shm"):
            copy.with_name(copy.name + companion).unlink(missing_ok=True)


def _copy_whole(damaged: Path, copy: Path) -> None:
    """A copy as long as its header says: SQLite reads no row of a file that was cut, but reads around missing pages."""
    for companion in ("", "-wal"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(damaged.with_name(damaged.name + companion), copy.with_name(copy.name + companion))
    with copy.open("r+b") as file:
        header = file.read(32)
        size = int.from_bytes(header[16:18], "big") * int.from_bytes(header[28:32], "big")
        if file.seek(0, 2) < size < MOST_BYTES:
            file.truncate(size)


def _rows(damaged: Path, condition: str) -> Iterator[tuple[Any, ...]]:
    database = None
    try:
        database = sqlite3.connect(f"file:{damaged}?mode=rw", uri=True)
        for row in database.execute(f"SELECT * FROM replies WHERE {condition}"):  # noqa: S608 - constants and a number
            proof = row[_COLUMNS + 1 :] or (None,)
            row = row[: _COLUMNS + 1]
            if len(row) == _COLUMNS + 1 and None not in (*row[:_COST], *row[_COST + 1 :]):
                yield (*row, *proof[:1])
    except sqlite3.Error:
        return
    finally:
        if database is not None:
            database.close()
