"""Providers of batches: the exchanges with one, and the shapes of OpenAI, OpenRouter and Anthropic.

A provider is asked with bounds in time and size; redirects are refused, and the key is kept inside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import aiohttp
import orjson

from duel.calls.batches import PROVIDERS
from duel.calls.batches.batch_rows import Batch
from duel.calls.failures import Failure, Meaning, broken_reply, from_error_object, from_status
from duel.calls.request import Reply
from duel.calls.route import Provider
from duel.calls.transport import MAX_REPLY_BYTES, NoAnswer, received, whole, without_key
from duel.calls.wire import parse_json, string
from duel.calls.wire import read as read_reply
from duel.conversation.values import table, tables

# A batch of 200 MB goes out, and its results come in, within this; between two bytes a minute at most.
WHOLE_S, BETWEEN_BYTES_S = 3600.0, 60.0
# What the results of one batch may take on the disk.
MOST_RESULT_BYTES = 4 << 30
MOST_RESULT_PAGES = 2000
# Pages of 100 that are looked through for a batch that was created and not recorded.
MOST_PAGES = 20
ENDED = frozenset({"completed", "failed", "expired", "cancelled", "canceled"})
CHAT = "/v1/chat/completions"
VARIANT = ":batch"
CACHED = "cache_read_input_tokens"
# An id that a provider gives becomes a part of an address.
_ID = re.compile(r"[A-Za-z0-9._:|-]{1,200}")
# What a chat completion's body calls otherwise, or knows as well; the rest has no meaning there.
_SAME = ("model", "temperature", "top_p")
# Why a message ends -> why a chat completion does.
_ENDS = {"max_tokens": "length", "refusal": "content_filter"}


class Link:
    """Exchanges with one provider. Use as an async context manager; every method raises NoAnswer."""

    def __init__(self, provider: Provider, connect_s: float) -> None:
        self.provider = provider
        self._timeout = aiohttp.ClientTimeout(total=WHOLE_S, sock_connect=connect_s, sock_read=BETWEEN_BYTES_S)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=self._timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ask(self, method: str, path: str, **sent: Any) -> Mapping[str, Any]:
        pieces = received(self._session, self.provider, method, self.provider.url(path), MAX_REPLY_BYTES, **sent)
        try:
            parsed = parse_json(without_key(await whole(pieces), self.provider.api_key))
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise NoAnswer(broken_reply("malformed", f"{path} does not answer with a JSON object"))
        return parsed

    async def save(self, path: str, into: Path, **sent: Any) -> None:
        """What the route answers with, in a file; as much of it as came where this fails."""
        url = self.provider.url(path)
        with into.open("wb") as file:
            async for chunk in received(self._session, self.provider, "GET", url, MOST_RESULT_BYTES, **sent):
                file.write(chunk)


def identity(answer: Mapping[str, Any], name: str = "id") -> str:
    found = answer.get(name)
    if not isinstance(found, str) or not _ID.fullmatch(found):
        raise NoAnswer(Failure("malformed", Meaning.FAULT, f"the answer has no usable {name}"))
    return found


@dataclass(frozen=True)
class Standing:
    """How a batch stands at its provider. A status that nobody knows means that it runs."""

    status: str
    ended: bool
    told: str = ""  # how many requests are done, in words
    why: str = ""  # why the whole batch failed
    answer: Mapping[str, Any] | None = None


class BatchProvider:
    """The shape of OpenAI, which others vary: an uploaded file, a batch made of it, files of results.

    Azure, Groq, Together, DeepInfra, Doubleword, Moonshot, Novita and others speak it, some with states in capitals or
    of their own. An expired or canceled batch has results, too; a completed one may hold nothing but errors. Whatever
    asks raises NoAnswer.
    """

    route = "/batches"
    most_requests = 50_000
    most_bytes = 200_000_000

    def headers(self, link: Link) -> dict[str, str]:
        return {}

    def line(self, key: str, model: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"custom_id": key, "method": "POST", "url": CHAT, "body": body}

    async def upload(self, link: Link, batch: Batch) -> str:
        """The id of the uploaded input; "" where it goes out with the batch itself."""
        with Path(batch.path).open("rb") as file:  # noqa: ASYNC230 - read piece by piece while it is sent
            form = aiohttp.FormData({"purpose": "batch"})
            form.add_field("file", file, filename=f"duel-{batch.id}.jsonl", content_type="application/jsonl")
            return identity(await link.ask("POST", "/files", data=form))

    async def create(self, link: Link, batch: Batch) -> str:
        metadata = {"duel": batch.id}
        body = {"input_file_id": batch.file, "endpoint": CHAT, "completion_window": "24h", "metadata": metadata}
        return identity(await link.ask("POST", self.route, json=body))

    async def find(self, link: Link, batch: Batch, taken: Collection[str]) -> str:
        """The id of a batch that was created and not recorded; "" where there is none. `taken` are others' ids."""
        after: Mapping[str, str] = {}
        for _ in range(MOST_PAGES):
            page = await link.ask("GET", self.route, params={"limit": "100", **after})
            for row in (rows := tables(page.get("data"))):
                ours = table(row.get("metadata")).get("duel") == batch.id or row.get("input_file_id") == batch.file
                if ours and row.get("id") not in taken:
                    return identity(row)
            if not page.get("has_more") or not rows:
                break
            after = {"after": identity(rows[-1])}
        return ""

    async def look(self, link: Link, batch: Batch) -> Standing:
        answer = await link.ask("GET", f"{self.route}/{batch.batch}")
        status = string(answer.get("status")).lower()
        counts = table(answer.get("request_counts"))
        told = f"{counts.get('completed') or 0} of {batch.requests:,}" if counts else ""
        errors = tables(table(answer.get("errors")).get("data")) or [table(answer.get("error"))]
        why = "; ".join(f"{error.get('code') or ''} {error.get('message') or ''}".strip()[:300] for error in errors[:3])
        return Standing(status, status in ENDED, told, why, answer)

    async def fetch(self, link: Link, batch: Batch, standing: Standing, into: Path) -> None:
        """Save what an ended batch brought, whatever its status, as files `<id of the batch>.<any name>` in `into`."""
        answer = standing.answer or {}
        for name in ("output_file_id", "error_file_id"):
            if answer.get(name):
                await link.save(f"/files/{identity(answer, name)}/content", into / f"{batch.id}.{name}.jsonl")

    async def cancel(self, link: Link, batch: Batch) -> None:
        await link.ask("POST", f"{self.route}/{batch.batch}/cancel", headers=self.headers(link))

    def read(self, row: Mapping[str, Any]) -> tuple[str, Reply | Failure]:
        """The custom id of one result, and what it says."""
        key, response = string(row.get("custom_id")), table(row.get("response"))
        body, status = table(response.get("body")), response.get("status_code", 200)
        if row.get("error") and not body:
            return key, from_error_object(row["error"])
        if status != 200:
            return key, from_status(status if isinstance(status, int) else 500, body)
        return key, read_reply(body) if body else broken_reply("malformed", "the result holds no reply")


