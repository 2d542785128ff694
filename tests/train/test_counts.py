"""What manifest, card and recipes say of rows and tokens is what the trainers count, and `--fit` keeps every row."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("trl")

from duel import settings
from duel.exports import loading
from duel.exports.example import each_turn
from duel.exports.lengths import EMPTY_THOUGHT, figures
from duel.offline import overrides
from duel.stages import export, whole
from duel.workspace import Workspace
from tests.conftest import SHARED
from tests.exports.conftest import put_turn
from tests.train import llama_factory
from tests.train.conftest import FORMATS, counted, learned, rows, run_recipe, saved_model, trained

pytestmark = pytest.mark.filterwarnings("ignore")  # of packages that are not ours
LLAMA_FACTORYS = ("sft", "trl-tools", "lf-dpo", "lf-kto")
REAL = ("sft", "sft-completion", "trl-tools", "dpo")
EMPTY_BLOCK = 6
"""Tokens of an empty think block and the blank lines around it, where a token is a byte."""


def said(exported: Path, name: str) -> list[int]:
    """Tokens of each row by rows.jsonl."""
    index = map(json.loads, (exported / "rows.jsonl").read_text("utf-8").splitlines())
    return [row["tokens"] for row in index if row["format"] == name]


def turns(row: dict[str, Any]) -> int:
    return sum(message["role"] == "assistant" for message in row["messages"])


@pytest.mark.parametrize("name", FORMATS)
def test_trl_counts_the_tokens_that_the_export_says(
    exported: Path, model: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = counted(trained(exported, model, name, monkeypatch))
    for row, tokens, stated in zip(rows(exported, name), found, said(exported, name), strict=True):
        if name in ("sft", "trl-tools"):  # room for a block a turn, of which the plain template writes the last itself
            assert stated == tokens + turns(row) * EMPTY_THOUGHT - (turns(row) - 1) * EMPTY_BLOCK
        else:  # some trainers add or drop the newline behind the last turn
            assert abs(stated - tokens) <= 1


@pytest.mark.parametrize("name", LLAMA_FACTORYS)
def test_llama_factory_counts_no_more_and_trains_the_accepted_turn(
    exported: Path, model: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer

    made = llama_factory.prepared(exported, name, model, monkeypatch)
    sides = [made[key] for key in ("input_ids", "chosen_input_ids", "rejected_input_ids") if key in made]
    found = [max(map(len, of_row)) for of_row in zip(*sides, strict=True)]
    for row, tokens, stated in zip(rows(exported, name), found, said(exported, name), strict=True):
        if name == "trl-tools":  # it leaves the thought before a call out
            assert tokens < stated
        else:
            assert stated - tokens == (turns(row) * EMPTY_THOUGHT if name == "sft" else 0)
    tokenizer = AutoTokenizer.from_pretrained(model)
    for row, labels in zip(rows(exported, name), made.get("labels") or made["chosen_labels"], strict=True):
        text = tokenizer.decode([token for token in labels if token != -100]).replace("<think>\n\n</think>\n\n", "")
        if name == "trl-tools":
            [call] = row["messages"][-1]["tool_calls"]
            assert json.loads(re.sub("</?tool_call>|<.im_end.>", "", text)) == call["function"]
        else:
            wanted = row["chosen"] if "chosen" in row else row["messages"][-1]
            assert text.removesuffix("\n").removesuffix("<|im_end|>") == wanted["content"]


@pytest.mark.parametrize("name", (*FORMATS, "lf-dpo", "lf-kto"))
def test_manifest_card_and_recipes_say_the_same_and_hold_every_row(exported: Path, name: str) -> None:
    made = json.loads((exported / "manifest.json").read_text())["formats"][name]
    assert made["rows"] == {"train": len(rows(exported, name))}
    assert made["lengths"] == figures(said(exported, name))
    longest, whole_at = made["lengths"]["longest"], made["lengths"]["whole_at"]
    line = f"longest {longest:,}; whole: " + ", ".join(f"{n:,} at {int(w):,}" for w, n in whole_at.items())
    assert line in (exported / name / "README.md").read_text("utf-8")
    section = (exported / "README.md").read_text("utf-8").split(f"### {name}\n")[1].split("\n#")[0]
    assert line in section
    limit = re.compile(r"(?:max_length|sequence_len|cutoff_len|max_seq_length)[=:] ?(\d+)")
    recipes = [path for path in (exported / name).iterdir() if path.suffix in (".py", ".yaml")]
    assert recipes
    for recipe in recipes:
        found = [int(number) for number in limit.findall(recipe.read_text("utf-8"))]
        assert found and all(longest <= number for number in found)


def survivors(exported: Path, model: Path, name: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Rows that TRL prepares at `limit`, each with its accepted turn whole in what is trained."""
    trainer = run_recipe(exported, model, name, monkeypatch, training=False)
    assert trainer.args.max_length == limit
    kept = 0
    for row, prepared in zip(rows(exported, name), trainer.train_dataset, strict=True):
        last = row["text"].rsplit("<|im_start|>assistant\n", 1)[1].strip() if name == "chatml" else accepted(row)
        kept += last in learned(trainer, prepared)[0]
    return kept


