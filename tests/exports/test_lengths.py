"""Histories that are fitted to a trainer's window, tokens as trainers count them, and what an export says of both."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duel.errors import ItemError
from duel.exports.example import Example
from duel.exports.formats import FORMATS
from duel.exports.lengths import EMPTY_THOUGHT, Estimate, Measure, figures
from duel.history import MARKER, TOKENS_PER_MESSAGE
from duel.records import Candidate, Kept, Message
from duel.workspace import Workspace
from tests.exports.conftest import example, files, manifest, put_turn, rows, turn

LEFT_OUT = MARKER.split("}")[1]


def long_history(turns: int = 12, words: int = 300) -> Example:
    messages = [Message(role="system", content="One block."), Message(role="user", content="Fix the total.")]
    for number in range(turns):
        messages.append(Message(role="assistant", content=turn(f"Step {number}.", f"cat f{number}.py")))
        messages.append(Message(role="user", content=f"Observation: {number} " + "word " * words))
    return example(messages=(*messages, Message(role="assistant", content=turn("Now.", "sed -n '1,9p' a.py"))))


@pytest.mark.parametrize("name", FORMATS)
def test_a_long_history_is_fitted_and_the_accepted_turn_stays_whole(name: str) -> None:
    whole = long_history()
    fitted = Measure(limit=2_000).rows(FORMATS[name], whole)
    assert max(row.longest for row in fitted) <= 2_000
    assert len(fitted) == len(Measure().rows(FORMATS[name], whole))
    assert LEFT_OUT in json.dumps(fitted[0].fields)
    assert "sed -n '1,9p' a.py" in json.dumps(fitted[0].fields)


@pytest.mark.parametrize("name", ["sft-completion", "dpo", "trl-tools"])
def test_what_fits_is_left_as_it_is(name: str) -> None:
    assert Measure(limit=100_000).rows(FORMATS[name], long_history()) == Measure().rows(FORMATS[name], long_history())


def test_instructions_task_and_accepted_turn_are_never_cut() -> None:
    huge = "word " * 3_000
    for place in (0, 1, -1):
        messages = list(long_history().messages)
        content = turn(huge, "ls") if place == -1 else huge
        messages[place] = messages[place].model_copy(update={"content": content})
        with pytest.raises(ItemError) as dropped:
            Measure(limit=2_000).rows(FORMATS["sft-completion"], example(messages=tuple(messages)))
        assert dropped.value.reason == "does-not-fit"


@settings(max_examples=25, deadline=None)
@given(limit=st.integers(50, 6_000), turns=st.integers(0, 6), words=st.integers(0, 400))
def test_a_row_is_within_the_limit_or_dropped(limit: int, turns: int, words: int) -> None:
    for name in ("sft-completion", "lf-dpo", "openai-tools"):
        try:
            made = Measure(limit=limit).rows(FORMATS[name], long_history(turns, words))
        except ItemError as error:
            assert error.reason == "does-not-fit"
        else:
            assert max(row.longest for row in made) <= limit


def test_the_export_fits_drops_what_cannot_be_fitted_and_says_how_long_rows_are(
    export: Callable[..., Any],
    workspace: Workspace,
) -> None:
    stem = put_turn(workspace, 31, "final", 90, messages=list(long_history().messages[:-1]))
    endless = put_turn(workspace, 33, "final", 90, challenger=turn("word " * 9_000, "ls"))
    export("--format", "sft-completion,dpo", "--fit", "2048")
    said = manifest(workspace)
    assert said["dropped"] == {"does-not-fit": 2}
    assert (said["fit"], said["counted_by"]) == (2048, Estimate.name)
    kept = {row["id"]: row for row in rows(workspace, "dpo")}
    assert LEFT_OUT in json.dumps(kept[stem]["prompt"]) and endless not in kept
    lengths = said["formats"]["dpo"]["lengths"]
    assert lengths["longest"] <= 2048
    assert lengths["whole_at"] == {"1024": 8, "4096": 9, "8192": 9, "16384": 9, "32768": 9}
    assert "max_length: 2048" in files(workspace)["dpo/trl.yaml"].decode()
    assert "whole: 8 at 1,024, 9 at 4,096" in files(workspace)["README.md"].decode()


def tokenizer(folder: Path) -> Path:
    """A byte-level tokenizer with a ChatML template, made on the spot."""
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    bytes_of_text = Tokenizer(
        models.BPE(vocab={c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])
    )
    bytes_of_text.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_of_text.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=bytes_of_text, eos_token="<|im_end|>", pad_token="<|pad|>")
    made.chat_template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    made.save_pretrained(folder)
    return folder


def test_a_named_tokenizer_counts_what_its_template_renders(
    export: Callable[..., Any],
    workspace: Workspace,
    tmp_path: Path,
) -> None:
    folder = tokenizer(tmp_path / "tokens")
    export("--format", "sft,chatml", "--tokenizer", str(folder))
    said = manifest(workspace)["formats"]
    text = max((row["text"] for row in rows(workspace, "chatml")), key=len)
    assert said["sft"]["lengths"]["longest"] == said["chatml"]["lengths"]["longest"] + 2 * EMPTY_THOUGHT
    assert len(text) - 200 < said["chatml"]["lengths"]["longest"] < len(text)  # a byte a token; <|im_end|> is one
    stem = put_turn(workspace, 31, "final", 90, messages=list(long_history().messages[:-1]))
    export("--format", "sft", "--tokenizer", str(folder), "--fit", "4096")
    [fitted] = [row for row in rows(workspace, "sft") if row["id"] == stem]
    assert LEFT_OUT in json.dumps(fitted) and len(json.dumps(fitted)) > 2_500
    assert "cannot load the tokenizer" in export("--tokenizer", str(tmp_path / "none"), code=2).err


def test_figures_of_nothing_are_no_crash() -> None:
    assert figures([])["longest"] == 0
    assert figures(range(1, 101))["p50"] == 51


@pytest.mark.parametrize("name", ["sft-completion", "dpo", "kto", "trl-tools"])
def test_thoughts_move_into_think_blocks_or_into_a_key_of_their_own(
    export: Callable[..., Any],
    workspace: Workspace,
    name: str,
) -> None:
    import pyarrow.parquet as pq

    export("--format", name, "--thought", "think")
    assert "THOUGHT:" not in files(workspace)[f"{name}/train.jsonl"].decode()
    assert "<think>\\nThe total of module1 starts there.\\n</think>" in files(workspace)[f"{name}/train.jsonl"].decode()
    export("--format", name, "--thought", "reasoning_content")
    text = files(workspace)[f"{name}/train.jsonl"].decode()
    assert '"reasoning_content":"The total of module1 starts there."' in text and "<think>" not in text
    table = pq.read_table(workspace.root / "export" / name / "train.parquet").to_pylist()
    assert "The total of module1 starts there." in json.dumps(table)


def test_a_format_without_a_place_for_a_column_says_so(export: Callable[..., Any], workspace: Workspace) -> None:
    assert "--thought think" in export("--format", "lf-dpo", "--thought", "reasoning_content", code=2).err
    assert "--weights" in export("--format", "openai-tools", "--weights", code=2).err


def test_weights_are_the_expected_score_where_it_is_known(export: Callable[..., Any], workspace: Workspace) -> None:
    path = workspace.kept_paths("final")[0]
    workspace.save(path, workspace.read(path, Kept).model_copy(update={"score_expected": 72.5}))
    export("--format", "sft-completion,reward", "--weights")
    by_id = {row["id"]: row for row in rows(workspace, "sft-completion")}
    assert (by_id[path.stem]["weight"], by_id[path.stem]["score_expected"]) == (0.725, 72.5)
    assert by_id["prompts_12_1_2"]["weight"] == 0.82
    assert by_id["prompts_12_1_2"]["margin"] == pytest.approx(0.64)
    assert {row["margin"] for row in rows(workspace, "reward")} == {row["margin"] for row in by_id.values()}
    assert "weight" not in example().turns().__dict__


def test_every_losing_candidate_is_a_pair(export: Callable[..., Any], workspace: Workspace) -> None:
    stem = "prompts_12_1_1"
    path = workspace.find_answer(stem)
    assert path is not None
    from duel.records import Answer, Audit, fingerprint

    answer = workspace.read(path, Answer)
    second, leaking = turn("I look.", "ls src"), turn("The fix is known.", "cat fix")
    answer.put(Candidate(id="king-2", side="king", text=second))
    told = Audit(text=fingerprint(leaking), leaking=True)
    answer.put(Candidate(id="challenger-2", side="challenger", text=leaking, audit=told))
    workspace.save(path, answer)
    export("--format", "dpo,reward,kto,lf-dpo")
    losers = [row["rejected"][0]["content"] for row in rows(workspace, "dpo") if row["id"] == stem]
    assert losers == [answer.king, second]
    assert [row["id"] for row in rows(workspace, "reward")].count(stem) == 1  # the panel saw one pair
    assert [row["label"] for row in rows(workspace, "kto") if row["id"] == stem] == [True, False, False]
    assert len(rows(workspace, "lf-dpo")) == 9


class ManyTokensInNewTurns(Estimate):
    """A tokenizer that is unlike the estimate: sparse in the old turns, dense in the new ones."""

    def count(self, sequence: list[Any] | str, tools: Sequence[Any] = ()) -> int:
        texts = [message["content"] for message in sequence]
        return sum(TOKENS_PER_MESSAGE + (len(text) if "dense" in text else len(text) // 20) for text in texts)


@pytest.mark.parametrize("limit", [1_000, 9_000, 19_600, 19_700, 19_780])
def test_a_large_turn_goes_where_little_is_too_much(limit: int) -> None:
    messages = list(long_history(turns=4, words=2_000).messages)
    for place in (5, 7):
        messages[place] = messages[place].model_copy(update={"content": "dense " * 1_600})
    rows = Measure(ManyTokensInNewTurns(), limit).rows(FORMATS["sft-completion"], example(messages=tuple(messages)))
    assert max(row.longest for row in rows) <= limit
