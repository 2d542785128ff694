"""Chat completions as an OpenAI-compatible endpoint words them: usage, one JSON body, or server-sent events."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from duel.offline.faults import fraction

OWN_PREFIX = "offline-stand-in/"
# Characters a token of English prose and code, roughly: enough for figures that are marked as rule-made anyway.
CHARACTERS_PER_TOKEN = 4
# Prefix caches work on blocks of tokens; 256 tokens of 4 characters.
CACHE_BLOCK_CHARACTERS = 1024
CACHE_BLOCKS = 200_000
EVENT_CHARACTERS = 400


@dataclass(frozen=True)
class Completion:
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
        """Tokens of content and reasoning."""
        return tokens(self.content or "") + tokens(self.reasoning)

    def usage(self) -> dict[str, Any]:
        """The usage object."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": tokens(self.reasoning)},
        }

    def within(self, max_tokens: int) -> Completion:
        """This completion, cut where it exceeds the token budget of its request."""
        if self.content is None or self.completion_tokens <= max_tokens:
            return self
        return replace(self, content=self.content[: max_tokens * CHARACTERS_PER_TOKEN], finish_reason="length")

    def body(self) -> bytes:
        """The JSON body of a response that is not streamed."""
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


class PrefixCache:
    """Which prompt prefixes were seen before, per model, as an endpoint's prefix cache would know them."""

    def __init__(self) -> None:
        self._seen: OrderedDict[int, None] = OrderedDict()

    def cached_tokens(self, model: str, prompt: str) -> int:
        """Tokens of `prompt` that an earlier prompt shared from its beginning; remembers this one."""
        cached = 0
        chain = hash(model)
        for start in range(0, len(prompt) - CACHE_BLOCK_CHARACTERS + 1, CACHE_BLOCK_CHARACTERS):
            chain = hash((chain, prompt[start : start + CACHE_BLOCK_CHARACTERS]))
            if chain in self._seen:
                self._seen.move_to_end(chain)
                cached = start + CACHE_BLOCK_CHARACTERS
            else:
                self._seen[chain] = None
        while len(self._seen) > CACHE_BLOCKS:
            self._seen.popitem(last=False)
        return cached // CHARACTERS_PER_TOKEN


def tokens(text: str) -> int:
    """Tokens of `text`, by its length."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def event(fields: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(fields) + b"\n\n"


def error_body(status: int, message: str, code: str = "") -> bytes:
    """An error object as OpenAI-compatible endpoints word it."""
    return orjson.dumps({"error": {"message": message, "type": "error", "code": code or str(status)}})


def damaged(fault: str, completion: Completion, role: str, huge_bytes: int) -> Completion:
    """`completion` as a model with `fault` would have written it; unchanged where the fault is none of a model's."""
    text = completion.content or ""
    if fault == "empty":
        return replace(completion, content="")
    if fault == "length":
        return replace(completion, content=text[: len(text) // 2], finish_reason="length")
    if fault == "reasoning-length":
        reasoning = "Let me think about what was observed so far. " * 40
        return replace(completion, content=None, reasoning=reasoning, finish_reason="length")
    if fault == "think-only":
        return replace(completion, content="The conversation shows where to look next.\n</think>\n")
    if fault == "tool-tokens":
        call = '<|tool_call_begin|>functions.bash:0<|tool_call_argument_begin|>{"command": "ls"}<|tool_call_end|>'
        return replace(completion, content=f"<|tool_calls_section_begin|>{call}<|tool_calls_section_end|>")
    if fault == "several-blocks":
        again = text if role == "judge" else "And then:\n\n```bash\ngit status\n```"
        return replace(completion, content=f"{text}\n\n{again}")
    if fault == "no-block":
        return replace(completion, content=text.replace("```", "").replace("{", "(").replace("}", ")"))
    if fault == "unparsable":
        return replace(completion, content="Both are reasonable next steps, it is hard to say which one is better.")
    if fault == "huge":
        return replace(completion, content="x" * huge_bytes)
    if fault == "no-finish":
        return replace(completion, finish_reason=None)
    return completion


def stand_in_name(asked: str) -> str:
    """How the stand-in names itself when it was asked for model `asked`: never as that model."""
    return asked if asked.startswith(OWN_PREFIX) else OWN_PREFIX + asked


def completion_id(key: str, attempt: int) -> str:
    """An id that depends on the request and how often it was asked."""
    return f"chatcmpl-offline-{int(fraction(key, str(attempt)) * 2**48):012x}"


def _pieces(text: str) -> Iterator[str]:
    return (text[i : i + EVENT_CHARACTERS] for i in range(0, len(text), EVENT_CHARACTERS))
