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

    def usage(self) -> dict[str, Any]:
        completion = tokens(self.content or "") + tokens(self.reasoning)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": tokens(self.reasoning)},
        }

    def within(self, max_tokens: int) -> StandInReply:
        """This completion, cut where it exceeds the token budget of its request."""
        if self.content is None or self.usage()["completion_tokens"] <= max_tokens:
            return self
        return replace(self, content=self.content[: max_tokens * CHARACTERS_PER_TOKEN], finish_reason="length")

    def body(self) -> bytes:
        message = {"role": "assistant", "content": self.content}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        return orjson.dumps(self._told("chat.completion", [choice], usage=self.usage()))

    def events(self, with_usage: bool) -> Iterator[bytes]:
        """The server-sent events of a streamed response, `[DONE]` included."""
        deltas: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": ""}, None)]
        for name, text in (("reasoning_content", self.reasoning), ("content", self.content or "")):
            pieces = (text[start : start + EVENT_CHARACTERS] for start in range(0, len(text), EVENT_CHARACTERS))
            deltas += [({name: piece}, None) for piece in pieces]
        if self.finish_reason is not None:
            deltas.append(({}, self.finish_reason))
        for delta, finish_reason in deltas:
            choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
            yield event(self._told("chat.completion.chunk", [choice]))
        if with_usage:
            yield event(self._told("chat.completion.chunk", [], usage=self.usage()))
        yield b"data: [DONE]\n\n"

    def _told(self, kind: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": 0, "model": self.model, "choices": choices, **more}


def tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def event(fields: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(fields) + b"\n\n"
