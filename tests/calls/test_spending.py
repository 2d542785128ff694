"""The spending limit: what fits goes out, what never will ends the run."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as some

from duel.calls.prices import Spending
from duel.calls.run_summary import Summary
from duel.errors import BudgetSpent


@given(some.lists(some.floats(0.001, 3.0), min_size=2, max_size=30), some.randoms(use_true_random=False))
def test_a_spent_budget_ends_the_run_in_whatever_order_calls_come_back(costs: list[float], order: object) -> None:
    async def run() -> None:
        spending = Spending(limit=sum(costs) * 1.5)
        for cost in costs:
            await spending.reserve(cost)
        back = list(costs)
        order.shuffle(back)  # type: ignore[attr-defined]
        for cost in back:
            spending.settle(cost, cost)
        with pytest.raises(BudgetSpent):
            await asyncio.wait_for(spending.reserve(sum(costs)), 5)

    asyncio.run(run())


def test_a_call_waits_for_the_worst_case_of_those_in_flight() -> None:
    async def run() -> None:
        spending = Spending(limit=1.0)
        await spending.reserve(0.7)
        waiting = asyncio.create_task(spending.reserve(0.7))
        await asyncio.sleep(0)
        assert not waiting.done()
        spending.settle(0.7, 0.1)
        await waiting
        assert spending.spent == 0.1

    asyncio.run(run())


def test_an_interrupted_run_does_not_say_that_there_was_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    Summary("choose", interrupted=True, finished_before=1).say()
    said = capsys.readouterr().err
    assert "choose: 0 done, 0 failed, 1 finished before" in said and "nothing to do" not in said
