"""TRL's supervised shapes: `sft` trains on a conversation, `sft-completion` on the accepted turn alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from duel.conversation import dialogue
from duel.exports import checks
from duel.exports.example import Example, Turns, each_turn, text_only
from duel.exports.formats.base import FORMATS, Format, Provenance, Row, TextMessage, as_messages, as_text, provenance


class Conversation(Provenance):
    """TRL conversational language modelling: exactly the messages that the model sees, the accepted turn last."""

    messages: list[TextMessage]


class PromptCompletion(Provenance):
    """TRL conversational prompt-completion: the loss covers the completion only."""

    prompt: list[TextMessage]
    completion: list[TextMessage]


def write_conversation(example: Example) -> Row:
    """A row with `messages`."""
    return {**provenance(example), "messages": as_text(example.messages)}


def read_conversation(row: Mapping[str, Any]) -> Turns:
    """The turns of a row with `messages`."""
    return Turns(dialogue.parse(as_messages(row["messages"])))


def write_completion(example: Example) -> Row:
    """A row with `prompt` and `completion`."""
    return {
        **provenance(example),
        "prompt": as_text(example.prompt),
        "completion": as_text(example.messages[-1:]),
    }


def read_completion(row: Mapping[str, Any]) -> Turns:
    """The turns of a row with `prompt` and `completion`."""
    return Turns(dialogue.parse(as_messages([*row["prompt"], *row["completion"]])))


SFT = Format(
    name="sft",
    summary="TRL, `messages`; the accepted turn is the last assistant message",
    schema=Conversation,
    rows_of=text_only,
    write=write_conversation,
    read=read_conversation,
    check=lambda row: checks.text_chat(row["messages"]),
    recipes={"trl": "sft", "axolotl": "sft", "llamafactory": "sft", "unsloth": "sft"},
    trl_flags={"assistant_only_loss": True, "packing": False},
    caution="TRL takes the loss over every assistant turn, the weak history's included; `sft-completion` trains the"
    " accepted turn alone",
    reasoning=True,
)
SFT_COMPLETION = Format(
    name="sft-completion",
    summary="TRL, `prompt` + `completion`; the loss covers the accepted turn alone",
    schema=PromptCompletion,
    rows_of=each_turn,
    write=write_completion,
    read=read_completion,
    check=lambda row: checks.text_chat([*row["prompt"], *row["completion"]]),
    recipes={"trl": "sft", "unsloth": "sft"},
    trl_flags={"completion_only_loss": True, "packing": False},
    caution="where `max_length` cuts the end off, TRL drops the row or trains on nothing, without a word",
    reasoning=True,
)
FORMATS.add(SFT.name, SFT)
FORMATS.add(SFT_COMPLETION.name, SFT_COMPLETION)
