"""The chat-completions protocol: a request becomes a body, a body becomes a reply. No network here.

Whatever an endpoint sends is untrusted: every field may be missing, null or of another type.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from duel.calls.failures import Failure, broken_reply, from_error_object
from duel.calls.request import CUT_SHORT, WINDOW_FULL, Reply, Request
from duel.conversation.values import table, tables

_CUT_WORDS = frozenset({CUT_SHORT, "max_tokens", "max_output_tokens"})
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
# What stands inside which optional parameter.
_INSIDE = {
    "enable_thinking": "chat_template_kwargs",
    "json_schema": "response_format",
    "include_usage": "stream_options",
}
# Left out wherever a refusal names them: they change how the reply comes, not what is asked.
_OPTIONAL = frozenset(_INSIDE.values())


@dataclass
class Dialect:
    """How one model wants to be asked: parameters that it refuses or knows under another name."""

    without: set[str] = field(default_factory=set)  # parameters that are left out
    renamed: dict[str, str] = field(default_factory=dict)

    @property
    def changes(self) -> int:
        return len(self.without) + len(self.renamed)

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
    body = {dialect.renamed.get(name, name): value for name, value in body.items() if name not in dialect.without}
    # A copy: orjson keeps the room that the worst escapes would take behind its bytes, 130 KB for a body of 15 KB.
    return bytes(memoryview(orjson.dumps(body, default=list)))


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


def decode(body: bytes) -> Reply | Failure:
    parsed = None
    with contextlib.suppress(ValueError):
        parsed = parse_json(body)
    if isinstance(parsed, dict):
        return read(parsed)
    return broken_reply("malformed", f"the reply is no JSON object: {body[:80].decode('utf-8', 'replace')!r}")


def read(parsed: Mapping[str, Any]) -> Reply | Failure:
    """What a whole reply says."""
    choice, error, content, reasoning, reason, tool_calls = _said(parsed, "message")
    usage, reason = read_usage(parsed.get("usage")), reason or "stop"
    if error is not None:
        return from_error_object(error, usage)
    if choice is None:
        return broken_reply("malformed", "the reply holds no choice", usage)
    if reason == "error":
        return broken_reply("error-in-reply", "the reply ends with finish reason 'error'", usage)
    if reason == "content_filter":
        return broken_reply("content-filter", "the endpoint's filter cut the reply", usage)
    reason = CUT_SHORT if reason in _CUT_WORDS else reason
    # Some endpoints send structured output as the arguments of a tool call.
    text = clean(content or "\n".join(arguments for _, arguments in tool_calls if arguments))
    # Where reasoning has a field of its own, a tag in the content is part of the answer.
    if not reasoning.strip() or text.lstrip().startswith("<think>"):
        text, thought = split_thought(text)
        reasoning = reasoning or thought
    if not text.strip() and reason not in (CUT_SHORT, WINDOW_FULL):
        return broken_reply("empty", f"the reply is empty (finish reason {reason!r})", usage)
    return Reply(text, clean(reasoning), clean(reason), clean(string(parsed.get("model"))), usage)


def _said(parsed: Mapping[str, Any], *places: str) -> tuple[Any, Any, str, str, str, list[tuple[Any, str]]]:
    """(choice, error in place of a reply, content, reasoning, finish reason, tool calls) of a body or a stream's event.

    `places`: where the message may stand, the likeliest first; some endpoints send an empty one beside it. Of a tool
    call: its index, where it is told, and arguments.
    """
    choices = parsed.get("choices")
    found = isinstance(choices, list) and choices and isinstance(choices[0], dict)
    choice = choices[0] if found else {}  # type: ignore[index]
    error = parsed if parsed.get("object") == "error" else parsed.get("error") or choice.get("error") or None
    message = next(filter(None, (table(choice.get(place)) for place in places)), {})
    content, thought = content_parts(message.get("content"))
    reasoning = string(message.get("reasoning_content")) or string(message.get("reasoning")) or thought
    reason = string(choice.get("finish_reason")) or string(choice.get("finishReason"))
    called = tables(message.get("tool_calls"))
    tool_calls = [(call.get("index"), string(table(call.get("function")).get("arguments"))) for call in called]
    return choice if found else None, error, content, reasoning, reason.lower(), tool_calls


def read_usage(usage: Any) -> dict[str, int]:
    """The token counts that the endpoint named, flat; reasoning that is billed beside the completion is added to it."""
    usage = table(usage)
    named = {
        "prompt_tokens": usage.get("prompt_tokens"),
        "completion_tokens": usage.get("completion_tokens"),
        "cached_tokens": table(usage.get("prompt_tokens_details")).get("cached_tokens"),
        "reasoning_tokens": table(usage.get("completion_tokens_details")).get("reasoning_tokens"),
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


def string(value: Any) -> str:
    return value if isinstance(value, str) else ""


# Some models emit only the closing tag: the answer is what follows the last one.
_THOUGHT_END = "</think>"
_THOUGHT_START = "<think>"
_FENCE = re.compile(r"(?m)^[ \t]*```")
_QUOTES = frozenset("\"'`")
# Types of content parts that are thought; every other part with a text is the answer.
_THOUGHT_PARTS = frozenset({"thinking", "reasoning", "thought", "reasoning_text"})


def clean(text: str) -> str:
    """`text` with halves of surrogate pairs joined or replaced, line ends as `\\n`, and no byte-order mark.

    An emoji may arrive as two escapes in two events; a half that stays alone can be written to no UTF-8 file.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        text = text.removeprefix("\ufeff")
    return text.replace("\r\n", "\n") if "\r" in text else text


