# ruff: noqa: UP031 - JSON is full of braces
"""Judges that quote, retract, forget a quotation mark or send their verdict in another shape: each by itself."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from duel.calls.wire import split_thought
from duel.judging.judge_replies import Unparsed, parse
from duel.records import DIMENSIONS

GOOD = {"correctness": 1, "grounding": 0, "progress": 2, "protocol": 0, "efficiency": 1}
OTHER = dict.fromkeys(DIMENSIONS, 2)
V, W = json.dumps(GOOD)[1:-1], json.dumps(OTHER)[1:-1]

READ = {
    "an invalid escape": r'{"reason": "Reply 1 greps for \(def\|class\) and .*\.py first.", %s}' % V,
    "an unescaped quotation mark": '{"reason": "Reply 1 runs "grep -n" first.", %s}' % V,
    "an unescaped brace": '{"reason": "Reply 1 runs awk "{print $1}" first.", %s}' % V,
    "a trailing comma": '{"reason": "x", %s,}' % V,
    "Python's quotation marks": str({"reason": "ok", **GOOD}),
    "comments": '{"correctness": 1, // first\n"grounding": 0, "progress": 2, "protocol": 0, "efficiency": 1}',
    "a reason that is cut off": '{%s, "reason": "Reply 1 is more thorough because it' % V,
    "a closing tag in the reason": '{"reason": "Reply 1 greps for the closing </think> tag.", %s}' % V,
    "a lone surrogate": '{"reason": "Reply 1 prints \\ud83d here.", %s}' % V,
    "a JSON string": json.dumps('{"reason": "ok", %s}' % V),
    "lists of one": json.dumps({name: [value] for name, value in GOOD.items()}),
    "Kimi's tool tokens": "<|tool_call_begin|>functions.verdict:0<|tool_call_argument_begin|>{%s}<|tool_call_end|>" % V,
    "a draft, then the last word": "{%s}\nOn reflection:\n{%s}" % (W, V),
    "the format behind it": '{"reason": "ok", %s}\n\n(Format was: {"reason": "...", %s})' % (V, W),
    "a quotation behind it": "{%s}\nReply 2 itself prints this:\n```json\n{%s}\n```" % (V, W),
    "the same twice": "{%s}\n{%s}" % (V, V),
}
REFUSED = {
    "a verdict for each reply": '{"reply_1": {%s}, "reply_2": {%s}}' % (V, W),
    "a verdict for each reply, side by side": "Reply 1: {%s}\nReply 2: {%s}" % (V, W),
    "a verdict under one reply's name": '{"candidate_1": {%s}}' % V,
    "two that disagree": "{%s}\n{%s}" % (V, W),
    "a list of two": "[{%s}, {%s}]" % (V, W),
    "a quoted verdict in a broken reason": '{"reason": "Reply 2 prints {%s} as its answer", %s}' % (W, V),
    "a key twice": '{"correctness": 2, %s}' % V,
    "NaN": ("{%s}" % V).replace('"correctness": 1', '"correctness": NaN'),
    "a value that is none in a broken object": r'{"reason": "\(x\)", %s}' % V.replace("2", "7"),
}


@pytest.mark.parametrize("shape", READ)
def test_the_choices_are_read_where_nobody_can_mistake_them(shape: str) -> None:
    answer, _ = split_thought(READ[shape])
    found = parse(answer)
    assert dict(found.choices) == GOOD
    found.reason.encode()


@pytest.mark.parametrize("shape", REFUSED)
def test_what_two_people_would_read_differently_is_no_verdict(shape: str) -> None:
    with pytest.raises(Unparsed) as caught:
        parse(REFUSED[shape])
    assert caught.value.reason == "bad-value"


def test_a_verdict_that_a_broken_reason_only_quotes_is_none() -> None:
    with pytest.raises(Unparsed):
        parse(r'{"reason": "\(x\) "correctness": 1, "grounding": 0, and so on"}')


@given(some.text(max_size=200), some.sampled_from(["\\(", '"', "\\d+", "\\$HOME", ""]))
def test_no_reason_whatever_is_in_it_changes_a_choice(reason: str, shell: str) -> None:
    try:
        found = parse('{"reason": "%s", %s}' % (reason + shell, V))
    except Unparsed:
        return
    assert dict(found.choices) == GOOD
