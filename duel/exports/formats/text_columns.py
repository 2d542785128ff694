"""Formats of text: TRL's and LLaMA-Factory's columns of messages, and ChatML, a conversation as one rendered text.

A format is a table in `text_columns.toml`: its columns, each made of an example in one way. One reader serves all: what
a trainer tokenizes of a row (`sequences`) is the conversation, and its second sequence ends on the losing turn.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any, TypeAlias

from duel.conversation import dialogue
from duel.errors import ItemError
from duel.exports import checks, example
from duel.exports.example import Example, Turns
from duel.exports.formats import base
from duel.exports.formats.base import Format, Provenance, Row, TextMessage
from duel.records import Message

Column: TypeAlias = tuple[Any, Callable[[Example], Any]]  # its type, and how it is made of an example
_START, _END = "<|im_start|>", "<|im_end|>"
_MESSAGE = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>\n", re.DOTALL)


def rendered(one: Example) -> str:
    """ChatML. Raises ItemError where a message itself holds a delimiter: no reader could tell them apart."""
    if any(_START in message.content or _END in message.content for message in one.messages):
        raise ItemError("chatml-delimiter", "a message holds a ChatML delimiter")
    return "".join(f"{_START}{message.role}\n{message.content}{_END}\n" for message in one.messages)


def read(row: Mapping[str, Any]) -> Turns:
    accepted, *lost = _conversations(row)
    return Turns(dialogue.parse(base.as_messages(accepted)), lost[0][-1]["content"] if lost else "", row.get("label"))


def _conversations(row: Mapping[str, Any]) -> list[list[Any]]:
    return [
        [{"role": role, "content": content} for role, content in _MESSAGE.findall(one)] if isinstance(one, str) else one
        for one in base.sequences(row)
    ]


def _chat(row: Mapping[str, Any]) -> None:
    for messages in _conversations(row):
        checks.text_chat(messages)


def _alternating(row: Mapping[str, Any]) -> None:
    """LLaMA-Factory skips a conversation in which user and assistant do not strictly alternate."""
    messages = _conversations(row)[0]
    roles = [message["role"] for message in messages[messages[0]["role"] == "system" :]]
    if not roles or len(roles) % 2 or roles != ["user", "assistant"] * (len(roles) // 2):
        raise ItemError("roles-not-alternating", "user and assistant do not alternate")


def _rows(messages: Sequence[Message]) -> list[Row]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _answer(text: str) -> Row:
    return {"role": "assistant", "content": text}


COLUMNS: Mapping[str, Column] = {
    "chat": (list[TextMessage], lambda one: _rows(one.messages)),
    "prompt": (list[TextMessage], lambda one: _rows(one.prompt)),
    "accepted": (list[TextMessage], lambda one: _rows(one.completion)),
    "rejected": (list[TextMessage], lambda one: _rows(one.lost) or [_answer(one.rejected)]),
    "accepted turn": (TextMessage, lambda one: _answer(one.accepted)),
    "rejected turn": (TextMessage, lambda one: _answer(one.rejected)),
    "label": (bool, lambda one: one.label),  # KTO sums it
    "margin": (float, lambda one: one.margin),
    "rendered": (str, rendered),
}
CHECKS = {"chat": _chat, "alternating": _alternating}


def _format(
    name: str, summary: str, rows: str, columns: Mapping[str, str], check: str = "chat", **known: Any
) -> Format:
    made = {column: COLUMNS[key] for column, key in columns.items()}

    def write(one: Example) -> Row:
        return {**base.provenance(one), **{column: make(one) for column, (_, make) in made.items()}}

    schema = base.shape(name, {column: kind for column, (kind, _) in made.items()}, Provenance)
    return Format(name, summary, schema, getattr(example, rows), write, read, CHECKS[check], **known)


for name, told in tomllib.loads(resources.files(__package__).joinpath("text_columns.toml").read_text("utf-8")).items():
    base.add(_format(name, **told))
