"""The protocol: whatever comes over the wire becomes a completion or a failure, never a crash."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duel.calls import Reply, Request
from duel.calls.failures import Failure
from duel.calls.rates import seconds_in
from duel.calls.wire import Dialect, StreamReader, clean, decode, encode, split_thought

FIELDS = ["choices", "message", "content", "usage", "error", "delta", "finish_reason", "code"]
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(FIELDS), inner, max_size=4
    ),
    max_leaves=12,
)  # fmt: skip


@given(ANYTHING)
def test_any_json_is_a_completion_or_a_failure(value: Any) -> None:
    assert isinstance(decode(orjson.dumps(value)), Reply | Failure)
    reader = StreamReader()
    reader.feed(b"data: " + orjson.dumps(value) + b"\n\n")
    assert isinstance(reader.result(), Reply | Failure)


@given(st.binary(max_size=300), st.integers(1, 40))
def test_any_bytes_in_any_pieces_are_a_stream(data: bytes, size: int) -> None:
    reader = StreamReader()
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
    assert isinstance(reader.result(), Reply | Failure)


@given(st.text(max_size=60), st.integers(1, 9))
def test_a_stream_says_what_it_said_however_it_is_cut(text: str, size: int) -> None:
    events: list[dict[str, Any]] = [{"choices": [{"delta": {"content": c}}]} for c in text]
    events.append(
        {"choices": [{"delta": {"content": "!"}, "finish_reason": "stop"}], "usage": {"completion_tokens": 3}}
    )
    data = (
        b": a comment\n\n" + b"".join(b"data: " + orjson.dumps(e) + b"\r\n\r\n" for e in events) + b"data: [DONE]\n\n"
    )
    reader = StreamReader()
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
    result = reader.result()
    assert reader.done and isinstance(result, Reply)
    assert result.text == split_thought(clean(text + "!"))[0] and result.usage == {"completion_tokens": 3}


@pytest.mark.parametrize(
    ("content", "text", "thought"),
    [
        ("plain", "plain", ""),
        ("<think>hm</think>\n\nplain", "plain", "hm"),
        ("hm, no opening tag</think>plain", "plain", "hm, no opening tag"),
        ("<think>a</think>b</think>c", "c", "a</think>b"),
        ("<think>never closed", "", "never closed"),
        ("say `<think>` here", "say `<think>` here", ""),
    ],
)
def test_the_answer_follows_the_last_closing_tag(content: str, text: str, thought: str) -> None:
    assert split_thought(content) == (text, thought)


def test_thinking_is_switched_in_the_names_of_every_model() -> None:
    asked = Request("king", "i", "m", [{"role": "user", "content": "q"}], 10, thinking=False, parameters={"seed": 1})
    body = orjson.loads(encode(asked, "other", 20, stream=True))
    assert body["chat_template_kwargs"] == {"enable_thinking": False, "thinking": False}
    assert (body["model"], body["max_tokens"], body["seed"], body["stream"]) == ("other", 20, 1, True)
    assert "chat_template_kwargs" not in orjson.loads(
        encode(asked, "m", 20, dialect=Dialect(without={"chat_template_kwargs"}))
    )


def test_a_body_takes_no_more_memory_than_it_has_bytes() -> None:
    request = Request("king", "a", "m", [{"role": "user", "content": "x" * 20_000}], 100)
    tracemalloc.start()
    try:
        bodies = [encode(request, "m", 100) for _ in range(20)]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1.1 * sum(map(len, bodies))


def test_cached_and_reasoning_tokens_are_kept_and_nonsense_is_not() -> None:
    usage = {
        "prompt_tokens": 10, "completion_tokens": -4, "prompt_tokens_details": {"cached_tokens": 7},
        "completion_tokens_details": {"reasoning_tokens": True},
    }  # fmt: skip
    message = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": usage}
    result = decode(orjson.dumps(message))
    assert isinstance(result, Reply) and result.usage == {"prompt_tokens": 10, "cached_tokens": 7}


def test_a_whole_reply_is_its_message_whatever_stands_beside_it() -> None:
    choice = {"message": {"content": "x"}, "delta": {"role": "assistant", "content": ""}, "finish_reason": "stop"}
    result = decode(orjson.dumps({"choices": [choice]}))
    assert isinstance(result, Reply) and result.text == "x"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1m30s", 90.0), ("250ms", 0.25), ("1 h  2 min 3", 3723.0), ("2.5", 2.5), ("1.", 1.0), (".5s", 0.5)],
)
def test_a_span_is_read_in_seconds(text: str, seconds: float) -> None:
    assert seconds_in(text) == seconds


LONG = {"spaces": "1  " * 2000 + "x", "digits": "1" * 8000 + "x", "parts": "1h 2m " * 1000 + "x"}


@pytest.mark.parametrize(
    "text", ["", ".", "1.2.3", "1..5", "s", *(pytest.param(text, id=i) for i, text in LONG.items())]
)
def test_what_is_no_span_is_refused_at_once(text: str) -> None:
    started = time.process_time()
    assert seconds_in(text) is None
    assert time.process_time() - started < 1
