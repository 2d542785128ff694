"""The shape of OpenRouter: requests inside the body, `endpoint` and `model` before them, results in pages.

The model of a batch is a variant of its own, `:batch`. There is no way to cancel, and no metadata: a batch that was
created and not recorded is known by its size and time, and by the keys of its results.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from duel.calls.batches import PROVIDERS
from duel.calls.batches.batch_link import MOST_RESULT_BYTES, Link, LinkFailed, identity, rows_of, too_large
from duel.calls.batches.batch_rows import Batch, Standing
from duel.calls.batches.providers.openai_files import CHAT, OpenAIFiles, inline, page_of
from duel.calls.failures import Failure, Meaning
from duel.calls.wire import string

VARIANT = ":batch"
MOST_RESULT_PAGES = 2000


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
        return page_of(batch, rows_of(page), taken, "total")

    async def fetch(self, link: Link, batch: Batch, standing: Standing, into: Path) -> None:
        """Results stand in the batch itself, or in pages where there are too many."""
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
        raise LinkFailed(too_large(path, MOST_RESULT_BYTES))

    async def cancel(self, link: Link, batch: Batch) -> None:
        raise LinkFailed(Failure("unsupported", Meaning.RUN, "this provider has no way to cancel a batch"))


PROVIDERS.add("openrouter", OpenRouterInline())
