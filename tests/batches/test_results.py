"""Whatever a provider sends as results: bounded, named once, and what it lacks is asked in another way."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duel.calls.batches import PROVIDERS
from duel.workspace import Workspace
from tests.batches import shapes
from tests.batches.conftest import replies
from tests.batches.shapes import Held, Shapes
from tests.conftest import Finished

Script = Callable[..., Finished]
Work = Callable[..., Workspace]
SHAPES = ["openai", "openrouter", "anthropic"]


def live(provider: Shapes) -> int:
    return provider.asked.count(("POST", "/chat/completions"))


@pytest.mark.parametrize("shape", SHAPES)
def test_results_beyond_the_limit_are_named_once_and_what_they_lack_is_asked_at_once(
    script: Script, work: Work, provider: Shapes, monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    monkeypatch.setattr("duel.calls.batches.batch_shapes.MOST_RESULT_BYTES", 3000)
    provider.play = lambda asked, result: {**result, "filler": "x" * 700}
    workspace = work(10)
    said = script("king.py", "--workspace", workspace.root, "--batch", shape, code=0).err
    assert said.count("over 3,000 bytes") == 1
    assert len(provider.batches) == 1
    assert live(provider) + len([row for row in replies(workspace) if "batch" in row[2]]) == 10
    assert 0 < live(provider) <= 10
    assert len(workspace.answer_paths()) == 10
    assert not list((workspace.private / "batches").iterdir())


def test_results_that_never_make_sense_are_looked_at_a_few_times(
    script: Script, work: Work, provider: Shapes, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = shapes._Handler.shown

    def odd(self: shapes._Handler, batch: Held) -> dict[str, Any]:
        told = shown(self, batch)
        return {**told, "output_file_id": "../../secret" if told.get("output_file_id") else None}

    monkeypatch.setattr(shapes._Handler, "shown", odd)
    workspace = work(4)
    said = script("king.py", "--workspace", workspace.root, "--batch", code=0).err
    assert said.count("no usable output_file_id; it is looked at again") == 2
    assert said.count("no usable output_file_id; what is lacking is asked at once") == 1
    assert (len(provider.batches), live(provider), len(workspace.answer_paths())) == (1, 4, 4)


@pytest.mark.parametrize("rows", [7, {"a": 1}, [None, 7, "x", []]])
def test_pages_of_results_that_hold_anything_else_are_missing_results(
    script: Script, work: Work, provider: Shapes, rows: Any
) -> None:
    odd = (200, {"data": rows, "next_cursor": None})
    provider.refuse = lambda method, path, body: (
        odd if path.endswith("/results") and len(provider.batches) < 2 else None
    )
    workspace = work(6)
    script("king.py", "--workspace", workspace.root, "--batch", "openrouter", code=0)
    assert [len(batch.requests) for batch in provider.batches] == [6, 6]
    assert len(workspace.answer_paths()) == 6


NAMES = st.sampled_from(
    "custom_id response body status_code error result type message choices content finish_reason usage code "
    "completion_tokens prompt_tokens input_tokens output_tokens cache_read_input_tokens stop_reason text".split()
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(NAMES, inside, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, VALUES, max_size=6), st.sampled_from(SHAPES))
def test_any_row_is_a_reply_or_a_failure(row: dict[str, Any], shape: str) -> None:
    told = json.loads(json.dumps(row))
    key, outcome = PROVIDERS[shape].read(told)
    assert isinstance(key, str)
    assert hasattr(outcome, "told") or hasattr(outcome, "text")


@given(VALUES, st.sampled_from(SHAPES))
def test_any_reply_in_a_row_is_one_or_a_failure(value: Any, shape: str) -> None:
    body = {"choices": [{"message": {"content": value}, "finish_reason": "stop"}], "usage": value, "error": value}
    rows: dict[str, dict[str, Any]] = {
        "anthropic": {"result": {"type": "succeeded", "message": {"content": value, "usage": value}}},
        "openai": {"response": {"body": body, "status_code": value}, "error": value},
    }
    key, outcome = PROVIDERS[shape].read({"custom_id": "k", **rows.get(shape, rows["openai"])})
    assert key == "k" and outcome is not None