class InlineBatches(BatchProvider):
    """The requests go out in the batch's own body, behind what `opening` says; there is no metadata."""

    def opening(self, batch: Batch) -> dict[str, Any]:
        return {}

    async def upload(self, link: Link, batch: Batch) -> str:
        return ""

    async def create(self, link: Link, batch: Batch) -> str:
        first = orjson.dumps(self.opening(batch))[:-1]
        lines = b",".join(Path(batch.path).read_bytes().splitlines())  # noqa: ASYNC240
        body = first + (b"," if len(first) > 1 else b"") + b'"requests":[' + lines + b"]}"
        headers = {**self.headers(link), "Content-Type": "application/json"}
        return identity(await link.ask("POST", self.route, data=body, headers=headers))

    async def find(self, link: Link, batch: Batch, taken: Collection[str]) -> str:
        """One of as many requests, made after ours was written, nobody else's.

        Whether it is ours is seen when its results come: `batch_steps` looks further where they name none of its keys.
        """
        page, at = await link.ask("GET", self.route, params={"limit": "100"}, headers=self.headers(link)), batch.at
        ours_at = datetime.fromisoformat(at).timestamp() - 1
        for row in tables(page.get("data")):
            counts = {name: n for name, n in table(row.get("request_counts")).items() if isinstance(n, int)}
            made = row.get("created_at")
            late = made >= at[:19] if isinstance(made, str) else not isinstance(made, int | float) or made >= ours_at
            size = counts.get("total", sum(counts.values()))
            if size == batch.requests and late and row.get("id") not in taken:
                return identity(row)
        return ""


