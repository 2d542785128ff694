"""--share FILE: somebody else says how many calls at a time and how many dollars a run may take."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from duel.calls.prices import Spending
from duel.calls.seats import Seats
from duel.calls.share_file import ShareFile
from duel.errors import SettingsError
from duel.offline import endpoint
from tests.calls.jobs import House, house

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
        share = ShareFile(path, seats, spending)
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
    share = ShareFile(path, seats, Spending())
    path.write_bytes(damage)
    share.look()
    path.unlink()
    share.look()
    assert seats.limit == 5


def test_a_share_never_exceeds_what_the_user_allows(tmp_path: Path) -> None:
    path = tmp_path / "share.json"
    path.write_text('{"calls": 1000, "dollars": 1000}')
    seats, spending = Seats(100), Spending(2.0)
    ShareFile(path, seats, spending)
    assert (seats.limit, spending.limit) == (100, 2.0)


def test_a_missing_share_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such share"):
        ShareFile(tmp_path / "nowhere.json", Seats(1), Spending())
