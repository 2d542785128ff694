"""LLaMA-Factory's own converter, chat template and processors, loaded without its trainers and what reads sound."""

from __future__ import annotations

import importlib
import json
import sys
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

PROCESSORS = {"sft": "Supervised", "dpo": "Pairwise", "kto": "Feedback"}


def prepared(exported: Path, name: str, model: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The columns that it would train on, by the format's `llamafactory.yaml` and `dataset_info.json`."""
    from transformers import AutoTokenizer

    ours = _loaded(monkeypatch)
    recipe = yaml.safe_load((exported / name / "llamafactory.yaml").read_text("utf-8"))
    flags = {key: recipe[key] for key in ("template", "cutoff_len", "dataset", "mask_history") if key in recipe}
    arguments = ours["hparams.data_args"].DataArguments(**flags)
    tokenizer = AutoTokenizer.from_pretrained(model)
    template = ours["data.template"].get_template_and_fix_tokenizer(tokenizer, arguments)
    entry = json.loads((exported / "dataset_info.json").read_text())[recipe["dataset"]]
    attributes = ours["data.parser"].DatasetAttr("file", dataset_name=entry["file_name"])
    attributes.join(entry)
    convert = ours["data.converter"].get_dataset_converter(entry["formatting"], attributes, arguments)
    lines = (exported / entry["file_name"]).read_text("utf-8").splitlines()
    converted = [convert(json.loads(line)) for line in lines]
    assert all(row["_prompt"] for row in converted), "a row was skipped"
    columns = {key: [row[key] for row in converted] for key in converted[0]}
    processor = getattr(ours["data.processor"], f"{PROCESSORS[recipe['stage']]}DatasetProcessor")
    made = processor(template=template, tokenizer=tokenizer, processor=None, data_args=arguments)
    return dict(made.preprocess_dataset(columns))


def _loaded(monkeypatch: pytest.MonkeyPatch) -> dict[str, types.ModuleType]:
    spec = find_spec("llamafactory")
    if spec is None:
        pytest.skip("llamafactory is not installed")
    import peft  # noqa: F401 before torchaudio is there in name alone
    import transformers.models.mllama.processing_mllama
    import transformers.video_utils  # noqa: F401

    root = next(iter(spec.submodule_search_locations or []))
    for package in ("data", "hparams"):  # their own __init__ import every trainer
        shell = types.ModuleType(f"llamafactory.{package}")
        shell.__path__ = [f"{root}/{package}"]
        monkeypatch.setitem(sys.modules, shell.__name__, shell)
    if find_spec("torchaudio") is None:
        monkeypatch.setitem(sys.modules, "torchaudio", types.ModuleType("torchaudio"))
    names = ("data.converter", "data.parser", "data.template", "data.processor", "hparams.data_args")
    return {name: importlib.import_module(f"llamafactory.{name}") for name in names}
