"""An endpoint that goes wrong in the shapes of public bug reports. Plain sockets: it shares no code with the product.

`with Faulty(play) as server:` calls `play(asked)` for every request, which returns what to do about it: a `Said`. What
it bills is counted, so that a test can compare costs.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

TURN = 'THOUGHT: I look at the failing module first.\n\n```bash\ngrep -rn "def parse" src | head -20\n```'
VERDICT = '{"reason": "Both fine.", "correctness": 1, "grounding": 0, "progress": 2, "protocol": 0, "efficiency": 1}'


@dataclass
class Asked:
    """One request: its body, its number, and how often the very same body came before."""

    body: dict[str, Any]
    number: int
    before: int
    headers: dict[str, str]
    in_flight: int
    path: str = ""

    @property
    def question(self) -> str:
        return json.dumps(self.body.get("messages"))

    @property
    def text(self) -> str:
        return VERDICT if "REPLY 1" in self.question else TURN


@dataclass
class Said:
    """What goes over the wire, and what it costs."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] | None = None
    """Sent one by one, each in a packet of its own, as an event stream."""
    end: str = ""
    """"reset": the connection is reset in place of a response; "cut": in its middle; "hang": no byte comes, ever;
    "last": the connection is closed behind the response."""
    after_s: float = 0.0
    billed: tuple[int, int] = (0, 0)


def completion(
    content: Any, finish: str | None = "stop", usage: tuple[int, int] | None = (1000, 100), **more: Any
) -> dict[str, Any]:
    """A whole reply. `usage` (prompt, completion) or None; `more` goes into the message."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **more}, "finish_reason": finish}
    told = {} if usage is None else {"usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]}}
    return {"id": "x", "object": "chat.completion", "model": "theirs", "choices": [choice], **told}


def good(
    asked: Asked, content: Any = ..., finish: str = "stop", out: int = 100, *, usage_in: int = 1000, **more: Any
) -> Said:
    """A reply that is billed as it says."""
    whole = completion(asked.text if content is ... else content, finish, (usage_in, out), **more)
    return Said(json.dumps(whole).encode(), billed=(usage_in, out))


def refusal(status: int, message: str, headers: dict[str, str] | None = None, **fields: Any) -> Said:
    """An error as OpenAI writes it."""
    return Said(json.dumps({"error": {"message": message, **fields}}).encode(), status, headers or {})


def chunk(content: Any = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One event of a stream."""
    delta = {} if content is None else {"content": content}
    return {
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish, **more}],
    }


def stream(*events: dict[str, Any] | bytes, end: str = "\n\n", out: int = 100, done: bool = True) -> Said:
    """A stream of events; objects are written as such, bytes as they are. The usage comes last."""
    told = {"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": out}}
    written = [e if isinstance(e, bytes) else f"data: {json.dumps(e)}{end}".encode() for e in (*events, told)]
    return Said(pieces=[*written, f"data: [DONE]{end}".encode()] if done else written, billed=(1000, out))


class Faulty:
    """The server, on a thread of its own."""

    def __init__(self, play: Callable[[Asked], Said], models: Any = None, models_path: str = "/v1/models") -> None:
        self.play, self._models, self._models_path = play, models, models_path
        self.asked: list[Asked] = []
        self.billed = [0, 0]
        self.statuses: Counter[int] = Counter()
        self.most_in_flight = self.in_flight = 0
        self._bodies: Counter[bytes] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[Any]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = 0
        self._do(self.open())
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        return self

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def open(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port, backlog=2048)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Listen no more; what is open stays open."""
        self._server.close()
        await asyncio.sleep(0)

    def shut_for(self, seconds: float) -> None:
        """Close the port for a while, from now."""

        async def shut_and_open() -> None:
            await self.shut()
            await asyncio.sleep(seconds)
            await self.open()

        self._loop.call_soon_threadsafe(lambda: self._tasks.add(self._loop.create_task(shut_and_open())))

    def __exit__(self, *_: object) -> None:
        async def close() -> None:
            await self.shut()
            while others := asyncio.all_tasks() - {asyncio.current_task()}:  # a connection may just be coming in
                for task in others:
                    task.cancel()
                await asyncio.gather(*others, return_exceptions=True)
            for _ in range(3):  # turns of the loop that a transport takes to close
                await asyncio.sleep(0)

        self._do(close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """No coroutine: one that is cancelled before its first step would leave its connection open."""
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.close())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._exchange(reader, writer):
                pass

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
        raw = await reader.readexactly(int(fields.get("content-length", 0)))
        method, path, _ = head[0].split(" ", 2)
        if method == "GET":
            known = path.partition("?")[0] == self._models_path and self._models is not None
            said = Said(json.dumps(self._models).encode()) if known else Said(b"{}", 404)
        else:
            asked = Asked(json.loads(raw), len(self.asked), self._bodies[raw], fields, self.in_flight, path)
            self.asked.append(asked)
            self._bodies[raw] += 1
            said = self.play(asked)
            self.billed = [self.billed[0] + said.billed[0], self.billed[1] + said.billed[1]]
            self.statuses[0 if said.end else said.status] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._say(said, writer)
        finally:
            self.in_flight -= 1

    async def _say(self, said: Said, writer: asyncio.StreamWriter) -> bool:
        if said.after_s:
            await asyncio.sleep(said.after_s)
        if said.end == "hang":
            await asyncio.sleep(3600)
        if said.end == "reset":
            _reset(writer)
            return False
        kind = "text/event-stream" if said.pieces is not None else "application/json"
        fields = {"Content-Type": kind, **said.headers}
        if said.pieces is None:
            fields["Content-Length"] = str(len(said.body))
        else:
            fields["Connection"] = "close"
        lines = [f"HTTP/1.1 {said.status} Said", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        writer.write("\r\n".join(lines).encode())
        if said.end == "cut":
            writer.write(said.body[: len(said.body) // 2])
            await writer.drain()
            return False
        for piece in said.pieces or [said.body]:
            writer.write(piece)
            await writer.drain()
            if said.pieces is not None:
                await asyncio.sleep(0)
        return said.pieces is None and said.end != "last"


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