class OpenRouterInline(InlineBatches):
    """`endpoint` and `model`, a variant `:batch` of its own, before the requests; results in pages.

    There is no way to cancel; a batch that was created and not recorded is known by its size and time, and by the keys
    of its results.
    """

    most_bytes = 100_000_000

    def line(self, key: str, model: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"custom_id": key, "body": {name: value for name, value in body.items() if name != "model"}}

    def opening(self, batch: Batch) -> dict[str, Any]:
        model = batch.model.removesuffix(VARIANT) + VARIANT
        return {"endpoint": CHAT, "model": model, "completion_window": "24h"}

    async def fetch(self, link: Link, batch: Batch, standing: Standing, into: Path) -> None:
        path, answer = f"{self.route}/{batch.batch}/results", standing.answer or {}
        with (into / f"{batch.id}.results.jsonl").open("wb") as file:
            name = "results" if isinstance(answer.get("results"), list) else "data"
            if name == "data":
                answer = await link.ask("GET", path)
            for _ in range(MOST_RESULT_PAGES):
                file.writelines(json.dumps(row).encode() + b"\n" for row in tables(answer.get(name)))
                if not (cursor := string(answer.get("next_cursor"))):
                    return
                if file.tell() > MOST_RESULT_BYTES:
                    break
                answer, name = await link.ask("GET", path, params={"cursor": cursor}), "data"
        raise NoAnswer(broken_reply("too-large", f"{path} has over {MOST_RESULT_BYTES:,} bytes"))

    async def cancel(self, link: Link, batch: Batch) -> None:
        raise NoAnswer(Failure("unsupported", Meaning.RUN, "this provider has no way to cancel a batch"))


class AnthropicMessages(InlineBatches):
    """Message batches, whose requests and replies are in Anthropic's own words."""

    route = "/messages/batches"
    most_requests = 100_000
    most_bytes = 256_000_000

    def headers(self, link: Link) -> dict[str, str]:
        return {"x-api-key": link.provider.api_key, "anthropic-version": "2023-06-01"}

    def line(self, key: str, model: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        said = [dict(message) for message in body["messages"]]
        system = "\n\n".join(str(message["content"]) for message in said if message["role"] == "system")
        params = {name: body[name] for name in _SAME if name in body}
        params["max_tokens"] = body.get("max_tokens") or body.get("max_completion_tokens")
        params["messages"] = [message for message in said if message["role"] != "system"]
        return {"custom_id": key, "params": params | ({"system": system} if system else {})}

    async def look(self, link: Link, batch: Batch) -> Standing:
        answer = await link.ask("GET", f"{self.route}/{batch.batch}", headers=self.headers(link))
        status, counts = string(answer.get("processing_status")).lower(), table(answer.get("request_counts"))
        return Standing(status, status == "ended", f"{counts.get('succeeded') or 0} of {batch.requests:,}", "", answer)

    async def fetch(self, link: Link, batch: Batch, standing: Standing, into: Path) -> None:
        path = f"{self.route}/{batch.batch}/results"
        await link.save(path, into / f"{batch.id}.results.jsonl", headers=self.headers(link))

    def read(self, row: Mapping[str, Any]) -> tuple[str, Reply | Failure]:
        key, result = string(row.get("custom_id")), table(row.get("result"))
        kind, message = string(result.get("type")), table(result.get("message"))
        if kind != "succeeded":
            if error := table(result.get("error")):
                return key, from_error_object(error.get("error") or error)
            return key, Failure(kind or "malformed", Meaning.FAULT)
        usage, kinds = table(message.get("usage")), ("input_tokens", "cache_creation_input_tokens", CACHED)
        asked = sum(n for name in kinds if isinstance(n := usage.get(name), int) and n >= 0)
        told = {"prompt_tokens": asked, "prompt_tokens_details": {"cached_tokens": usage.get(CACHED)}}
        told |= {"completion_tokens": usage.get("output_tokens")}
        ended = _ENDS.get(string(message.get("stop_reason")), "stop")
        choice = {"message": {"role": "assistant", "content": message.get("content")}, "finish_reason": ended}
        completion = {"model": message.get("model"), "choices": [choice], "usage": told if usage else None}
        return key, read_reply(completion)


PROVIDERS.add("anthropic", AnthropicMessages())
PROVIDERS.add("openai", BatchProvider())
PROVIDERS.add("openrouter", OpenRouterInline())
