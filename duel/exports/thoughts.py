"""Where the thought of an agent turn stands: in the text, in a think block, or in a key of its own."""

from collections.abc import Mapping
from typing import Any, Literal

from duel import turn
from duel.conversation import dialogue, text_actions
from duel.exports.example import Dropped, Example
from duel.records import Message

Place = Literal["text", "think", "reasoning_content"]
PLACES: tuple[Place, ...] = ("text", "think", "reasoning_content")


def in_think_blocks(examples: list[Example]) -> tuple[list[Example], list[Dropped]]:
    """A step that moves every agent turn's thought into a think block, history and losing turns included."""
    return [example.mapped(_moved, _text) for example in examples], []


def as_reasoning(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with each think block as the message's `reasoning_content`; null where a turn has none."""
    return {key: [_message(part) for part in value] if _is_chat(value) else value for key, value in row.items()}


def _moved(message: Message) -> Message:
    if message.role != "assistant":
        return message
    if dialogue.calls_in(message):
        content = f"<think>\n{message.content.strip()}\n</think>" if message.content.strip() else ""
    else:
        content = _text(message.content)
    return message.model_copy(update={"content": content})


def _text(text: str) -> str:
    """A turn with a bash block: its thought in a think block, then the rest. Any other text stays as it is."""
    match = turn.BLOCK.search(text)
    thought = turn.thought(text)
    if not match or not thought or "<think>" in thought:
        return text
    return f"<think>\n{thought}\n</think>\n\n{text[match.start() :]}"


def _is_chat(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(part, dict) and "role" in part for part in value)


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message.get("content") or ""
    rest, thought = text_actions.without_thinking(content) if message["role"] == "assistant" else (content, "")
    return {**message, "content": rest.lstrip("\n") if thought else content, "reasoning_content": thought or None}
