"""The ledger's key: whatever changes what a model is asked changes it, and nothing else does."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from duel.calls.request import Occurrences, Reply, Request

PLAIN = Request("king", "item", "m", [{"role": "user", "content": "hello"}], 10)
OTHER_QUESTIONS = {
    "model": "other",
    "messages": [{"role": "user", "content": "hello "}],
    "max_tokens": 11,
    "temperature": 0.1,
    "thinking": False,
    "response_format": {"type": "json_object"},
    "parameters": {"seed": 1},
    "reminder": "Mind the form.",
}
OTHER_ASKINGS = {"attempt": 1, "occurrence": 1}
SAME = {"stage": "judge", "item": "another"}


def test_every_field_of_a_request_is_known_to_change_its_key_or_not_to() -> None:
    assert {field.name for field in fields(Request)} == {*OTHER_QUESTIONS, *OTHER_ASKINGS, *SAME}
    keys = [replace(PLAIN, **{name: value}).key for name, value in (OTHER_QUESTIONS | OTHER_ASKINGS).items()]
    keys += [replace(PLAIN, thinking=True).key, replace(PLAIN, response_format={}).key, PLAIN.key]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(("name", "value"), SAME.items())
def test_who_asks_and_for_which_turn_is_no_part_of_the_question(name: str, value: str) -> None:
    assert replace(PLAIN, **{name: value}).key == PLAIN.key


@pytest.mark.parametrize(("name", "value"), OTHER_ASKINGS.items())
def test_a_repeated_asking_is_the_same_question(name: str, value: int) -> None:
    asked = replace(PLAIN, **{name: value})
    assert asked.digest == PLAIN.digest and asked.key != PLAIN.key


def test_keys_of_today_are_those_of_the_ledgers_that_lie_on_disk() -> None:
    assert PLAIN.key == "2355e9fa9f42dcb4c2f3b9b7539203c9-0-0"
    assert len(PLAIN.digest) == 16 and PLAIN.key == f"{PLAIN.digest.hex()}-0-0"


def test_parameters_in_another_order_are_the_same_question() -> None:
    one, two = ({"seed": 1, "top_p": 0.5}, {"top_p": 0.5, "seed": 1})
    assert replace(PLAIN, parameters=one).key == replace(PLAIN, parameters=two).key


def test_asked_again_with_a_reminder_it_is_another_question_and_without_one_the_same() -> None:
    assert PLAIN.again(0) is PLAIN
    assert PLAIN.again(2).key == PLAIN.key.replace("-0-0", "-2-0")
    reminded = PLAIN.again(2, "Mind the form.")
    assert reminded.digest == replace(PLAIN, reminder="Mind the form.").digest != PLAIN.digest
    assert (reminded.attempt, reminded.reminder, reminded.occurrence) == (2, "Mind the form.", 0)
    assert reminded.again(2, "Mind the form.") is reminded
    assert reminded.again(2).digest == PLAIN.digest
    assert replace(PLAIN, occurrence=3).again(1).key.endswith("-1-3")


def test_equal_questions_are_numbered_in_the_order_in_which_they_come() -> None:
    numbers, other = Occurrences(), replace(PLAIN, model="other")
    came = [numbers.number(asked) for asked in (PLAIN, other, PLAIN.again(1), replace(PLAIN, item="twin"))]
    assert [asked.occurrence for asked in came] == [0, 0, 1, 2]
    assert [asked.attempt for asked in came] == [0, 0, 1, 0]
    assert came[0] is PLAIN and came[3].item == "twin"


def test_a_reply_that_nothing_more_is_known_of_stands_as_a_whole_one_that_was_paid_for() -> None:
    reply = Reply("text")
    assert (reply.finish_reason, reply.tries, reply.rejected, reply.cost) == ("stop", 1, "", None)
    assert not reply.from_ledger and reply.latency_s == 0 and reply.usage == {}
    assert (reply.reasoning, reply.model, reply.provider, reply.at, reply.key) == ("", "", "", "", "")


def test_a_reply_is_thought_only_where_its_budget_ended_before_a_word_of_the_answer() -> None:
    assert Reply("", finish_reason="length").thought_only and Reply(" \n", finish_reason="length").thought_only
    assert not Reply("so", finish_reason="length").thought_only and not Reply("", finish_reason="stop").thought_only


def test_a_reply_is_kept_under_the_model_that_answered_or_was_asked_and_a_full_window_is_a_cut() -> None:
    kept = Reply("a", finish_reason="model_length", model="").kept("asked", key="k", tries=3)
    assert kept == Reply("a", finish_reason="length", model="asked", key="k", tries=3)
    assert Reply("a", model="answered").kept("asked") == Reply("a", model="answered")


def test_the_size_of_a_question_is_that_of_its_words_and_parameters() -> None:
    asked = '["m",[{"role":"user","content":"hello"}],10,1.0,null,null,{}]'
    assert PLAIN.size == len(asked)
    assert replace(PLAIN, model="other").size == len(asked) + 4
    assert PLAIN.again(1).size == PLAIN.size < PLAIN.again(1, "Mind the form.").size
