"""Votes on disk: appended, synced before anyone is told so, each exactly once."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import orjson

from duel.errors import ItemError
from duel.records import PersonVote, Record
from duel.review.ballots import Ballot, Cast
from duel.review.showings import Showing
from duel.workspace import Workspace, cannot_write

VOTES_FILE = "votes.jsonl"
DRAWS_FILE = "draws.jsonl"
RowType = TypeVar("RowType", bound=Record)


@dataclass
class Taken:
    new: int = 0
    there_before: int = 0
    set_aside: list[tuple[str, str]] = field(default_factory=list)  # (which, why)
    acknowledged: list[str] = field(default_factory=list)  # `id at` of each vote that is on disk


@dataclass
class BallotBox:
    """The one way for a page's votes to get into `review/votes.jsonl`."""

    workspace: Workspace
    ballots: Mapping[str, Ballot]  # by ballot id: every showing whose votes may come in

    def take(self, rows: Iterable[object]) -> Taken:
        """Check each row and append what is new in one synced write. Raises WorkspaceError where that fails."""
        taken = Taken()
        votes = []
        for number, row in enumerate(rows, start=1):
            try:
                cast = row if isinstance(row, Cast) else Cast.parse(row)
                ballot = self.ballots.get(cast.id)
                if ballot is None or ballot.showing.rater != cast.rater:
                    raise ItemError("unknown", "this workspace has drawn no such turn for this person")
                if ballot.pair_id != cast.pair:
                    raise ItemError("texts-changed", "the texts have changed since", where=ballot.showing.item)
                votes.append((cast, ballot.vote(cast, self.workspace.secret())))
            except ItemError as error:
                taken.set_aside.append((str(error.where or f"vote {number}"), error.what))
        if votes:
            self._append(votes, taken)
        return taken

    def _append(self, votes: Iterable[tuple[Cast, PersonVote]], taken: Taken) -> None:
        with _locked(self.workspace, VOTES_FILE) as handle:
            known = {(vote.key, vote.at) for vote in _rows(handle, PersonVote, [])}
            lines = []
            for cast, vote in votes:
                if (vote.key, vote.at) in known:
                    taken.there_before += 1
                else:
                    known.add((vote.key, vote.at))
                    taken.new += 1
                    lines.append(vote)
                taken.acknowledged.append(f"{cast.id} {cast.at}")
            _write(handle, lines)


def read_votes(workspace: Workspace, damage: list[ItemError]) -> list[PersonVote]:
    """Every vote in the order in which they came; lines that cannot be read are appended to `damage`."""
    return _read(workspace, VOTES_FILE, PersonVote, damage)


def read_showings(workspace: Workspace, damage: list[ItemError]) -> list[Showing]:
    return _read(workspace, DRAWS_FILE, Showing, damage)


def add_showings(workspace: Workspace, showings: Iterable[Showing]) -> None:
    """Keep what was drawn, before anyone sees it."""
    with _locked(workspace, DRAWS_FILE) as handle:
        _write(handle, showings)


def _read(workspace: Workspace, name: str, kind: type[RowType], damage: list[ItemError]) -> list[RowType]:
    try:
        with (workspace.review / name).open("rb") as file:
            return list(_rows(file.fileno(), kind, damage))
    except FileNotFoundError:
        return []


def _rows(handle: int, kind: type[RowType], damage: list[ItemError]) -> Iterator[RowType]:
    data = os.pread(handle, os.fstat(handle).st_size, 0)
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            yield kind.parse(line)
        except ItemError as error:
            damage.append(ItemError("damaged", error.what, where=f"review, {kind.__name__} line {number}"))


@contextmanager
def _locked(workspace: Workspace, name: str) -> Iterator[int]:
    """A file of lines, opened for appending by one process at a time."""
    import fcntl  # here, so that every command can be imported where there is none

    path = workspace.review / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise cannot_write(path, error) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        os.close(handle)


def _write(handle: int, rows: Iterable[Record]) -> None:
    """Append and sync. A line that a power cut left half is ended first, so that it spoils no other."""
    payload = b"".join(orjson.dumps(row.model_dump(mode="json")) + b"\n" for row in rows)
    if not payload:
        return
    size = os.fstat(handle).st_size
    if size and os.pread(handle, 1, size - 1) != b"\n":
        payload = b"\n" + payload
    while payload:
        payload = payload[os.write(handle, payload) :]
    os.fsync(handle)
