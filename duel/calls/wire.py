"""The chat-completions protocol: a request becomes a body, a body becomes a reply. No network here.

Whatever an endpoint sends is untrusted: every field may be missing, null or of another type.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from duel.calls.failures import Failure, broken_reply, from_error_object
from duel.calls.prices import BYTES_PER_TOKEN
from duel.calls.rates import Rates
from duel.calls.reply_text import clean, content_parts, split_thought
from duel.calls.request import Reply, Request

# What ends a reply before it is complete: its own budget, and (Mistral) the model's whole window.
CUT, WINDOW_FULL = "length", "model_length"
_CUT_WORDS = frozenset({CUT, "max_tokens", "max_output_tokens"})
# Refused under the first name, asked under the second.
RENAMED = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
# Never left out: without them the question is another one.
_NEEDED = frozenset({"model", "messages", "stream"})
# Words with which endpoints refuse a parameter as such. "must be below 1" is not among them: the user's value is wrong.
_REFUSES = re.compile(
    r"(?i)\b(?:un|not )support|does(?:n't| not) support|not (?:allowed|permitted|available|accepted|recognized)|"
    r"(?:unknown|unrecogni[sz]ed|unexpected|extra|extraneous|deprecated|additional) |only .{0,40}(?:allowed|supported)|"
    r"\bunknown\b|\bextra_forbidden\b|\bdeprecated\b|cannot be (?:set|used|combined)"
)
_WORD = re.compile(r"[a-z_][a-z0-9_]*")
# Left out wherever a refusal names them: they change how the reply comes, not what is asked.
_OPTIONAL = frozenset({"response_format", "chat_template_kwargs", "stream_options"})
# What stands inside an optional parameter.
_INSIDE = {
    "enable_thinking": "chat_template_kwargs",
    "json_schema": "response_format",
    "include_usage": "stream_options",
}


@dataclass
class Dialect:
    """How one model wants to be asked: parameters that it refuses or knows under another name."""

    without: set[str] = field(default_factory=set)  # parameters that are left out
    renamed: dict[str, str] = field(default_factory=dict)

    @property
    def changes(self) -> int:
        return len(self.without) + len(self.renamed)

    def apply(self, body: dict[str, Any]) -> None:
        for name in self.without:
            body.pop(name, None)
        for name, other in self.renamed.items():
            if name in body:
                body[other] = body.pop(name)

    def learn(self, words: str, body: Mapping[str, Any]) -> str:
        """What to do about a refusal that says `words` of `body`, as the user is told; "" if it is not about a name."""
        said = [_INSIDE.get(word, word) for word in _WORD.findall(words.lower())]
        refused = _REFUSES.search(words) is not None
        named = [name for name in body if name in said and (name in _OPTIONAL or (refused and name not in _NEEDED))]
        # The first one named is the one refused: "'max_tokens' is not supported … use 'max_completion_tokens'".
        name = min(named, key=said.index, default="")
        if name in RENAMED and name not in self.renamed.values():
            self.renamed[name] = RENAMED[name]
            return f"{name} is sent as {RENAMED[name]}"
        if not name or name in RENAMED:
            return ""
        self.without.add(name)
        return f"{name} is left out"


_PLAIN_DIALECT = Dialect()


@dataclass(frozen=True)
class Completion:
    """What one successful call said, before it is a `Reply`."""

    text: str
    reasoning: str
    finish_reason: str
    model: str
    usage: dict[str, int] = field(default_factory=dict)
    rates: Rates | None = None  # what the endpoint's headers say of its limits

    @property
    def thought_only(self) -> bool:
        """True if the budget ended before the answer began."""
        return self.finish_reason == CUT and not self.text.strip()

    @property
    def tokens_said(self) -> int:
        """About how many tokens it has, on the safe side: for endpoints that name no usage."""
        return int(len((self.text + self.reasoning).encode("utf-8", "replace")) / BYTES_PER_TOKEN) + 1

    def as_reply(self, asked_model: str, **more: Any) -> Reply:
        """This as the ledger keeps it, with `more` of the reply's fields."""
        reason = CUT if self.finish_reason == WINDOW_FULL else self.finish_reason
        return Reply(self.text, self.reasoning, reason, self.model or asked_model, **more)


def encode(
    request: Request, model: str, max_tokens: int, *, stream: bool = False, dialect: Dialect = _PLAIN_DIALECT
) -> bytes:
    """The body of a call, in the `dialect` of the model."""
    body: dict[str, Any] = {
        "model": model,
        "messages": reminded(request.messages, request.reminder) if request.reminder else request.messages,
        "max_tokens": max_tokens,
        "temperature": request.temperature,
        **request.parameters,
    }
    if request.thinking is not None:
        # Qwen and Gemma read the first name, Kimi, GLM and DeepSeek the second; templates ignore the other.
        switches = {"enable_thinking": request.thinking, "thinking": request.thinking}
        body["chat_template_kwargs"] = {**(body.get("chat_template_kwargs") or {}), **switches}
    if request.response_format is not None:
        body["response_format"] = request.response_format
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    dialect.apply(body)
    return orjson.dumps(body, default=list)


