"""Each format comes with configurations that name its files, its longest row, and who misreads it."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from typing import Any

import pytest

from duel.exports.formats import FORMATS
from duel.exports.recipes import FILES
from duel.workspace import Workspace
from tests.exports.conftest import files, manifest, needs


@pytest.fixture
def everything(export: Callable[..., Any], workspace: Workspace) -> dict[str, bytes]:
    export("--format", ",".join(FORMATS))
    return files(workspace)


def test_every_recipe_names_its_data_and_holds_its_longest_row(
    everything: dict[str, bytes], workspace: Workspace
) -> None:
    yaml = pytest.importorskip("yaml")
    for name, form in FORMATS.items():
        longest = manifest(workspace)["formats"][name]["lengths"]["longest"]
        for file in [file for trainer in form.recipes for file in FILES[trainer]]:
            text = everything[f"{name}/{file}"].decode()
            assert "{{" not in text
            if file.endswith(".py"):
                ast.parse(text)
                assert f'data_files="{name}/train.jsonl"' in text
                continue
            config = yaml.safe_load(text)
            limit = config.get("max_length") or config.get("sequence_len") or config["cutoff_len"]
            assert longest <= limit < longest + 1024
            assert f"{name}/train.jsonl" in text or config["dataset"] == f"duel_{name.replace('-', '_')}"


def test_llama_factory_finds_every_set_that_it_reads(everything: dict[str, bytes]) -> None:
    info = json.loads(everything["dataset_info.json"])
    assert set(info) == {"duel_sft", "duel_trl_tools", "duel_lf_dpo", "duel_lf_kto"}
    for entry in info.values():
        first = json.loads(everything[entry["file_name"]].splitlines()[0])
        assert set(entry["columns"].values()) <= set(first)
    assert info["duel_lf_dpo"]["ranking"] is True
    assert info["duel_lf_kto"]["columns"]["kto_tag"] == "label"


def test_trl_takes_every_flag_of_its_recipes() -> None:
    needs("trl")
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("trl")
    assert spec is not None and spec.origin is not None
    for form in FORMATS.values():
        if kind := form.recipes.get("trl"):
            source = Path(spec.origin).parent / "trainer" / f"{kind}_config.py"
            inherited = {"per_device_train_batch_size"}
            assert all(f"    {flag}:" in source.read_text() for flag in {"max_length", *form.trl_flags} - inherited)


def test_a_format_that_is_misread_without_complaint_says_so_where_one_looks(everything: dict[str, bytes]) -> None:
    for place in ("README.md", "anthropic/README.md"):
        assert "TRL takes this file without complaint" in everything[place].decode()
    assert "take `lf-dpo`" in everything["dpo/README.md"].decode()
    assert "no trainer reads this format" in everything["codeact/README.md"].decode()
