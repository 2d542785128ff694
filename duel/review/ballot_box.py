"""Votes on disk: appended, synced before anyone is told so, each exactly once."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, TypeVar

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
        votes: dict[tuple[str, str], PersonVote] = {}
        for number, row in enumerate(rows, start=1):
            try:
                cast = Cast.parse(row)
                ballot = self.ballots.get(cast.id)
                if ballot is None or ballot.showing.rater != cast.rater:
                    raise ItemError("unknown", "this workspace has drawn no such turn for this person")
                if ballot.pair_id != cast.pair:
                    raise ItemError("texts-changed", "the texts have changed since", where=ballot.showing.item)
                vote = ballot.vote(cast)
                taken.there_before += (vote.key, vote.at) in votes
                votes.setdefault((vote.key, vote.at), vote)
                taken.acknowledged.append(f"{cast.id} {cast.at}")
            except ItemError as error:
                taken.set_aside.append((str(error.where or f"vote {number}"), error.what))
        if votes:
            with _appending(self.workspace, VOTES_FILE) as (file, lines):
                known = {(vote.key, vote.at) for vote in _rows(lines, PersonVote, [])}
                new = [vote for key, vote in votes.items() if key not in known]
                _write(file, lines, new)
            taken.new, taken.there_before = len(new), taken.there_before + len(votes) - len(new)
        return taken


def read_votes(workspace: Workspace, damage: list[ItemError]) -> list[PersonVote]:
    """Every vote in the order in which they came; lines that cannot be read are appended to `damage`."""
    return _read(workspace, VOTES_FILE, PersonVote, damage)


def read_showings(workspace: Workspace, damage: list[ItemError]) -> list[Showing]:
    return _read(workspace, DRAWS_FILE, Showing, damage)


def add_showings(workspace: Workspace, showings: Iterable[Showing]) -> None:
    """Keep what was drawn, before anyone sees it."""
    with _appending(workspace, DRAWS_FILE) as (file, lines):
        _write(file, lines, showings)


def _read(workspace: Workspace, name: str, kind: type[RowType], damage: list[ItemError]) -> list[RowType]:
    path = workspace.review / name
    return list(_rows(path.read_bytes(), kind, damage)) if path.exists() else []


def _rows(lines: bytes, kind: type[RowType], damage: list[ItemError]) -> Iterator[RowType]:
    for number, line in enumerate(lines.splitlines(), start=1):
        try:
            if line.strip():
                yield kind.parse(line)
        except ItemError as error:
            damage.append(ItemError("damaged", error.what, where=f"review, {kind.__name__} line {number}"))


@contextmanager
def _appending(workspace: Workspace, name: str) -> Iterator[tuple[BinaryIO, bytes]]:
    """(a file of lines, opened for appending by one process at a time, and what is in it)."""
    from filelock import FileLock

    path = workspace.review / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        workspace.private.mkdir(parents=True, exist_ok=True)
        with FileLock(workspace.private / f"{name}.lock"), path.open("ab+", buffering=0) as file:
            file.seek(0)
            yield file, file.read()
    except OSError as error:
        raise cannot_write(path, error) from None


def _write(file: BinaryIO, before: bytes, rows: Iterable[Record]) -> None:
    """Append and sync. A line that a power cut left half is ended first, so that it spoils no other."""
    payload = b"".join(orjson.dumps(row.model_dump(mode="json")) + b"\n" for row in rows)
    if payload and before and not before.endswith(b"\n"):
        payload = b"\n" + payload
    while payload:
        payload = payload[file.write(payload) :]
    os.fsync(file.fileno())