def content_parts(content: Any) -> tuple[str, str]:
    """(answer, thought) of a message's content: a string, or a list of typed parts as Mistral and others send it."""
    if isinstance(content, str):
        return content, ""
    answer: list[str] = []
    thought: list[str] = []
    for one in content if isinstance(content, list) else []:
        part = {"text": one} if isinstance(one, str) else table(one)
        texts = [part[name] for name in ("text", "thinking", "reasoning") if isinstance(part.get(name), str | list)]
        said = "".join(content_parts(texts[0])) if texts else ""
        (thought if string(part.get("type")) in _THOUGHT_PARTS else answer).append(said)
    return "".join(answer), "".join(thought)


def split_thought(content: str) -> tuple[str, str]:
    """(answer, thought): the answer follows the last `</think>`; a thought that never closes leaves no answer.

    A tag that stands in quotes or in a code block is part of the text, and a JSON object has no thought before it.
    """
    start = content.lstrip()
    end = content.rfind(_THOUGHT_END)
    while end >= 0 and (start.startswith("{") or _is_text(content, end)):
        end = content.rfind(_THOUGHT_END, 0, end)
    if end >= 0:
        thought, answer = content[:end], content[end + len(_THOUGHT_END) :]
        return answer.lstrip("\n"), thought.lstrip().removeprefix(_THOUGHT_START).strip("\n")
    if start.startswith(_THOUGHT_START):
        return "", start.removeprefix(_THOUGHT_START).strip("\n")
    return content, ""


def _is_text(content: str, start: int) -> bool:
    """True if the tag at `start` is quoted, or inside a code block that closes after it."""
    end = start + len(_THOUGHT_END)
    before, after = content[start - 1 : start], content[end : end + 1]
    if before == after and before in _QUOTES:
        return True
    # An odd count on both sides: a block is open here. A thought may break off inside a block of its own.
    return len(_FENCE.findall(content[:start])) % 2 == 1 and len(_FENCE.findall(content[end:])) % 2 == 1


# A line ends with LF, CR or CRLF. A CR that is the last byte so far may be half of a CRLF.
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")
_DECODER = json.JSONDecoder()


class StreamReader:
    """Events, fed as they arrive, become one completion or a failure.

    An event that does not parse is a fault of the whole reply: what it carried is missing from the text. The rest is
    read all the same, because the usage comes last.
    """

    def __init__(self) -> None:
        self.done = False
        self._rest = b""
        self._data: list[bytes] = []
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._arguments: dict[Any, list[str]] = {}
        self._finish_reason = self._model = ""
        self._usage: Any = None
        self._damaged = b""
        self._error: Any = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes; afterwards `done` tells whether the last event has come."""
        *lines, self._rest = _LINE_END.split(self._rest + data)
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line:  # ends an event, whose data lines belong together
                event, self._data = b"\n".join(self._data).strip(), []
                self.done = self.done or event.endswith(b"[DONE]")
                try:
                    for value in _objects(event.removesuffix(b"[DONE]")):
                        self._add(value)
                except (ValueError, RecursionError):
                    self._damaged = self._damaged or event[:80]

    def _add(self, parsed: dict[str, Any]) -> None:
        _, error, content, reasoning, reason, tool_calls = _said(parsed, "delta", "message")
        self._model = string(parsed.get("model")) or self._model
        self._usage = parsed.get("usage") or self._usage
        self._error = self._error or error
        self._content.append(content)
        self._reasoning.append(reasoning)
        self._finish_reason = reason or self._finish_reason
        for index, arguments in tool_calls:
            self._arguments.setdefault(index if isinstance(index, int) else 0, []).append(arguments)

    def result(self) -> Reply | Failure:
        self.feed(b"\n\n")
        if not self._error and self._damaged:
            words = f"an event of the stream is damaged: {self._damaged.decode('utf-8', 'replace')!r}"
            return broken_reply("damaged-event", words, read_usage(self._usage))
        if not self._error and not self._finish_reason:
            return broken_reply("incomplete", "the stream ended without a finish reason", read_usage(self._usage))
        calls = [{"function": {"arguments": "".join(pieces)}} for pieces in self._arguments.values()]
        said = {"content": "".join(self._content), "reasoning": "".join(self._reasoning), "tool_calls": calls}
        choice = {"message": said, "finish_reason": self._finish_reason, "error": self._error}
        return read({"choices": [choice], "model": self._model, "usage": self._usage})


def _objects(event: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects of one event; some gateways run two together, or leave out the empty line between two events."""
    if event.startswith(b":"):  # a comment that a proxy has wrapped
        return
    try:
        values = [orjson.loads(event)] if event else []
    except ValueError:
        values, text, place = [], event.decode("utf-8"), 0
        while place < len(text):
            value, place = _DECODER.raw_decode(text, place)
            values.append(value)
            place = len(text) - len(text[place:].lstrip())
    for value in values:
        if isinstance(value, dict):
            yield value
        elif value is not None:
            raise ValueError("not an object")
