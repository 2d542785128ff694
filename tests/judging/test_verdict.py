"""Reading what a judge wrote: the last complete verdict, or the reason why there is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from duel.judging import judge_replies
from duel.judging.judge_replies import KEYS, VALUES, Choices, Unparsed, parse
from duel.records import DIMENSIONS

GOOD = {"correctness": 1, "grounding": 2, "progress": 0, "protocol": 1, "efficiency": 2}
OTHER = dict.fromkeys(DIMENSIONS, 1)


def reason_of(content: str) -> str:
    with pytest.raises(Unparsed) as caught:
        parse(content)
    return caught.value.reason


def test_a_bare_object_is_a_verdict() -> None:
    found = parse(json.dumps({**GOOD, "reason": "A works, B does not."}))
    assert found == Choices(GOOD, "A works, B does not.")


@pytest.mark.parametrize(
    "content",
    [
        "```json\nVERDICT\n```",
        "```\nVERDICT\n```",
        "My verdict:\nVERDICT\nThat is all.",
        "<think>Reply 1 {looks} better, or not</think>\nVERDICT",
        "Some models only close: it is {1} </think>VERDICT",
        "First draft: " + json.dumps(OTHER) + "\nOn reflection:\nVERDICT",
        '{"reason": "half a verdict", "correctness": 1}\nVERDICT',
        '{"scores": VERDICT}',
        '{"reason": "nested", "verdict": VERDICT, "confidence": 3}',
        "VERDICT\n{not json}",
        'VERDICT\n{"a note": "after the verdict"}',
        'an unclosed brace { and a quote " before\nVERDICT',
    ],
)
def test_the_last_complete_verdict_counts_wherever_it_stands(content: str) -> None:
    assert parse(content.replace("VERDICT", json.dumps(GOOD))).choices == GOOD


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        ("Reply 1 is better in every way.", "no-json"),
        ("{correctness: 1}", "no-json"),
        (json.dumps(GOOD)[:-10], "no-json"),
        ('{"correctness": 1, "grounding": 2}', "no-verdict"),
        (json.dumps(list(GOOD.values())), "no-json"),
        (json.dumps({**GOOD, "progress": 3}), "bad-value"),
        (json.dumps({**GOOD, "progress": None}), "bad-value"),
        (json.dumps({**GOOD, "progress": True}), "bad-value"),
        (json.dumps({**GOOD, "progress": 1.5}), "bad-value"),
        (json.dumps({**GOOD, "progress": "Reply 3"}), "bad-value"),
        (json.dumps({**GOOD, "Progress": 1}), "bad-value"),
        (json.dumps(OTHER) + json.dumps({**GOOD, "progress": 7}), "bad-value"),
        ("<think>" + json.dumps(GOOD), "only-in-reasoning"),
        (json.dumps(GOOD) + "</think> I cannot decide.", "only-in-reasoning"),
    ],
)
def test_anything_else_is_unparsed_with_its_reason(content: str, reason: str) -> None:
    assert reason_of(content) == reason


@pytest.mark.parametrize("value", list(VALUES))
def test_every_documented_spelling_of_keys_and_values_is_understood(value: int) -> None:
    for spelling in VALUES[value]:
        assert set(parse(json.dumps(dict.fromkeys(DIMENSIONS, spelling.upper()))).choices.values()) == {value}
    for name, spellings in KEYS.items():
        for spelling in spellings:
            written = {other: 0 for other in DIMENSIONS if other != name} | {spelling.title() + ":": value}
            assert parse(json.dumps(written)).choices[name] == value
    nested = {name: {"reason": "because", "winner": value} for name in DIMENSIONS}
    assert set(parse(json.dumps(nested)).choices.values()) == {value}


def test_a_quoted_closing_tag_inside_the_reason_does_not_hide_the_verdict() -> None:
    assert parse(json.dumps({**GOOD, "reason": "it writes </think> into its reply"})).choices == GOOD


def test_choices_are_turned_to_the_challengers_side() -> None:
    first = Choices(GOOD).for_challenger("challenger_first")
    second = Choices(GOOD).for_challenger("king_first")
    assert first == {"correctness": 1.0, "grounding": 0.0, "progress": 0.5, "protocol": 1.0, "efficiency": 0.0}
    assert all(first[name] + second[name] == 1.0 for name in DIMENSIONS)


verdicts = some.fixed_dictionaries({name: some.sampled_from([0, 1, 2]) for name in DIMENSIONS})
prose = some.text(some.characters(exclude_characters="{}<>◁▷", exclude_categories=["Cs"]), max_size=60)


@given(choices=verdicts, reason=some.text(some.characters(exclude_categories=["Cs"])), before=prose, after=prose)
def test_whatever_a_judge_says_around_it_its_verdict_is_read(
    choices: dict[str, int], reason: str, before: str, after: str
) -> None:
    found = parse(before + json.dumps({**choices, "reason": reason}) + after)
    assert dict(found.choices) == choices


@given(choices=verdicts, quoted=verdicts, key=some.sampled_from(["reason", "note"]))
def test_a_verdict_inside_a_string_is_never_the_verdict(
    choices: dict[str, int], quoted: dict[str, int], key: str
) -> None:
    assert dict(parse(json.dumps({**choices, key: f"it says {json.dumps(quoted)}"})).choices) == choices


@given(some.text(max_size=300))
def test_any_text_is_read_or_refused_but_never_breaks_the_parser(content: str) -> None:
    try:
        assert set(parse(content).choices) == set(DIMENSIONS)
    except Unparsed as error:
        assert error.reason


@pytest.mark.parametrize("piece", ["{", '{"', '{"a":', '{"a":[', '{"a":"', "[", '"', "\\", "{}", '{"a":x', "think>"])
def test_a_megabyte_of_anything_is_read_with_bounded_work(piece: str) -> None:
    flood = piece * (1_000_000 // len(piece))
    assert reason_of(flood) in {"no-json", "no-verdict", "too-tangled"}
    assert parse(flood[:200_000] + "\n" + json.dumps(GOOD)).choices == GOOD


@pytest.mark.parametrize("piece", ['{"correctness":1,', '{"a":"', '{"a":{', '{"a": "' + json.dumps(GOOD)[1:-1] + " x "])
def test_what_is_no_json_is_looked_through_once_more_within_the_same_bound(
    piece: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []
    once_more = judge_replies._choices_side_by_side
    monkeypatch.setattr(
        judge_replies,
        "_choices_side_by_side",
        lambda text, *more: (looked_at.append(len(text)), once_more(text, *more))[1],
    )
    assert reason_of(piece * (1_000_000 // len(piece))) == "too-tangled"
    assert sum(looked_at) <= judge_replies.WORK
