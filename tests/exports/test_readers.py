"""What others read: `datasets`, TRL's own helpers, the vendors' types iterated to the bottom, Harbor's models."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from duel.exports.formats import FORMATS, as_object, present
from duel.exports.formats.tool_calls import anthropic_chat
from tests.conftest import run_command
from tests.exports.conftest import filled, needs


def request_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without what a columnar file filled with null, its objects as objects: what the API takes."""
    messages = [{**message, "content": [_block(block) for block in message["content"]]} for message in row["messages"]]
    tools = [{**tool, "input_schema": as_object(tool["input_schema"])} for tool in row["tools"]]
    return {**({"system": row["system"]} if row["system"] else {}), "messages": messages, "tools": tools}


def _block(block: Mapping[str, Any]) -> dict[str, Any]:
    return {key: as_object(value) if key == "input" else value for key, value in present(block, *block).items()}


def document(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the document that ATIF's readers take: no nulls, objects as objects."""

    def clean(value: Any) -> Any:
        if isinstance(value, Mapping):
            kept = present(value, *value)
            return {key: clean(as_object(v) if key in {"arguments", "extra"} else v) for key, v in kept.items()}
        return [clean(part) for part in value] if isinstance(value, list) else value

    cleaned: dict[str, Any] = clean(row)
    cleaned["agent"]["tool_definitions"] = [as_object(tool) for tool in cleaned["agent"]["tool_definitions"]]
    return cleaned


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every format of one duel, split in two; no test changes it."""
    place = filled(tmp_path_factory.mktemp("shared") / "run")
    run_command("export", "--workspace", place.root, "--format", ",".join(FORMATS), "--split", "75/25", code=0)
    return place.root / "export"


def rows_of(folder: Path, name: str, split: str = "train") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name / f"{split}.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.filterwarnings("ignore")
def test_every_format_loads_with_datasets_and_keeps_count_and_content(
    exported: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    needs("datasets")
    monkeypatch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    import datasets

    datasets.disable_progress_bars()
    cache = str(tmp_path / "cache")
    for name, form in FORMATS.items():
        written = {split: rows_of(exported, name, split) for split in ("train", "test")}
        by_card = datasets.load_dataset(str(exported), name, cache_dir=cache)
        lines = datasets.load_dataset("json", data_files=str(exported / name / "train.jsonl"), cache_dir=cache)["train"]
        assert {split: part.num_rows for split, part in by_card.items()} == {
            s: len(rows) for s, rows in written.items()
        }
        for split, rows in written.items():
            assert [form.read(row) for row in by_card[split]] == [form.read(row) for row in rows], name
        assert [form.read(row) for row in lines] == [form.read(row) for row in written["train"]], name
        if name == "trl-tools":  # what TRL needs: an object, whichever file it was read from
            for row in (by_card["train"][0], lines[0]):
                [call] = row["messages"][2]["tool_calls"]
                assert call["function"]["arguments"]["command"].startswith("grep")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """A byte-level tokenizer without merges under TRL's own template: nothing is downloaded."""
    needs("trl")
    needs("transformers")
    import tokenizers
    import trl
    from tokenizers import decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = tokenizers.Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|pad|>")
    template = Path(trl.__file__).parent / "chat_templates" / "qwen3_training.jinja"
    made.chat_template = template.read_text("utf-8")
    return made


@pytest.mark.filterwarnings("ignore")
def test_sft_dpo_kto_and_the_others_render_through_trls_own_helpers(exported: Path, tokenizer: Any) -> None:
    from trl.data_utils import apply_chat_template, is_conversational

    known = {"messages", "prompt", "completion", "chosen", "rejected", "label"}
    for name in ("sft", "sft-completion", "dpo", "reward", "kto", "trl-tools"):
        for row in rows_of(exported, name):
            # the trainer passes over further columns, the helper looks at the shape alone
            shape = {key: value for key, value in row.items() if key in known}
            assert is_conversational(shape)
            tools = json.loads(row["tools"]) if "tools" in row else None
            rendered = apply_chat_template(shape, tokenizer, tools=tools)
            texts = "".join(text for text in rendered.values() if isinstance(text, str))
            accepted = FORMATS[name].read(row).entries[-1]
            assert accepted.calls[0].arguments["command"].split("\n")[0] in texts  # type: ignore[union-attr]
            assert ("label" in rendered) == (name == "kto")


@pytest.mark.filterwarnings("ignore")
def test_the_loss_of_sft_can_be_masked_to_assistant_turns(exported: Path, tokenizer: Any) -> None:
    row = rows_of(exported, "sft")[0]
    done = tokenizer.apply_chat_template(
        row["messages"], tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    trained = tokenizer.decode([t for t, m in zip(done["input_ids"], done["assistant_masks"], strict=True) if m])
    assert row["messages"][-1]["content"] in trained
    assert row["messages"][1]["content"] not in trained


@contextmanager
def bare(*packages: str) -> Iterator[None]:
    """A distribution's modules without what its packages import at their start, which takes 1.5 s of a vendor's."""
    try:
        root = Path(str(importlib.metadata.distribution(packages[0]).locate_file("")))
    except importlib.metadata.PackageNotFoundError:
        needs(packages[0])
        raise
    before = dict(sys.modules)
    for name in packages:
        module = types.ModuleType(name)
        module.__path__ = [str(root.joinpath(*name.split(".")))]
        sys.modules[name] = module
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == packages[0]]:
        del sys.modules[name]
    sys.modules.update({name: module for name, module in before.items() if name.split(".")[0] == packages[0]})


def deep(value: Any) -> Any:
    """Everything inside, iterated to the bottom: the vendors' types check lists only as they are walked."""
    if isinstance(value, dict):
        return {key: deep(part) for key, part in value.items()}
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return value
    return [deep(part) for part in value]


@pytest.mark.filterwarnings("ignore")
def test_openai_rows_are_of_openais_types_to_the_bottom(exported: Path) -> None:
    with bare("openai", "openai.types", "openai.types.chat"):
        from openai.types.chat.chat_completion_message_param import ChatCompletionMessageParam
        from openai.types.chat.chat_completion_tool_param import ChatCompletionToolParam

        messages, tools = TypeAdapter(list[ChatCompletionMessageParam]), TypeAdapter(list[ChatCompletionToolParam])
    for row in rows_of(exported, "openai-tools"):
        assert len(deep(messages.validate_python(row["messages"]))) == len(row["messages"])
        assert deep(tools.validate_python(row["tools"])) == row["tools"]
    row["messages"][2]["tool_calls"][0]["function"]["arguments"] = {"command": "ls"}
    with pytest.raises(ValidationError):  # the walk does find what lazy types let pass
        deep(messages.validate_python(row["messages"]))


@pytest.mark.filterwarnings("ignore")
def test_anthropic_rows_are_of_anthropics_types_to_the_bottom(exported: Path) -> None:
    with bare("anthropic", "anthropic.types"):
        from anthropic.types.message_param import MessageParam
        from anthropic.types.tool_param import ToolParam

        messages, tools = TypeAdapter(list[MessageParam]), TypeAdapter(list[ToolParam])
    for row in rows_of(exported, "anthropic"):
        request = request_of(row)
        assert deep(messages.validate_python(request["messages"])) == request["messages"]
        assert deep(tools.validate_python(request["tools"])) == request["tools"]
        anthropic_chat(row)
    request["messages"][1]["content"][1]["input"] = "ls"
    with pytest.raises(ValidationError):
        deep(messages.validate_python(request["messages"]))


@pytest.fixture(scope="module")
def harbor_models() -> Iterator[Any]:
    """Harbor's published models: they run on this Python, the harness does not."""
    with bare("harbor", "harbor.models"):
        import harbor.models.trajectories as models

        yield models


def test_atif_passes_harbors_published_models(exported: Path, harbor_models: Any) -> None:
    for split in ("train", "test"):
        for row in rows_of(exported, "atif", split):
            trajectory = harbor_models.Trajectory.model_validate(row)
            assert [step.source for step in trajectory.steps] == ["system", "user", "agent", "agent"]
            assert trajectory.steps[-1].tool_calls[0].arguments["command"].startswith("sed")


def test_atif_out_of_parquet_is_the_same_document(exported: Path, harbor_models: Any) -> None:
    import pyarrow.parquet as pq

    rows = pq.read_table(exported / "atif" / "train.parquet").to_pylist()
    written = rows_of(exported, "atif")
    assert [document(row) for row in rows] == [document(row) for row in written]
    harbor_models.Trajectory.model_validate(document(rows[0]))


def test_rows_out_of_parquet_become_what_the_vendors_take(exported: Path) -> None:
    import pyarrow.parquet as pq

    [row, *_] = pq.read_table(exported / "anthropic" / "train.parquet").to_pylist()
    assert request_of(row) == request_of(rows_of(exported, "anthropic")[0])
    [row, *_] = pq.read_table(exported / "openai-tools" / "train.parquet").to_pylist()
    assert isinstance(row["tools"][0]["function"]["parameters"], str)
    assert as_object(json.dumps(["x"])) == ["x"]
    assert "tool_calls" not in present(row["messages"][0], "role", "tool_calls")
