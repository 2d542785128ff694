"""LLaMA-Factory's preference shapes: its converter skips a list of one where it expects one object.

Its conversations alternate strictly between user and assistant; a row that does not is skipped there, so it is refused
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from duel.conversation import dialogue
from duel.errors import ItemError
from duel.exports.example import Example, Turns, labelled, pair
from duel.exports.formats.base import FORMATS, Format, Provenance, Row, TextMessage, as_messages, as_text, provenance


class ObjectPair(Provenance):
    """The history, then one message each."""

    messages: list[TextMessage]
    chosen: TextMessage
    rejected: TextMessage


class LabelledChat(Provenance):
    """The history with the answer last, and whether it is wanted."""

    messages: list[TextMessage]
    label: bool


def write_pair(example: Example) -> Row:
    """A row with `messages`, `chosen` and `rejected`."""
    return {
        **provenance(example),
        "messages": as_text(example.prompt),
        "chosen": {"role": "assistant", "content": example.accepted},
        "rejected": {"role": "assistant", "content": example.rejected},
    }


def read_pair(row: Mapping[str, Any]) -> Turns:
    """The turns of a row with both candidates."""
    return Turns(dialogue.parse(as_messages([*row["messages"], row["chosen"]])), rejected=row["rejected"]["content"])


def write_labelled(example: Example) -> Row:
    """A row with `messages` and `label`."""
    return {**provenance(example), "messages": as_text(example.messages), "label": example.label}


def read_labelled(row: Mapping[str, Any]) -> Turns:
    """The turns of a row with one candidate and its label."""
    return Turns(dialogue.parse(as_messages(row["messages"])), label=row["label"])


def _check(row: Mapping[str, Any]) -> None:
    messages = [*row["messages"], *([row["chosen"]] if "chosen" in row else [])]
    spoken = messages[messages[0]["role"] == "system" :]
    roles = [message["role"] for message in spoken]
    if not roles or len(roles) % 2 or roles != ["user", "assistant"] * (len(roles) // 2):
        raise ItemError("roles-not-alternating", "user and assistant do not alternate")


LF_DPO = Format(
    name="lf-dpo",
    summary="LLaMA-Factory's pairs: `messages`, `chosen` and `rejected` as one message each",
    schema=ObjectPair,
    rows_of=pair,
    write=write_pair,
    read=read_pair,
    check=_check,
    recipes={"llamafactory": "dpo"},
)
LF_KTO = Format(
    name="lf-kto",
    summary="LLaMA-Factory's unpaired preferences: `messages` that end on the answer, `label`",
    schema=LabelledChat,
    rows_of=labelled,
    write=write_labelled,
    read=read_labelled,
    check=_check,
    recipes={"llamafactory": "kto"},
)
FORMATS.add(LF_DPO.name, LF_DPO)
FORMATS.add(LF_KTO.name, LF_KTO)
