"""A shape of batches: pigeons carry the requests, and come home with one and the same reply."""

import json
from pathlib import Path

from duel.calls.batches.batch_shapes import BatchProvider, Standing

SAID = {"role": "assistant", "content": "THOUGHT: Look first.\n\n```bash\nls\n```"}


class PigeonPost(BatchProvider):
    async def upload(self, link, batch):
        return ""

    async def create(self, link, batch):
        return "pigeon-1"

    async def look(self, link, batch):
        return Standing("home", ended=True)

    async def fetch(self, link, batch, standing, into):
        body = {"model": batch.model, "choices": [{"message": SAID, "finish_reason": "stop"}]}
        asked = [json.loads(line) for line in Path(batch.path).read_text().splitlines()]  # noqa: ASYNC240 - one small file
        rows = [{"custom_id": row["custom_id"], "response": {"status_code": 200, "body": body}} for row in asked]
        (into / f"{batch.id}.home.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


PIGEON = PigeonPost()
