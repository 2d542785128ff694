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

    def changed(value: Any) -> Any:
        is_chat = isinstance(value, list) and value and all(isinstance(part, dict) and "role" in part for part in value)
        return [_message(part) for part in value] if is_chat else value

    return {key: changed(value) for key, value in row.items()}


def _moved(message: Message) -> Message:
    if message.role != "assistant":
        return message
    said = message.content.strip()
    called = f"<think>\n{said}\n</think>" if said else ""
    return message.model_copy(update={"content": called if dialogue.calls_in(message) else _text(message.content)})


def _text(text: str) -> str:
    """A turn with a bash block: its thought in a think block, then the rest. Any other text stays as it is."""
    match = turn.BLOCK.search(text)
    thought = turn.thought(text)
    if not match or not thought or "<think>" in thought:
        return text
    return f"<think>\n{thought}\n</think>\n\n{text[match.start() :]}"


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message.get("content") or ""
    rest, thought = text_actions.without_thinking(content) if message["role"] == "assistant" else (content, "")
    return {**message, "content": rest.lstrip("\n") if thought else content, "reasoning_content": thought or None}
