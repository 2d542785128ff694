"""The shapes in which providers take batches: OpenAI's, OpenRouter's and Anthropic's."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from duel.calls.batches import PROVIDERS
from duel.calls.batches.batch_link import MOST_RESULT_BYTES, Link, identity, rows_of
from duel.calls.batches.batch_rows import Batch, Standing
from duel.calls.failures import Failure, Meaning, broken_reply, from_error_object, from_status
from duel.calls.transport import NoAnswer
from duel.calls.wire import Completion, mapping, string
from duel.calls.wire import read as read_reply

ENDED = frozenset({"completed", "failed", "expired", "cancelled", "canceled"})
CHAT = "/v1/chat/completions"
# Pages of 100 that are looked through for a batch that was created and not recorded.
MOST_PAGES = 20
VARIANT = ":batch"
MOST_RESULT_PAGES = 2000
ROUTE = "/messages/batches"
CACHED = "cache_read_input_tokens"
# What a chat completion's body calls otherwise, or knows as well; the rest has no meaning there.
_SAME = ("model", "temperature", "top_p")
# Why a message ends -> why a chat completion does.
_ENDS = {"max_tokens": "length", "refusal": "content_filter"}


class OpenAIFiles:
    """An uploaded file, a batch made of it, files of results.

    Azure, Groq, Together, DeepInfra, Doubleword, Moonshot, Novita and others speak it, some with states in capitals or
    of their own. An expired or canceled batch has results, too; a completed one may hold nothing but errors.
    """

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
            for row in (rows := rows_of(page)):
                ours = mapping(row.get("metadata")).get("duel") == batch.id or row.get("input_file_id") == batch.file
                if ours and row.get("id") not in taken:
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


class OpenRouterInline(OpenAIFiles):
    """Requests inside the body, `endpoint` and `model` before them, results in pages.

    The model of a batch is a variant of its own, `:batch`. There is no way to cancel, and no metadata: a batch that was
    created and not recorded is known by its size and time, and by the keys of its results.
    """

    most_bytes = 100_000_000

    def line(self, key: str, model: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"custom_id": key, "body": {name: value for name, value in body.items() if name != "model"}}

    async def upload(self, link: Link, batch: Batch) -> str:
        return ""

    async def create(self, link: Link, batch: Batch) -> str:
        model = batch.model.removesuffix(VARIANT) + VARIANT
        body = inline(batch, endpoint=CHAT, model=model, completion_window="24h")
        return identity(await link.ask("POST", "/batches", data=body, headers={"Content-Type": "application/json"}))

    async def find(self, link: Link, batch: Batch, taken: Collection[str]) -> str:
        return page_of(batch, await link.ask("GET", "/batches", params={"limit": "100"}), taken)

    async def fetch(self, link: Link, batch: Batch, standing: Standing, into: Path) -> None:
        path, answer = f"/batches/{batch.batch}/results", standing.answer or {}
        with (into / f"{batch.id}.results.jsonl").open("wb") as file:
            name = "results" if isinstance(answer.get("results"), list) else "data"
            if name == "data":
                answer = await link.ask("GET", path)
            for _ in range(MOST_RESULT_PAGES):
                file.writelines(json.dumps(row).encode() + b"\n" for row in rows_of(answer, name))
                if not (cursor := string(answer.get("next_cursor"))):
                    return
                if file.tell() > MOST_RESULT_BYTES:
                    break
                answer, name = await link.ask("GET", path, params={"cursor": cursor}), "data"
        raise NoAnswer(broken_reply("too-large", f"{path} has over {MOST_RESULT_BYTES:,} bytes"))

    async def cancel(self, link: Link, batch: Batch) -> None:
        raise NoAnswer(Failure("unsupported", Meaning.RUN, "this provider has no way to cancel a batch"))


class AnthropicMessages:
    """Message batches, whose requests and replies are in Anthropic's own words."""

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
        return page_of(batch, page, taken)

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
    usage, kinds = mapping(message.get("usage")), ("input_tokens", "cache_creation_input_tokens", CACHED)
    asked = sum(n for name in kinds if isinstance(n := usage.get(name), int) and n >= 0)
    cached = {"cached_tokens": usage.get(CACHED)}
    told = {"prompt_tokens": asked, "completion_tokens": usage.get("output_tokens"), "prompt_tokens_details": cached}
    ended = _ENDS.get(string(message.get("stop_reason")), "stop")
    choice = {"message": {"role": "assistant", "content": message.get("content")}, "finish_reason": ended}
    return {"model": message.get("model"), "choices": [choice], "usage": told if usage else None}


def page_of(batch: Batch, page: Mapping[str, Any], taken: Collection[str]) -> str:
    """The id in `page` of a batch without metadata: as many requests, made after ours was written, nobody else's.

    Whether it is ours is seen when its results come: `batch_steps` looks further where they name none of its keys.
    """
    ours_at = datetime.fromisoformat(batch.at).timestamp() - 1
    for row in rows_of(page):
        counts = {name: n for name, n in mapping(row.get("request_counts")).items() if isinstance(n, int)}
        made = row.get("created_at")
        late = made >= batch.at[:19] if isinstance(made, str) else not isinstance(made, int | float) or made >= ours_at
        size = counts.get("total", sum(counts.values()))
        if size == batch.requests and late and row.get("id") not in taken:
            return identity(row)
    return ""


def inline(batch: Batch, **first: Any) -> bytes:
    """A body with the lines of the batch's input as its last field, `requests`."""
    head = orjson.dumps(first)[:-1]
    lines = b",".join(Path(batch.path).read_bytes().splitlines())
    return head + (b"," if first else b"") + b'"requests":[' + lines + b"]}"


PROVIDERS.add("anthropic", AnthropicMessages())
PROVIDERS.add("openai", OpenAIFiles())
PROVIDERS.add("openrouter", OpenRouterInline())
