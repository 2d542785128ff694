"""Formats of text: TRL's and LLaMA-Factory's columns of messages, and ChatML, a conversation as one rendered text.

What a trainer tokenizes of a row (`sequences`) is the conversation, and its second sequence ends on the losing turn.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from duel.conversation import dialogue
from duel.errors import require
from duel.exports import formats
from duel.exports.example import Example, Turns
from duel.exports.formats import Row
from duel.records import Message

_START, _END = "<|im_start|>", "<|im_end|>"
_MESSAGE = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>\n", re.DOTALL)


def rendered(one: Example) -> str:
    """ChatML. Raises ItemError where a message itself holds a delimiter: no reader could tell them apart."""
    plain = not any(_START in message.content or _END in message.content for message in one.messages)
    require(plain, "chatml-delimiter", "a message holds a ChatML delimiter")
    return "".join(f"{_START}{message.role}\n{message.content}{_END}\n" for message in one.messages)


def read(row: Mapping[str, Any]) -> Turns:
    accepted, *lost = _conversations(row)
    said = dialogue.parse(formats.as_messages(accepted))
    return Turns(said, lost[0][-1]["content"] if lost else "", row.get("label"))


def _conversations(row: Mapping[str, Any]) -> list[list[Any]]:
    return [
        [{"role": role, "content": content} for role, content in _MESSAGE.findall(one)] if isinstance(one, str) else one
        for one in formats.sequences(row)
    ]


def _chat(row: Mapping[str, Any]) -> None:
    for messages in _conversations(row):
        roles = [message["role"] for message in messages]
        spoken = [role for role in roles if role != "system"]
        require(spoken, "empty-conversation", "there is no message of a user")
        require(spoken == roles[len(roles) - len(spoken) :], "late-system", "a system message stands inside the talk")
        require(spoken[0] == "user", "starts-with-assistant", "the first message is not the user's")
        require(spoken[-1] == "assistant", "ends-without-turn", "the last message is not the assistant's")
        require(messages[-1]["content"].strip(), "empty-turn", "the last message is empty")


def _alternating(row: Mapping[str, Any]) -> None:
    """LLaMA-Factory skips a conversation in which user and assistant do not strictly alternate."""
    messages = _conversations(row)[0]
    roles = [message["role"] for message in messages[messages[0]["role"] == "system" :]]
    held = roles and roles == ["user", "assistant"] * (len(roles) // 2)
    require(held, "roles-not-alternating", "user and assistant do not alternate")


def _rows(messages: Sequence[Message]) -> list[Row]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _answer(text: str) -> Row:
    return {"role": "assistant", "content": text}


# What a column may be: its kind, and how it is made of an example.
COLUMNS: Mapping[str, tuple[str, Callable[[Example], Any]]] = {
    "chat": ("messages", lambda one: _rows(one.messages)),
    "prompt": ("messages", lambda one: _rows(one.prompt)),
    "accepted": ("messages", lambda one: _rows(one.completion)),
    "rejected": ("messages", lambda one: _rows(one.lost) or [_answer(one.rejected)]),
    "accepted turn": ("message", lambda one: _answer(one.accepted)),
    "rejected turn": ("message", lambda one: _answer(one.rejected)),
    "label": ("flag", lambda one: one.label),  # KTO sums it
    "margin": ("number", lambda one: one.margin),
    "rendered": ("text", rendered),
}


def _write(columns: Mapping[str, str], one: Example) -> Row:
    return formats.provenance(one) | {column: COLUMNS[made][1](one) for column, made in columns.items()}


for _name, _told in formats.tables().items():
    if _columns := _told.get("columns"):
        _kinds = {column: COLUMNS[made][0] for column, made in _columns.items()}
        formats.add(_name, partial(_write, _columns), read, _alternating if _told.get("alternating") else _chat, _kinds)
