"""How many tokens a trainer makes of a row, and prompts that are fitted so that the accepted turn stays whole."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from duel import history
from duel.errors import ItemError, UserError
from duel.exports import thoughts
from duel.exports.example import Example
from duel.exports.formats.base import Format, as_object, sequences
from duel.records import Message

WINDOWS = (1_024, 4_096, 8_192, 16_384, 32_768)
"""Values of `max_length` for which card and manifest tell how many rows stay whole."""
EMPTY_THOUGHT = 8
"""Tokens that TRL's training templates may put before each agent turn: `assistant_only_loss` brings such a template,
and Qwen3's writes an empty think block (4 tokens of its own vocabulary, 6 of single bytes)."""
ROUNDS = 24  # fits that are tried on one example: each takes out at least what is too much


class Estimate:
    """Three bytes a token and a frame around each message: on the high side for every tokenizer that was tried."""

    name = "estimate: 3 bytes a token"

    def count(self, sequence: list[Any] | str, tools: Sequence[Any] = ()) -> int:
        if isinstance(sequence, str):
            return history.estimate_tokens(sequence)
        framed = sum(history.TOKENS_PER_MESSAGE + self._message(message) for message in sequence)
        return framed + (history.estimate_tokens(json.dumps(tools, ensure_ascii=False)) if tools else 0)

    def _message(self, message: Mapping[str, Any]) -> int:
        extra = [message.get("reasoning_content") or "", _calls(message)]
        content = message.get("content") or ""
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        return sum(history.estimate_tokens(part) for part in (text, *extra) if part)


class Tokenizer(Estimate):
    """A model's own tokenizer and chat template, as the trainers use them."""

    def __init__(self, name: str) -> None:
        try:
            from transformers import AutoTokenizer
        except ImportError:
            hint = "pip install transformers, or leave --tokenizer out: then tokens are estimated"
            raise UserError("--tokenizer needs the package transformers", value=name, hint=hint) from None
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(name)
        except Exception as error:  # the loader raises errors of several packages
            told = str(error).splitlines()[0] if str(error) else type(error).__name__
            what = f"cannot load the tokenizer: {told[:200]}"
            hint = "a folder with tokenizer.json, or a model's name on the Hub"
            raise UserError(what, where="--tokenizer", value=name, hint=hint) from None
        self.name = name

    def count(self, sequence: list[Any] | str, tools: Sequence[Any] = ()) -> int:
        """Tokens of one sequence as the chat template renders it; messages that it refuses are counted one by one."""
        if isinstance(sequence, str):
            return len(self._tokenizer(sequence)["input_ids"])
        if self._tokenizer.chat_template:
            # A template raises errors of its own kind for roles and calls that it does not know.
            with suppress(Exception):
                rendered = self._tokenizer.apply_chat_template(sequence, tools=list(tools) or None, return_dict=False)
                return len(rendered)
        return super().count(sequence, tools)

    def _message(self, message: Mapping[str, Any]) -> int:
        text = f"{message.get('reasoning_content') or ''}{message.get('content') or ''}{_calls(message)}"
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def _calls(message: Mapping[str, Any]) -> str:
    return json.dumps(message["tool_calls"], ensure_ascii=False) if message.get("tool_calls") else ""


@dataclass(frozen=True)
class MeasuredRow:
    """A row, the example that it was made of, and the tokens of what a trainer makes of it."""

    fields: Mapping[str, Any]
    example: Example
    lengths: tuple[int, ...]

    @property
    def longest(self) -> int:
        """What `max_length` must hold."""
        return max(self.lengths)

    @property
    def total(self) -> int:
        """Tokens that one pass over the row costs: a pair has its prompt twice."""
        return sum(self.lengths)


