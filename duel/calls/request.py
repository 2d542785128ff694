"""What is asked of a model and what it replied: the two values that every stage and the ledger share."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import orjson

# What ends a reply before it is complete: its own budget, and (Mistral) the model's whole window.
CUT_SHORT, WINDOW_FULL = "length", "model_length"
# What a reply took, by the names that its `usage` has for it.
COUNTED_USAGE = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")


@dataclass(frozen=True)
class Request:
    """One question to one model. Everything that reaches the wire is part of `key`; `stage` and `item` are not."""

    stage: str  # "king", "challenger", "judge", …: how the ledger groups its figures
    item: str  # the file stem of the turn it is asked for
    model: str
    messages: Sequence[Mapping[str, Any]]
    max_tokens: int
    temperature: float = 0.0
    thinking: bool | None = None  # on or off through `chat_template_kwargs`; None: as the model has it
    response_format: Mapping[str, Any] | None = None  # dropped without loss where it is not taken
    parameters: Mapping[str, Any] = field(default_factory=dict)  # further ones, as the wire spells them (seed)
    attempt: int = 0  # which asking this is: 0 first; a rejected reply, or `--again`, asks with a higher number
    occurrence: int = 0  # which of several items with the very same question: each of them gets a reply
    reminder: str = ""
    """Stands at the end of the last message: what a repeated asking adds, because the same words at temperature 0 bring
    the same reply."""

    @cached_property
    def _question(self) -> tuple[bytes, int]:
        """(digest, bytes) of model, messages and parameters."""
        sampling = (self.max_tokens, self.temperature, self.thinking, self.response_format, dict(self.parameters))
        reminder = (self.reminder,) if self.reminder else ()
        # OPT_SORT_KEYS: a dict built in another order is the same question.
        question = orjson.dumps((self.model, list(self.messages), *sampling, *reminder), option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(question).digest()[:16], len(question)

    @property
    def digest(self) -> bytes:
        """16 bytes that identify the question itself: model, messages and parameters."""
        return self._question[0]

    @property
    def size(self) -> int:
        """Bytes of the question, about those of its body."""
        return self._question[1]

    @cached_property
    def key(self) -> str:
        return f"{self.digest.hex()}-{self.attempt}-{self.occurrence}"

    def again(self, attempt: int, reminder: str = "", occurrence: int | None = None) -> "Request":
        """The same question, asked anew on purpose, with a `reminder` of what the last reply lacked."""
        occurrence = self.occurrence if occurrence is None else occurrence
        if (attempt, reminder, occurrence) == (self.attempt, self.reminder, self.occurrence):
            return self
        made = replace(self, attempt=attempt, reminder=reminder, occurrence=occurrence)
        if reminder == self.reminder:  # the same question need not be hashed again: 0.1 ms at 20 KB
            made.__dict__["_question"] = self._question
        return made


@dataclass(frozen=True)
class Reply:
    """What one call brought back, as the ledger keeps it."""

    text: str  # the answer: content without reasoning
    reasoning: str = ""
    finish_reason: str = "stop"
    model: str = ""  # the model that answered, as the endpoint names it
    usage: Mapping[str, Any] = field(default_factory=dict)  # its counts of tokens, as far as the endpoint says
    provider: str = ""  # the endpoint's address that answered, without the key
    cost: float | None = None  # dollars, or None where the price is unknown
    latency_s: float = 0.0
    tries: int = 1  # calls it took, refusals and faults included
    at: str = ""  # when it arrived, ISO 8601 in UTC
    rejected: str = ""  # why the stage did not take it ("two-blocks", "unparsed: …"); kept so that a rerun knows
    key: str = ""
    from_ledger: bool = False

    @property
    def thought_only(self) -> bool:
        return self.finish_reason == CUT_SHORT and not self.text.strip()

    def kept(self, asked_model: str, **more: Any) -> "Reply":
        """This as the ledger takes it, with `more` of its fields."""
        reason = CUT_SHORT if self.finish_reason == WINDOW_FULL else self.finish_reason
        return replace(self, finish_reason=reason, model=self.model or asked_model, **more)


class Occurrences(Counter[bytes]):
    """Numbers equal questions of a stage, every item's first, finished or not: a rerun gives each the number it had."""

    def number(self, request: Request) -> Request:
        self[request.digest] += 1
        count = self[request.digest] - 1
        return request.again(request.attempt, request.reminder, count) if count else request
