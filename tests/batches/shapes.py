"""A provider of batches in the three shapes. Plain `http.server`: it shares no code with the product.

Each line is answered by a chat endpoint (the stand-in's), as a provider would; `play` may change what a line comes to.
A batch ends at its `looks`-th look. What was asked, created and run is counted.
"""

from __future__ import annotations

import json
import re
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

Row = dict[str, Any]


@dataclass
class Held:
    """One batch at the provider."""

    id: str
    requests: list[Row]
    file: str = ""
    metadata: Any = None
    looks: int = 0
    status: str = "validating"
    results: list[Row] = field(default_factory=list)
    canceled: bool = False


class Shapes(ThreadingHTTPServer):
    """`with Shapes(chat_url) as provider:` serves all three shapes under `provider.base_url`."""

    def __init__(self, chat: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.chat = chat
        self.base_url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.files: dict[str, bytes] = {}
        self.batches: list[Held] = []
        self.run: Counter[str] = Counter()
        self.play: Callable[[Row, Row], Row] = lambda asked, result: result
        """(the request, its result) -> the result."""
        self.end: Callable[[Held], str] = lambda batch: "completed"
        """The status in which a batch ends."""
        self.looks = 2
        self.words = "in_progress"
        """What it says of a batch that runs."""
        self.refuse: Callable[[str, str, bytes], tuple[int, Row] | None] = lambda method, path, body: None
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        self.lists_others: list[Row] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def complete(self, body: Row) -> tuple[int, Row]:
        data = json.dumps(body).encode()
        request = urllib.request.Request(f"{self.chat}/chat/completions", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)

    def look(self, batch: Held) -> Held:
        batch.looks += 1
        batch.status = self.words if batch.looks > 1 else "validating"
        if (batch.looks >= self.looks or batch.canceled) and not batch.results:
            batch.status = self.end(batch)
            for row in [] if batch.canceled or batch.status == "failed" else batch.requests:
                self.run[row["custom_id"]] += 1
                batch.results.append(self.play(row, self.result(row)))
            batch.requests_done = len(batch.results)  # type: ignore[attr-defined]
        elif batch.results:
            batch.status = self.end(batch)
        if batch.canceled:
            batch.status = "cancelled"
        return batch

    def result(self, row: Row) -> Row:
        if "params" in row:
            return {"custom_id": row["custom_id"], "result": self.message(row["params"])}
        status, body = self.complete({"model": "inherited", **row["body"]})
        return {
            "id": "r",
            "custom_id": row["custom_id"],
            "response": {"status_code": status, "body": body},
            "error": None,
        }

    def message(self, params: Row) -> Row:
        """What Anthropic makes of a request, in its own words."""
        system = [{"role": "system", "content": params["system"]}] if "system" in params else []
        body = self.complete(
            {**{k: v for k, v in params.items() if k != "system"}, "messages": system + params["messages"]}
        )[1]
        choice, usage = body["choices"][0], body["usage"]
        reasons = {"length": "max_tokens", "stop": "end_turn"}
        told = {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}
        said = [{"type": "text", "text": choice["message"]["content"]}]
        message = {
            "model": params["model"],
            "content": said,
            "stop_reason": reasons[choice["finish_reason"]],
            "usage": told,
        }
        return {"type": "succeeded", "message": message}


class _Handler(BaseHTTPRequestHandler):
    server: Shapes
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body behind its headers would wait 40 ms for their acknowledgment

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        self.handle_one("GET", b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.handle_one("POST", body)

    def handle_one(self, method: str, body: bytes) -> None:
        provider, parts = self.server, urlsplit(self.path)
        path = parts.path.removeprefix("/v1")
        provider.asked.append((method, path))
        provider.bodies.append(body)
        said = provider.refuse(method, path, body) or self.route(method, path, body, parse_qs(parts.query))
        status, answer = said
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def route(self, method: str, path: str, body: bytes, query: dict[str, list[str]]) -> tuple[int, Any]:
        if method == "POST" and path == "/chat/completions":
            return self.server.complete(json.loads(body))
        if path.startswith("/messages/batches"):
            return self.messages(method, path.removeprefix("/messages/batches"), body)
        if path == "/files":
            return 200, self.upload(body)
        if path.startswith("/files/"):
            return 200, self.server.files[path.split("/")[2]]
        if path == "/batches":
            return (200, self.listed(query)) if method == "GET" else self.created(body)
        _, _, identity, *rest = path.split("/")
        batch = next((batch for batch in self.server.batches if batch.id == identity), None)
        if batch is None:
            return 404, {"error": {"message": "no such batch"}}
        if rest == ["cancel"]:
            batch.canceled = True
            return 200, self.shown(batch)
        if rest == ["results"]:
            start = int(query.get("cursor", ["0"])[0])
            more = start + 2 < len(batch.results)
            rows = batch.results[start : start + 2]
            return 200, {"data": rows, "has_more": more, "next_cursor": str(start + 2) if more else None}
        return 200, self.shown(self.server.look(batch))

    def upload(self, body: bytes) -> Row:
        lines = [line for line in re.split(rb"\r?\n", body) if line.startswith(b"{")]
        identity = f"file-{len(self.server.files)}"
        self.server.files[identity] = b"\n".join(lines)
        return {"id": identity}

    def created(self, body: bytes) -> tuple[int, Any]:
        asked = json.loads(body)
        if "requests" in asked:
            fields = list(asked)
            if fields.index("requests") < max(fields.index("endpoint"), fields.index("model")):
                return 400, {"error": {"message": "endpoint and model must precede requests"}}
            if not asked["model"].endswith(":batch"):
                return 400, {"error": {"message": "the model must be a :batch variant"}}
            batch = Held(f"or-{len(self.server.batches)}", asked["requests"])
        else:
            lines = self.server.files[asked["input_file_id"]].splitlines()
            rows = [json.loads(line) for line in lines]
            if len({row["body"]["model"] for row in rows}) > 1:
                return 400, {"error": {"message": "one model a batch"}}
            batch = Held(f"batch-{len(self.server.batches)}", rows, asked["input_file_id"], asked.get("metadata"))
        self.server.batches.append(batch)
        return 202, self.shown(batch)

    def listed(self, query: dict[str, list[str]]) -> Row:
        return {"data": [*self.server.lists_others, *map(self.shown, reversed(self.server.batches))], "has_more": False}

    def shown(self, batch: Held) -> Row:
        done = [row for row in batch.results if not row.get("error")]
        wrong = [row for row in batch.results if row.get("error")]
        told: Row = {"id": batch.id, "object": "batch", "status": batch.status.upper(), "metadata": batch.metadata}
        told |= {"request_counts": {"total": len(batch.requests), "completed": len(done), "failed": len(wrong)}}
        if batch.file:
            told["input_file_id"] = batch.file
            for name, rows in (("output", done), ("error", wrong)):
                told[f"{name}_file_id"] = f"{name}-{batch.id}" if rows else None
                self.server.files[f"{name}-{batch.id}"] = b"\n".join(json.dumps(row).encode() for row in rows)
        elif len(batch.results) <= 4 and batch.results:
            told["results"] = batch.results
        if batch.status == "failed":
            told["errors"] = {"data": [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}]}
        return told

    def messages(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        if not self.headers.get("x-api-key") or not self.headers.get("anthropic-version"):
            return 401, {"type": "error", "error": {"type": "authentication_error", "message": "x-api-key is missing"}}
        if path == "" and method == "POST":
            rows = json.loads(body)["requests"]
            assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", row["custom_id"]) for row in rows)
            self.server.batches.append(Held(f"msgbatch_{len(self.server.batches)}", rows))
            return 200, self.as_message_batch(self.server.batches[-1])
        if path == "":
            shown = [self.as_message_batch(batch) for batch in reversed(self.server.batches)]
            return 200, {"data": shown, "has_more": False}
        batch = next(batch for batch in self.server.batches if batch.id == path.split("/")[1])
        if path.endswith("/results"):
            return 200, b"\n".join(json.dumps(row).encode() for row in batch.results)
        if path.endswith("/cancel"):
            batch.canceled = True
            return 200, self.as_message_batch(batch)
        return 200, self.as_message_batch(self.server.look(batch))

    def as_message_batch(self, batch: Held) -> Row:
        ended = bool(batch.results) or batch.canceled
        counts = {"processing": 0 if ended else len(batch.requests), "succeeded": len(batch.results)}
        counts |= {"errored": 0, "expired": 0, "canceled": len(batch.requests) if batch.canceled else 0}
        status = "ended" if ended else "in_progress"
        return {"id": batch.id, "type": "message_batch", "processing_status": status, "request_counts": counts}
