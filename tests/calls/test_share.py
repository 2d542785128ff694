"""--share FILE: somebody else says how many calls at a time and how many dollars a run may take."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from duel.calls import run_summary
from duel.calls.prices import Spending
from duel.calls.seats import Seats, ShareOfRun
from duel.errors import SettingsError
from tests.calls.jobs import House, house
from tests.offline.watched import endpoint

PRICES = '[prices]\n"*" = {{ input = 1.0, output = 2.0 }}\n[endpoint]\nshare = "{0}"\n'


def shared(tmp_path: Path, **told: float) -> House:
    (tmp_path / "share.json").write_text(json.dumps(told))
    return house(tmp_path, PRICES.format(tmp_path / "share.json"))


def test_no_more_calls_go_out_than_are_shared_out(tmp_path: Path) -> None:
    run = shared(tmp_path, calls=3)
    with endpoint(latency_s=0.02) as stand_in:
        run.drive(run.questions(30), stand_in.base_url)
        assert stand_in.stats()["max_inflight"] == 3
    assert len(run.saved) == 30


def test_dollars_that_are_left_end_a_run_cleanly(tmp_path: Path) -> None:
    run = shared(tmp_path, calls=2, dollars=0.001)
    with endpoint() as stand_in:
        summary = run.drive(run.questions(30), stand_in.base_url)
    assert summary.budget_spent and summary.exit_code == 3
    assert summary.cost <= 0.001


def test_a_share_that_grows_lets_waiting_calls_out(tmp_path: Path) -> None:
    path = tmp_path / "share.json"
    path.write_text('{"calls": 0, "dollars": 0}')

    async def work() -> None:
        seats, spending, woken = Seats(100), Spending(), []
        share = ShareOfRun(path, seats, spending)
        assert not seats.free
        seats.wait(lambda: woken.append(seats.free))
        spending.out = 1
        waiting = asyncio.create_task(spending.reserve(1.0))
        await asyncio.sleep(0)
        path.write_text('{"calls": 7, "dollars": 2.5}')
        os.utime(path, ns=(1, 1))
        share.look()
        await waiting
        assert (seats.limit, spending.limit, woken) == (7, 2.5, [True])

    asyncio.run(work())


@pytest.mark.parametrize(
    "damage", [b"", b'{"cal', b"[1]", b'{"calls": -1}', b'{"calls": "9", "dollars": NaN}', b"\xff"]
)
def test_a_damaged_share_changes_nothing(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "share.json"
    path.write_text('{"calls": 5}')
    seats = Seats(100)
    share = ShareOfRun(path, seats, Spending())
    path.write_bytes(damage)
    share.look()
    path.unlink()
    share.look()
    assert seats.limit == 5


def test_a_share_never_exceeds_what_the_user_allows(tmp_path: Path) -> None:
    path = tmp_path / "share.json"
    path.write_text('{"calls": 1000, "dollars": 1000}')
    seats, spending = Seats(100), Spending(2.0)
    ShareOfRun(path, seats, spending)
    assert (seats.limit, spending.limit) == (100, 2.0)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "the share is missing"),
        ("{not json", "the share cannot be read"),
        ("[3]", "the share names no number of calls or dollars"),
        ('{"calls": "many"}', "the share names no number of calls or dollars"),
    ],
)
def test_a_share_that_is_missing_or_says_nothing_is_named_before_a_call(
    tmp_path: Path, text: str | None, what: str
) -> None:
    path = tmp_path / "share.json"
    if text is not None:
        path.write_text(text)
    run = house(tmp_path, PRICES.format(path))
    with endpoint() as stand_in, pytest.raises(SettingsError, match=what) as raised:
        run.drive(run.questions(3), stand_in.base_url)
    assert str(path) in str(raised.value) and "whoever shares out calls writes it" in str(raised.value)
    assert stand_in.stats()["requests"] == 0


def test_a_share_that_goes_wrong_on_the_way_is_named_and_its_last_word_holds(tmp_path: Path) -> None:
    path = tmp_path / "share.json"
    path.write_text('{"calls": 5}')
    seats = Seats(100)
    share = ShareOfRun(path, seats, Spending())
    assert share.told == ""
    path.write_text("garbled")
    share.look()
    assert f"the share {path} cannot be read: what it said before holds" in share.told
    path.unlink()
    share.look()
    assert "is missing" in share.told and seats.limit == 5
    path.write_text('{"calls": 5}')
    share.look()
    assert share.told == ""


def test_a_run_without_any_call_says_what_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The status line has it once; a call goes out as soon as the share allows one."""
    path = tmp_path / "share.json"
    path.write_text('{"calls": 0}')
    monkeypatch.setattr(run_summary, "PLAIN_EVERY_S", 0.3)
    say = run_summary.command.say

    def grow(line: str) -> None:
        say(line)
        if "waiting" in line:
            path.write_text('{"calls": 2}')

    monkeypatch.setattr(run_summary.command, "say", grow)
    run = house(tmp_path, PRICES.format(path))
    with endpoint() as stand_in:
        assert run.drive(run.questions(3), stand_in.base_url).done == 3
    lines = [line for line in capsys.readouterr().err.splitlines() if "allows no call" in line]
    assert lines and all(line.count(f"waiting: the share {path} allows no call") == 1 for line in lines)


def test_a_budget_in_a_share_counts_what_the_workspace_has_paid_before(tmp_path: Path) -> None:
    """A run that is begun anew after a kill may not spend its share once more."""
    path = tmp_path / "share.json"
    path.write_text('{"budget_usd": 0.01}')
    seats, spending = Seats(10), Spending()
    share = ShareOfRun(path, seats, spending, paid=lambda: 0.004)
    assert spending.limit == pytest.approx(0.006)
    spending.spent = 0.002
    path.write_text('{"budget_usd": 0.0150}')
    share.look()
    assert spending.limit == pytest.approx(0.011)
