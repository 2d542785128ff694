"""One budget and one share for all shards: divided among those at work; what one leaves goes to the others."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from duel.calls import Reply, Request
from duel.calls.ledger import Ledger, spent
from duel.calls.seats import Share
from duel.cluster.ray_engine import Allotment
from duel.cluster.shards import Shard
from duel.workspace import Workspace


def shards(root: Path, count: int) -> list[Shard]:
    return [Shard(number, count, 1, Workspace(root / f"{number:04d}")) for number in range(count)]


def pay(shard: Shard, dollars: float) -> None:
    """One reply of this price in the shard's ledger."""
    with Ledger(shard.workspace.ledger) as ledger:
        asked = Request("king", "item", "m", [], 10, attempt=int(ledger.query("SELECT COUNT(*) FROM replies")[0][0]))
        asyncio.run(ledger.put(asked, Reply("text", cost=dollars)))


def part(shard: Shard) -> dict[str, Any]:
    """What the shard's share file says."""
    told: dict[str, Any] = json.loads((shard.workspace.private / "share.json").read_bytes())
    return told


def test_a_budget_is_divided_and_what_one_leaves_goes_to_those_at_work(tmp_path: Path) -> None:
    one, two, three, four = shards(tmp_path, 4)
    pay(one, 5.0)  # before all began
    allotment = Allotment([one, two, three, four], budget=8.0)
    for shard in (one, two, three):
        assert allotment.begin(shard) == ["--share", str(shard.workspace.private / "share.json")]
    assert [part(shard)["budget_usd"] for shard in (one, two, three)] == [7.0, 2.0, 2.0]
    pay(one, 0.5)
    allotment.end(one, finished=True)
    assert [part(shard)["budget_usd"] for shard in (two, three)] == [2.5, 2.5]
    allotment.begin(four)
    assert part(four)["budget_usd"] == 2.5


def test_a_shard_whose_part_did_not_do_goes_on_once_another_has_left_some(tmp_path: Path) -> None:
    one, two = shards(tmp_path, 2)
    allotment = Allotment([one, two], budget=2.0)
    allotment.begin(one)
    allotment.begin(two)
    pay(one, 0.99)
    allotment.end(one, finished=False)
    assert not allotment.has_more_for(one)
    pay(two, 0.2)
    allotment.end(two, finished=True)
    assert allotment.has_more_for(one)
    allotment.begin(one)
    assert part(one)["budget_usd"] == pytest.approx(1.8)
    allotment.end(one, finished=False)
    assert not allotment.has_more_for(one)  # it did nothing with that: another try would do the same


def test_calls_are_divided_among_those_at_work_and_follow_the_file(tmp_path: Path) -> None:
    path = tmp_path / "share.json"
    path.write_text('{"calls": 7}')
    one, two, three = shards(tmp_path, 3)
    allotment = Allotment([one, two, three], share=Share(path))
    for shard in (one, two, three):
        allotment.begin(shard)
    assert [part(shard) for shard in (one, two, three)] == [{"calls": 3}, {"calls": 2}, {"calls": 2}]
    allotment.end(one, finished=True)
    assert [part(shard)["calls"] for shard in (two, three)] == [4, 3]
    path.write_text('{"calls": 1, "dollars": 4}')
    allotment.follow()
    assert [part(shard) for shard in (two, three)] == [{"calls": 1, "budget_usd": 2}, {"calls": 0, "budget_usd": 2}]
    path.write_text("garbled")
    allotment.follow()
    assert [part(shard)["calls"] for shard in (two, three)] == [1, 0]


def test_dollars_that_are_cut_on_the_way_hold_for_what_is_not_spent_yet(tmp_path: Path) -> None:
    path = tmp_path / "share.json"
    path.write_text('{"dollars": 10}')
    one, two = shards(tmp_path, 2)
    allotment = Allotment([one, two], share=Share(path))
    allotment.begin(one)
    allotment.begin(two)
    pay(one, 1.0)
    path.write_text('{"dollars": 1.0}')
    allotment.follow()
    assert part(one)["budget_usd"] + part(two)["budget_usd"] == pytest.approx(2.0)


STEPS = st.lists(st.tuples(st.sampled_from(["begin", "end", "stop"]), st.integers(0, 3), st.floats(0, 1)), max_size=25)


@hypothesis_settings(max_examples=60, deadline=None)
@given(STEPS, st.floats(0.01, 5.0))
def test_no_order_of_stages_spends_more_than_the_budget(steps: list[tuple[str, int, float]], budget: float) -> None:
    """Every stage spends up to all of its part, and may be killed and begun anew with the same one."""
    paid = dict.fromkeys(range(4), 0.0)
    allowed: dict[int, float] = {}

    class InMemory:
        """A shard, and the workspace in it."""

        private = Path()

        def __init__(self, number: int) -> None:
            self.number, self.name, self.workspace = number, str(number), self

        def spent(self) -> float:
            return paid[self.number]

        def save(self, path: Path, data: bytes) -> None:
            allowed[self.number] = json.loads(data)["budget_usd"]

    parts: list[Any] = [InMemory(number) for number in range(4)]
    allotment, at_work, finished = Allotment(parts, budget=budget), set[int](), set[int]()
    for what, number, share in steps:
        if what == "begin" and number not in at_work | finished:
            allotment.begin(parts[number])
            at_work.add(number)
        elif what != "begin" and number in at_work:
            paid[number] += share * max(0.0, allowed[number] - paid[number])
            allotment.end(parts[number], finished=what == "end")
            at_work.discard(number)
            finished |= {number} if what == "end" else set()
        most = sum(allowed[number] if number in at_work else paid[number] for number in range(4))
        assert most <= budget + 1e-6


def test_what_a_ledger_has_cost_is_read_beside_the_run_that_writes_it(tmp_path: Path) -> None:
    (shard,) = shards(tmp_path, 1)
    pay(shard, 0.25)
    with Ledger(shard.workspace.ledger):
        assert shard.spent() == 0.25
    (tmp_path / "none" / "x").mkdir(parents=True)
    assert spent(tmp_path / "none" / "ledger.sqlite") == 0.0
