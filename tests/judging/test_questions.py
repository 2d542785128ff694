"""What a judge is asked, part by part: whatever it is shown changes the question, and nothing else does."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from duel import prompts
from duel.history import estimate_tokens
from duel.judging import rubric
from duel.judging.rubric import JudgedPair
from duel.records import DIMENSIONS, Answer, Candidate, Message, Observed
from duel.settings import Settings
from duel.untrusted import visible

SECRET = b"s" * 32
HISTORY = [Message(role="system", content="Rules."), Message(role="user", content="Task.")]
PAIR = JudgedPair("p_1_1", HISTORY, "the king's", "the challenger's", ("king-1", "challenger-1"))
SHOWN = replace(PAIR, observed=("king ran", "challenger ran"))


def settings(**judge: Any) -> Settings:
    given = {"models": ["a", "b"], "thinking_models": ["b"], "thinking_max_tokens": 99, **judge}
    return Settings.model_validate({"judge": given})


def asked(pair: JudgedPair = PAIR, chosen: Settings | None = None, **more: Any) -> dict[rubric.Key, Any]:
    return rubric.requests(pair, chosen or settings(), SECRET, **more)


@pytest.mark.parametrize(
    "other",
    [
        replace(PAIR, opponent="another king's"),
        replace(PAIR, challenger="another challenger's"),
        replace(PAIR, opponent=PAIR.challenger, challenger=PAIR.opponent),
        replace(PAIR, history=HISTORY[:1]),
        replace(PAIR, history=[HISTORY[0], Message(role="assistant", content="Task.")]),
        replace(PAIR, history=[Message(role="system", content="Rules.T"), Message(role="user", content="ask.")]),
        SHOWN,
        replace(PAIR, observed=("king ran", "")),
    ],
)
def test_whatever_judges_would_see_changes_the_fingerprint_of_the_texts(other: JudgedPair) -> None:
    assert rubric.fingerprint(other) != rubric.fingerprint(PAIR)
    assert re.fullmatch(r"[0-9a-f]{16}", rubric.fingerprint(other))


def test_names_and_ids_change_neither_the_fingerprint_nor_the_question() -> None:
    other = replace(PAIR, item="p_9_9", ids=("king-2", "challenger-7"))
    assert rubric.fingerprint(other) == rubric.fingerprint(PAIR) == "589c5d43c6504bc8"
    assert [one.key for one in asked(other).values()] == [one.key for one in asked().values()]


def test_a_hash_is_that_of_the_value_whatever_the_order_of_its_keys() -> None:
    assert rubric.short_hash({"a": 1, "b": [2]}) == rubric.short_hash({"b": [2], "a": 1}) == "0855bfc20eb6cfaa"
    assert rubric.short_hash({"a": 1}) != rubric.short_hash({"a": 2})


def test_the_rubrics_fingerprint_is_of_its_text_and_what_is_said_of_evidence() -> None:
    plain, observed = rubric.rubric_hash(), rubric.rubric_hash(evidence=True)
    assert plain == f"{prompts.load('rubric').hash}-2"
    assert observed == f"{plain}+{prompts.load('rubric_observed').hash}"


def test_each_judge_is_asked_in_each_order_with_its_own_budget() -> None:
    found = asked()
    assert list(found) == [
        ("a", "king_first"),
        ("b", "king_first"),
        ("a", "challenger_first"),
        ("b", "challenger_first"),
    ]
    assert [one.max_tokens for one in found.values()] == [768, 99] * 2
    first = found["a", "king_first"]
    assert (first.stage, first.item, first.model, first.temperature, first.occurrence) == (
        "judge",
        "p_1_1",
        "a",
        0.0,
        0,
    )
    assert first.response_format == rubric.verdict_schema() and first.parameters == {}
    assert asked(stage="confirm")["a", "king_first"].stage == "confirm"
    warm = settings(temperature=0.5, structured_output=False, top_p=0.9)
    other = asked(chosen=warm)["a", "king_first"]
    assert (other.temperature, other.response_format, other.parameters) == (0.5, None, {"top_p": 0.9})
    assert {one.max_tokens for one in asked(chosen=settings(max_tokens=50)).values()} == {50, 99}
    assert {one.max_tokens for one in asked(chosen=settings(max_tokens=50, score_max_tokens=60)).values()} == {60, 99}


def test_the_schema_asks_for_a_reason_and_one_of_three_choices_a_dimension() -> None:
    told = rubric.verdict_schema()
    schema = told["json_schema"]["schema"]
    assert told["type"] == "json_schema" and told["json_schema"]["strict"] is True
    assert schema["type"] == "object" and schema["additionalProperties"] is False
    assert list(schema["properties"]) == schema["required"] == ["reason", *DIMENSIONS]
    assert schema["properties"]["reason"] == {"type": "string"}
    assert all(schema["properties"][name] == {"type": "integer", "enum": [1, 2, 0]} for name in DIMENSIONS)


def test_what_a_judge_reads_in_order() -> None:
    text = asked(SHOWN)["a", "challenger_first"].messages[1]["content"]
    mark = re.search(r"=== CONVERSATION (\w+) ===", text)
    assert mark is not None
    lines = [
        "=== CONVERSATION M ===\n--- system M ---\nRules.\n--- user M ---\nTask.\n=== END OF CONVERSATION M ===",
        "=== REPLY 1 M ===\nthe challenger's\n=== END OF REPLY 1 M ===",
        "=== OBSERVED 1 M ===\nchallenger ran\n=== END OF OBSERVED 1 M ===",
        "=== REPLY 2 M ===\nthe king's\n=== END OF REPLY 2 M ===",
        "=== OBSERVED 2 M ===\nking ran\n=== END OF OBSERVED 2 M ===",
    ]
    assert text.replace(mark[1], "M") == "\n\n".join(lines)
    system, user = asked(SHOWN)["a", "king_first"].messages
    assert (system["role"], user["role"]) == ("system", "user")
    assert system["content"] == f"{prompts.load('rubric').render()}\n{prompts.load('rubric_observed').render()}"
    assert asked()["a", "king_first"].messages[0]["content"] == prompts.load("rubric").render()


def test_what_cannot_be_seen_is_made_visible_wherever_it_stands() -> None:
    hidden = "a\u200bb"
    pair = JudgedPair("p", [Message(role="user", content=hidden)], hidden, hidden, observed=(hidden, hidden))
    text = asked(pair)["a", "king_first"].messages[1]["content"]
    assert "\u200b" not in text and text.count(visible(hidden)) == 5
    assert (pair.ids, pair.same, pair.unobserved) == (("", ""), False, "")


def test_twins_and_equal_replies_get_votes_of_their_own() -> None:
    assert {one.occurrence for one in asked(twins=3).values()} == {6}
    same = asked(replace(PAIR, challenger=PAIR.opponent), twins=3)
    assert {order: one.occurrence for (_, order), one in same.items()} == {"king_first": 6, "challenger_first": 7}


def test_a_mark_that_stands_in_a_text_is_not_used() -> None:
    mark = rubric._mark(PAIR, SECRET)
    assert mark == rubric._mark(replace(PAIR, item="x"), SECRET) != rubric._mark(PAIR, b"t" * 32)
    for hostile in (replace(SHOWN, observed=("x", "x")), SHOWN):
        seen = rubric._mark(hostile, SECRET)
        assert len(seen) == 16 and seen not in str(hostile)


def test_orders_are_both_one_or_one_by_a_hash_of_the_turn() -> None:
    assert rubric.orders("p", settings()) == ("king_first", "challenger_first")
    assert {rubric.orders(f"p_{number}", settings(orders="king_first")) for number in range(6)} == {("king_first",)}
    alternate = [rubric.orders(f"p_{number}", settings(orders="alternate")) for number in range(6)]
    assert alternate == [
        ("challenger_first",),
        ("challenger_first",),
        ("challenger_first",),
        ("king_first",),
        ("king_first",),
        ("king_first",),
    ]


def test_a_long_reply_is_cut_to_a_quarter_of_the_window_and_a_long_history_to_the_window() -> None:
    chosen = settings().model_copy(
        update={"generate": Settings.model_validate({"generate": {"max_model_len": 2048}}).generate}
    )
    reply, talk = (
        "word " * 4000,
        [Message(role=role, content=f"line {number} " * 30) for number in range(200) for role in ("assistant", "user")],
    )
    long = asked(replace(PAIR, challenger=reply, history=[HISTORY[0], *talk]), chosen)["a", "king_first"]
    text = long.messages[1]["content"]
    second = text[text.index("=== REPLY 2") :]
    assert 300 < estimate_tokens(second) < 620 and "the king's" in text
    assert estimate_tokens(text[: text.index("=== REPLY 1")]) < 2048 + 100 and "line 199" in text


def test_a_repeated_asking_reminds_of_the_form_and_the_first_does_not() -> None:
    first = asked()["a", "king_first"]
    assert rubric.asking(first, 0) is first
    again = rubric.asking(first, 2)
    assert (again.attempt, again.reminder) == (2, prompts.load("verdict_again").text)
    further = rubric.asking(first, 1, (*DIMENSIONS, "restraint")).reminder
    assert further.rstrip().endswith('"efficiency": 1|2|0, "restraint": 1|2|0}')


def answer(**observed: Observed) -> Answer:
    made = [
        Candidate(id=f"{side}-2", side=side, text=side, chosen=True, observed=observed.get(side))  # type: ignore[arg-type]
        for side in ("king", "challenger")
    ]
    texts = {"king": "king", "challenger": "challenger", "assistant": "assistant"}
    return Answer(instance_id="o__r-1", messages=HISTORY, candidates=made, **texts)


def test_a_pair_is_challenger_and_king_or_challenger_and_reference() -> None:
    two, one = rubric.pair_of("p", answer(), 2), rubric.pair_of("p", answer(), 1)
    assert (two.opponent, two.challenger, two.ids) == ("king", "challenger", ("king-2", "challenger-2"))
    assert (one.opponent, one.challenger, one.ids) == ("assistant", "challenger", ("assistant", "challenger-2"))
    assert list(two.history) == HISTORY and not two.has_evidence and not two.same and two.unobserved == ""
    assert rubric.candidate_id(answer().model_copy(update={"candidates": []}), "king") == "king-1"


def test_evidence_is_shown_in_mode_two_where_it_is_asked_for_and_both_ran() -> None:
    ran, other = (Observed(ran=True, exit=0, printed=text) for text in ("one", "two"))
    both = answer(king=ran, challenger=other)
    assert rubric.pair_of("p", both, 2).has_evidence and not rubric.pair_of("p", both, 2).same
    assert not rubric.pair_of("p", both, 2, observed=False).has_evidence
    assert not rubric.pair_of("p", both, 1).has_evidence
    assert not rubric.pair_of("p", answer(king=ran), 2).has_evidence
    assert rubric.pair_of("p", answer(king=ran, challenger=ran), 2).same
    assert list(rubric.pair_of("p", both, 2).observed) == [
        rubric.told(ran),
        rubric.told(other),
    ]
    broken = answer(king=ran, challenger=Observed(why_not="sandbox: broken"))
    assert rubric.pair_of("p", broken, 2).unobserved == "sandbox"


def test_every_vote_of_a_panel_is_owed_judge_by_judge() -> None:
    both = ("king_first", "challenger_first")
    assert rubric.owed_votes("p", settings()) == [(judge, order) for judge in "ab" for order in both]
