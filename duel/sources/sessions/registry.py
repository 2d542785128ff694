"""Which formats are known, how a file's format is told from its content, and where agents keep their logs.

A new format is one module with NAME, `recognises(sample)` and `read(log, all_branches)`, and its name in READERS.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from duel.conversation.model import Session
from duel.errors import ItemError, SourceError
from duel.sources.sessions import claude_code, messages, mini_swe_agent, openhands, pi, swe_agent
from duel.sources.sessions.log import ENDINGS, Log, find


class Reader(Protocol):
    """What a module of this package offers."""

    NAME: str

    def recognises(self, sample: list[dict[str, Any]]) -> bool:
        """True where the first records of a file are this format's."""

    def read(self, log: Log, all_branches: bool = False) -> Iterator[Session]:
        """The sessions of one file."""


# The most specific first: the rows of `messages` are what other formats hold inside.
READERS: tuple[Reader, ...] = (claude_code, pi, openhands, swe_agent, mini_swe_agent, messages)
NAMES = tuple(reader.NAME for reader in READERS)
# Where agents write on this machine, unless told otherwise.
FOLDERS = (claude_code.FOLDER, *pi.FOLDERS)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def reader_of(log: Log, name: str = "") -> Reader:
    """The reader of a file: the named one, else the first that recognises it. Raises ItemError (`not-a-session`)."""
    for reader in READERS:
        if name == reader.NAME or (not name and reader.recognises(log.sample)):
            return reader
    raise ItemError("not-a-session", "no reader recognises it", where=log.name)


def logs(places: list[str], split: str = "train") -> Iterator[Log]:
    """The candidate files of folders, files and Hub datasets; with no place given, of the agents' own folders."""
    for place in places or [folder for folder in FOLDERS if Path(folder).expanduser().is_dir()]:
        path = Path(place).expanduser()
        if path.exists():
            yield from find(path)
        elif _HUB_ID.fullmatch(place) and not place.endswith(ENDINGS):
            from duel.sources.sessions.hub_rows import HubRows

            yield HubRows(path, place, split=split)
        else:
            raise SourceError(
                "no such file, folder or dataset",
                where=place,
                hint="name a session log, a folder of them, or a dataset as owner/name",
            )
