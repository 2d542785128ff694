"""HTTP/1.1 as a server speaks it, on bare asyncio.

The stand-in must be able to cut, stall and damage what it sends, and a server in the same process must leave the
processor to the client that is measured against it.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class HttpCall:
    """One HTTP request: header names in lower case, the whole body."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


Handler = Callable[[HttpCall, "Connection"], Awaitable[None]]


class Connection(asyncio.Protocol):
    """One client connection: hands each request to `handler` and lets it write the response, one after another."""

    transport: asyncio.Transport

    def __init__(self, handler: Handler, connections: set[Connection]) -> None:
        self._handler = handler
        self._connections = connections
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._drained = asyncio.Event()
        self._drained.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # for the type checker
        self.transport = transport
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._task is None:
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._drained.set()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._drained.clear()

    def resume_writing(self) -> None:
        self._drained.set()

    @property
    def open(self) -> bool:
        return not self.transport.is_closing()

    def respond(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.write(_head(status, {"Content-Length": str(len(body)), **(headers or {})}) + body)

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.write(_head(status, {"Transfer-Encoding": "chunked", **headers}))

    def chunk(self, data: bytes) -> None:
        """Write one chunk; an empty one ends the response."""
        self.write(b"%x\r\n%b\r\n" % (len(data), data))

    def write(self, data: bytes) -> None:
        if self.open:
            self.transport.write(data)

    async def drain(self) -> None:
        await self._drained.wait()

    def close(self) -> None:
        self.transport.close()

    def abort(self) -> None:
        """End the connection at once, as a crash does: the client reads a reset."""
        if self.open:
            # Without lingering the kernel sends RST and not FIN.
            wire = self.transport.get_extra_info("socket")
            with contextlib.suppress(OSError):  # the client was faster, and the socket is closed already
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    async def stop(self) -> None:
        """Abort, and wait for the handler that was at work."""
        self.abort()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _next(self) -> None:
        found = self._parse()
        if isinstance(found, int):
            self.respond(found, b"", {"Connection": "close"})
            self.close()
        elif found is not None:
            self._task = asyncio.get_running_loop().create_task(self._answer(found))

    async def _answer(self, call: HttpCall) -> None:
        try:
            await self._handler(call, self)
        except Exception as error:  # a handler's mistake is the client's 500, not its endless wait
            self.respond(500, f'{{"error": {{"message": "{type(error).__name__} in the stand-in"}}}}'.encode())
        self._task = None
        if call.headers.get("connection", "").lower() == "close":
            self.close()
        elif self.open:
            self._next()

    def _parse(self) -> HttpCall | int | None:
        """The next request; None where it has not all arrived, a status where it is refused."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return 413 if len(self._buffer) > MAX_HEAD_BYTES else None
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        parts = lines[0].split(" ")
        fields = (line.partition(":") for line in lines[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        length = headers.get("content-length", "0")
        if len(parts) != 3 or not length.isdecimal():
            return 400
        if "transfer-encoding" in headers:
            return 411
        if int(length) > MAX_BODY_BYTES:
            return 413
        stop = end + 4 + int(length)
        if len(self._buffer) < stop:
            return None
        body = bytes(self._buffer[end + 4 : stop])
        del self._buffer[:stop]
        return HttpCall(parts[0], parts[1], headers, body)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in {"Content-Type": "application/json", **headers}.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