@dataclass
class Measure:
    """Makes the rows of an example, counts their tokens, and fits them into `limit` tokens where one is set."""

    tokens: Estimate = field(default_factory=Estimate)
    limit: int | None = None
    reasoning: bool = False
    """Thoughts are written as `reasoning_content`."""

    def rows(self, form: Format, example: Example) -> list[MeasuredRow]:
        """The rows of one example.

        Raises ItemError (`does-not-fit`) where the accepted turn does not fit beside instructions and task.
        """
        rows = self._measured(form, example)
        longest = max(row.longest for row in rows)
        if self.limit is not None and longest > self.limit:
            rows = self._measured(form, self._fitted(form, example, longest))
        return rows

    def _measured(self, form: Format, example: Example) -> list[MeasuredRow]:
        parts = zip(form.rows(example), form.rows_of(example), strict=True)
        return [MeasuredRow(row, part, self.lengths(form, row)) for row, part in parts]

    def lengths(self, form: Format, row: Mapping[str, Any]) -> tuple[int, ...]:
        """Tokens of each sequence that a trainer makes of a row."""
        row = thoughts.as_reasoning(row) if self.reasoning else row
        tools = as_object(row["tools"]) if row.get("tools") else ()
        frame = EMPTY_THOUGHT if form.trl_flags.get("assistant_only_loss") else 0

        def framed(sequence: list[Any] | str) -> int:
            chat = [] if isinstance(sequence, str) else sequence
            return frame * [message["role"] for message in chat].count("assistant")

        return tuple(self.tokens.count(each, tools) + framed(each) for each in sequences(row))

    def _fitted(self, form: Format, example: Example, longest: int) -> Example:
        """The example with a shorter history: the room goes down by what is too much until the rows fit."""
        assert self.limit is not None
        room = history.history_tokens(_before_last(example.native or example.messages))
        scale = room / longest  # the history's rule counts in estimated tokens
        for _ in range(ROUNDS):
            room -= max(32, int((longest - self.limit) * scale))
            shorter = _with_room(example, room)
            if shorter is None:
                break
            longest = max(max(self.lengths(form, form.write(part))) for part in form.rows_of(shorter))
            if longest <= self.limit:
                return shorter
            # Whole turns go: what is left can be far below the room that it was given.
            room = min(room, history.history_tokens(_before_last(shorter.native or shorter.messages)))
        raise ItemError("does-not-fit", f"more than {self.limit} tokens with the shortest history")


def _with_room(example: Example, room: int) -> Example | None:
    """The example with both its histories fitted into `room` estimated tokens; None where the task would be cut."""
    messages, native = _fit(example.messages, room), _fit(example.native, room)
    if example.lost or messages is None or native is None:
        return None
    return replace(example, messages=messages, native=native)


def _fit(conversation: Sequence[Message], room: int) -> tuple[Message, ...] | None:
    before = _before_last(conversation)
    if not before:
        return tuple(conversation)
    if room <= 0:
        return None
    fitted = history.fit(before, room)
    head = next((i for i, message in enumerate(before) if message.role == "assistant"), len(before))
    for old, new in zip(before[:head], fitted, strict=False):
        if not new.content.startswith(old.content):
            return None
    return (*fitted, *conversation[len(before) :])


def _before_last(conversation: Sequence[Message]) -> Sequence[Message]:
    """What stands before the last agent turn: the part that may be shortened."""
    turns = [place for place, message in enumerate(conversation) if message.role == "assistant"]
    return conversation[: turns[-1]] if turns else ()


def figures(lengths: Iterable[int]) -> dict[str, Any]:
    """The longest row, percentiles, and for each window how many rows stay whole in it."""
    ordered = sorted(lengths)
    quantiles = {f"p{q}": ordered[min(len(ordered) - 1, len(ordered) * q // 100)] for q in (50, 90, 99) if ordered}
    whole = {str(window): sum(length <= window for length in ordered) for window in WINDOWS}
    return {"longest": max(ordered, default=0), **quantiles, "whole_at": whole}


def max_length(longest: int, limit: int | None) -> int:
    """What to tell a trainer: the limit that was asked for, else the next multiple of 1,024 that holds every row."""
    return limit or -(-longest // 1024) * 1024