def reminded(messages: Sequence[Mapping[str, Any]], reminder: str) -> list[Mapping[str, Any]]:
    """`messages` with `reminder` at the end of the last one: many templates refuse two user messages in a row."""
    last = messages[-1] if messages else {}
    if last.get("role") == "user" and isinstance(last.get("content"), str):
        return [*messages[:-1], {**last, "content": f"{last['content']}\n\n{reminder}"}]
    return [*messages, {"role": "user", "content": reminder}]


def parse_json(data: bytes) -> Any:
    """The value of `data`, also where it holds NaN, lone surrogates or a byte-order mark. Raises ValueError."""
    try:
        return orjson.loads(data)
    except ValueError:
        try:
            return json.loads(data.decode("utf-8-sig"))
        except RecursionError:
            raise ValueError("nested too deep") from None


def decode(body: bytes, now: float) -> Completion | Failure:
    try:
        parsed = parse_json(body)
    except ValueError:
        shown = body[:80].decode("utf-8", "replace")
        return broken_reply("malformed", f"the reply is not JSON: {shown!r}")
    if not isinstance(parsed, dict):
        return broken_reply("malformed", "the reply is not a JSON object")
    return read(parsed, now)


def read(parsed: Mapping[str, Any], now: float) -> Completion | Failure:
    """What a whole reply says; `now` in seconds since the epoch."""
    usage = read_usage(parsed.get("usage"))
    choice = first_choice(parsed)
    if (error := error_of(parsed, choice or {})) is not None:
        return from_error_object(error, now, usage)
    if choice is None:
        return broken_reply("malformed", "the reply holds no choice", usage)
    message = mapping(choice.get("message"))
    content, thought = content_parts(message.get("content"))
    content = content or tool_arguments(message.get("tool_calls"))
    reasoning, reason = reasoning_of(message) or thought, finish_reason_of(choice) or "stop"
    if reason == "error":
        return broken_reply("error-in-reply", "the reply ends with finish reason 'error'", usage)
    if reason == "content_filter":
        return broken_reply("content-filter", "the endpoint's filter cut the reply", usage)
    reason = CUT if reason in _CUT_WORDS else reason
    text = clean(content)
    # Where reasoning has a field of its own, a tag in the content is part of the answer.
    if not reasoning.strip() or text.lstrip().startswith("<think>"):
        text, thought = split_thought(text)
        reasoning = reasoning or thought
    if not text.strip() and reason not in (CUT, WINDOW_FULL):
        return broken_reply("empty", f"the reply is empty (finish reason {reason!r})", usage)
    return Completion(text, clean(reasoning), clean(reason), clean(string(parsed.get("model"))), usage)


def read_usage(usage: Any) -> dict[str, int]:
    """The token counts that the endpoint named, flat; reasoning that is billed beside the completion is added to it."""
    usage = mapping(usage)
    completion = mapping(usage.get("completion_tokens_details"))
    named = {
        "prompt_tokens": usage.get("prompt_tokens"),
        "completion_tokens": usage.get("completion_tokens"),
        "cached_tokens": mapping(usage.get("prompt_tokens_details")).get("cached_tokens"),
        "reasoning_tokens": completion.get("reasoning_tokens"),
    }
    found = {name: count for name, value in named.items() if (count := _count(value)) is not None}
    asked, written, thought = (found.get(f"{name}_tokens", 0) for name in ("prompt", "completion", "reasoning"))
    total = _count(usage.get("total_tokens")) or 0
    if thought and "completion_tokens" in found and (thought > written or total >= asked + written + thought):
        found["completion_tokens"] = written + thought
    return found


def _count(value: Any) -> int | None:
    """A token count, or None. Some endpoints send floats; SQLite's integers end at 2**63, no reply has that many."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value < 2**53 else None


def tool_arguments(tool_calls: Any) -> str:
    """The arguments of a message's tool calls: some endpoints send structured output this way."""
    functions = (
        [mapping(mapping(call).get("function")) for call in tool_calls if call] if isinstance(tool_calls, list) else []
    )
    return "\n".join(text for function in functions if (text := string(function.get("arguments"))))


def error_of(parsed: Mapping[str, Any], choice: Mapping[str, Any]) -> Any:
    """The error object that stands in a body or an event in place of a reply, or None."""
    if parsed.get("object") == "error":
        return parsed
    return parsed.get("error") or choice.get("error") or None


def reasoning_of(message: Mapping[str, Any]) -> str:
    """The thought that came in a field of its own."""
    return string(message.get("reasoning_content")) or string(message.get("reasoning"))


def finish_reason_of(choice: Mapping[str, Any]) -> str:
    """Why the reply ended, in lower case; "" where it does not say."""
    return (string(choice.get("finish_reason")) or string(choice.get("finishReason"))).lower()


def first_choice(parsed: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The first choice of a body or an event, or None."""
    choices = parsed.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    return None


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def string(value: Any) -> str:
    return value if isinstance(value, str) else ""
