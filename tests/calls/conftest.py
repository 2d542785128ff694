"""A workspace for the calls, and an endpoint that says exactly what a test wants."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.calls.jobs import House
from tests.calls.jobs import house as make_house


@pytest.fixture
def house(tmp_path: Path) -> House:
    return make_house(tmp_path)


class Script:
    """A server that sends the next of its raw HTTP answers to each request; the last one again and again."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)
        self.requests: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.requests.append(_read(connection))
                index = min(len(self.requests) - 1, len(self._answers) - 1)
                connection.sendall(self._answers[index])

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(5)


def _read(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536) or b"\r\n\r\n"
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    while lengths and len(body) < int(lengths[0]):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answer(body: bytes, status: str = "200 OK", kind: str = "application/json", headers: str = "") -> bytes:
    """A whole HTTP answer."""
    fields = f"Content-Type: {kind}\r\n{headers}Content-Length: {len(body)}\r\nConnection: close\r\n"
    return f"HTTP/1.1 {status}\r\n{fields}\r\n".encode() + body


@pytest.fixture
def scripted() -> Iterator[Callable[..., Script]]:
    """`scripted(answer(…), answer(…))` -> a running Script."""
    running: list[Script] = []

    def start(*answers: bytes) -> Script:
        running.append(Script(*answers))
        return running[-1]

    yield start
    for script in running:
        script.close()
