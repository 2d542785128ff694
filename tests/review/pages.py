"""A workspace's page for the tests: drawn, made and served by the parts themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from duel.records import DIMENSIONS, Answer, PersonVote
from duel.review.ballots import Ballot, Showing, Taken, add_showings, draw_for, read_showings, read_votes, take_votes
from duel.review.review_server import page
from duel.settings import Settings
from duel.workspace import Workspace

RESEND_MS = 3_000  # votes that the server did not take are sent again after so long


def ballots(workspace: Workspace, rater: str = "ana", count: int = 100) -> list[Ballot]:
    """The ballots of `rater`, drawn on first use."""
    turns = {path.stem: score.instance_id for path, score in workspace.scores([]) if score.parsed}
    add_showings(workspace, draw_for(rater, count, 0, turns, read_showings(workspace, [])))
    answers = {path.stem: answer for path, answer in workspace.answers([])}
    own = [showing for showing in read_showings(workspace, []) if showing.rater == rater]
    return [ballot_of(showing, answers[showing.item], workspace) for showing in own]


def ballot_of(showing: Showing, answer: Answer, workspace: Workspace) -> Ballot:
    return Ballot(showing, answer, Settings(), workspace.secret())


def taker(workspace: Workspace, shown: Sequence[Ballot]) -> Callable[[Sequence[object]], Taken]:
    return partial(take_votes, workspace, shown)


def page_file(workspace: Workspace, shown: Sequence[Ballot], rater: str = "ana") -> Path:
    """The page as a file to hand over."""
    path = workspace.root / f"{rater}.html"
    path.write_bytes(page(shown, read_votes(workspace, []), rater, DIMENSIONS, workspace.secret()))
    return path


def page_maker(workspace: Workspace, shown: Sequence[Ballot], rater: str = "ana") -> Callable[[str], bytes]:
    return lambda post: page(shown, read_votes(workspace, []), rater, DIMENSIONS, workspace.secret(), post)


def saved(workspace: Workspace) -> list[PersonVote]:
    """What is on disk; a damaged line fails the test."""
    damage: list = []
    votes = read_votes(workspace, damage)
    assert damage == []
    return votes
