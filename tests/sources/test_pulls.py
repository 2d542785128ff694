"""The mirror of pull requests: any column types, the last row of an id, only what is wanted."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from duel.conversation.record_files import find
from duel.records import Commit
from duel.settings import Settings
from duel.sources.parquet_tables import LocalTable
from duel.sources.pulls import Pulls
from tests.sources.tables import pull, write_pulls


def mirrored(folder: Path, ids: list[str]) -> dict[str, Commit]:
    pulls = Pulls(LocalTable("pulls", find(str(folder), [Path()])))
    return {commit.instance_id: commit for commit in pulls.commits(ids)}


def test_the_last_row_of_a_repeated_id_counts_across_files_and_rows(tmp_path: Path) -> None:
    write_pulls(tmp_path / "b.parquet", [pull("o__r-1", pr_description="second file, first row"), pull("o__r-2")])
    first = [pull("o__r-1", pr_description=f"first file, row {n}") for n in range(3)]
    last = [pull("o__r-3", pr_description=f"row {n}") for n in range(5)]
    write_pulls(tmp_path / "a.parquet", [*first, *last])
    found = mirrored(tmp_path, ["o__r-1", "o__r-3", "o__r-9"])
    assert {name: commit.description for name, commit in found.items()} == {
        "o__r-1": "second file, first row",
        "o__r-3": "row 4",
    }
    assert found["o__r-3"].source.row == 7
    pulls = Pulls(LocalTable("pulls", find(str(tmp_path), [Path()])))
    assert set(pulls.heads(["o__r-1", "o__r-3", "o__r-9"])) == {"o__r-1", "o__r-3"}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (pa.list_(pa.string()), ["a", "b"], ["a", "b"]),
        (pa.string(), '["a", "b"]', ["a", "b"]),
        (pa.string(), "['not', 'json']", "['not', 'json']"),
        (pa.struct([("a", pa.int64())]), {"a": 1}, {"a": 1}),
        (pa.string(), '{"a": 1}', {"a": 1}),
        (pa.list_(pa.struct([("when", pa.timestamp("us"))])), [{"when": datetime(2024, 1, 2)}], None),
    ],
)
def test_a_column_may_be_a_list_a_struct_or_json(tmp_path: Path, kind: pa.DataType, value: Any, expected: Any) -> None:
    names = ["instance_id", "repo", "base_commit", "problem_statement", "patch"]
    schema = pa.schema([*((name, pa.string()) for name in names), ("FAIL_TO_PASS", kind), ("meta", kind)])
    write_pulls(tmp_path / "a.parquet", [pull("o__r-1", FAIL_TO_PASS=value, meta=value)], schema)
    commit = mirrored(tmp_path, ["o__r-1"])["o__r-1"]
    saved = json.loads(commit.dump())
    if expected is not None:
        assert saved["FAIL_TO_PASS"] == saved["meta"] == expected
    assert Commit.parse(commit.dump()).dump() == commit.dump()


def test_nulls_and_other_types_become_plain_values(tmp_path: Path) -> None:
    row = pull("o__r-1", pull_number=None, license=None, pr_description=None, hints_text=None)
    row["created_at"] = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    empty = pull("o__r-2", patch=None, test_patch=None, problem_statement=None, created_at=None)
    write_pulls(tmp_path / "a.parquet", [row, empty])
    found = mirrored(tmp_path, ["o__r-1", "o__r-2"])
    assert found["o__r-1"].pull_number == 1  # from the id
    assert found["o__r-1"].license == ""
    assert found["o__r-1"].created_at == "2024-01-02 03:04:05+00"
    assert "hints_text" not in (found["o__r-1"].model_extra or {})
    assert found["o__r-2"].files == []


@pytest.mark.parametrize("odd", ["9" * 25, "9" * 5000, "²", "1_0"])
def test_a_number_that_no_pull_request_has_is_none(tmp_path: Path, odd: str) -> None:
    write_pulls(tmp_path / "a.parquet", [pull(f"o__r-{odd}", pull_number=odd)])
    [commit] = mirrored(tmp_path, [f"o__r-{odd}"]).values()
    assert Commit.parse(commit.dump()).pull_number is None


def test_a_column_nested_deeper_than_json_is_written_stays_the_text_that_it_was(tmp_path: Path) -> None:
    deep = "[" * 300 + "]" * 300
    write_pulls(tmp_path / "a.parquet", [pull("o__r-1", meta=deep)])
    assert json.loads(mirrored(tmp_path, ["o__r-1"])["o__r-1"].dump())["meta"] == deep


def test_a_path_with_glob_characters_is_one_file(tmp_path: Path) -> None:
    folder = tmp_path / "weird [1] *"
    write_pulls(folder / "a?.parquet", [pull("o__r-1")])
    table = LocalTable("pulls", {"a?.parquet": folder / "a?.parquet"})
    assert [commit.instance_id for commit in Pulls(table).commits(["o__r-1"])] == ["o__r-1"]


def test_ids_are_values_and_never_sql(tmp_path: Path) -> None:
    hostile = "x'); DROP TABLE wanted; --"
    write_pulls(tmp_path / "a.parquet", [pull(hostile), pull("o__r-1")])
    assert set(mirrored(tmp_path, [hostile])) == {hostile}


def test_a_row_that_is_not_utf8_costs_only_itself(tmp_path: Path) -> None:
    rows = [pull(f"o__r-{n}") for n in range(5)]
    names = list(rows[0])
    columns = {name: pa.array([row[name] for row in rows]) for name in names}
    broken = pa.array([b"fine", b"\xff\xfe", b"fine", b"fine", b"fine"], pa.binary())
    columns["patch"] = pa.Array.from_buffers(pa.string(), 5, broken.buffers())
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=1)
    pulls = Pulls(LocalTable("pulls", {"a.parquet": tmp_path / "a.parquet"}))
    read = {commit.instance_id for commit in pulls.commits([f"o__r-{n}" for n in range(5)])}
    assert read == {"o__r-0", "o__r-2", "o__r-3", "o__r-4"}
    assert list(pulls.damaged) == ["o__r-1"]


def test_more_ids_than_one_look_up_takes_are_all_found(tmp_path: Path) -> None:
    write_pulls(tmp_path / "a.parquet", [pull(f"o__r-{n}") for n in range(350)])
    wanted = [f"o__r-{n}" for n in range(0, 350, 2)]
    assert sorted(mirrored(tmp_path, wanted)) == sorted(wanted)


def test_the_rendered_pull_request_has_every_section_and_a_size(tmp_path: Path) -> None:
    from duel import pull as shown

    write_pulls(tmp_path / "a.parquet", [pull("o__r-1"), pull("o__r-2", patch="+" + "x" * 60_000)])
    found = mirrored(tmp_path, ["o__r-1", "o__r-2"])
    text = shown.render(found["o__r-1"])
    for section in ("Repository", "Base commit", "Issue", "Description", "Files", "Patch", "Test patch"):
        assert f"## {section}\n" in text
    assert "modified src/app.py (+1 -1)" in text
    assert not shown.is_huge(found["o__r-1"], Settings())
    assert shown.is_huge(found["o__r-2"], Settings())
