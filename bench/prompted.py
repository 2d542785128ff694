"""Workspaces of any size for the rows of `bench.calls`: prompts of so many bytes, and a pull request for each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from bench.clients import body
from duel.records import ChangedFile, Commit, Message, Prompt
from duel.workspace import Workspace

BYTES = 20_000


def workspace(folder: Path, turns: int, *, concurrency: int = 0, size: int = BYTES) -> Path:
    """A workspace with `turns` prompts of `size` bytes."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "prompt").mkdir(parents=True)
    (folder / "chain.toml").write_text(f'[endpoint]\nconcurrency = {concurrency}\n[generate]\nmodel = "bench/model"\n')
    rows = []
    for number in range(turns):
        messages = [Message(**message) for message in body(number, size)["messages"]]
        prompt = Prompt(instance_id=f"o__r-{number}", repo="o/r", messages=messages, assistant="ls", turn=1)
        rows.append(json.loads(prompt.dump()))
        if len(rows) == 200 or number == turns - 1:
            name = f"prompts_{turns}_{number // 200 + 1}.json"
            (folder / "prompt" / name).write_text(json.dumps(rows))
            rows = []
    return folder


def commits(work: Path, turns: int) -> None:
    """A small pull request for each prompt."""
    space = Workspace(work)
    for number in range(turns):
        patch = f"--- a/src/app.py\n+++ b/src/app.py\n@@ -1 +1 @@\n-lines = text[:-1]\n+lines = text  # {number}\n"
        record = Commit(instance_id=f"o__r-{number}", repo="o/r", files=[ChangedFile(path="src/app.py")], patch=patch)
        space.save(space.commit_path(record.instance_id), record)
