"""Formats of text: TRL's and LLaMA-Factory's columns of messages, and ChatML, a conversation as one rendered text.

A format is its columns, and each column is made of an example in one way. One reader serves all: what a trainer
tokenizes of a row (`sequences`) is the conversation, and its second sequence ends on the losing turn.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from duel.conversation import dialogue
from duel.errors import ItemError
from duel.exports import checks
from duel.exports.example import (
    Example,
    Turns,
    each_turn,
    labelled,
    labelled_turns,
    pair,
    pair_of_turns,
    scored_pair,
    text_only,
)
from duel.exports.formats.base import (
    Format,
    Provenance,
    Row,
    TextMessage,
    add,
    as_messages,
    provenance,
    sequences,
    shape,
)
from duel.records import Message

Column: TypeAlias = tuple[Any, Callable[[Example], Any]]  # its type, and how it is made of an example
_START, _END = "<|im_start|>", "<|im_end|>"
_MESSAGE = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>\n", re.DOTALL)


def rendered(example: Example) -> str:
    """ChatML. Raises ItemError where a message itself holds a delimiter: no reader could tell them apart."""
    if any(_START in message.content or _END in message.content for message in example.messages):
        raise ItemError("chatml-delimiter", "a message holds a ChatML delimiter")
    return "".join(f"{_START}{message.role}\n{message.content}{_END}\n" for message in example.messages)


def read(row: Mapping[str, Any]) -> Turns:
    accepted, *lost = _conversations(row)
    return Turns(dialogue.parse(as_messages(accepted)), lost[0][-1]["content"] if lost else "", row.get("label"))


def _conversations(row: Mapping[str, Any]) -> list[list[Any]]:
    return [
        [{"role": role, "content": content} for role, content in _MESSAGE.findall(one)] if isinstance(one, str) else one
        for one in sequences(row)
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


def _add(
    name: str,
    summary: str,
    rows_of: Callable[[Example], list[Example]],
    columns: Mapping[str, Column],
    check: Callable[[Mapping[str, Any]], None] = _chat,
    **known: Any,
) -> None:
    def write(example: Example) -> Row:
        return {**provenance(example), **{column: make(example) for column, (_, make) in columns.items()}}

    schema = shape(name, {column: kind for column, (kind, _) in columns.items()}, Provenance)
    add(Format(name, summary, schema, rows_of, write, read, check, **known))


CHAT: Column = (list[TextMessage], lambda example: _rows(example.messages))
PROMPT: Column = (list[TextMessage], lambda example: _rows(example.prompt))
ACCEPTED: Column = (list[TextMessage], lambda example: _rows(example.completion))
REJECTED: Column = (list[TextMessage], lambda example: _rows(example.lost) or [_answer(example.rejected)])
LABEL: Column = (bool, lambda example: example.label)  # KTO sums it
PAIR = {"prompt": PROMPT, "chosen": ACCEPTED, "rejected": REJECTED}
COMPLETION = {"prompt": PROMPT, "completion": ACCEPTED}

_add(
    "sft",
    "TRL, `messages`; the accepted turn is the last assistant message",
    text_only,
    {"messages": CHAT},
    recipes={"trl": "sft", "axolotl": "sft", "llamafactory": "sft", "unsloth": "sft"},
    trl_flags={"assistant_only_loss": True, "packing": False},
    caution="TRL and axolotl take the loss over every assistant turn, the weak history's included; `sft-completion`"
    " trains the accepted turn alone",
    reasoning=True,
)
_add(
    "sft-completion",
    "TRL, `prompt` + `completion`; the loss covers the accepted turn alone",
    each_turn,
    COMPLETION,
    recipes={"trl": "sft", "unsloth": "sft"},
    trl_flags={"completion_only_loss": True, "packing": False},
    caution="where `max_length` cuts the end off, TRL drops the row or trains on nothing, without a word",
    reasoning=True,
)
_add(
    "dpo",
    "TRL, `prompt` / `chosen` / `rejected`",
    pair,
    PAIR,
    recipes={"trl": "dpo", "axolotl": "dpo", "unsloth": "dpo"},
    caution="LLaMA-Factory drops every row (it wants one object where this has a list of one): take `lf-dpo`",
    reasoning=True,
)
_add(  # TRL's DPO trainer knows no margin
    "reward",
    "TRL's reward trainer: as `dpo`, with `margin` (-1 to 1: how much of the panel preferred `chosen`)",
    scored_pair,
    {**PAIR, "margin": (float, lambda example: example.margin)},
    recipes={"trl": "reward"},
    reasoning=True,
)
_add(
    "kto",
    "TRL, `prompt` / `completion` / `label`; two rows a turn",
    labelled,
    {**COMPLETION, "label": LABEL},
    recipes={"trl": "kto", "unsloth": "kto"},
    trl_flags={"per_device_train_batch_size": 2},  # the KL term is estimated within a batch
    caution="LLaMA-Factory skips every row: take `lf-kto`",
    reasoning=True,
)
_add(
    "lf-dpo",
    "LLaMA-Factory's pairs: `messages`, `chosen` and `rejected` as one message each",
    pair_of_turns,
    {
        "messages": PROMPT,
        "chosen": (TextMessage, lambda example: _answer(example.accepted)),
        "rejected": (TextMessage, lambda example: _answer(example.rejected)),
    },
    _alternating,
    recipes={"llamafactory": "dpo"},
)
_add(
    "lf-kto",
    "LLaMA-Factory's unpaired preferences: `messages` that end on the answer, `label`",
    labelled_turns,
    {"messages": CHAT, "label": LABEL},
    _alternating,
    recipes={"llamafactory": "kto"},
)
_add(
    "chatml",
    "rendered `text` with ChatML delimiters; train with a tokenizer that has them as special tokens",
    text_only,
    {"text": (str, rendered)},
    recipes={"trl": "sft"},
    trl_flags={"dataset_text_field": "text", "packing": False},
    caution="the loss covers the whole text, and a tokenizer without ChatML's special tokens trains them as letters",
)
