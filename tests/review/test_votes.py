"""Votes on their way to disk: who draws what, who may send, and what is set aside by name."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duel.errors import ItemError, WorkspaceError
from duel.judging.rubric import fingerprint, pair_of
from duel.records import DIMENSIONS, Answer
from duel.review import review_server
from duel.review.ballots import VOTES_FILE, Ballot, Cast, Showing, browse_for, draw_for, read_votes
from duel.review.review_server import questions, serving, token_of
from duel.workspace import Workspace
from tests.review.pages import ballots, page_maker, saved, taker

AT = "2026-11-26T12:00:00.000Z"
TURNS = {f"t{number}": f"p{number // 2}" for number in range(300)}


def row(ballot: Ballot, choice: int = 1, at: str = AT, **changes: Any) -> dict[str, Any]:
    """What the page sends for one vote."""
    made = {"rater": ballot.showing.rater, "id": ballot.id, "pair": ballot.pair_id, "seconds": 12.5, "at": at}
    return made | {"choices": dict.fromkeys(DIMENSIONS, choice), "skipped": "", "reason": ""} | changes


def test_a_quarter_of_what_a_second_person_is_shown_was_shown_to_the_first() -> None:
    ana = draw_for("ana", 100, 0, TURNS, [])
    bo = draw_for("bo", 100, 0, TURNS, ana)
    own = {s.item for s in ana}
    assert Counter(s.repeat for s in bo) == {False: 100, True: 10}
    assert sum(s.item in own for s in bo if not s.repeat) == 25
    pulls = {TURNS[s.item] for s in (*ana, *bo)}
    assert len(pulls) == 150  # one turn a pull request first: 175 turns of 150 pull requests


def test_asking_for_more_goes_on_where_the_draw_ended_and_asking_again_draws_nothing() -> None:
    first = draw_for("ana", 40, 7, TURNS, [])
    more = draw_for("ana", 60, 7, TURNS, first)
    at_once = {s.item for s in draw_for("ana", 60, 7, TURNS, [])}
    assert {s.item for s in (*first, *more)} == at_once
    assert draw_for("ana", 60, 7, TURNS, [*first, *more]) == []
    assert len(draw_for("ana", 5_000, 7, TURNS, [])) == 330


def test_a_repeat_comes_well_after_its_first_showing_and_carries_the_same_chance() -> None:
    shown = draw_for("ana", 100, 0, TURNS, [])
    for place, showing in enumerate(shown):
        if showing.repeat:
            first = next(i for i, s in enumerate(shown) if s.item == showing.item)
            assert place - first >= 50
            assert shown[first].drawn == showing.drawn


def test_what_one_browses_has_no_chance_and_what_was_drawn_stays_drawn() -> None:
    drawn = draw_for("ana", 10, 0, TURNS, [])
    browsed = browse_for("ana", [drawn[0].item, "t299"], drawn)
    assert [(s.item, s.drawn) for s in browsed if s.item == "t299"] == [("t299", None)]
    assert all(s.item != drawn[0].item for s in browsed)


def test_a_vote_is_seen_from_the_challengers_side_whichever_was_shown_first(workspace: Workspace) -> None:
    shown = ballots(workspace, count=20)
    taker(workspace, shown)([row(ballot, 1) for ballot in shown])
    for ballot, vote in zip(shown, saved(workspace), strict=True):
        assert vote.values == [1.0 if ballot.order == "challenger_first" else 0.0] * 5
        assert (vote.judge, vote.pair) == ("person:ana", ballot.fingerprint)
        assert vote.drawn is not None
        assert ballot.choices(vote) == dict.fromkeys(DIMENSIONS, 1)


def test_a_vote_on_texts_that_changed_since_is_set_aside_by_name(workspace: Workspace) -> None:
    shown = ballots(workspace, count=10)
    rows = [row(ballot) for ballot in shown]
    item = shown[0].showing.item
    path = workspace.find_answer(item)
    assert path is not None
    answer = Answer.parse(path.read_bytes())
    answer.challenger += " "
    path.write_bytes(answer.dump())
    taken = taker(workspace, ballots(workspace, count=10))(rows)
    assert set(taken.set_aside) == {(item, "the texts have changed since")}
    assert taken.new + len(taken.set_aside) == 11
    assert fingerprint(pair_of(item, answer, 2)) not in {vote.pair for vote in saved(workspace)}


def test_a_skip_needs_a_reason_and_has_no_values(workspace: Workspace) -> None:
    shown = ballots(workspace, count=10)
    taken = taker(workspace, shown)([row(shown[0], choices=None), row(shown[1], choices=None, skipped="no idea")])
    assert (taken.new, len(taken.set_aside)) == (1, 1)
    (vote,) = saved(workspace)
    assert (vote.values, vote.skipped) == (None, "no idea")


BROKEN = [
    7,
    None,
    {},
    {"id": "x"},
    {"choices": {"correctness": 3}},
    {"choices": dict.fromkeys(DIMENSIONS, 9)},
    {"choices": {**dict.fromkeys(DIMENSIONS, 1), "extra": 1}},
    {"at": "yesterday"},
    {"at": "2026-11-26T12:00:00Z; rm -rf /"},
    {"reason": "x" * 3_000},
    {"seconds": -1},
    {"rater": "bo"},
    {"id": "0" * 24},
    {"pair": "0" * 24},
]


@pytest.mark.parametrize("change", BROKEN, ids=str)
def test_what_is_no_vote_of_this_page_is_set_aside_and_the_others_are_taken(workspace: Workspace, change: Any) -> None:
    first, second = ballots(workspace, count=10)[:2]
    bad = row(first) | change if isinstance(change, dict) and change else change
    taken = taker(workspace, [first, second])([bad, row(second)])
    assert (taken.new, len(taken.set_aside)) == (1, 1)
    assert [vote.item for vote in saved(workspace)] == [second.showing.item]


def test_a_line_that_is_no_json_is_set_aside_and_the_others_are_taken(workspace: Workspace) -> None:
    first, second = ballots(workspace, count=10)[:2]
    line = json.dumps(row(first)).encode()
    broken = [b"no vote", b"[]", line[:-1], line.replace(b'"seconds": ', b'"seconds": NaN, "was": ')]
    taken = taker(workspace, [first, second])([*broken, json.dumps(row(second)).encode()])
    assert (taken.new, len(taken.set_aside)) == (1, len(broken))
    assert [vote.item for vote in saved(workspace)] == [second.showing.item]


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda kids: st.lists(kids) | st.dictionaries(st.text(), kids),
    )
)
@settings(max_examples=100, deadline=None)
def test_nothing_but_a_vote_is_read_as_one(value: Any) -> None:
    with pytest.raises(ItemError):
        Cast.parse(value)


def test_a_line_that_a_power_cut_left_half_spoils_no_other(workspace: Workspace) -> None:
    shown = ballots(workspace, count=10)
    take = taker(workspace, shown)
    take([row(shown[0])])
    path = workspace.review / VOTES_FILE
    path.write_bytes(path.read_bytes() + path.read_bytes()[:100])
    take([row(shown[1])])
    damage: list[ItemError] = []
    assert [vote.item for vote in read_votes(workspace, damage)] == [b.showing.item for b in shown[:2]]
    assert [str(error.where) for error in damage] == ["review, PersonVote line 2"]


def test_a_full_disk_is_an_error_that_says_so_and_acknowledges_nothing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = ballots(workspace, count=10)
    take = taker(workspace, shown)
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(WorkspaceError, match="disk is full"):
        take([row(shown[0])])


def test_votes_that_cannot_be_read_are_told_with_their_place(workspace: Workspace) -> None:
    (workspace.review / VOTES_FILE).mkdir(parents=True)
    with pytest.raises(WorkspaceError, match="cannot read") as told:
        read_votes(workspace, [])
    assert told.value.where == workspace.review / VOTES_FILE


def test_the_dimensions_are_explained_in_the_words_the_judges_get() -> None:
    told = questions(DIMENSIONS)
    assert [entry["name"] for entry in told] == list(DIMENSIONS)
    assert all(entry["ask"].endswith("?") and entry["high"] and entry["low"] for entry in told)


@pytest.fixture
def served(workspace: Workspace) -> Iterator[tuple[str, list[Ballot], Workspace]]:
    shown = ballots(workspace, count=10)
    with serving(taker(workspace, shown), page_maker(workspace, shown), "ana", 0, workspace.secret()) as address:
        yield address, shown, workspace


def ask(address: str, method: str, path: str, body: bytes = b"", **headers: str) -> http.client.HTTPResponse:
    parts = urlsplit(address)
    link = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    link.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    reply = link.getresponse()
    reply.text = reply.read()  # type: ignore[attr-defined]
    link.close()
    return reply


def test_the_page_is_served_with_a_policy_that_loads_nothing(served: tuple[str, list[Ballot], Workspace]) -> None:
    address, _, _ = served
    reply = ask(address, "GET", urlsplit(address).path)
    assert reply.status == 200
    policy = reply.text.decode().split('Content-Security-Policy" content="')[1].split('"')[0]  # type: ignore[attr-defined]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert policy.endswith("connect-src 'self'")
    assert "unsafe" not in policy
    assert reply.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("GET", "/", {}, b"", 404),
        ("GET", "/{token}/votes", {}, b"", 404),
        ("GET", "/{token}/../{token}/", {}, b"", 404),
        ("GET", "/{token}/", {"Host": "evil.example"}, b"", 403),
        ("GET", "/{token}/", {"Host": "127.0.0.1:1"}, b"", 403),
        ("POST", "/{token}/votes", {"Origin": "https://evil.example", "Content_Type": "application/json"}, b"[]", 403),
        ("POST", "/{token}/votes", {"Content_Type": "text/plain"}, b"[]", 415),
        ("POST", "/wrong/votes", {"Content_Type": "application/json"}, b"[]", 404),
        ("POST", "/{token}/votes", {"Content_Type": "application/json"}, b"{", 400),
        ("POST", "/{token}/votes", {"Content_Type": "application/json"}, b"{}", 400),
        ("POST", "/{token}/votes", {"Content_Type": "application/json"}, b" " * 300_000, 413),
        ("OPTIONS", "/{token}/votes", {"Origin": "https://evil.example"}, b"", 403),
        ("HEAD", "/{token}/", {}, b"", 404),
    ],
)
def test_only_the_page_itself_is_answered(
    served: tuple[str, list[Ballot], Workspace],
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    status: int,
) -> None:
    address, _, workspace = served
    token = token_of(workspace.secret(), "ana")
    reply = ask(address, method, path.format(token=token), body, **headers)
    assert reply.status == status
    assert saved(workspace) == []


TWO_BYTES = "POST {path}votes HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"


@pytest.mark.parametrize(
    "request_text",
    [
        "GET /é HTTP/1.1\r\nHost: {host}\r\n\r\n",
        "GET {path} HTTP/1.1\r\n\r\n",
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\n\r\n",
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nLong: " + "x" * 70_000 + "\r\n\r\n",
        TWO_BYTES + "Content-Encoding: gzip\r\n\r\n[]",
        TWO_BYTES + "\r\n[",
    ],
)
def test_a_request_that_is_broken_or_never_ends_is_refused_and_puts_nothing_on_the_terminal(
    served: tuple[str, list[Ballot], Workspace],
    request_text: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(review_server, "SILENT_SECONDS", 0.05)
    parts = urlsplit(served[0])
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as link:
        link.sendall(request_text.format(host=parts.netloc, path=parts.path).encode())
        assert b" 400 Bad Request" in link.recv(100)
    assert caplog.records == []


def test_what_fails_while_the_page_is_made_is_one_line(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    def make(_: str) -> bytes:
        raise WorkspaceError("cannot read", where="votes.jsonl")

    with serving(taker(workspace, []), make, "ana", 0, workspace.secret()) as address:
        assert ask(address, "GET", urlsplit(address).path).status == 500
    [record] = caplog.records
    assert "votes.jsonl" in record.getMessage()
    assert record.exc_info is None


def test_a_vote_is_on_disk_before_the_page_is_told(served: tuple[str, list[Ballot], Workspace]) -> None:
    address, shown, workspace = served
    body = json.dumps([row(shown[0]), row(shown[1], pair="0" * 24), 7]).encode()
    reply = ask(address, "POST", urlsplit(address).path + "votes", body, Content_Type="application/json")
    told = json.loads(reply.text)  # type: ignore[attr-defined]
    assert told["saved"] == [f"{shown[0].id} {AT}"]
    assert f"{shown[1].id} {AT}" in told["refused"]
    assert [vote.item for vote in saved(workspace)] == [shown[0].showing.item]


def test_a_port_that_is_taken_is_told_with_a_way_out(served: tuple[str, list[Ballot], Workspace]) -> None:
    address, shown, workspace = served
    port = urlsplit(address).port
    with (
        pytest.raises(WorkspaceError, match="choose another --port"),
        serving(taker(workspace, shown), page_maker(workspace, shown), "ana", port, workspace.secret()),
    ):
        pass


def test_a_showing_survives_its_file() -> None:
    shown = draw_for("ana", 3, 0, TURNS, [])
    assert [Showing.parse(showing.dump()) for showing in shown] == shown
