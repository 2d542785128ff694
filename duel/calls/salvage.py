"""A damaged ledger is set aside, never emptied: its file stays, and what can still be read moves to a new one."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from duel import command

_COLUMNS = 18


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
    last = 0
    for row in _rows(damaged, "id > 0 ORDER BY id"):
        last = max(last, row[0])
        yield row[1:]
    behind = [row[1:] for row in _rows(damaged, f"id > {last} ORDER BY id DESC")]
    yield from reversed(behind)


def _rows(damaged: Path, condition: str) -> Iterator[tuple[Any, ...]]:
    database = None
    try:
        database = sqlite3.connect(f"file:{damaged}?mode=ro", uri=True)
        for row in database.execute(f"SELECT * FROM replies WHERE {condition}"):  # noqa: S608 - constants and a number
            if len(row) == _COLUMNS + 1 and isinstance(row[0], int):
                yield row
    except sqlite3.Error:
        return
    finally:
        if database is not None:
            database.close()
