"""What is changed in every text before it is written: secrets, control tokens, and where a thought stands."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from duel import chat_tokens, turn
from duel.audit.secrets import scrub
from duel.conversation import dialogue, text_actions
from duel.exports.example import Dropped, Example
from duel.records import Message

# Histories share their system prompts and tasks; what only one of them holds is not kept.
_scrubbed = lru_cache(maxsize=1024)(scrub)


@dataclass
class Scrubber:
    """Replaces secrets in everything that is written, and counts them by kind."""

    key: bytes = field(default=b"", repr=False)
    """The workspace's secret, without which a placeholder tells only the kind."""
    counts: Counter[str] = field(default_factory=Counter)

    def step(self, examples: list[Example]) -> tuple[list[Example], list[Dropped]]:
        return [rewritten(example, self._text) for example in examples], []

    def _text(self, text: str) -> str:
        scrubbed = _scrubbed(text, self.key)
        self.counts.update(scrubbed.counts)
        return scrubbed.text


@dataclass
class TokenBreaker:
    """Breaks control tokens of chat templates, which a trainer's tokenizer would take for a switch of role."""

    family: str = "all"  # of `chat_tokens.FAMILIES`, or "all"
    broken: int = 0

    def step(self, examples: list[Example]) -> tuple[list[Example], list[Dropped]]:
        return [rewritten(example, self._text) for example in examples], []

    def _text(self, text: str) -> str:
        family = "" if self.family == "all" else self.family
        # Tags of tool calls are how some agents act: the formats read them.
        found = [token for token in chat_tokens.tokens(text, family) if "tool" not in token.lower()]
        self.broken += len(found)
        for token in found:
            text = text.replace(token, chat_tokens.broken(token, family))
        return text


def rewritten(example: Example, change: Callable[[str], str]) -> Example:
    """`example` with `change` made to each text in its messages, tool calls and losing turns."""

    def value(part: Any) -> Any:
        if isinstance(part, str):
            return change(part)
        if isinstance(part, Mapping):
            return {key: value(inner) for key, inner in part.items()}
        return [value(inner) for inner in part] if isinstance(part, list) else part

    return example.mapped(lambda said: Message.model_validate(value(said.model_dump())), change)


def in_think_blocks(examples: list[Example]) -> tuple[list[Example], list[Dropped]]:
    """A step that moves every agent turn's thought into a think block, history and losing turns included."""

    def text(said: str) -> str:
        block, thought = turn.BLOCK.search(said), turn.thought(said)
        if not block or not thought or "<think>" in thought:
            return said
        return f"<think>\n{thought}\n</think>\n\n{said[block.start() :]}"

    def moved(message: Message) -> Message:
        if message.role != "assistant":
            return message
        said = message.content.strip()
        called = f"<think>\n{said}\n</think>" if said else ""
        return message.model_copy(update={"content": called if dialogue.calls_in(message) else text(message.content)})

    return [example.mapped(moved, text) for example in examples], []


def as_reasoning(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with each think block as the message's `reasoning_content`; null where a turn has none."""

    def moved(message: Mapping[str, Any]) -> dict[str, Any]:
        content = message.get("content") or ""
        rest, thought = text_actions.without_thinking(content) if message["role"] == "assistant" else (content, "")
        return {**message, "content": rest.lstrip("\n") if thought else content, "reasoning_content": thought or None}

    def changed(value: Any) -> Any:
        is_chat = isinstance(value, list) and value and all(isinstance(part, dict) and "role" in part for part in value)
        return [moved(part) for part in value] if is_chat else value

    return {key: changed(value) for key, value in row.items()}
