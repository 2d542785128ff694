"""The recipes of an export train: a tiny random model, two steps each, every row, the loss on the accepted turn alone.

`make test-train` runs this in an environment with torch and trl; elsewhere it is skipped. No download: model and
tokenizer are made here.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
torch = pytest.importorskip("torch")
trl = pytest.importorskip("trl")

from duel import settings  # noqa: E402
from duel.stages import export  # noqa: E402
from duel.workspace import Workspace  # noqa: E402
from tests.exports.conftest import filled  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of packages that are not ours
FORMATS = ("sft", "sft-completion", "trl-tools", "chatml", "dpo", "kto", "reward")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>"]
STEPS = (
    "    max_steps=2,\n    use_cpu=True,\n    bf16=False,\n    report_to='none',\n    save_strategy='no',\n"
    "    logging_steps=1,\n    disable_tqdm=True,\n    dataloader_pin_memory=False,\n"
)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Qwen3 with a byte-level tokenizer and Qwen3's chat template as TRL ships it."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    folder = tmp_path_factory.mktemp("model")
    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    letter_by_letter = Tokenizer(models.BPE(vocab=letters, merges=[]))
    letter_by_letter.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letter_by_letter.decoder = decoders.ByteLevel()
    letter_by_letter.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=letter_by_letter, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    template = Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja"
    tokenizer.chat_template = template.read_text("utf-8")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=16_384,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """The made-up duel of the export's tests in every format that TRL trains, counted with the model's tokenizer."""
    workspace: Workspace = filled(tmp_path_factory.mktemp("run"))
    export.run(workspace, settings.load(workspace.root), format=",".join(FORMATS), tokenizer=str(model))
    return workspace.root / "export"


TRAINED: dict[Path, Any] = {}


def trained(exported: Path, model: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The trainer after the format's own `trl_train.py`, with this model in it and two steps; trained once."""
    if exported / name not in TRAINED:
        TRAINED[exported / name] = train(exported, model, name, monkeypatch)
    return TRAINED[exported / name]


def train(exported: Path, model: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(exported)
    recipe = (exported / name / "trl_train.py").read_text("utf-8")
    for ours, here in (('"Qwen/Qwen3-0.6B"', repr(str(model))), ("    num_train_epochs=1,\n", STEPS)):
        assert ours in recipe
        recipe = recipe.replace(ours, here)
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
    else:
        masks = [ids[m.bool()] for ids, m in zip(batch["input_ids"], batch["completion_mask"], strict=True)]
    return [tokenizer.decode(ids) for ids in masks]


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


@pytest.mark.parametrize("name", FORMATS)
def test_manifest_and_trainer_count_the_same_tokens(
    exported: Path, model: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trained(exported, model, name, monkeypatch)
    said = json.loads((exported / "manifest.json").read_text())["formats"][name]["lengths"]["longest"]
    batch = trainer.data_collator(list(trainer.train_dataset))
    counted = int(batch["attention_mask"].sum(-1).max())
    if name in ("sft", "trl-tools"):  # room for an empty think block before each of the two agent turns
        assert 0 <= said - counted <= 16
    else:  # some trainers add or drop the newline behind the last turn
        assert abs(said - counted) <= 1, (said, counted)


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


@pytest.mark.parametrize("name", ["sft", "openai-tools", "lf-dpo", "lf-kto"])
def test_llama_factorys_own_converter_takes_every_row(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = find_spec("llamafactory")
    if spec is None:
        pytest.skip("llamafactory is not installed")
    shell = types.ModuleType("llamafactory.data")  # its own __init__ imports every trainer
    shell.__path__ = [f"{next(iter(spec.submodule_search_locations or []))}/data"]
    monkeypatch.setitem(sys.modules, "llamafactory.data", shell)
    converter = importlib.import_module("llamafactory.data.converter")
    parser = importlib.import_module("llamafactory.data.parser")

    workspace = filled(tmp_path / "run")
    export.run(workspace, settings.load(workspace.root), format=name)
    folder = workspace.root / "export"
    entry = json.loads((folder / "dataset_info.json").read_text())[f"duel_{name.replace('-', '_')}"]
    attributes = parser.DatasetAttr("file", dataset_name=entry["file_name"])
    attributes.join(entry)
    convert = converter.get_dataset_converter(entry["formatting"], attributes, None)
    for row in rows(folder, name):
        made = convert(row)
        assert made["_prompt"], "the row was skipped"
        assert len(made["_response"]) == (1 if name in ("sft", "openai-tools") else 2)
        assert any("ls" in part["content"] or "sed -n" in part["content"] for part in made["_response"])
