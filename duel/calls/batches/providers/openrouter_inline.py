"""The shape of OpenRouter: requests inside the body, `endpoint` and `model` before them, results in pages.

The model of a batch is a variant of its own, `:batch`. There is no way to cancel, and no metadata: a batch that was
created and not recorded is known by its size and time, and by the keys of its results.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import orjson

from duel.calls.batches import PROVIDERS
from duel.calls.batches.batch_link import Link, identity
from duel.calls.batches.batch_rows import Batch, Standing
from duel.calls.batches.providers.openai_files import CHAT, MOST_PAGES, OpenAIFiles, inline, page_of, unsupported
from duel.calls.wire import mapping, string

VARIANT = ":batch"


class OpenRouterInline(OpenAIFiles):
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
        page = await link.ask("GET", "/batches", params={"limit": "100"})
        return page_of(batch, [mapping(row) for row in page.get("data") or ()], taken, "total")

    async def fetch(self, link: Link, batch: Batch, standing: Standing, into: Path) -> list[Path]:
        """Results stand in the batch itself, or in pages where there are too many."""
        answer, path, cursor = standing.answer or {}, into / f"{batch.id}.results.jsonl", ""
        rows = answer.get("results")
        with path.open("wb") as file:
            for _ in range(MOST_PAGES * 100):
                if not isinstance(rows, list):
                    page = {"cursor": cursor} if cursor else {}
                    answer = await link.ask("GET", f"/batches/{batch.batch}/results", params=page)
                    rows = answer.get("data")
                file.writelines(orjson.dumps(row, default=str) + b"\n" for row in rows or ())
                cursor, rows = string(answer.get("next_cursor")), None
                if not cursor:
                    return [path]
        return [path]

    async def cancel(self, link: Link, batch: Batch) -> None:
        raise unsupported("has no way to cancel a batch")


PROVIDERS.add("openrouter", OpenRouterInline())
