"""Sessions, public sets and kept turns as sources: calls as they were, licenses, and nothing invented."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duel.workspace import Workspace
from tests.conftest import Finished
from tests.exports.conftest import put_turn
from tests.scaling.rows import words

Script = Callable[..., Finished]
TOOL = {"name": "get_order", "description": "One order", "input_schema": {"type": "object"}}


def rows_of(workspace: Path, kind: str) -> list[dict[str, Any]]:
    files = sorted((workspace / "training-data" / "scaled" / kind).glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def hermes(tmp_path: Path) -> Path:
    call = '<tool_call>\n{"name": "get_order", "arguments": {"id": 7}}\n</tool_call>'
    talk = [
        {"from": "human", "value": f"Where is order 7? {words('order')}"},
        {"from": "gpt", "value": f"I look it up.\n{call}"},
        {"from": "tool", "value": '<tool_response>\n{"state": "sent"}\n</tool_response>'},
        {"from": "gpt", "value": "It was sent."},
    ]
    path = tmp_path / "orders.jsonl"
    path.write_text(json.dumps({"id": "o7", "conversations": talk, "tools": json.dumps([TOOL])}) + "\n")
    return path


def test_a_public_row_keeps_its_calls_tools_license_and_place(script: Script, tmp_path: Path) -> None:
    script("scale", "public", hermes(tmp_path), "--workspace", tmp_path, "--license", "Apache-2.0", code=0)
    [row] = rows_of(tmp_path, "public")
    [call] = [call for message in row["messages"] for call in message.get("tool_calls", ())]
    assert call["function"] == {"name": "get_order", "arguments": {"id": 7}}
    assert row["tools"][0]["function"]["parameters"] == {"type": "object"}
    assert row["source"] == {
        "kind": "public",
        "name": "orders.jsonl",
        "revision": "",
        "file": "orders.jsonl",
        "row": 0,
        "license": "Apache-2.0",
    }


def test_a_set_whose_actions_nobody_knows_gives_no_row_and_says_why(script: Script, tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "Do it."}, {"role": "assistant", "content": "ACT(now)"}] * 3
    (tmp_path / "odd.jsonl").write_text(json.dumps({"messages": talk}) + "\n")
    done = script("scale", "public", tmp_path / "odd.jsonl", "--workspace", tmp_path, code=2)
    assert "no row was made" in done.err and "left out" in done.err
    assert (tmp_path / "report" / "dropped.jsonl").read_text().count("scale public") == 1


def test_a_set_without_a_row_costs_the_later_ones_nothing(script: Script, tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "Do it."}, {"role": "assistant", "content": "ACT(now)"}] * 3
    (tmp_path / "odd.jsonl").write_text(json.dumps({"messages": talk}) + "\n")
    places = tmp_path / "odd.jsonl", tmp_path / "gone.jsonl", hermes(tmp_path)
    done = script("scale", "public", *places, "--workspace", tmp_path, code=2)
    assert "no row was made" in done.err and "no such file" in done.err
    assert "public/orders.jsonl: 1 rows" in done.out and len(rows_of(tmp_path, "public")) == 1
    left = (tmp_path / "report" / "dropped.jsonl").read_text()
    assert left.count("odd.jsonl") and "no-known-action" in left


def test_sets_of_one_name_have_a_file_and_ids_each(script: Script, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    places = hermes(tmp_path), hermes(tmp_path / "other")
    script("scale", "public", *places, "--workspace", tmp_path, code=0)
    rows = rows_of(tmp_path, "public")
    assert {row["source"]["name"] for row in rows} == {"orders.jsonl", "orders-2"}
    assert len({row["id"] for row in rows}) == 2


def test_no_reply_of_a_public_set_becomes_a_submission(script: Script, tmp_path: Path, shared: Path) -> None:
    for file in sorted((shared / "public").glob("*.jsonl")):
        script("scale", "public", file, "--workspace", tmp_path)
    rows = rows_of(tmp_path, "public")
    assert len(rows) >= 20
    own = "".join(file.read_text() for file in (shared / "public").glob("*.jsonl"))
    submitted = "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
    assert json.dumps(rows).count(submitted) <= own.count(submitted)


def test_kept_turns_are_rows_that_end_on_the_accepted_turn(script: Script, tmp_path: Path) -> None:
    put_turn(Workspace(tmp_path), 7, "final", 90.0)
    script("scale", "duels", "--workspace", tmp_path, code=0)
    [row] = rows_of(tmp_path, "duels")
    assert row["messages"][-1]["role"] == "assistant" and "instance acme__tool7-7" in row["group"]
    assert row["source"]["file"].startswith("final/") and row["source"]["license"] == "MIT"


def test_a_turn_that_no_bucket_takes_is_left_out_of_the_larger_set_and_listed(script: Script, tmp_path: Path) -> None:
    put_turn(Workspace(tmp_path), 7, "final", 90.0)
    stem = put_turn(Workspace(tmp_path), 8, "final", 90.0, found={"contaminated": "swe-bench"})
    done = script("scale", "duels", "--workspace", tmp_path, code=0)
    assert "1 left out: contaminated" in done.err
    [left] = [json.loads(line) for line in (tmp_path / "report" / "dropped.jsonl").read_text().splitlines()]
    assert (left["stage"], left["file"], left["reason"]) == ("scale duels", stem, "contaminated")


@pytest.mark.parametrize("what", ["public", "pairs"])
def test_a_source_without_a_place_is_told(script: Script, tmp_path: Path, what: str) -> None:
    assert "takes" in script("scale", what, "--workspace", tmp_path, code=2).err