def accepted(row: dict[str, Any]) -> str:
    message = next(row[key] for key in ("completion", "chosen", "messages") if key in row)[-1]
    if calls := message.get("tool_calls"):
        return json.dumps(calls[0]["function"]["arguments"], ensure_ascii=False)
    return str(message["content"])


def texts(examples: Sequence[Any]) -> list[str]:
    return [message.content for example in examples for message in example.messages]


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(the export of one turn of each of 38 real runs with `--fit 16384`, a model)."""
    if not (SHARED / "mini_swe_agent").is_dir():
        pytest.skip("the real data is not on this machine")
    [loaded] = loading.trajectories("mini_swe_agent/train-00000.parquet", SHARED)
    model = saved_model(tmp_path_factory.mktemp("model"), texts(loaded.examples[:8]))
    workspace = Workspace(tmp_path_factory.mktemp("run"))
    (workspace.root / "chain.toml").write_text("[audit]\ndecontaminate = []\n")
    for number, run in enumerate(loaded.examples, start=1):
        last = each_turn(run, cap=len(run.messages))[-1]
        put_turn(workspace, number, "final", 90, repo=run.repo, messages=list(last.prompt), challenger=last.accepted)
    chosen = settings.load(workspace.root)
    export.run(workspace, chosen, format=",".join(REAL), tokenizer=str(model), fit=16_384, split="80/10/10")
    return workspace.root / "export", model


@pytest.mark.parametrize("name", REAL)
def test_all_train_rows_of_38_real_histories_survive_at_16384(
    name: str, real: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model = real
    written = json.loads((folder / "manifest.json").read_text())["formats"][name]["rows"]
    assert sum(written.values()) == 38
    assert survivors(folder, model, name, 16_384, monkeypatch) == written["train"]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(the export of the bundled sample after a whole offline run with `--fit 4096`, a model)."""
    workspace = Workspace(tmp_path_factory.mktemp("demo"))
    chosen = settings.load(workspace.root, *overrides(True))
    whole.run(workspace, chosen, offline=True)
    known = {"buckets": "final,refined", "offline": True}
    export.run(workspace, chosen, format="chatml", **known)
    folder = workspace.root / "export"
    model = saved_model(tmp_path_factory.mktemp("model"), [row["text"] for row in rows(folder, "chatml")])
    export.run(workspace, chosen, format=",".join(FORMATS), tokenizer=str(model), fit=4_096, **known)
    return folder, model


@pytest.mark.parametrize("name", FORMATS)
def test_all_rows_of_the_demo_survive_at_4096(
    demo: tuple[Path, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model = demo
    written = len(rows(folder, name))
    assert written >= 25
    assert survivors(folder, model, name, 4_096, monkeypatch) == written
