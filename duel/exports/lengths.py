"""How many tokens a trainer makes of a row, and prompts that are fitted so that the accepted turn stays whole."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from duel import history
from duel.conversation import text_actions
from duel.errors import ItemError, UserError
from duel.exports.example import Example
from duel.exports.formats import Format, Row, as_object, sequences
from duel.records import Message

WINDOWS = (1_024, 4_096, 8_192, 16_384, 32_768)  # values of `max_length` for which the rows that stay whole are told
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
        keys = ("content", "reasoning_content", "tool_calls")
        parts = [*(part for message in sequence for key in keys if (part := message.get(key))), *[tools] * bool(tools)]
        texts = (part if isinstance(part, str) else json.dumps(part, ensure_ascii=False) for part in parts)
        return history.TOKENS_PER_MESSAGE * len(sequence) + sum(map(history.estimate_tokens, texts))


class Tokenizer(Estimate):
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
        """Tokens of one sequence as the chat template renders it; messages that it refuses are estimated."""
        if isinstance(sequence, str):
            return len(self._tokenizer(sequence)["input_ids"])
        if self._tokenizer.chat_template:
            # A template raises errors of its own kind for roles and calls that it does not know.
            with suppress(Exception):
                rendered = self._tokenizer.apply_chat_template(sequence, tools=list(tools) or None, return_dict=False)
                return len(rendered)
        return super().count(sequence, tools)


class MeasuredRow(NamedTuple):
    fields: Mapping[str, Any]  # as they are written
    example: Example
    lengths: tuple[int, ...]  # tokens of each sequence that a trainer makes of it

    @property
    def longest(self) -> int:
        return max(self.lengths)


@dataclass
class Measure:
    """Makes the rows of an example, counts their tokens, and fits them into `limit` tokens where one is set."""

    tokens: Estimate = field(default_factory=Estimate)
    limit: int | None = None
    reasoning: bool = False  # thoughts are written as `reasoning_content`
    weights: bool = False  # rows have the columns of `Example.weights`

    def rows(self, form: Format, example: Example) -> list[MeasuredRow]:
        """The rows of one example.

        Raises ItemError (`does-not-fit`) where the accepted turn does not fit beside instructions and task.
        """
        rows = self._measured(form, example)
        longest = max(row.longest for row in rows)
        if self.limit is not None and longest > self.limit:
            rows = self._measured(form, self._fitted(form, example, longest, self.limit))
        return rows

    def _measured(self, form: Format, example: Example) -> list[MeasuredRow]:
        rows = []
        for part, fields in form.made(example):
            row = self._as_written(fields)
            rows.append(MeasuredRow({**row, **part.weights()} if self.weights else row, part, self._lengths(form, row)))
        return rows

    def _as_written(self, row: Row) -> Row:
        """With `reasoning`, each think block as the message's `reasoning_content`; null where a turn has none."""

        def moved(message: Mapping[str, Any]) -> Row:
            content = message.get("content") or ""
            rest, thought = text_actions.without_thinking(content) if message["role"] == "assistant" else (content, "")
            text = rest.lstrip("\n") if thought else content
            return {**message, "content": text, "reasoning_content": thought or None}

        def changed(value: Any) -> Any:
            chat = isinstance(value, list) and value and all(isinstance(one, dict) and "role" in one for one in value)
            return [moved(message) for message in value] if chat else value

        return {key: changed(value) for key, value in row.items()} if self.reasoning else row

    def _lengths(self, form: Format, row: Mapping[str, Any]) -> tuple[int, ...]:
        tools = as_object(row["tools"]) if row.get("tools") else ()
        frame = EMPTY_THOUGHT if form.trl_flags.get("assistant_only_loss") else 0
        found = sequences(row)
        turns = (0 if isinstance(one, str) else sum(message["role"] == "assistant" for message in one) for one in found)
        return tuple(self.tokens.count(one, tools) + frame * count for one, count in zip(found, turns, strict=True))

    def _fitted(self, form: Format, example: Example, longest: int, limit: int) -> Example:
        """The example with a shorter history: the room goes down by what is too much until the rows fit."""
        room = history.history_tokens(_before_last(example.native or example.messages))
        scale = room / longest  # the history's rule counts in estimated tokens
        for _ in range(ROUNDS):
            room -= max(32, int((longest - limit) * scale))
            messages, native = _fit(example.messages, room), _fit(example.native, room)
            if example.lost or messages is None or native is None:
                break  # the task would be cut
            shorter = replace(example, messages=messages, native=native)
            written = [self._as_written(form.write(part)) for part in form.rows_of(shorter)]
            longest = max(max(self._lengths(form, row)) for row in written)
            if longest <= limit:
                return shorter
            # Whole turns go: what is left can be far below the room that it was given.
            room = min(room, history.history_tokens(_before_last(shorter.native or shorter.messages)))
        raise ItemError("does-not-fit", f"more than {limit} tokens with the shortest history")


def _fit(conversation: Sequence[Message], room: int) -> tuple[Message, ...] | None:
    """The conversation with less before its last turn; None where instructions and task would not stay whole."""
    before = _before_last(conversation)
    if not before or room <= 0:
        return None if before else tuple(conversation)
    fitted = history.fit(before, room)
    head = next((i for i, message in enumerate(before) if message.role == "assistant"), len(before))
    whole = all(new.content.startswith(old.content) for old, new in zip(before[:head], fitted, strict=False))
    return (*fitted, *conversation[len(before) :]) if whole else None


def _before_last(conversation: Sequence[Message]) -> Sequence[Message]:
    """What stands before the last agent turn: the part that may be shortened."""
    turns = [place for place, message in enumerate(conversation) if message.role == "assistant"]
    return conversation[: turns[-1]] if turns else ()


def figures(lengths: Iterable[int]) -> dict[str, Any]:
    ordered = sorted(lengths)
    quantiles = {f"p{q}": ordered[min(len(ordered) - 1, len(ordered) * q // 100)] for q in (50, 90, 99) if ordered}
    whole = {str(window): sum(length <= window for length in ordered) for window in WINDOWS}
    return {"longest": max(ordered, default=0), **quantiles, "whole_at": whole}
