# ruff: noqa: E501 - a table, a row a shape
"""Endpoints as the world really sends them: each shape of fault by itself, and what becomes of the replies."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from duel.calls import Summary
from tests.calls.faulty import TURN, VERDICT, Asked, Faulty, Said, chunk, completion, good, stream
from tests.calls.jobs import House, Question

Play = Callable[[Asked], Said]


def plain(content: Any, finish: str = "stop", **more: Any) -> Play:
    return lambda asked: good(asked, content, finish, **more)


def raw(text: str) -> Play:
    return lambda asked: Said(text.encode(), billed=(1000, 100))


def once(bad: Play, then: Play = good) -> Play:
    """The fault at the first asking of each body, a good reply from then on."""
    return lambda asked: then(asked) if asked.before else bad(asked)


def events(*pieces: dict[str, Any] | bytes, **more: Any) -> Play:
    return lambda asked: stream(*pieces, **more)


def line(value: dict[str, Any], end: bytes = b"\n\n") -> bytes:
    return b"data: " + json.dumps(value).encode() + end


A, B, C = TURN[:20], TURN[20:60], TURN[60:]
LAST = chunk("", "stop")
WHOLE = json.dumps(completion(TURN))

# name -> (play, streamed, the text that is kept)
KEPT: dict[str, tuple[Play, bool, str]] = {
    "lone surrogate in a body": (raw(WHOLE.replace("I look", "I \\ud83d look")), False, TURN.replace("I look", "I � look")),
    "NaN in a body": (raw(WHOLE[:-1] + ', "metrics": {"score": NaN}}'), False, TURN),
    "a byte-order mark before a body": (lambda a: Said(b"\xef\xbb\xbf" + WHOLE.encode()), False, TURN),
    "white space before a body": (raw("\n\n  \n" + WHOLE), False, TURN),
    "CRLF in the text": (plain(TURN.replace("\n", "\r\n")), False, TURN),
    "content as parts": (
        plain([{"type": "thinking", "thinking": [{"type": "text", "text": "Okay"}]}, {"type": "text", "text": TURN}]),
        False,
        TURN,
    ),
    "content as strings": (plain([A, B, C]), False, TURN),
    "a closing tag in the answer, reasoning in its own field": (
        plain(TURN.replace("def parse", "</think>"), reasoning_content="The template must close it."),
        False,
        TURN.replace("def parse", "</think>"),
    ),
    "a quoted closing tag in the answer": (
        plain("THOUGHT: The tag `</think>` is never stripped.\n\n```bash\nls\n```"),
        False,
        "THOUGHT: The tag `</think>` is never stripped.\n\n```bash\nls\n```",
    ),
    "a verdict in a tool call": (
        plain(None, "tool_calls", tool_calls=[{"type": "function", "function": {"name": "v", "arguments": VERDICT}}]),
        False,
        VERDICT,
    ),
    "an emoji in two events": (
        events(
            chunk(A),
            b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n',
            b'data: {"choices":[{"delta":{"content":"\\ude00"}}]}\n\n',
            chunk(B + C),
            LAST,
        ),
        True,
        A + "😀" + B + C,
    ),
    "two objects in one event": (
        events(chunk(A), line(chunk(B), b"") + json.dumps(chunk(C)).encode() + b"\n\n", LAST),
        True,
        TURN,
    ),
    "an event over several data lines": (
        events(chunk(A), b"data: " + json.dumps(chunk(B), indent=1).replace("\n", "\ndata: ").encode() + b"\n\n", chunk(C), LAST),
        True,
        TURN,
    ),
    "CR line ends": (events(chunk(A), chunk(B), chunk(C), LAST, end="\r\r"), True, TURN),
    "CRLF line ends": (events(chunk(A), chunk(B), chunk(C), LAST, end="\r\n\r\n"), True, TURN),
    "no empty lines between events": (events(chunk(A), chunk(B), chunk(C), LAST, end="\n"), True, TURN),
    "-Infinity in log probabilities": (
        events(chunk(A), line(chunk(B + C)).replace(b'"finish_reason"', b'"logprobs": -Infinity, "finish_reason"'), LAST),
        True,
        TURN,
    ),
    "UTF-8 split over two packets": (events(*[bytes([b]) for b in line(chunk(A + "é" + B + C)).replace(b"\\u00e9", "é".encode())], LAST), True, A + "é" + B + C),
    "comments of a router": (events(b": OPENROUTER PROCESSING\n\n", chunk(A + B + C), b"data: : PROCESSING\n\n", LAST), True, TURN),
    "finishReason": (events(chunk(TURN), chunk("", None, finishReason="STOP")), True, TURN),
    "content parts in a stream": (events(chunk(A), chunk([{"type": "text", "text": B + C}]), LAST), True, TURN),
    "a whole body where a stream was asked": (good, True, TURN),
    "counts of tokens as floats": (lambda a: Said(WHOLE.replace(": 1000", ": 1000.0").encode()), False, TURN),
    "a byte-order mark before the text": (plain("\ufeff" + TURN), False, TURN),
    "a NUL in the text": (plain(TURN.replace("I look", "I\0 look")), False, TURN.replace("I look", "I\0 look")),
    "an empty finish reason in every event but the last": (events(chunk(A, ""), chunk(B + C, ""), LAST), True, TURN),
    "a stream where none was asked": (events(chunk(A), chunk(B + C), LAST), False, TURN),
}  # fmt: skip

# name -> (play, streamed, the kind of fault that is counted); the second asking is good
FAULTS: dict[str, tuple[Play, bool, str]] = {
    "finish reason error": (plain(TURN[:-4], "error"), False, "error-in-reply"),
    "an error in the choice": (
        lambda a: Said(json.dumps({"choices": [{"error": {"code": 502, "message": "idle"}, "message": {"content": TURN}, "finish_reason": "stop"}]}).encode()),
        False,
        "http-502",
    ),
    "a rate limit in the choice": (
        lambda a: Said(json.dumps({"choices": [{"error": {"code": 429, "message": "limit"}, "message": {"content": ""}}]}).encode()),
        False,
        "http-429",
    ),
    "content filter": (plain(TURN[:30], "content_filter"), False, "content-filter"),
    "two documents in one body": (raw(WHOLE + '\n{"done": true}'), False, "malformed"),
    "choices null": (raw('{"choices": null, "usage": null}'), False, "malformed"),
    "empty and paid": (plain("", out=4000), False, "empty"),
    "bytes that are not UTF-8": (lambda a: Said(WHOLE.replace("I look", "é").encode("latin-1")), False, "malformed"),
    "HTML": (lambda a: Said(b"<html>Just a moment</html>"), False, "malformed"),
    "a hole in the command": (events(chunk(A), line(chunk(B))[:40] + b"\n\n", chunk(C), LAST), True, "damaged-event"),
    "a cut event run into the next": (events(chunk(A), line(chunk(B))[:30] + line(chunk(C)), LAST), True, "damaged-event"),
    "an error event": (events(chunk(A), {"error": {"code": "server_error", "message": "gone"}}), True, "error-in-reply"),
    "vLLM's error event": (events(b'data: {"object":"error","message":"out of memory","code":500}\n\n', done=False), True, "http-500"),
    "an error in a streamed choice": (events(chunk(TURN), chunk("", "error")), True, "error-in-reply"),
    "no finish reason": (events(chunk(TURN)), True, "incomplete"),
    "a body that is cut": (lambda a: Said(WHOLE.encode(), end="cut"), False, "truncated"),
    "a reset": (lambda a: Said(end="reset"), False, "connection"),
}  # fmt: skip


def ask(house: House, play: Play, count: int = 1, **route: Any) -> tuple[list[Question], Summary, Faulty]:
    questions = house.questions(count)
    with Faulty(play) as server:
        return questions, house.drive(questions, server.base_url, **route), server


@pytest.mark.parametrize("name", KEPT)
def test_a_reply_in_an_odd_shape_is_kept_with_the_right_text(house: House, name: str) -> None:
    play, streamed, text = KEPT[name]
    questions, summary, _ = ask(house, play, stream=streamed)
    assert (summary.done, summary.calls) == (1, 1)
    assert questions[0].replies[0].text == text
    again = house.questions(1)
    house.drive(again, "http://127.0.0.1:9/v1")  # from the ledger: no call
    assert again[0].replies[0].text == text


@pytest.mark.parametrize("name", FAULTS)
def test_a_damaged_reply_is_a_fault_and_is_asked_again(house: House, name: str) -> None:
    bad, streamed, kind = FAULTS[name]
    then = events(chunk(A), chunk(B + C), LAST) if streamed else good
    questions, summary, _ = ask(house, once(bad, then), stream=streamed)
    assert dict(summary.faults) == {kind: 1}
    assert (summary.done, summary.calls, questions[0].replies[0].text) == (1, 2, TURN)
