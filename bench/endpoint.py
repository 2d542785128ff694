"""A lean endpoint for measuring clients: one process, raw asyncio, about 8,000 replies a second.

    python -m bench.endpoint --port 8399

POST …/chat/completions answers with one well-formed turn after `latency_s`. POST /reset takes settings as JSON:
latency_s, capacity (429 beyond it), retry_after_s, seed, and `faults`, a probability for each of 429, 500, reset and
truncated. GET /stats counts. A request is known by the number behind `REQID=` in it, and what befalls it depends on
that number, on how often it was asked, and on the seed alone, so that every client meets the same faults.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import time
from collections import Counter
from typing import Any

REPLY = "THOUGHT: I look at the file that the issue names.\n\n```bash\ncat src/app_{number}.py\n```"
PADDING = " The parser drops the last line, so that is where to look first." * 14
_ID = re.compile(rb"REQID=(\d+)")
_LENGTH = re.compile(rb"(?i)content-length: *(\d+)")


class State:
    """Settings and counts."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.reset({})

    def reset(self, changes: dict[str, Any]) -> None:
        """Forget the counts and change settings."""
        defaults = {"latency_s": 0.2, "capacity": 0, "retry_after_s": 1, "seed": 7, "faults": {}}
        self.settings = {**defaults, **self.settings, **changes}
        self.asked: Counter[int] = Counter()
        self.delivered: Counter[int] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.in_flight = self.most_in_flight = self.after_delivery = 0
        self.first = self.last = 0.0

    def outcome(self, number: int) -> str:
        """What befalls the next call of this request."""
        if self.settings["capacity"] and self.in_flight >= self.settings["capacity"]:
            return "full"
        draw = random.Random(f"{self.settings['seed']} {number} {self.asked[number]}").random()
        for name, probability in self.settings["faults"].items():
            draw -= probability
            if draw < 0:
                return str(name)
        return "ok"

    def stats(self) -> dict[str, Any]:
        """The counts."""
        return {
            "requests": self.asked.total(),
            "delivered": len(self.delivered),
            "delivered_twice": self.delivered.total() - len(self.delivered),
            "after_delivery": self.after_delivery,
            "most_in_flight": self.most_in_flight,
            "outcomes": dict(self.outcomes),
            "span_s": self.last - self.first,
            "in_flight": self.in_flight,
        }


class Connection(asyncio.Protocol):
    """One connection; requests on it come one after the other."""

    def __init__(self, state: State) -> None:
        self._state, self._data, self._wanted = state, bytearray(), 0
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        """A client that goes away frees its slot."""
        if self._busy:
            self._busy = False
            self._state.in_flight -= 1

    def data_received(self, data: bytes) -> None:
        """Collect one request, then answer it."""
        self._data += data
        if not self._wanted:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(self._data, 0, end)
            self._wanted = end + 4 + (int(length[1]) if length else 0)
        if len(self._data) >= self._wanted:
            whole, self._data, self._wanted = bytes(self._data), bytearray(), 0
            self._handle(whole)

    def _handle(self, whole: bytes) -> None:
        state = self._state
        if whole.startswith(b"GET"):
            return self._send(b"200 OK", json.dumps(state.stats()).encode())
        if b"/reset" in whole[:40]:
            state.reset(json.loads(whole.partition(b"\r\n\r\n")[2] or b"{}"))
            return self._send(b"200 OK", b"{}")
        found = _ID.search(whole)
        number = int(found[1]) if found else 0
        now = time.monotonic()
        state.first = state.first or now
        state.after_delivery += state.delivered[number] > 0
        outcome = state.outcome(number)
        state.asked[number] += 1
        state.outcomes[outcome] += 1
        if outcome in ("429", "full"):
            header = f"Retry-After: {state.settings['retry_after_s']}\r\n".encode()
            return self._send(b"429 Too Many Requests", b'{"error":{"message":"rate limit reached"}}', header)
        self._busy = True
        state.in_flight += 1
        state.most_in_flight = max(state.most_in_flight, state.in_flight)
        asyncio.get_running_loop().call_later(state.settings["latency_s"], self._reply, number, outcome, len(whole))
        return None

    def _reply(self, number: int, outcome: str, size: int) -> None:
        if not self._busy:
            return
        state, self._busy = self._state, False
        state.in_flight -= 1
        state.last = time.monotonic()
        if outcome == "reset":
            self._transport.abort()
        elif outcome == "500":
            self._send(b"500 Internal Server Error", b'{"error":{"message":"the server had an error"}}')
        else:
            content = REPLY.replace("{number}", str(number)).replace("names.", "names." + PADDING)
            usage = {"prompt_tokens": size // 4, "completion_tokens": 260, "total_tokens": size // 4 + 260}
            choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
            fields = {"id": f"c-{number}", "object": "chat.completion", "created": 0, "model": "bench"}
            body = json.dumps({**fields, "choices": [choice], "usage": usage}).encode()
            self._send(b"200 OK", body, cut=outcome == "truncated")
            state.delivered[number] += outcome == "ok"

    def _send(self, status: bytes, body: bytes, headers: bytes = b"", *, cut: bool = False) -> None:
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        head = b"HTTP/1.1 " + status + b"\r\nContent-Type: application/json\r\n" + headers + length
        self._transport.write(head + (body[: len(body) // 2] if cut else body))
        if cut:
            self._transport.close()


async def serve(port: int) -> None:
    """Serve on loopback until the process ends; prints the port."""
    state = State()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(state), "127.0.0.1", port, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(serve(parser.parse_args().port))
