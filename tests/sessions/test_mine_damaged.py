"""mine.py over logs that are damaged, hostile or closed to it: each costs itself alone, and is named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duel.sources.mining.sweep import Mine
from tests.sessions.logs import write_lines
from tests.sessions.test_mine import fix, rows


def test_broken_lines_and_unknown_entries_are_named_and_the_rest_goes_on(
    script: Callable[..., Any], logs: Path, tmp_path: Path
) -> None:
    lines = fix("/home/ada/shop")
    write_lines(
        logs / "a.jsonl", ["{broken", *lines[:4], {"type": "novelty", "uuid": "n", "parentUuid": None}, *lines[4:]]
    )
    whole = json.dumps(fix("/home/ada/shop", "s-2")[-1])
    write_lines(logs / "half.jsonl", [*fix("/home/ada/shop", "s-2")[:-1], whole[: len(whole) // 2]])
    (logs / "cut.jsonl").write_bytes(b'{"type":"user","sessionId":"x","message":{"content":"\xff')
    (logs / "notes.json").write_text('{"nothing": "of interest"}')
    write_lines(logs / "odd.jsonl", [{"type": "user", "sessionId": 1, "uuid": [], "message": {"content": {"a": [1]}}}])
    run = script("mine", "--workspace", tmp_path, code=0)
    assert len(rows(tmp_path / "mined.parquet")) == 2
    for named in ("broken line 1 of", "broken line 10 of", "unknown entry type `novelty`", "not-a-session"):
        assert named in run.err
    dropped = [json.loads(line) for line in (tmp_path / "report" / "dropped.jsonl").read_text().splitlines()]
    assert {row["reason"] for row in dropped} >= {"not-a-session"}
    assert {row["stage"] for row in dropped} == {"mine"}


HOSTILE_ARGUMENTS = {
    "keystrokes": {"text": "ls"},
    "Read": {"file_path": "x", "offset": "²"},
    "Grep": {"pattern": "x", "head_limit": "9" * 5000},
    "Bash": "{'command': 'ls', 'flags': {1, 2}}",
    "deep": '{"a": ' + "[" * 400 + "]" * 400 + "}",
}


@pytest.mark.parametrize("tool", HOSTILE_ARGUMENTS)
def test_a_call_with_arguments_that_no_tool_takes_costs_no_other_session(
    script: Callable[..., Any], tmp_path: Path, tool: str
) -> None:
    call = {"id": "c", "function": {"name": tool, "arguments": HOSTILE_ARGUMENTS[tool]}}
    opens = {"role": "user", "content": "Look at it."}
    replies = [{"role": "assistant", "content": "Looking.", "tool_calls": [call]}, {"role": "tool", "content": "y"}]
    rest = [{"role": "assistant", "content": "I see."}]
    good = [replies[0] | {"tool_calls": [{"id": "c", "function": {"name": "Bash", "arguments": {"command": "ls"}}}]}]
    rows_ = [{"messages": [opens, *turns, replies[1], *rest]} for turns in (replies[:1], good)]
    write_lines(tmp_path / "rows.jsonl", rows_)
    script("mine", tmp_path / "rows.jsonl", "--workspace", tmp_path, "--keep-tools", code=0)
    assert rows(tmp_path / "mined.parquet")[-1]["eligible_turns"] == 2


def test_a_folder_that_this_machine_cannot_look_into_is_no_repository(
    script: Callable[..., Any], logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = os.stat

    def stat(path: Any, *arguments: Any, **named: Any) -> Any:
        if str(path).startswith("/root/"):
            raise PermissionError(13, "Permission denied", str(path))
        return looked_at(path, *arguments, **named)

    monkeypatch.setattr("os.stat", stat)
    for name, folder in (("long", "/" + "x" * 300), ("closed", "/root/shop")):
        write_lines(logs / f"{name}.jsonl", fix(folder, name))
    script("mine", "--workspace", tmp_path, code=0)
    assert [row["repo"] for row in rows(tmp_path / "mined.parquet")] == ["local/shop", "local/" + "x" * 300]


def test_a_folder_that_cannot_be_listed_is_named_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, logs: Path
) -> None:
    write_lines(logs / "s-1.jsonl", fix("/home/ada/shop"))
    closed = logs / "closed"
    closed.mkdir()
    listed = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(closed))
        return listed(path)

    monkeypatch.setattr("os.scandir", scandir)
    mine = Mine([str(logs)])
    assert len(list(mine.sessions())) == 1
    assert [(row["file"], row["reason"]) for row in mine.account.left.rows] == [("closed", "unreadable")]


def test_a_folder_in_the_place_of_the_output_is_told_and_nothing_stays_behind(
    script: Callable[..., Any], tmp_path: Path, logs: Path
) -> None:
    write_lines(logs / "s-1.jsonl", fix("/home/ada/shop"))
    taken = tmp_path / "taken.parquet"
    taken.mkdir()
    assert "cannot write" in script("mine", "--workspace", tmp_path, "--out", taken, code=2).err
    assert not list(tmp_path.glob(".*.part"))
