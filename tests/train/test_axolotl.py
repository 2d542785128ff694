"""axolotl's own reader takes every row by the export's `axolotl.yaml` (`make test-trainers`)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

os.environ["AXOLOTL_DO_NOT_TRACK"] = "1"
pytest.importorskip("axolotl")

from duel import settings
from duel.exports.lengths import EMPTY_THOUGHT
from duel.stages import export
from tests.exports.conftest import filled
from tests.train.conftest import rows, saved_model

pytestmark = pytest.mark.filterwarnings("ignore")  # of packages that are not ours


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_model(tmp_path_factory.mktemp("model"))


def prepared(tmp_path: Path, model: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Any]:
    """The export, and what axolotl makes of its rows."""
    from axolotl.cli.args import PreprocessCliArgs
    from axolotl.cli.config import load_cfg
    from axolotl.common.datasets import load_datasets, load_preference_datasets

    workspace = filled(tmp_path / "run")
    export.run(workspace, settings.load(workspace.root), format=name, tokenizer=str(model))
    folder = workspace.root / "export"
    recipe = (folder / name / "axolotl.yaml").read_text("utf-8")
    assert "Qwen/Qwen3-0.6B" in recipe
    (tmp_path / "axolotl.yaml").write_text(recipe.replace("Qwen/Qwen3-0.6B", str(model)))
    monkeypatch.chdir(folder)
    chosen = load_cfg(str(tmp_path / "axolotl.yaml"), dataset_prepared_path=str(tmp_path / "prepared"))
    load = load_preference_datasets if chosen.rl else load_datasets
    return folder, load(cfg=chosen, cli_args=PreprocessCliArgs()).train_dataset


@pytest.mark.parametrize("name", ["sft", "trl-tools"])
def test_every_row_is_read_and_only_agent_turns_are_trained(
    name: str, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer

    folder, made = prepared(tmp_path, model, name, monkeypatch)
    tokenizer = AutoTokenizer.from_pretrained(model)
    by_length = sorted(zip(map(len, made["input_ids"]), made["labels"], strict=True), key=lambda pair: pair[0])
    index = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    turns = [sum(message["role"] == "assistant" for message in row["messages"]) for row in rows(folder, name)]
    stated = sorted(row["tokens"] - EMPTY_THOUGHT * count for row, count in zip(index, turns, strict=True))
    assert [length for length, _ in by_length] == stated
    for _, labels in by_length:
        text = tokenizer.decode([token for token in labels if token != -100])
        assert "sed -n" in text and "Observation" not in text
        assert "grep -rn" in text  # the history's turns too, as the README says


def test_every_pair_is_read_with_its_prompt(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, made = prepared(tmp_path, model, "dpo", monkeypatch)
    assert len(made) == len(rows(folder, "dpo"))
    for row in made:
        assert "sed -n" in row["chosen"] and "ls\n```" in row["rejected"]
        assert "prints the wrong total" in row["prompt"]
