"""The chat-completions protocol: a request becomes a body, a body becomes a reply. No network here.

Whatever an endpoint sends is untrusted: every field may be missing, null or of another type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from duel.calls.failures import Failure, Meaning, from_error_object
from duel.calls.request import Request

# Some models emit only the closing tag: the answer is what follows the last one.
_THOUGHT_END = "</think>"
_THOUGHT_START = "<think>"


@dataclass(frozen=True)
class Completion:
    """What one successful call said, before it is a `Reply`."""

    text: str
    reasoning: str
    finish_reason: str
    model: str
    usage: dict[str, int] = field(default_factory=dict)


def encode(
    request: Request, model: str, max_tokens: int, *, stream: bool = False, without: frozenset[str] = frozenset()
) -> bytes:
    """The body of a call. `without` names optional parameters that this endpoint refuses."""
    body: dict[str, Any] = {
        "model": model,
        "messages": request.messages,
        "max_tokens": max_tokens,
        "temperature": request.temperature,
        **request.parameters,
    }
    if request.thinking is not None:
        # Qwen and Gemma read the first name, Kimi, GLM and DeepSeek the second; templates ignore the other.
        body["chat_template_kwargs"] = {"enable_thinking": request.thinking, "thinking": request.thinking}
    if request.response_format is not None:
        body["response_format"] = request.response_format
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    for name in without:
        body.pop(name, None)
    return orjson.dumps(body, default=list)


def decode(body: bytes, now: float) -> Completion | Failure:
    """A plain JSON reply."""
    try:
        parsed = orjson.loads(body)
    except ValueError:
        shown = body[:80].decode("utf-8", "replace")
        return Failure("malformed", Meaning.FAULT, f"the reply is not JSON: {shown!r}", status=200)
    if not isinstance(parsed, dict):
        return Failure("malformed", Meaning.FAULT, "the reply is not a JSON object", status=200)
    if parsed.get("error"):
        return from_error_object(parsed["error"], now)
    choice = _first_choice(parsed)
    if choice is None:
        return Failure("malformed", Meaning.FAULT, "the reply holds no choice", status=200)
    message = _mapping(choice.get("message"))
    return complete(
        content=_string(message.get("content")),
        reasoning=_string(message.get("reasoning_content")) or _string(message.get("reasoning")),
        finish_reason=_string(choice.get("finish_reason")),
        model=_string(parsed.get("model")),
        usage=parsed.get("usage"),
    )


def complete(content: str, reasoning: str, finish_reason: str, model: str, usage: Any) -> Completion | Failure:
    """A completion out of its parts. Empty content is a failure unless thinking ate the budget."""
    text, thought = split_thought(content)
    reasoning = reasoning or thought
    finish_reason = finish_reason or "stop"
    if not text.strip() and finish_reason != "length":
        return Failure("empty", Meaning.FAULT, f"the reply is empty (finish reason {finish_reason!r})", status=200)
    return Completion(text, reasoning, finish_reason, model, read_usage(usage))


def split_thought(content: str) -> tuple[str, str]:
    """(answer, thought): the answer follows the last `</think>`; a thought that never closes leaves no answer."""
    thought, closed, text = content.rpartition(_THOUGHT_END)
    if closed:
        return text.lstrip("\n"), thought.lstrip().removeprefix(_THOUGHT_START).strip("\n")
    if content.lstrip().startswith(_THOUGHT_START):
        return "", content.lstrip().removeprefix(_THOUGHT_START).strip("\n")
    return content, ""


def read_usage(usage: Any) -> dict[str, int]:
    """The token counts that the endpoint named, flat."""
    usage = _mapping(usage)
    found = {
        "prompt_tokens": usage.get("prompt_tokens"),
        "completion_tokens": usage.get("completion_tokens"),
        "cached_tokens": _mapping(usage.get("prompt_tokens_details")).get("cached_tokens"),
        "reasoning_tokens": _mapping(usage.get("completion_tokens_details")).get("reasoning_tokens"),
    }
    # SQLite's integers end at 2**63; no reply has that many tokens.
    return {name: value for name, value in found.items() if type(value) is int and 0 <= value < 2**53}


class StreamReader:
    """Server-sent events, fed as they arrive, into one completion."""

    def __init__(self) -> None:
        self._rest = b""
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._finish_reason = ""
        self._model = ""
        self._usage: Any = None
        self.error: Any = None
        self.done = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes; afterwards `done` tells whether the last event has come."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for event in _events(lines):
            if event == b"[DONE]":
                self.done = True
            else:
                self._take(event)

    def _take(self, event: bytes) -> None:
        try:
            parsed = orjson.loads(event)
        except ValueError:
            return  # a broken event loses its text, and then the finish reason tells; alone it proves nothing
        if not isinstance(parsed, dict):
            return
        if parsed.get("error"):
            self.error, self.done = parsed["error"], True
            return
        self._model = _string(parsed.get("model")) or self._model
        self._usage = parsed.get("usage") or self._usage
        choice = _first_choice(parsed)
        if choice is not None:
            delta = _mapping(choice.get("delta"))
            self._content.append(_string(delta.get("content")))
            self._reasoning.append(_string(delta.get("reasoning_content")) or _string(delta.get("reasoning")))
            self._finish_reason = _string(choice.get("finish_reason")) or self._finish_reason

    def result(self, now: float) -> Completion | Failure:
        """What the stream said in all."""
        self.feed(b"\n")
        if self.error is not None:
            return from_error_object(self.error, now)
        if not self._finish_reason:
            return Failure("incomplete", Meaning.FAULT, "the stream ended without a finish reason", status=200)
        return complete("".join(self._content), "".join(self._reasoning), self._finish_reason, self._model, self._usage)


def _events(lines: list[bytes]) -> Iterator[bytes]:
    for line in lines:
        if line.startswith(b"data:"):
            yield line[5:].strip()


def _first_choice(parsed: Mapping[str, Any]) -> Mapping[str, Any] | None:
    choices = parsed.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
