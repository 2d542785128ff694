"""Lists of benchmark instances, read from a Hub on loopback: only the columns that name them, kept, never assumed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from duel.audit.contamination import HUB_LISTS, Benchmarks
from duel.errors import SettingsError
from duel.sections import AuditSection
from duel.settings import Settings
from duel.workspace import Workspace
from tests.hub import LoopbackHub

ROWS = [
    {"instance_id": "acme__shop-12", "repo": "acme/shop", "base_commit": "ab" * 20, "patch": "x" * 100},
    {"instance_id": "Acme__shop-13", "repo": "acme/shop", "base_commit": "cd" * 20, "patch": "y" * 100},
]


def table(rows: list[dict[str, str]]) -> bytes:
    import pyarrow as arrow
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(rows), file)
    return file.getvalue()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, clean_home: Path) -> Iterator[LoopbackHub]:
    """The library reads HF_HUB_OFFLINE once, whichever test of this process imports it first."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with LoopbackHub() as served:
        for name, value in served.environment.items():
            monkeypatch.setenv(name, value)
        yield served


def load(tmp_path: Path, *names: str, offline: bool = False) -> Benchmarks:
    return Benchmarks.load(Settings(audit=AuditSection(decontaminate=list(names))), Workspace(tmp_path), offline)


def test_a_list_is_read_once_and_then_kept(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.add(HUB_LISTS["verified"], {"data/test-00000-of-00001.parquet": table(ROWS), "README.md": b"# V"})
    assert load(tmp_path, "verified").checked == {"verified": 2}
    calls = len(hub.requests)
    assert calls > 0
    found = load(tmp_path, "verified")
    assert found.reason("ACME__SHOP-12") == "instance of verified"
    assert found.reason("acme__shop-14", "acme/shop") == ""
    assert len(hub.requests) == calls


def test_the_issues_of_a_list_are_known_again_and_not_kept(hub: LoopbackHub, tmp_path: Path, clean_home: Path) -> None:
    issue = " ".join(f"word{i}" for i in range(300))
    row = {"instance_id": "acme__shop-12", "repo": "acme/shop", "base_commit": "ab" * 20, "problem_statement": issue}
    hub.add(HUB_LISTS["verified"], {"data/test-00000-of-00001.parquet": table([row])})
    for _ in range(2):  # read, and from the cache
        found = load(tmp_path, "verified")
        assert "issue text" in found.reason("x__y-1", "x/y", "", f"Please fix this. {issue} Thanks.")
        assert found.reason("x__y-1", "x/y", "", " ".join(f"other{i}" for i in range(300))) == ""
    kept = b"".join(file.read_bytes() for file in (clean_home / ".cache").rglob("*.json"))
    assert b"acme__shop-12" in kept
    assert b"word17" not in kept


def test_pro_is_compared_by_repository_and_base_commit(hub: LoopbackHub, tmp_path: Path) -> None:
    row = {"instance_id": f"instance_Acme__Shop-{'ab' * 20}-vnan", "repo": "Acme/Shop", "base_commit": "EF" * 20}
    hub.add(HUB_LISTS["pro"], {"data/test-00000-of-00001.parquet": table([row])})
    found = load(tmp_path, "pro")
    assert "base commit" in found.reason("acme__shop-77", "acme/shop", "ef" * 20)
    assert found.reason("acme__shop-77", "acme/shop", "12" * 20) == ""


@pytest.mark.parametrize("name", ["multilingual", "multimodal", "lite", "swe-bench"])
def test_every_split_but_the_training_one_counts(name: str, hub: LoopbackHub, tmp_path: Path) -> None:
    files = {f"data/{split}-00000-of-00001.parquet": table([row]) for split, row in zip(["dev", "test"], ROWS)}  # noqa: B905
    training = table([{"instance_id": "acme__train-1", "repo": "acme/train", "base_commit": "00"}])
    hub.add(HUB_LISTS[name], {**files, "data/train-00000-of-00001.parquet": training})
    found = load(tmp_path, name)
    assert found.checked == {name: 2}
    assert found.reason("acme__Shop-13")
    assert found.reason("acme__train-1") == ""


def test_a_data_set_that_is_not_there_is_unchecked_and_says_why(hub: LoopbackHub, tmp_path: Path) -> None:
    found = load(tmp_path, "verified", "lite")
    assert found.checked == {}
    assert set(found.unchecked) == {"verified", "lite"}
    assert "not" in found.unchecked["verified"].lower()


def test_a_closed_data_set_is_unchecked(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.add(HUB_LISTS["pro"], {"data/test-00000-of-00001.parquet": table(ROWS)}, token="hf_secret")
    found = load(tmp_path, "pro")
    assert found.checked == {}
    assert found.unchecked["pro"]
    assert "hf_secret" not in found.unchecked["pro"]


def test_a_data_set_without_instances_is_unchecked(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.add(HUB_LISTS["lite"], {"data/test-00000-of-00001.parquet": table([{"name": "x"}])})
    found = load(tmp_path, "lite")
    assert found.checked == {}
    assert "lite" in found.unchecked


def test_offline_no_call_is_made(hub: LoopbackHub, tmp_path: Path) -> None:
    assert "offline" in load(tmp_path, "verified", offline=True).unchecked["verified"]
    assert hub.requests == []


@pytest.mark.parametrize("content", ["5", "null", "no json", "[]", '{"instances": []}'])
def test_a_file_that_holds_no_list_is_the_users_mistake(content: str, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(content)
    with pytest.raises(SettingsError, match="list of instances"):
        load(tmp_path, "list.json")
