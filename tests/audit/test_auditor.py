"""The auditor: which turns it is shown, what it is asked, and that only what really stands somewhere counts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from duel.audit import auditor
from duel.audit.leaks import find_leaks
from duel.audit.rarity import Rarity
from duel.errors import ItemError
from duel.records import Answer, Message
from duel.settings import Settings
from tests.audit.test_leaks import COMMIT, HISTORY

TOLD = "THOUGHT: Members pay too much because what they have earned is never taken off the sum.\n\n```bash\nls\n```"
HONEST = "THOUGHT: I list the files first.\n\n```bash\nls\n```"
SAID = "what they have earned is never taken off the sum"


def answer(reply: str = TOLD, *shown: str) -> Answer:
    history = [*HISTORY, *(Message(role="user", content=text) for text in shown)]
    return Answer(instance_id=COMMIT.instance_id, king="k", challenger=reply, messages=history)


def reply(*claims: tuple[str, str]) -> str:
    return json.dumps({"claims": [{"said": said, "quote": quote} for said, quote in claims]})


def values(text: str, of: Answer) -> list[str]:
    return [finding.value for finding in auditor.findings(text, of, COMMIT)]


def test_a_claim_without_a_quote_is_a_finding_that_leaks_alone() -> None:
    [finding] = auditor.findings(reply((SAID, "")), answer(), COMMIT)
    assert finding.kind == "claim"
    assert finding.weight > 1.0
    assert finding.place["line"] == 1


def test_a_quote_must_really_stand_in_the_conversation() -> None:
    shown = answer(TOLD, "# TODO: what members\n#   earned is not subtracted")
    assert values(reply((SAID, "what members # earned is `not` subtracted.")), shown) == []
    assert values(reply((SAID, "TODO: what members ... not subtracted")), shown) == []
    assert values(reply((SAID, "what members earned is subtracted twice")), shown) == [SAID]
    assert values(reply((SAID, "TODO")), shown) == [SAID]  # too short to say anything
    assert values(reply((SAID, "...")), shown) == [SAID]


def test_the_issue_counts_and_the_pull_request_does_not() -> None:
    assert values(reply((SAID, "Totals are wrong for members.")), answer()) == []
    assert values(reply((SAID, "return sum(i.price for i in items) - discount")), answer()) == [SAID]


def test_words_that_the_turn_does_not_hold_are_the_models_own() -> None:
    assert values(reply(("the moon is made of cheese", ""), ("", ""), ("ls", "")), answer()) == []


@pytest.mark.parametrize(
    "text",
    [
        "Here it is:\n```json\n{claims}\n```\nDone.",
        '<think>{ "claims": maybe }</think> {claims} and {more}',
        "{claims}",
    ],
)
def test_the_list_is_found_in_what_a_model_writes_around_it(text: str) -> None:
    assert auditor.claims(text.replace("{claims}", reply((SAID, "q")))) == [(SAID, "q")]


@pytest.mark.parametrize("text", ["", "Nothing to report.", '{"claims": 3}', '{"claims": [', '[{"said": "x"}]'])
def test_a_reply_without_a_list_is_an_error_and_no_acquittal(text: str) -> None:
    with pytest.raises(ItemError) as caught:
        auditor.claims(text)
    assert caught.value.reason == "unparsable"


@given(some.text(max_size=80), some.text(max_size=80))
def test_whatever_a_model_writes_raises_nothing_else(said: str, quote: str) -> None:
    auditor.findings(reply((said, quote)), answer(), COMMIT)


def test_the_question_fences_what_comes_from_outside() -> None:
    [message] = auditor.question(Settings(), "item", answer(f"{TOLD}<|im_end|>"), COMMIT, "f" * 16).messages
    assert message["content"].count("f" * 16) == 7  # three fences of two lines, and the sentence that names them
    assert COMMIT.patch.strip() in message["content"]
    assert "Totals are wrong for members. Repo: acme/shop" in message["content"]
    assert "<|im_end|>" not in message["content"]


def test_a_turn_that_tells_the_fix_in_other_words_is_more_suspicious_than_an_honest_one() -> None:
    def rank(reply: str) -> float:
        leaks = find_leaks(reply, HISTORY, COMMIT, Rarity.from_commits([COMMIT]))
        return auditor.suspicion(reply, HISTORY, COMMIT, leaks.leak_score)

    assert rank(TOLD) > rank(HONEST) >= 0


def test_a_fifth_is_shown_and_turns_with_words_taken_out_come_first() -> None:
    turns = [(f"t{n}", float(n), False) for n in range(9)] + [("marked", 0.0, True)]
    assert auditor.chosen(turns) == ["marked", "t8"]
    assert auditor.chosen([("one", 0.0, False)]) == ["one"]
    assert auditor.chosen([]) == []
