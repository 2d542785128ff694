"""Tiny random models, exports counted with their tokenizers, and the trainers that the exports' recipes make."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

from duel import settings
from duel.stages import export
from duel.workspace import Workspace
from tests.exports.conftest import filled

FORMATS = ("sft", "sft-completion", "trl-tools", "chatml", "dpo", "kto", "reward")
STEPS = (
    "    max_steps=2,\n    use_cpu=True,\n    bf16=False,\n    report_to='none',\n    save_strategy='no',\n"
    "    logging_steps=1,\n    disable_tqdm=True,\n    dataloader_pin_memory=False,\n"
)


def saved_model(folder: Path, texts: Sequence[str] = ()) -> Path:
    """A random two-layer Qwen3 with Qwen3's chat template as TRL ships it; without texts a token is a byte."""
    import torch
    import trl

    from recipes import small_model

    tokenizer = small_model.trained_tokenizer(texts)
    template = Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja"
    tokenizer.chat_template = template.read_text("utf-8")
    torch.manual_seed(0)
    return small_model.save(small_model.random_model(tokenizer, width=32), tokenizer, folder)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """The made-up duel of its tests in every format that a trainer reads, counted with the model's tokenizer."""
    workspace: Workspace = filled(tmp_path_factory.mktemp("run"))
    names = ",".join((*FORMATS, "lf-dpo", "lf-kto"))
    export.run(workspace, settings.load(workspace.root), format=names, tokenizer=str(model))
    return workspace.root / "export"


TRAINED: dict[Path, Any] = {}


def trained(exported: Path, model: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The trainer after the format's own `trl_train.py`, with this model in it and two steps; trained once."""
    if exported / name not in TRAINED:
        TRAINED[exported / name] = run_recipe(exported, model, name, monkeypatch)
    return TRAINED[exported / name]


def run_recipe(
    exported: Path, model: Path, name: str, monkeypatch: pytest.MonkeyPatch, *, training: bool = True
) -> Any:
    """The trainer of the format's `trl_train.py`; without `training` it has read and prepared its rows."""
    import torch

    monkeypatch.chdir(exported)
    recipe = (exported / name / "trl_train.py").read_text("utf-8")
    for ours, here in (('"Qwen/Qwen3-0.6B"', repr(str(model))), ("    num_train_epochs=1,\n", STEPS)):
        assert ours in recipe
        recipe = recipe.replace(ours, here)
    if not training:
        recipe = recipe.replace("trainer.train()\n", "")
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    exec(compile(recipe, "trl_train.py", "exec"), names)
    return names["trainer"]


def rows(exported: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (exported / name / "train.jsonl").read_text("utf-8").splitlines()]


def learned(trainer: Any, row: dict[str, Any]) -> list[str]:
    """The texts of a prepared row on which there is a loss, one for each sequence that the collator makes of it."""
    tokenizer = trainer.processing_class
    batch = trainer.data_collator([row])
    if "labels" in batch:
        masks = [(ids[label != -100]) for ids, label in zip(batch["input_ids"], batch["labels"], strict=True)]
    elif "completion_mask" in batch:
        masks = [ids[m.bool()] for ids, m in zip(batch["input_ids"], batch["completion_mask"], strict=True)]
    else:  # a reward model sees the whole
        masks = [ids[m.bool()] for ids, m in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    return [tokenizer.decode(ids) for ids in masks]


def counted(trainer: Any) -> list[int]:
    """Tokens of the longest sequence that the trainer makes of each of its rows."""
    batches = (trainer.data_collator([row]) for row in trainer.train_dataset)
    return [int(batch["attention_mask"].sum(-1).max()) for batch in batches]
