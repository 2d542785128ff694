"""Chat completions as an OpenAI-compatible endpoint words them: usage, one JSON body, or server-sent events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

OWN_PREFIX = "offline-stand-in/"
# Characters a token of English prose and code, roughly: enough for figures that are marked as rule-made anyway.
CHARACTERS_PER_TOKEN = 4
EVENT_CHARACTERS = 400


@dataclass(frozen=True)
class StandInReply:
    """What the stand-in says to one request, before it is put into bytes."""

    id: str
    model: str
    content: str | None
    finish_reason: str | None = "stop"
    reasoning: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0

    @property
    def completion_tokens(self) -> int:
        return tokens(self.content or "") + tokens(self.reasoning)

    def usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": tokens(self.reasoning)},
        }

    def within(self, max_tokens: int) -> StandInReply:
        """This completion, cut where it exceeds the token budget of its request."""
        if self.content is None or self.completion_tokens <= max_tokens:
            return self
        return replace(self, content=self.content[: max_tokens * CHARACTERS_PER_TOKEN], finish_reason="length")

    def body(self) -> bytes:
        message = {"role": "assistant", "content": self.content}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        return orjson.dumps({**self._head("chat.completion"), "choices": [choice], "usage": self.usage()})

    def events(self, with_usage: bool) -> Iterator[bytes]:
        """The server-sent events of a streamed response, `[DONE]` included."""
        yield self._event({"role": "assistant", "content": ""})
        for piece in _pieces(self.reasoning):
            yield self._event({"reasoning_content": piece})
        for piece in _pieces(self.content or ""):
            yield self._event({"content": piece})
        if self.finish_reason is not None:
            yield self._event({}, self.finish_reason)
        if with_usage:
            head = self._head("chat.completion.chunk")
            yield event({**head, "choices": [], "usage": self.usage()})
        yield b"data: [DONE]\n\n"

    def _event(self, delta: Mapping[str, str], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return event({**self._head("chat.completion.chunk"), "choices": [choice]})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": 0, "model": self.model}


def tokens(text: str) -> int:
    """Tokens of `text`, by its length."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def event(fields: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(fields) + b"\n\n"


def error_body(status: int, message: str, code: str = "") -> bytes:
    """An error object as OpenAI-compatible endpoints word it."""
    return orjson.dumps({"error": {"message": message, "type": "error", "code": code or str(status)}})


def stand_in_name(asked: str) -> str:
    """How the stand-in names itself when it was asked for model `asked`: never as that model."""
    return asked if asked.startswith(OWN_PREFIX) else OWN_PREFIX + asked


def _pieces(text: str) -> Iterator[str]:
    return (text[i : i + EVENT_CHARACTERS] for i in range(0, len(text), EVENT_CHARACTERS))
