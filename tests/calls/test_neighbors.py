"""Several processes of one user on one endpoint: one level, equal shares, and a dead one's share returns."""

from __future__ import annotations

import asyncio
import functools
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from duel.calls import Provider
from duel.calls.lane import Lane
from duel.calls.level import Level
from duel.calls.neighbors import TTL_S, LeaseFile, lease_path
from tests.calls.jobs import house
from tests.calls.virtual import Crowd, run
from tests.conftest import ended, forked
from tests.offline.watched import endpoint


@dataclass
class Street:
    """Lanes of several processes on one loop of virtual time, and an endpoint that takes `capacity` calls."""

    path: Path
    capacity: int
    latency_s: float = 1.0
    retry_after_s: float = 1.0
    busy: int = 0
    sent: int = 0
    refused: int = 0
    answered: Counter[int] = field(default_factory=Counter)
    ended: dict[int, float] = field(default_factory=dict)
    dice: random.Random = field(default_factory=lambda: random.Random(1))

    async def house(self, number: int, calls: int, after_s: float = 0.0, dies_s: float = float("inf")) -> None:
        """One process with its calls; at `dies_s` it is killed."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(after_s)
        lane = Lane(Level(lease=self.path, clock=lambda: 1000.0 + loop.time()))
        crowd = Crowd()
        for _ in range(calls):
            while crowd.tasks and not lane.hunger and loop.time() <= dies_s:
                await crowd.change(longest_s=1.0)
            if loop.time() > dies_s:
                break
            crowd.begin(self.one(lane, number))
            await asyncio.sleep(0)
        if loop.time() > dies_s:
            for task in crowd.tasks:
                task.cancel()
            level = lane.level
            assert level._timer is not None
            level._timer.cancel()  # killed: nothing is given back
            return
        await crowd.end()
        self.ended[number] = loop.time()
        lane.level.leave()

    async def one(self, lane: Lane, number: int) -> None:
        tries = 0
        while True:
            start = await lane.enter(retry=tries > 0)
            start.at = asyncio.get_running_loop().time()
            tries, self.sent = tries + 1, self.sent + 1
            if self.busy < self.capacity:
                self.busy += 1
                try:
                    await asyncio.sleep(self.latency_s * self.dice.uniform(0.8, 1.2))
                finally:
                    self.busy -= 1
                lane.answered(start)
                lane.saved()
                self.answered[number] += 1
                return
            self.refused += 1
            await asyncio.sleep(0.001)
            lane.refused(start, self.retry_after_s)
            await asyncio.sleep(self.retry_after_s)


def together(street: Street, *houses: dict[str, float]) -> float:
    """Run all of them; the seconds it took."""

    async def all_of_them() -> float:
        work = [street.house(number, **house) for number, house in enumerate(houses)]  # type: ignore[arg-type]
        await asyncio.gather(*work)
        return asyncio.get_running_loop().time()

    found: float = run(all_of_them())
    return found


@pytest.mark.parametrize(("capacity", "latency_s"), [(10, 0.2), (10, 10.0), (40, 0.2), (40, 2.0)])
def test_eight_neighbors_reach_the_level_as_one_does(tmp_path: Path, capacity: int, latency_s: float) -> None:
    street = Street(tmp_path / "lease", capacity, latency_s)
    rounds = 14 if latency_s == 10.0 else 30  # fewer are harder: less time to make good what finding the level costs
    calls = rounds * capacity // 8
    seconds = together(street, *[{"calls": calls, "after_s": 0.01 * number} for number in range(8)])
    assert sum(street.answered.values()) == 8 * calls
    assert 8 * calls / capacity * latency_s / seconds >= 0.85
    assert street.refused / street.sent <= 0.05


def test_neighbors_that_start_at_once_get_equal_shares(tmp_path: Path) -> None:
    street = Street(tmp_path / "lease", 40, 2.0)
    together(street, *[{"calls": 150} for _ in range(4)])
    assert max(street.ended.values()) - min(street.ended.values()) <= 0.1 * max(street.ended.values())


def test_the_share_of_one_that_is_done_goes_to_the_others(tmp_path: Path) -> None:
    street = Street(tmp_path / "lease", 40, 2.0)
    seconds = together(street, {"calls": 40}, {"calls": 1160})
    assert 1200 / 40 * 2.0 / seconds >= 0.85


@pytest.mark.parametrize("leader", [True, False])
def test_the_share_of_a_dead_one_returns(tmp_path: Path, leader: bool) -> None:
    """Half of the level is its own until its lease ends; then the other goes on to all of it."""
    street = Street(tmp_path / "lease", 40, 2.0)
    dies, lives = {"calls": 10_000, "dies_s": 30.0}, {"calls": 1600, "after_s": 0.5 if leader else 0.0}
    together(street, *([dies, lives] if leader else [lives, {**dies, "after_s": 0.5}]))
    alive = 1 if leader else 0
    shared_s = 30.0 + TTL_S
    alone = street.answered[alive] - 20 * shared_s / 2.0
    assert street.answered[alive] == 1600
    assert alone * 2.0 / 40 / (street.ended[alive] - shared_s) >= 0.85


def test_the_share_of_a_killed_process_returns_at_once(tmp_path: Path) -> None:
    """A run that is resumed after kill -9 does not wait for the time that a silent neighbor is given."""
    lease = tmp_path / "lease"

    def work() -> None:
        LeaseFile(lease).join(time.time(), Level().known)
        os.kill(os.getpid(), signal.SIGKILL)

    assert ended(forked(work)) == -signal.SIGKILL
    file = LeaseFile(lease)
    own = file.join(time.time(), Level().known)
    assert file.alive(time.time()) == [own]


def test_a_lease_tells_nobody_the_key(tmp_path: Path) -> None:
    key = "cpk_a_very_secret_key"
    path = lease_path(Provider("https://host/v1", key), "some/model")
    others = {
        lease_path(Provider("https://host/v1", key), "b"),
        lease_path(Provider("https://host/v1", "c"), "some/model"),
    }
    assert path is not None and key not in str(path) and path not in others
    file = LeaseFile(tmp_path / "lease")
    file.join(5.0, Level().known)
    assert (tmp_path / "lease").stat().st_mode & 0o077 == 0
    assert b"cpk" not in (tmp_path / "lease").read_bytes()


def test_where_no_lease_can_be_kept_each_finds_its_own_level(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    street = Street(tmp_path / "file" / "lease", 10, 1.0)
    together(street, {"calls": 300})
    assert street.answered[0] == 300


@pytest.mark.parametrize("damage", [b"", b"x" * 100, b"\xff" * 12_000, b"\x00" * 5])
def test_a_damaged_lease_is_nobodys_end(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "lease").write_bytes(damage)
    street = Street(tmp_path / "lease", 10, 1.0)
    together(street, {"calls": 150}, {"calls": 150})
    assert sum(street.answered.values()) == 300


def test_without_a_home_folder_there_is_no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.path.expanduser", str)
    assert lease_path(Provider("https://host/v1", "k"), "m") is None


def test_three_processes_on_a_small_level_do_all_of_their_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real processes, whose leader ends while the others go on: every item is done, no reply is paid twice."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folders = [tmp_path / f"house_{number}" for number in range(3)]

    def work(folder: Path) -> None:
        run = house(folder)
        summary = run.drive(run.questions(40), small.base_url, max_429_retries=10_000)
        (folder / "told").write_text(f"{summary.done} {summary.failed.total()} {len(run.saved)}")

    with endpoint(capacity=3, latency_s=0.05) as small:
        for folder in folders:
            folder.mkdir()
        running = [forked(functools.partial(work, folder)) for folder in folders]
        assert [ended(process) for process in running] == [0, 0, 0]
        stats = small.stats()
    assert [(folder / "told").read_text() for folder in folders] == ["40 0 40"] * 3
    assert stats["unique_ok"] + stats["extra_ok"] == 120
    assert len(list((tmp_path / "cache" / "duel-curation" / "neighbors").glob("*.lock"))) == 1
