"""Synthetic tool use: every observation happened, happens again, and was needed."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path

from duel.conversation.model import AgentCall
from duel.errors import ItemError
from duel.execution.bubblewrap import Bubblewrap
from duel.execution.executor import Limits, Start
from duel.scaling import episodes, likeness
from duel.scaling.agent_tools import Toolset
from duel.scaling.plans import Ground, Place, Seen, Steps, plans, several_files
from duel.scaling.scaled_rows import RowSource, ScaledRow
from tests.conftest import Finished
from tests.scaling.conftest import PLANS, Made, machine
from tests.scaling.rows import put, row

Script = Callable[..., Finished]


def test_every_observation_is_reproduced_by_the_calls_once_more(mirrors: Path, shop: Start, made: Made) -> None:
    rows, drops = made
    assert len(rows) + drops.total() == PLANS and len({row.made["kind"] for row in rows}) >= 8

    async def repeat() -> None:
        executor = Bubblewrap(machine(mirrors), Limits(), whole_machine=True)
        for one in rows:
            calls = [AgentCall("", call.name, call.arguments) for call in one.calls()]
            seen, _ = await episodes.again(executor, shop, calls)
            assert [found.text for found in seen] == [call.result for call in one.calls()]
        await executor.close()

    asyncio.run(repeat())
    failing = [one.made for one in rows if one.made["kind"] in {"failed path", "missing command", "wrong flag"}]
    assert len(failing) >= 2 and all(made["failed_calls"] for made in failing)
    assert [one.calls() for one in rows if one.made["kind"] == "ask back"] == [[], []]


def test_plans_that_say_what_nobody_saw_or_call_for_nothing_are_left_out(mirrors: Path, shop: Start) -> None:
    def plan(*calls: AgentCall, needs: str) -> Steps:
        for call in calls:
            yield "I look.", [call]
        return "There.", [needs]

    async def problem(steps: Steps) -> str:
        executor = Bubblewrap(machine(mirrors), Limits())
        try:
            draft = ScaledRow(
                id="x", messages=[], source=RowSource(kind="synthetic", name="x"), made={"asked": ["Where?"]}
            )
            await episodes._episode(executor, shop, draft, steps, Toolset())
        except ItemError as error:
            return error.reason
        finally:
            await executor.close()
        return ""

    search, read = AgentCall("", "grep", {"pattern": "TaxRate"}), AgentCall("", "read", {"path": "shop/cart.py"})
    assert asyncio.run(problem(plan(search, needs="shop/tax.py:1:"))) == ""
    assert asyncio.run(problem(plan(search, needs="shop/tax.py:7:"))) == "answer-not-observed"
    assert asyncio.run(problem(plan(search, read, needs="shop/tax.py:1:"))) == "call-not-needed"
    assert asyncio.run(problem(plan(AgentCall("", "grep", {"pattern": 3}), needs=""))) == "schema"
    clock = AgentCall("", "bash", {"command": "date +%N"})
    assert asyncio.run(problem(plan(clock, needs=""))) == "not-reproduced"


def test_without_a_sandbox_the_user_is_told(script: Script, tmp_path: Path) -> None:
    (tmp_path / "chain.toml").write_text('[execute]\nbackend = "off"\n')
    told = script("scale", "synthesize", "--offline", "--workspace", tmp_path, code=2).err
    assert "no back end" in told and "bubblewrap" in told


def test_a_missing_endpoint_is_told_before_anything_is_executed(script: Script, tmp_path: Path) -> None:
    (tmp_path / "chain.toml").write_text('[execute]\nbackend = "bubblewrap"\n[endpoint]\nbase_url_env = "NOWHERE"\n')
    done = script("scale", "synthesize", "--workspace", tmp_path, code=2)
    assert "no endpoint to call" in done.err and "carrying out" not in done.err


def test_a_set_of_little_variety_says_so_in_the_cards_first_line(script: Script, tmp_path: Path) -> None:
    rows = [row(f"topic{n}", request=f"Where is fn_{n} defined?", source={"kind": "synthetic"}) for n in range(30)]
    put(tmp_path, rows, kind="synthetic")
    script("scale", "combine", "--offline", "--workspace", tmp_path, code=0)
    card = (tmp_path / "training-data/scaled/combined/README.md").read_text()
    assert (
        card.split("---\n")[2].strip().startswith("> The synthetic requests are less varied than real ones: distinct")
    )
    assert (
        json.loads((tmp_path / "training-data/scaled/combined/manifest.json").read_text())["diversity"]["sample"] == 30
    )


def test_a_plan_that_is_left_out_is_listed_with_its_reason(made: Made) -> None:
    rows, drops = made
    assert drops and len(drops.rows) == drops.total()
    assert all(left["file"].startswith("synthetic/acme/shop@") and left["instance_id"] for left in drops.rows)
    assert not {left["file"] for left in drops.rows} & {one.id for one in rows}


def test_names_do_not_fool_the_count_of_frames() -> None:
    rows = [ScaledRow.model_validate(row(f"r{n}", request=f"Where is name_{n} in src/f{n}.py?")) for n in range(20)]
    assert likeness.figures(rows)["distinct frames"] == 0.05


def test_a_plan_is_drawn_the_same_for_the_same_seed() -> None:
    places = [
        Place(f"name_{n}", f"src/f{n}.py", n, f"def name_{n}():", f"    return {n} + 100_000") for n in range(1, 9)
    ]
    ground = Ground(places, "1a2b3c4d5e", "make -s test")
    for _, plan in plans().values():
        assert next(plan(ground, random.Random("1"))) == next(plan(ground, random.Random("1")))


def test_a_binary_file_that_a_search_names_is_no_use_of_a_name() -> None:
    ground = Ground([Place("total_price", "a.py", 1, "def total_price():", "    return 1")])
    found = "grep: ./b.py: binary file matches\na.py:1:def total_price():\nc.py:7:print(total_price())"
    for seed in range(8):
        steps = several_files(ground, random.Random(seed))
        assert next(steps)[1] == ["total_price"] and "look" in next(steps)[0]
        steps.send([Seen(found, False)])
        _, [use] = steps.send([Seen("     1\tdef total_price():\n     2\t    return 1", False)])
        assert use.arguments == {"path": "c.py", "offset": 7, "limit": 1}
