"""Session logs: the files, which reader a file is for, told by its content, and what readers build sessions with."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from duel.conversation import record_files, text_actions
from duel.conversation.model import AgentCall, AgentReply, Lost, Session
from duel.conversation.record_files import FileRecord, Hole
from duel.conversation.values import joined, parts, seconds, table, tables, text
from duel.environment import HUB_ID, expanded, hub_token
from duel.errors import ItemError, SourceError
from duel.registry import Registry

# Formats tell themselves apart in their first records. Claude Code opens a session that it goes on with by as many
# lines as the session had prompts, of which none is a message.
SNIFFED_RECORDS = 40
_PLAIN = (".jsonl", ".ndjson", ".json", ".traj", ".parquet", ".sqlite", ".db")
ENDINGS = (*_PLAIN, *(f"{ending}{packed}" for ending in _PLAIN[:4] for packed in (".gz", ".zst")))
# Licenses of data that are not for everybody's use: non-commercial, no derivatives, the dataset's own words.
_NOT_FREE = re.compile(r"(?i)(?:^|-)(?:nc|nd)(?:-|$)|^(?:other|unknown|openrail)|non-?commercial|llama|gemma")
# Names by which formats are known elsewhere: of a reader, or of the one dialect that the rows of a set speak.
_ALSO = "atif=atif_documents codeact=execute_tags swe-smith=function_tags toolace=python_calls dolci= sharegpt= toucan="
ALIASES = dict(alias.split("=") for alias in _ALSO.split())
_LAST = "messages"  # its rows are what other formats hold inside, so it is asked last


@dataclass
class Log:
    path: Path
    name: str  # the path below the searched folder: what reports show
    source: Callable[[], Iterator[FileRecord]] | None = None  # where the records come from, if not from a file
    license: str = ""
    revision: str = ""  # license and commit of the dataset that it is a part of
    notes: Counter[str] = field(default_factory=Counter)  # what was left out or could not be read, by its name

    @cached_property
    def is_database(self) -> bool:
        if self.source:
            return False
        with self.path.open("rb") as file:
            return file.read(15) == b"SQLite format 3"

    @cached_property
    def sample(self) -> list[dict[str, Any]]:
        if self.is_database:
            return [{"tables": [name for (name,) in self.query("SELECT name FROM sqlite_master WHERE type = 'table'")]}]
        return list(islice((record for record in self._raw() if not isinstance(record, Hole)), SNIFFED_RECORDS))

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query on an SQLite file, which is opened to read only. Raises ItemError (`damaged`)."""
        import sqlite3

        try:
            with closing(sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
                return list(connection.execute(sql, values))
        except sqlite3.Error as error:
            raise ItemError("damaged", f"the database cannot be read: {error}", where=self.name) from None

    def _raw(self) -> Iterator[FileRecord]:
        yield from self.source() if self.source else record_files.records(self.path)

    def entries(self) -> Iterator[FileRecord]:
        """Every record; a Hole is noted by the number of its line."""
        for record in self._raw():
            if isinstance(record, Hole):
                self.notes[f"broken line {record.line}"] += 1
            yield record

    def values(self) -> Iterator[dict[str, Any]]:
        """The records that can be read, for formats in which one says nothing of the next."""
        return (record for record in self.entries() if not isinstance(record, Hole))


def events_of(folder: Path) -> Iterator[FileRecord]:
    """A folder `events` in which each file is one event, numbered, as OpenHands stores a conversation."""
    from duel.workspace import natural_order

    for number, path in enumerate(sorted(folder.glob("*.json"), key=lambda path: natural_order(path.stem)), 1):
        value = record_files.parsed(path.read_bytes())
        yield value if isinstance(value, dict) else Hole(number)


def on_hub(name: str, split: str, accept_license: bool) -> Log:
    """One split of a dataset of the Hub. Raises SourceError where it cannot be read, or nobody accepted its license."""
    from duel.sources.parquet_tables import hub_client, in_plain_words

    with in_plain_words(name, ""):
        found = hub_client(Path()).dataset_info(name)
    stated = getattr(found.card_data, "license", None) or ""
    license, revision = str(stated[0] if isinstance(stated, list) and stated else stated), found.sha or ""
    if not accept_license and (not license or _NOT_FREE.search(license)):
        what = "the dataset's license does not let everybody train on it"
        hint = "read its card; `--accept-license` takes it all the same, and every row says what it is"
        raise SourceError(what, where=name, value=license or "none is stated", hint=hint)
    return Log(Path(name), name, partial(hub_rows, name, split, revision), license, revision)


def hub_rows(name: str, split: str, revision: str) -> Iterator[FileRecord]:
    """The rows, streamed through `datasets`, one in memory at a time."""
    from duel.sources.parquet_tables import in_plain_words

    with in_plain_words(name, revision):
        try:
            from datasets import load_dataset

            token = hub_token(Path()) or None
            yield from load_dataset(name, split=split, streaming=True, revision=revision or None, token=token)
        except ImportError:
            hint = "pip install datasets, or download the parquet files and name their folder"
            raise SourceError("reading a dataset of the Hub needs the package `datasets`", hint=hint) from None
        except (OSError, ValueError, RuntimeError) as error:
            raise SourceError("cannot read the dataset", where=name, value=error) from None


def find(root: Path) -> Iterator[Log]:
    """The files that may be logs, by their paths. A linked folder is followed once, a linked file not at all."""
    if root.is_file():
        yield Log(root, root.name)
        return
    closed: list[OSError] = []
    walked: set[str] = set()
    for folder, folders, files in os.walk(root, onerror=closed.append, followlinks=True):
        place = Path(folder)
        if (real := os.path.realpath(folder)) in walked:
            folders.clear()
            continue
        walked.add(real)
        folders.sort()
        if place.name == "events" and any(name.endswith(".json") for name in files):
            yield Log(place, place.relative_to(root).as_posix(), partial(events_of, place))
            continue
        for path in (place / name for name in sorted(files) if name.endswith(ENDINGS)):
            if path.is_file() and not path.is_symlink():
                yield Log(path, path.relative_to(root).as_posix())
    for error in closed:  # a folder that cannot be listed fails as a file that cannot be read, and is counted so
        yield Log(Path(error.filename), Path(error.filename).relative_to(root).as_posix())


Read: TypeAlias = Callable[..., Iterator[Session]]


@dataclass(frozen=True)
class SessionReader:
    """How one format is told and read. One from outside is an entry point with these names, a module for example."""

    recognizes: Callable[[list[dict[str, Any]]], Any]
    """True where the first records of a file are this format's; of a database, `{"tables": […]}`."""
    read: Read  # the sessions of one file: `read(log, all_branches)`
    FOLDERS: tuple[str, ...] = ()  # where its agent writes by itself


def any_record(test: Callable[[dict[str, Any]], Any]) -> Callable[[list[dict[str, Any]]], bool]:
    return lambda sample: any(map(test, sample))


READERS: Registry[SessionReader] = Registry("session_reader", home=f"{__package__}.readers")


def reads(name: str, recognizes: Callable[[list[dict[str, Any]]], Any], *folders: str) -> Callable[[Read], Read]:
    """Registers a function as what reads the sessions of a format."""

    def register(read: Read) -> Read:
        READERS.add(name, SessionReader(recognizes, read, folders))
        return read

    return register


@cache
def names() -> tuple[str, ...]:
    """Those from outside are asked first."""
    return tuple(sorted(READERS, key=lambda name: (name in READERS.own, name == _LAST, name)))


@cache
def formats() -> tuple[str, ...]:
    """Every name that can be asked for: `names`, the dialects of actions in text, and what sets are known by."""
    return tuple(sorted({*names(), *(name.replace("_", "-") for name in text_actions.DIALECTS), *ALIASES}))


@cache
def reader(name: str) -> SessionReader:
    known = ALIASES.get(name, name.replace("-", "_"))
    if (named := name if name in names() else known.replace("_", "-")) in names():
        return READERS[named]
    rows = READERS[_LAST]
    return SessionReader(rows.recognizes, partial(rows.read, dialect=known))


def reader_of(log: Log, name: str = "") -> SessionReader:
    """The reader of a file: the named one, else the first that recognizes it. Raises ItemError (`not-a-session`)."""
    for known in [name] if name else names():
        if name or reader(known).recognizes(log.sample):
            return reader(known)
    keys = ", ".join(list(log.sample[0])[:8]) if log.sample else ""
    raise ItemError("not-a-session", f"no reader recognizes it{f': its rows hold {keys}' if keys else ''}")


def logs(places: list[str], split: str = "train", accept_license: bool = False) -> Iterator[Log]:
    """The candidate files of folders, files and Hub datasets; with no place given, of the agents' own folders."""
    own = [place for name in names() for place in getattr(reader(name), "FOLDERS", ()) if expanded(place).is_dir()]
    for place in places or own:
        if expanded(place).exists():
            yield from find(expanded(place))
        elif HUB_ID.fullmatch(place) and not place.endswith(ENDINGS):
            yield on_hub(place, split, accept_license)
        else:
            hint = "name a session log, a folder of them, or a dataset as owner/name"
            raise SourceError("no such file, folder or dataset", where=place, hint=hint)


class SessionBuilder:
    """A session in the making: parts of one reply find each other by their response, a result its call by the id."""

    def __init__(self, session: Session, log: Log) -> None:
        self.session, self.log = session, log
        self.calls: dict[str, AgentCall] = {}
        self._replies: dict[str, AgentReply] = {}

    def records(self, records: Iterable[FileRecord] | None = None) -> Iterator[dict[str, Any]]:
        """The log's records (or these), each with its moment; one that cannot be read is a hole in the session."""
        for record in self.log.entries() if records is None else records:
            if isinstance(record, Hole):
                self.session.entries.append(Lost("a broken line in the log"))
            else:
                self.session.saw(seconds(record.get("timestamp")))
                yield record

    def reply(self, response: str = "") -> AgentReply:
        """The reply of a response that stands in several places; a new one where none is named."""
        if response not in self._replies or not response:
            self._replies[response] = AgentReply()
            self.session.entries.append(self._replies[response])
        return self._replies[response]

    def call(self, reply: AgentReply, call: AgentCall) -> None:
        reply.calls.append(call)
        self.calls[call.id] = call

    def add_blocks(self, reply: AgentReply, content: Any, folder: str, at: float | None) -> list[AgentCall]:
        """Add an assistant's text, thinking and calls in Anthropic's or pi's blocks to its reply; the new calls."""
        known = len(reply.calls)
        for block in tables(content) if not isinstance(content, str) else [{"type": "text", "text": content}]:
            kind = text(block, "type")
            if kind == "text":
                reply.text = joined(reply.text, text(block, "text").strip())
            elif kind in ("thinking", "redacted_thinking"):
                reply.thinking = joined(reply.thinking, text(block, "thinking").strip())
            elif kind in ("tool_use", "toolCall"):
                given = table(block.get("input" if kind == "tool_use" else "arguments"))
                self.call(reply, AgentCall(text(block, "id"), text(block, "name"), given, folder, at=at))
            else:
                self.log.notes[f"unknown block `{kind}`"] += 1
        return reply.calls[known:]

    def answer(self, identity: str, content: Any, failed: bool = False) -> AgentCall | None:
        call = self.calls.get(identity)
        if call is None:
            self.log.notes["result without a call"] += 1
            return None
        call.result, call.images = parts(content)
        call.is_error = failed
        return call


@dataclass(slots=True)
class TreeEntry:
    """An entry of a log whose entries name their parents, or a Hole where one cannot be read."""

    key: str
    parent: str | None
    record: FileRecord


Node = TypeVar("Node", bound=TreeEntry)


class SessionTree(dict[str, Node]):
    """The entries by key. One whose parent the log lacks hangs on the hole in front of it: what it follows is lost."""

    def __init__(self, entries: Iterable[Node]) -> None:
        given = list(entries)
        known, last, last_hole = {entry.key for entry in given}, None, ""
        for entry in given:
            if entry.parent is not None and entry.parent not in known:
                above = last_hole or f"hole before {entry.key}"
                if not last_hole:
                    self[above] = type(entry)(above, last, Hole(0))
                entry.parent = above
            last_hole = entry.key if isinstance(entry.record, Hole) else last_hole
            last = entry.key
            self[entry.key] = entry

    def path_to(self, leaf: str | None) -> list[str]:
        """The ids from the root to `leaf`. A parent that is not there ends the walk, and so does a circle."""
        walked: dict[str, None] = {}
        while leaf is not None and leaf in self and leaf not in walked:
            walked[leaf] = None
            leaf = self[leaf].parent
        return list(walked)[::-1]

    def branches(
        self, leaf: str, all_branches: bool, widened: Callable[[list[str]], Iterable[str]] = list
    ) -> Iterator[tuple[str, list[str]]]:
        """(name, ids) of the branch to `leaf`, named "", then of each that tells more; `widened` adds to a path."""
        told, inner, ends = set[str](), {entry.parent for entry in self.values()}, [leaf]
        if all_branches:
            ends += [key for key, one in self.items() if key not in inner and not isinstance(one.record, Hole)]
        for number, end in enumerate(ends):
            ids = list(widened(self.path_to(end)))
            if not number or set(ids) - told:
                told |= set(ids)
                yield f"branch-{number}" if number else "", ids
