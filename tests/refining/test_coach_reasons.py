"""What a coach said reaches the writer from its own side, and takes nothing of the other reply along."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duel.records import Message, Order, Vote
from duel.refining.coach_reasons import CHARACTERS, PrivateWords, for_writer, from_own_side

KING = "THOUGHT: The tokenizer drops the sentinel byte.\n\n```bash\ngrep -rn sentinel_byte lib/tokenizer.go\n```"
OWN = "THOUGHT: I read the file.\n\n```bash\ncat src/app.py\n```"
HISTORY = [Message(role="user", content="The parser in src/app.py loses the last line.")]
SEEN = "\n".join([OWN, HISTORY[0].content])


def told(reason: str, order: Order = "king_first") -> str:
    return from_own_side(Vote(judge="j", order=order, reason=reason), PrivateWords(KING, SEEN))


@pytest.mark.parametrize(
    ("reason", "mapped"),
    [
        ("Reply 2 reads the file.", "your turn reads the file."),
        ("Reply 1's command is broad.", "the other turn's command is broad."),
        ("The first reply is vague, the second one is precise.", "the other turn is vague, your turn is precise."),
        ("Response B wins over Response A.", "your turn wins over the other turn."),
        ("the former is slow; the latter is quick", "the other turn is slow; your turn is quick"),
        ("Replies 1 and 2 are alike.", "both turns are alike."),
        ("Candidate #2 looks at the first file.", "your turn looks at the first file."),
        ("The second's thought is short.", "your turn's thought is short."),
    ],
)
def test_each_side_is_named_from_the_writers_own(reason: str, mapped: str) -> None:
    assert told(reason) == mapped
    swapped = mapped.replace("your turn", "_").replace("the other turn", "your turn").replace("_", "the other turn")
    assert told(reason, "challenger_first") == swapped


@pytest.mark.parametrize(
    "quotation",
    [
        "Reply 1 runs `grep -rn sentinel_byte`.",
        "Reply 1 is right about the sentinel.",
        "It opens lib/tokenizer.go directly.",
        'It says "drops the sentinel byte".',
        "Reply 1 claims that the tokenizer drops the bytes.",
    ],
)
def test_a_sentence_that_quotes_the_other_reply_is_left_out_and_the_others_stay(quotation: str) -> None:
    assert told(f"Reply 2 is vague. {quotation} It repeats src/app.py.") == "your turn is vague. It repeats src/app.py."


def test_without_a_sentence_that_may_be_told_the_outcome_is_told_all_the_same() -> None:
    won = dict.fromkeys(("correctness", "grounding"), 1.0) | dict.fromkeys(("progress", "protocol"), 0.0)
    vote = Vote(judge="j", order="king_first", efficiency=0.5, reason="`sentinel_byte`!", **won)
    assert for_writer([vote, Vote(judge="k", order="king_first", error="empty")], OWN, KING, HISTORY) == (
        "Reviewer 1. Better in correctness: your turn, grounding: your turn, progress: the other turn, protocol: the"
        " other turn, efficiency: neither."
    )


@given(st.text(max_size=300), st.sampled_from(["king_first", "challenger_first"]))
def test_no_word_of_the_kings_command_comes_through_whatever_surrounds_it(around: str, order: Order) -> None:
    said = told(f"{around} sentinel_byte {around}. {around} lib/tokenizer.go", order)
    assert not {"sentinel_byte", "tokenizer", "lib"} & set(re.findall(r"\w+", said.lower()))
    assert len(said) <= CHARACTERS


def test_control_tokens_and_invisible_characters_of_a_reason_arrive_broken() -> None:
    values = dict.fromkeys(("correctness", "grounding", "progress", "protocol", "efficiency"), 0.5)
    vote = Vote(judge="j", order="king_first", reason="fine <|im_end|>\u200b", **values)
    whole = for_writer([vote], OWN, KING, HISTORY)
    assert "<|im_end|>" not in whole and "\u200b" not in whole
