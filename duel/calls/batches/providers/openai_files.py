"""The shape of OpenAI: an uploaded file, a batch made of it, files of results.

Azure, Groq, Together, DeepInfra, Doubleword, Moonshot, Novita and others speak it, some with states in capitals or of
their own. An expired or canceled batch has results, too; a completed one may hold nothing but errors.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from duel.calls.batches import PROVIDERS
from duel.calls.batches.batch_link import Link, identity, rows_of
from duel.calls.batches.batch_rows import Batch, Standing
from duel.calls.failures import Failure, broken_reply, from_error_object, from_status
from duel.calls.wire import Completion, mapping, string
from duel.calls.wire import read as read_reply

ENDED = frozenset({"completed", "failed", "expired", "cancelled", "canceled"})
CHAT = "/v1/chat/completions"
# Pages of 100 that are looked through for a batch that was created and not recorded.
MOST_PAGES = 20


class OpenAIFiles:
    most_requests = 50_000
    most_bytes = 200_000_000

    def line(self, key: str, model: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"custom_id": key, "method": "POST", "url": CHAT, "body": body}

    async def upload(self, link: Link, batch: Batch) -> str:
        with Path(batch.path).open("rb") as file:  # noqa: ASYNC230 - read piece by piece while it is sent
            form = aiohttp.FormData({"purpose": "batch"})
            form.add_field("file", file, filename=f"duel-{batch.id}.jsonl", content_type="application/jsonl")
            return identity(await link.ask("POST", "/files", data=form))

    async def create(self, link: Link, batch: Batch) -> str:
        metadata = {"duel": batch.id}
        body = {"input_file_id": batch.file, "endpoint": CHAT, "completion_window": "24h", "metadata": metadata}
        return identity(await link.ask("POST", "/batches", json=body))

    async def find(self, link: Link, batch: Batch, taken: Collection[str]) -> str:
        after: Mapping[str, str] = {}
        for _ in range(MOST_PAGES):
            page = await link.ask("GET", "/batches", params={"limit": "100", **after})
            rows = rows_of(page)
            for row in rows:
                ours = mapping(row.get("metadata")).get("duel") == batch.id or row.get("input_file_id") == batch.file
                if ours and string(row.get("id")) not in taken:
                    return identity(row)
            if not page.get("has_more") or not rows:
                break
            after = {"after": identity(rows[-1])}
        return ""

    async def look(self, link: Link, batch: Batch) -> Standing:
        answer = await link.ask("GET", f"/batches/{batch.batch}")
        status = string(answer.get("status")).lower()
        counts = mapping(answer.get("request_counts"))
        told = f"{counts.get('completed') or 0} of {batch.requests:,}" if counts else ""
        errors = rows_of(mapping(answer.get("errors"))) or [mapping(answer.get("error"))]
        why = "; ".join(f"{error.get('code') or ''} {error.get('message') or ''}".strip()[:300] for error in errors[:3])
        return Standing(status, status in ENDED, told, why, answer)

    async def fetch(self, link: Link, batch: Batch, standing: Standing, into: Path) -> None:
        answer = standing.answer or {}
        for name in ("output_file_id", "error_file_id"):
            if answer.get(name):
                await link.save(f"/files/{identity(answer, name)}/content", into / f"{batch.id}.{name}.jsonl")

    async def cancel(self, link: Link, batch: Batch) -> None:
        await link.ask("POST", f"/batches/{batch.batch}/cancel")

    def read(self, row: Mapping[str, Any]) -> tuple[str, Completion | Failure]:
        key, response = string(row.get("custom_id")), mapping(row.get("response"))
        body, status = mapping(response.get("body")), response.get("status_code", 200)
        if row.get("error") and not body:
            return key, from_error_object(row["error"], time.time())
        if status != 200:
            return key, from_status(status if isinstance(status, int) else 500, body)
        return key, read_reply(body, time.time()) if body else broken_reply("malformed", "the result holds no reply")


def page_of(batch: Batch, rows: Collection[Mapping[str, Any]], taken: Collection[str], count: str) -> str:
    """The id among `rows` of a batch without metadata: as many requests, made after ours was written, nobody else's.

    Whether it is ours is seen when its results come: `batch_steps` looks further where they name none of its keys.
    """
    ours_at = datetime.fromisoformat(batch.at).timestamp() - 1
    for row in rows:
        counts = mapping(row.get("request_counts"))
        size = counts.get("total") if count == "total" else sum(n for n in counts.values() if isinstance(n, int))
        made = row.get("created_at")
        late = (
            str(made) >= batch.at[:19]
            if isinstance(made, str)
            else not isinstance(made, int | float) or made >= ours_at
        )
        if size == batch.requests and late and string(row.get("id")) not in taken:
            return identity(row)
    return ""


def inline(batch: Batch, **first: Any) -> bytes:
    """A body with the lines of the batch's input as its last field, `requests`."""
    head = orjson.dumps(first)[:-1]
    lines = b",".join(Path(batch.path).read_bytes().splitlines())
    return head + (b"," if first else b"") + b'"requests":[' + lines + b"]}"


PROVIDERS.add("openai", OpenAIFiles())
