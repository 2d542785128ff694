"""ChatML: a conversation as one rendered text, for trainers that take `text` and apply no template."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from duel.conversation import dialogue
from duel.errors import ItemError
from duel.exports import checks
from duel.exports.example import Example, Turns, text_only
from duel.exports.formats.base import FORMATS, Format, Provenance, Row, as_messages, provenance

_START, _END = "<|im_start|>", "<|im_end|>"
_MESSAGE = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>\n", re.DOTALL)


class Text(Provenance):
    """TRL's standard language modelling shape."""

    text: str


def write(example: Example) -> Row:
    """A row with `text`. Raises ItemError where a message itself holds a delimiter: no reader could tell them apart."""
    if any(_START in message.content or _END in message.content for message in example.messages):
        raise ItemError("chatml-delimiter", "a message holds a ChatML delimiter")
    text = "".join(f"{_START}{message.role}\n{message.content}{_END}\n" for message in example.messages)
    return {**provenance(example), "text": text}


def messages_of(text: str) -> list[dict[str, str]]:
    """The messages of a rendered text."""
    return [{"role": role, "content": content} for role, content in _MESSAGE.findall(text)]


def read(row: Mapping[str, Any]) -> Turns:
    """The turns of a row with `text`."""
    return Turns(dialogue.parse(as_messages(messages_of(row["text"]))))


CHATML = Format(
    name="chatml",
    summary="rendered `text` with ChatML delimiters; train with a tokenizer that has them as special tokens",
    schema=Text,
    rows_of=text_only,
    write=write,
    read=read,
    check=lambda row: checks.text_chat(messages_of(row["text"])),
    recipes={"trl": "sft"},
    trl_flags={"dataset_text_field": "text", "packing": False},
    caution="the loss covers the whole text, and a tokenizer without ChatML's special tokens trains them as letters",
)
FORMATS.add(CHATML.name, CHATML)
