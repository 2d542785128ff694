"""What prompt.py says of sources that it cannot draw from, in whole or in part."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from duel.sources import rollouts
from tests.sources.tables import (
    TRAJECTORIES,
    configure,
    drawn,
    left_out,
    messages,
    pull,
    rollout,
    write_pulls,
    write_rollouts,
)

Script = Callable[..., Any]


@pytest.mark.parametrize("name", ["../../x", "a/b", ".hidden", "x" * 300, "con", "näme", "a\nb"])
def test_a_hostile_instance_id_never_leaves_its_folder(tmp_path: Path, sampler: Script, name: str) -> None:
    configure(tmp_path, dataset="runs.parquet")
    others = [name.replace("x", "y"), name + "2"]
    write_rollouts(tmp_path / "runs.parquet", [rollout(i, repo="o/r") for i in (name, *others)])
    write_pulls(tmp_path / "pulls.parquet", [pull(i) for i in (name, *others)])
    sampler("--workspace", tmp_path, code=0)
    saved = [json.loads(path.read_bytes())["instance_id"] for path in (tmp_path / "commit").iterdir()]
    assert sorted(saved) == sorted({name, *others})
    assert {path.name for path in tmp_path.iterdir()} == {
        ".duel", "chain.toml", "commit", "prompt", "pulls.parquet", "report", "runs.parquet"
    }  # fmt: skip


def test_rows_that_cannot_be_used_are_counted_and_listed(tmp_path: Path, sampler: Script) -> None:
    configure(tmp_path, dataset="runs.parquet", n=1)
    good = rollout("o__r-1")
    tool = rollout("o__r-2", messages=[*messages("o__r-2", 2), {"role": "tool", "content": "x"}])
    null = rollout("o__r-3", messages=[*messages("o__r-3", 2), {"role": "user", "content": None}])
    rows = [good, tool, null, rollout("o__r-4", messages=None), rollout(None, repo="o/r", messages=[])]
    rows.append(rollout("o__r-6", messages=messages("o__r-6", 2)[:2]))
    write_rollouts(tmp_path / "runs.parquet", rows)
    write_pulls(tmp_path / "pulls.parquet", [pull("o__r-1")])
    sampler("--workspace", tmp_path, code=0)
    assert left_out(tmp_path)["rows"] == {
        "no-eligible-turn": 1, "no-instance-id": 1, "no-messages": 1, "null-content": 1, "role-tool": 1
    }  # fmt: skip
    assert len((tmp_path / "report" / "dropped.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize("shape", ["json of a row", "json of a message", "dictionary"])
def test_a_conversation_that_is_not_utf8_costs_only_itself(tmp_path: Path, shape: str) -> None:
    said = messages("o__r-1", 2)
    texts = [json.dumps(said)] if shape == "json of a row" else list(map(json.dumps, said))
    if shape == "dictionary":
        texts = [message["content"] for message in said]
    count = len(texts)
    column = pa.array([*(text.encode() for text in texts), b"\xff", *(text.encode() for text in texts[1:])])
    column = column.view(pa.string())
    if shape == "dictionary":
        roles = pa.array([message["role"] for message in said] * 2).dictionary_encode()
        column = pa.StructArray.from_arrays([roles, column], ["role", "content"])
    if shape != "json of a row":
        column = pa.ListArray.from_arrays([0, count, 2 * count], column)
    table = pa.table({"instance_id": ["o__r-1", "o__r-2"], "repo": ["o/r"] * 2, "messages": column})
    pq.write_table(table, tmp_path / "runs.parquet")
    found = list(rollouts.read(tmp_path / "runs.parquet", "runs.parquet"))
    assert [(one.instance_id, one.eligible, one.problem) for one in found] == [
        ("o__r-1", 2, ""), ("o__r-2", 0, "no-messages")
    ]  # fmt: skip


@pytest.mark.parametrize("shape", ["json", "large", "extra", "dictionary"])
def test_messages_may_be_lists_or_json_and_columns_may_be_more(tmp_path: Path, sampler: Script, shape: str) -> None:
    configure(tmp_path, dataset="runs.parquet", n=3)
    rows = [rollout(f"o__r-{n}", trajectory_id=str(n)) for n in range(3)]
    fields = {"json": pa.string(), "dictionary": TRAJECTORIES.field("messages").type}
    large = pa.large_list(pa.struct([("content", pa.large_string()), ("role", pa.string())]))
    extra = pa.list_(pa.struct([("name", pa.string()), ("role", pa.string()), ("content", pa.string())]))
    kind = {**fields, "large": large, "extra": extra}[shape]
    if shape == "json":
        rows = [{**row, "messages": json.dumps(row["messages"])} for row in rows]
    text = pa.dictionary(pa.int32(), pa.string()) if shape == "dictionary" else pa.string()
    schema = pa.schema([("trajectory_id", pa.string()), ("instance_id", text), ("repo", text), ("messages", kind)])
    write_rollouts(tmp_path / "runs.parquet", rows, schema)
    write_pulls(tmp_path / "pulls.parquet", [pull(f"o__r-{n}") for n in range(3)])
    sampler("--workspace", tmp_path, code=0)
    assert len(drawn(tmp_path)) == 3
    assert {key for row in drawn(tmp_path) for message in row["messages"] for key in message} == {"role", "content"}


@pytest.mark.parametrize("column", ["instance_id", "repo", "messages"])
def test_a_missing_column_is_named_with_the_file_and_the_columns_there(
    home: Path, sampler: Script, column: str
) -> None:
    schema = pa.schema([field for field in TRAJECTORIES if field.name != column])
    write_rollouts(home / "runs" / "data" / "train-00001.parquet", [rollout("o__r-1")], schema)
    done = sampler("--workspace", home, code=2)
    assert f"a needed column is missing, in `data/train-00001.parquet`: {column}" in done.err
    assert "hint: the columns there are: " in done.err
    assert not (home / "prompt").exists()


def test_a_missing_column_of_the_pull_requests_is_named(home: Path, sampler: Script) -> None:
    rows = [{key: value for key, value in pull("o__r-1").items() if key != "patch"}]
    write_pulls(home / "pulls.parquet", rows)
    assert "in `pulls.parquet`: patch" in sampler("--workspace", home, code=2).err


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "the parquet file is empty"), (b"PAR1 not really", "not a readable parquet file"), (None, "it is damaged")],
)
def test_a_file_that_is_no_parquet_is_one_clear_message(
    home: Path, sampler: Script, content: bytes | None, message: str
) -> None:
    path = home / "runs" / "data" / "train-00001.parquet"
    if content is None:  # the footer stands, the pages do not
        whole = path.read_bytes()
        end = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
        content = whole[:40] + b"\xff" * (end - 40) + whole[end:]
    path.write_bytes(content)
    done = sampler("--workspace", home, code=2)
    assert message in done.err
    assert "data/train-00001.parquet" in done.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--source", "nothing/*.parquet"], "no parquet file is there"),
        (["--source", "gone.parquet"], "no parquet file is there"),
        (["--n", "0"], "`n`"),
        (["--n", "many"], "invalid int value"),
        (["--source", "some/dataset"], "the Hub is switched off by HF_HUB_OFFLINE"),
        (["--source", "some/dataset", "--offline"], "the Hub is not asked offline"),
    ],
)
def test_a_wrong_flag_is_one_clear_message(home: Path, sampler: Script, flags: list[str], message: str) -> None:
    done = sampler("--workspace", home, *flags, code=2)
    assert message in done.err


def test_a_draw_that_comes_out_empty_says_why(home: Path, sampler: Script) -> None:
    write_pulls(home / "pulls.parquet", [pull("other__repo-1")])
    done = sampler("--workspace", home, code=2)
    assert "no turn can be drawn, in `runs`" in done.err
    assert "9 turns: no pull request of that id" in done.err
    assert not (home / "prompt").exists()


def test_a_file_without_rows_takes_part_in_no_draw(home: Path, sampler: Script) -> None:
    write_rollouts(home / "runs" / "data" / "train-00009.parquet", [])
    configure(home, n=100)
    sampler("--workspace", home, code=0)
    assert len(drawn(home)) == 9
