"""unsloth trains every format of its recipes as it is, on a CPU with LoRA (`make test-trainers`)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("unsloth")

from duel import settings
from duel.stages import export
from tests.exports.conftest import filled
from tests.train.conftest import STEPS, learned, rows, saved_model

pytestmark = pytest.mark.filterwarnings("ignore")  # of packages that are not ours


@pytest.mark.parametrize("name", ["sft", "sft-completion"])
def test_every_row_is_trained_as_it_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = saved_model(tmp_path / "model")
    workspace = filled(tmp_path / "run")
    export.run(workspace, settings.load(workspace.root), format=name, tokenizer=str(model))
    folder = workspace.root / "export"
    recipe = (folder / name / "unsloth_train.py").read_text("utf-8")
    for ours, here in (('"unsloth/Qwen3-0.6B"', repr(str(model))), ("    num_train_epochs=1,\n", STEPS)):
        assert ours in recipe
        recipe = recipe.replace(ours, here)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(compile(recipe, "unsloth_train.py", "exec"), names)
    trainer = names["trainer"]
    assert len(trainer.train_dataset) == len(rows(folder, name))
    assert all("sed -n" in learned(trainer, row)[0] for row in trainer.train_dataset)
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(steps) == 2
    assert all(math.isfinite(float(step["loss"])) and float(step["grad_norm"]) > 0 for step in steps)
