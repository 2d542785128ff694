"""A file that may be a session log: its first records for sniffing, its records, what was wrong; and what reads it."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from duel.conversation import record_files
from duel.conversation.model import Session
from duel.conversation.record_files import Hole, Record
from duel.errors import ItemError, SourceError
from duel.workspace import natural_order

# Formats tell themselves apart in their first records. Claude Code opens a session that it goes on with by as many
# lines as the session had prompts, of which none is a message.
SNIFFED_RECORDS = 40
EVENTS = "events"
_PLAIN = (".jsonl", ".ndjson", ".json", ".traj", ".parquet", ".sqlite", ".db")
ENDINGS = (*_PLAIN, *(f"{ending}{packed}" for ending in _PLAIN[:4] for packed in (".gz", ".zst")))
# Licenses of data that are not for everybody's use: non-commercial, no derivatives, the dataset's own words.
_NOT_FREE = re.compile(r"(?i)(?:^|-)(?:nc|nd)(?:-|$)|^(?:other|unknown|openrail)|non-?commercial|llama|gemma")


@dataclass
class Log:
    """One file, or one folder of event files, below the folder that was searched."""

    path: Path
    name: str  # the path below the searched folder: what reports show
    notes: Counter[str] = field(default_factory=Counter)  # what was left out or could not be read, by its name
    license: str = ""
    revision: str = ""  # license and commit of the dataset that it is a part of

    @cached_property
    def is_database(self) -> bool:
        with self.path.open("rb") as file:
            return file.read(15) == b"SQLite format 3"

    @cached_property
    def sample(self) -> list[dict[str, Any]]:
        if self.is_database:
            return [{"tables": [name for (name,) in self.query("SELECT name FROM sqlite_master WHERE type = 'table'")]}]
        return list(islice(self.values(quietly=True), SNIFFED_RECORDS))

    def query(self, sql: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """The rows of a query on an SQLite file, which is opened to read only. Raises ItemError (`damaged`)."""
        import sqlite3
        from contextlib import closing
        from urllib.parse import quote

        try:
            place = f"file:{quote(str(self.path.absolute()))}?mode=ro"
            with closing(sqlite3.connect(place, uri=True)) as connection:
                yield from connection.execute(sql, values)
        except sqlite3.Error as error:
            raise ItemError("damaged", f"the database cannot be read: {error}", where=self.name) from None

    def raw(self) -> Iterator[Record]:
        yield from record_files.records(self.path)

    def entries(self, quietly: bool = False) -> Iterator[Record]:
        """As `raw`; every Hole is noted by the number of its line."""
        for record in self.raw():
            if isinstance(record, Hole) and not quietly:
                self.notes[f"broken line {record.line}"] += 1
            yield record

    def values(self, quietly: bool = False) -> Iterator[dict[str, Any]]:
        """The records that can be read, for formats in which one says nothing of the next."""
        return (record for record in self.entries(quietly) if not isinstance(record, Hole))

    def note(self, what: str) -> None:
        self.notes[what] += 1


@dataclass(frozen=True)
class SessionReader:
    """How one format is told and read. One from outside is an entry point with these names, a module for example."""

    recognizes: Callable[[list[dict[str, Any]]], bool]
    """True where the first records of a file are this format's; of a database, `{"tables": […]}`."""
    read: Callable[..., Iterator[Session]]
    """The sessions of one file: `read(log, all_branches)`."""
    FOLDERS: tuple[str, ...] = ()
    """Where its agent writes by itself."""


def any_record(test: Callable[[dict[str, Any]], Any]) -> Callable[[list[dict[str, Any]]], bool]:
    """A format that shows in each of its records by itself."""
    return lambda sample: any(map(test, sample))


class EventFolder(Log):
    """A folder `events` in which each file is one event, as OpenHands stores a conversation."""

    is_database = False

    def raw(self) -> Iterator[Record]:
        for number, path in enumerate(sorted(self.path.glob("*.json"), key=lambda path: natural_order(path.stem)), 1):
            value = record_files.parsed(path.read_bytes())
            yield value if isinstance(value, dict) else Hole(number)


@dataclass
class HubRows(Log):
    """One split of a dataset of the Hub: its rows, streamed through `datasets`, one in memory at a time."""

    split: str = "train"
    is_database = False

    def look_up(self, accept_license: bool) -> None:
        """Ask the Hub for the commit and the license. Raises SourceError for a license that nobody accepted."""
        try:
            from huggingface_hub import HfApi
            from huggingface_hub.errors import HfHubHTTPError

            found = HfApi().dataset_info(self.name)
        except (OSError, ValueError, HfHubHTTPError) as error:
            raise SourceError("cannot find the dataset", where=self.name, value=str(error).split("\n")[0]) from None
        stated = getattr(found.card_data, "license", None) or ""
        self.license = stated[0] if isinstance(stated, list) and stated else str(stated or "")
        self.revision = found.sha or ""
        if not accept_license and (not self.license or _NOT_FREE.search(self.license)):
            raise SourceError(
                "the dataset's license does not let everybody train on it" if self.license else "no license is stated",
                where=self.name,
                value=self.license or None,
                hint="read its card; `--accept-license` takes it all the same, and every row says what it is",
            )

    def raw(self) -> Iterator[Record]:
        try:
            from datasets import load_dataset
        except ImportError:
            raise SourceError(
                "reading a dataset of the Hub needs the package `datasets`",
                where=self.name,
                hint="pip install datasets, or download the parquet files and name their folder",
            ) from None
        try:
            yield from load_dataset(self.name, split=self.split, streaming=True, revision=self.revision or None)
        except (OSError, ValueError, RuntimeError) as error:
            raise SourceError("cannot read the dataset", where=self.name, value=error) from None


def find(root: Path) -> Iterator[Log]:
    """The files below `root` (or `root` itself) that may be logs, in the order of their paths.

    A linked folder is followed once, wherever it leads; a linked file is not, since its own folder has it.
    """
    if root.is_file():
        yield Log(root, root.name)
        return
    closed: list[OSError] = []
    walked: set[str] = set()
    for folder, folders, files in os.walk(root, onerror=closed.append, followlinks=True):
        if os.path.realpath(folder) in walked:
            folders.clear()
            continue
        walked.add(os.path.realpath(folder))
        folders.sort()
        if Path(folder).name == EVENTS and any(name.endswith(".json") for name in files):
            yield EventFolder(Path(folder), Path(folder).relative_to(root).as_posix())
            continue
        for name in sorted(files):
            path = Path(folder) / name
            if name.endswith(ENDINGS) and path.is_file() and not path.is_symlink():
                yield Log(path, path.relative_to(root).as_posix())
    for error in closed:  # a folder that cannot be listed fails as a file that cannot be read, and is counted so
        yield Log(Path(error.filename), Path(error.filename).relative_to(root).as_posix())
