"""The shape of Anthropic: message batches, whose requests and replies are in its own words."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from duel.calls.batches import PROVIDERS
from duel.calls.batches.batch_link import Link, identity, rows_of
from duel.calls.batches.batch_rows import Batch, Standing
from duel.calls.batches.providers.openai_files import inline, page_of
from duel.calls.failures import Failure, Meaning, from_error_object
from duel.calls.wire import Completion, mapping, string
from duel.calls.wire import read as read_reply

ROUTE = "/messages/batches"
# What a chat completion's body calls otherwise, or knows as well; the rest has no meaning there.
_SAME = ("model", "temperature", "top_p")
# Why a message ends -> why a chat completion does.
_ENDS = {"max_tokens": "length", "refusal": "content_filter"}


class AnthropicMessages:
    most_requests = 100_000
    most_bytes = 256_000_000

    def line(self, key: str, model: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        said = [dict(message) for message in body["messages"]]
        system = "\n\n".join(str(message["content"]) for message in said if message["role"] == "system")
        params = {name: body[name] for name in _SAME if name in body}
        params["max_tokens"] = body.get("max_tokens") or body.get("max_completion_tokens")
        params["messages"] = [message for message in said if message["role"] != "system"]
        return {"custom_id": key, "params": params | ({"system": system} if system else {})}

    async def upload(self, link: Link, batch: Batch) -> str:
        return ""

    async def create(self, link: Link, batch: Batch) -> str:
        headers = {**_headers(link), "Content-Type": "application/json"}
        return identity(await link.ask("POST", ROUTE, data=inline(batch), headers=headers))

    async def find(self, link: Link, batch: Batch, taken: Collection[str]) -> str:
        page = await link.ask("GET", ROUTE, params={"limit": "100"}, headers=_headers(link))
        return page_of(batch, rows_of(page), taken, "sum")

    async def look(self, link: Link, batch: Batch) -> Standing:
        answer = await link.ask("GET", f"{ROUTE}/{batch.batch}", headers=_headers(link))
        status, counts = string(answer.get("processing_status")).lower(), mapping(answer.get("request_counts"))
        return Standing(status, status == "ended", f"{counts.get('succeeded') or 0} of {batch.requests:,}", "", answer)

    async def fetch(self, link: Link, batch: Batch, standing: Standing, into: Path) -> None:
        path = f"{ROUTE}/{batch.batch}/results"
        await link.save(path, into / f"{batch.id}.results.jsonl", headers=_headers(link))

    async def cancel(self, link: Link, batch: Batch) -> None:
        await link.ask("POST", f"{ROUTE}/{batch.batch}/cancel", headers=_headers(link))

    def read(self, row: Mapping[str, Any]) -> tuple[str, Completion | Failure]:
        key, result = string(row.get("custom_id")), mapping(row.get("result"))
        kind, message = string(result.get("type")), mapping(result.get("message"))
        if kind != "succeeded":
            error = mapping(result.get("error"))
            told = from_error_object(error.get("error") or error, time.time())
            return key, told if error else Failure(kind or "malformed", Meaning.FAULT)
        return key, read_reply(_as_completion(message), time.time())


def _headers(link: Link) -> dict[str, str]:
    return {"x-api-key": link.provider.api_key, "anthropic-version": "2023-06-01"}


def _as_completion(message: Mapping[str, Any]) -> dict[str, Any]:
    usage, ended = mapping(message.get("usage")), string(message.get("stop_reason"))
    cached = _count(usage, "cache_read_input_tokens")
    asked = _count(usage, "input_tokens") + _count(usage, "cache_creation_input_tokens") + cached
    told = {"prompt_tokens": asked, "completion_tokens": usage.get("output_tokens")}
    reply = {"role": "assistant", "content": message.get("content")}
    return {
        "model": message.get("model"),
        "choices": [{"message": reply, "finish_reason": _ENDS.get(ended, "stop")}],
        "usage": {**told, "prompt_tokens_details": {"cached_tokens": cached}} if usage else None,
    }


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and value >= 0 else 0


PROVIDERS.add("anthropic", AnthropicMessages())
