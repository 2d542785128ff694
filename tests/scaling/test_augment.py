"""Children of rows: other words, changes that were executed, and never apart from their parents."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from duel.bookkeeping import LeftOut
from duel.conversation.model import AgentCall, AgentReply
from duel.errors import ItemError
from duel.execution.bubblewrap import Bubblewrap
from duel.execution.executor import Limits, Start
from duel.scaling import augmentation, episodes
from duel.scaling.augmentation import CHANGES, Child, Parent
from duel.scaling.scaled_rows import ScaledRow
from tests.conftest import Finished
from tests.scaling.conftest import Made, machine
from tests.scaling.rows import put, row

Script = Callable[..., Finished]
CHILDREN = 1
"""Of each change that is executed."""


def test_every_change_is_executed_names_its_parent_and_is_reproduced(mirrors: Path, shop: Start, made: Made) -> None:
    children: dict[str, list[tuple[ScaledRow, ScaledRow]]] = {name: [] for name in CHANGES}
    drops = LeftOut()

    async def work() -> None:
        executor = Bubblewrap(machine(mirrors), Limits(), whole_machine=True)
        for number, parent, draw in augmentation.drawn(made[0], 5 * len(made[0]), 1):
            state = draw.getstate()
            if len(children[draw.choice([*CHANGES])]) >= CHILDREN:
                continue
            draw.setstate(state)
            try:
                child = await augmentation._child(executor, number, parent, draw)
            except ItemError as error:
                drops[error.reason] += 1
                continue
            children[child.made["change"]].append((parent.row, child))
            calls = [AgentCall("", call.name, call.arguments) for call in child.calls()]
            seen, _ = await episodes.again(executor, shop, calls)
            assert [one.text for one in seen] == [call.result for call in child.calls()]
            if all(len(pairs) >= CHILDREN for pairs in children.values()):
                break
        await executor.close()

    asyncio.run(work())
    assert all(children.values()), drops
    for change, pairs in children.items():
        for parent, child in pairs:
            assert child.parent == parent.id and set(parent.group) <= set(child.group)
            longer = len(child.calls()) - len(parent.calls())
            assert longer == {"failure inserted": 1, "context added": 1}.get(change, longer)
            if change == "failure inserted":
                assert child.made["failed_calls"] == parent.made["failed_calls"] + 1
            if change == "second task":
                assert sum(message.role == "user" for message in child.messages) == 2


def test_a_change_that_hides_what_the_answer_needs_or_leaves_another_diff_is_no_child(
    mirrors: Path,
    shop: Start,
    made: Made,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    edited = next(one for one in made[0] if one.made["kind"] == "edit and check")

    def outcome(parent: Parent, change: Callable[[Parent, random.Random], Child]) -> str:
        monkeypatch.setattr(augmentation, "CHANGES", {"x": change})

        async def work() -> str:
            executor = Bubblewrap(machine(mirrors), Limits())
            try:
                await augmentation._child(executor, 0, parent, random.Random(0))
            except ItemError as error:
                return error.reason
            finally:
                await executor.close()
            return ""

        return asyncio.run(work())

    parent = Parent(edited)
    more = AgentReply("", [AgentCall("", "bash", {"command": "touch new"})])
    assert outcome(parent, lambda parent, draw: (parent.beats, None)) == ""
    assert outcome(parent, lambda parent, draw: ([*parent.beats[:-1], more], None)) == "another-diff"
    assert outcome(parent, lambda parent, draw: (parent.beats[:1], None)) == "answer-not-observed"


def test_rows_that_nobody_executed_get_other_words_only(script: Script, tmp_path: Path) -> None:
    rows = [row(f"topic{n}", request=f"Where is fn_{n} defined in src/topic{n}.py?") for n in range(6)]
    put(tmp_path, rows)
    script("scale", "augment", "public", "--offline", "--count", 6, "--workspace", tmp_path, code=0)
    text = (tmp_path / "training-data/scaled/augmented/children.jsonl").read_text()
    children = [json.loads(line) for line in text.splitlines()]
    assert children and all(child["source"]["kind"] == "augmented" for child in children)
    by_id = {one["id"]: one for one in rows}
    for child in children:
        parent = by_id[child["parent"]]
        asked, before = child["messages"][0]["content"], parent["messages"][0]["content"]
        assert asked != before and f"src/{parent['id']}.py" in asked
        assert child["messages"][1:] == parent["messages"][1:]


def test_a_child_that_is_left_out_is_listed_with_its_reason(script: Script, tmp_path: Path) -> None:
    put(tmp_path, [row("topic1", request="Where is fn_1?"), row("long", request="Where is it? " * 200)])
    with (tmp_path / "training-data/scaled/public/a.jsonl").open("a") as file:
        file.write('{"id": \n')
    script("scale", "augment", "public", "--offline", "--count", 2, "--workspace", tmp_path, code=0)
    damaged, left = [json.loads(line) for line in (tmp_path / "report/dropped.jsonl").read_text().splitlines()]
    assert damaged["reason"] == "damaged" and damaged["file"] == "public/a.jsonl:3"
    assert left["stage"] == "scale augment" and left["reason"] == "request-too-long" and left["file"].endswith("/long")


def test_executed_rows_that_are_damaged_cost_themselves_alone(script: Script, tmp_path: Path, made: Made) -> None:
    rows = [json.loads(row.line()) | {"id": f"r{n}"} for n, row in enumerate(row for row in made[0] if row.calls())]
    unknown, cut, no_list, no_tool = rows[:4]
    for told, fields in ((unknown, {"name": "nobody"}), (cut, {"arguments": '{"pa'})):
        call = next(message for message in told["messages"] if message.get("tool_calls"))["tool_calls"][0]
        call["function"] |= fields
    no_list["made"]["asked"] = 7
    no_tool["tools"] = [{}]
    put(tmp_path, [unknown, cut, no_list, no_tool], kind="synthetic")
    put(tmp_path, [row("topic1", request="Where is fn_1?")])
    (tmp_path / "chain.toml").write_text('[execute]\nbackend = "bubblewrap"\n')
    script("scale", "augment", "--offline", "--count", 4, "--workspace", tmp_path, code=0)
    left = [json.loads(line) for line in (tmp_path / "report/dropped.jsonl").read_text().splitlines()]
    assert sorted(one["reason"] for one in left) == ["bad-arguments", "damaged", "no-tool", "no-tool"]


def test_there_must_be_rows_to_make_children_of(script: Script, tmp_path: Path) -> None:
    assert "no rows" in script("scale", "augment", "--offline", "--workspace", tmp_path, code=2).err
    told = script("scale", "augment", "pairs", "--offline", "--workspace", tmp_path, code=2).err
    assert "synthetic, public, sessions" in told
