"""The recipes of an export train: a tiny random model, two steps each, every row, the loss on the accepted turn alone.

`make test-train` runs this in an environment with torch and trl; elsewhere it is skipped. No download: model and
tokenizer are made here.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("trl")

from duel import settings
from duel.stages import export
from duel.workspace import Workspace
from tests.train.conftest import FORMATS, learned, rows, trained

pytestmark = pytest.mark.filterwarnings("ignore")  # of packages that are not ours


@pytest.mark.parametrize("name", FORMATS)
def test_every_row_is_trained_as_it_is(exported: Path, model: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trained(exported, model, name, monkeypatch)
    assert len(trainer.train_dataset) == len(rows(exported, name))
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(steps) == 2
    for entry in steps:
        assert math.isfinite(float(entry["loss"]))
        assert 0 < float(entry["grad_norm"]) < math.inf


@pytest.mark.parametrize("name", ["sft-completion", "dpo", "kto"])
def test_the_loss_covers_the_accepted_turn_and_nothing_before_it(
    exported: Path, model: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trained(exported, model, name, monkeypatch)
    for row, prepared in zip(rows(exported, name), trainer.train_dataset, strict=True):
        wanted = [row[key][0]["content"] for key in ("completion", "chosen", "rejected") if key in row]
        found = [text.replace("<think>\n\n</think>\n\n", "").removesuffix("\n") for text in learned(trainer, prepared)]
        assert [text.removesuffix("<|im_end|>") for text in found][: len(wanted)] == wanted


@pytest.mark.parametrize("name", ["sft", "trl-tools"])
def test_with_whole_conversations_the_loss_covers_agent_turns_alone(
    exported: Path, model: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trained(exported, model, name, monkeypatch)
    for row, prepared in zip(rows(exported, name), trainer.train_dataset, strict=True):
        [text] = learned(trainer, prepared)
        assert "The total of" in text and "sed -n" in text
        assert not any(message["content"] in text for message in row["messages"] if message["role"] != "assistant")


def test_a_window_that_is_too_short_loses_rows_and_fit_keeps_them(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `--fit` is for: without it the cut takes the accepted turn."""
    from tests.exports.conftest import put_turn
    from tests.exports.test_lengths import long_history

    workspace = Workspace(tmp_path / "run")
    (workspace.root).mkdir()
    (workspace.root / "chain.toml").write_text("[audit]\ndecontaminate = []\n")
    for number in range(1, 5):
        messages = list(long_history().messages[:-1])
        messages[1] = messages[1].model_copy(update={"content": f"Fix number {number}."})
        put_turn(workspace, number, "final", 90, messages=messages)
    chosen = settings.load(workspace.root)
    export.run(workspace, chosen, format="sft-completion", tokenizer=str(model), fit=4_096)
    trainer = trained(workspace.root / "export", model, "sft-completion", monkeypatch)
    assert trainer.args.max_length == 4_096
    assert len(trainer.train_dataset) == 4
    assert all("sed -n" in learned(trainer, row)[0] for row in trainer.train_dataset)
