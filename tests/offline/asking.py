"""Asking the stand-in over a real connection, with nothing but the standard library."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any

QUESTION = {"model": "any/model", "messages": [{"role": "user", "content": "hello"}]}


@dataclass(frozen=True)
class Heard:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        lines = self.body.decode().split("\n\n")
        return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def question(text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": "any/model", "messages": [{"role": "user", "content": text}], **more}


def connect(port: int, timeout: float = 10) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)


def ask(port: int, body: Any = None, path: str = "/v1/chat/completions", timeout: float = 10, **headers: str) -> Heard:
    """POST `body` (GET where there is none)."""
    connection = connect(port, timeout)
    try:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request("GET" if body is None else "POST", path, data, headers)
        answer = connection.getresponse()
        return Heard(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()
