"""A streamed reply: server-sent events, fed as they arrive, become one completion or a failure.

An event that does not parse is a fault of the whole reply: what it carried is missing from the text. The rest is read
all the same, because the usage comes last.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from duel.calls.failures import Failure, broken_reply
from duel.calls.reply_text import content_parts
from duel.calls.wire import (
    Completion,
    error_of,
    finish_reason_of,
    first_choice,
    mapping,
    parse_json,
    read,
    read_usage,
    reasoning_of,
    string,
)

# A line ends with LF, CR or CRLF. A CR that is the last byte so far may be half of a CRLF.
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")
_DECODER = json.JSONDecoder()


class StreamReader:
    """The events of one reply."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._arguments: dict[int, list[str]] = {}
        self._finish_reason = ""
        self._model = ""
        self._usage: Any = None
        self._damaged = b""
        self._error: Any = None
        self.done = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes; afterwards `done` tells whether the last event has come."""
        *lines, self._rest = _LINE_END.split(self._rest + data)
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line:
                self._dispatch()

    def _dispatch(self) -> None:
        """An empty line ends an event, whose data lines belong together."""
        lines, self._data = self._data, []
        event = b"\n".join(lines).strip()
        if event == b"[DONE]":
            self.done = True
        elif event and not event.startswith(b":"):  # a comment that a proxy has wrapped
            self._take(event, lines)

    def _take(self, event: bytes, lines: list[bytes]) -> None:
        try:
            parsed = list(_objects(event))
        except ValueError:
            if len(lines) > 1:  # events that no empty line keeps apart
                for line in lines:
                    self._data = [line]
                    self._dispatch()
            else:
                self._damaged = self._damaged or event[:80]
            return
        for value in parsed:
            self._add(value)

    def _add(self, parsed: dict[str, Any]) -> None:
        self._model = string(parsed.get("model")) or self._model
        self._usage = parsed.get("usage") or self._usage
        choice = first_choice(parsed) or {}
        self._error = self._error or error_of(parsed, choice)
        delta = mapping(choice.get("delta")) or mapping(choice.get("message"))
        content, thought = content_parts(delta.get("content"))
        self._content.append(content)
        self._reasoning.append(reasoning_of(delta) or thought)
        self._finish_reason = finish_reason_of(choice) or self._finish_reason
        for call in delta.get("tool_calls") or () if isinstance(delta.get("tool_calls"), list) else ():
            index = mapping(call).get("index")
            pieces = self._arguments.setdefault(index if isinstance(index, int) else 0, [])
            pieces.append(string(mapping(mapping(call).get("function")).get("arguments")))

    def result(self, now: float) -> Completion | Failure:
        self.feed(b"\n\n")
        if not self._error and self._damaged:
            words = f"an event of the stream is damaged: {self._damaged.decode('utf-8', 'replace')!r}"
            return broken_reply("damaged-event", words, read_usage(self._usage))
        if not self._error and not self._finish_reason:
            return broken_reply("incomplete", "the stream ended without a finish reason", read_usage(self._usage))
        calls = [{"function": {"arguments": "".join(pieces)}} for pieces in self._arguments.values()]
        said = {"content": "".join(self._content), "reasoning": "".join(self._reasoning), "tool_calls": calls}
        choice = {"message": said, "finish_reason": self._finish_reason, "error": self._error}
        return read({"choices": [choice], "model": self._model, "usage": self._usage}, now)


def _objects(event: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects of one event; some gateways run two together. Raises ValueError."""
    try:
        value = parse_json(event)
    except ValueError:
        text, place = event.decode("utf-8"), 0
        while place < len(text):
            value, end = _DECODER.raw_decode(text, place)
            if not isinstance(value, dict):
                raise ValueError("not an object") from None
            yield value
            place = end + len(text[end:]) - len(text[end:].lstrip())
        return
    if isinstance(value, dict):
        yield value
    elif value is not None:
        raise ValueError("not an object")
