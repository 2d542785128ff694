"""Rows for the tests of the larger set, and source files made of them."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path
from typing import Any

BASH = {
    "type": "function",
    "function": {
        "name": "bash",
        "parameters": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
    },
}


def words(topic: str, count: int = 60) -> str:
    """Words that only this topic has."""
    draw = random.Random(topic)
    return " ".join("".join(draw.choices(string.ascii_lowercase, k=6)) for _ in range(count))


def row(name: str, **fields: Any) -> dict[str, Any]:
    """A request, one call with its result, and an answer."""
    command = fields.pop("command", f"grep -rn {name} src")
    answer = fields.pop("answer", f"The total of {name} is computed in src/{name}.py, on line twelve.")
    arguments = fields.pop("arguments", {"command": command})
    call = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": arguments}}
    source = {"kind": "public", "name": "acme/set", "file": "a.jsonl", "row": 0, "license": "MIT"}
    return {
        "id": name,
        "messages": [
            {"role": "user", "content": fields.pop("request", f"Where is the total of {name}? {words(name)}")},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "name": "bash", "content": f"src/{name}.py:12: {words(name + 'r')}"},
            {"role": "assistant", "content": answer},
        ],
        "tools": [BASH],
        "source": source | fields.pop("source", {}),
        "group": [f"repository acme/{name}"],
        **fields,
    }


def put(workspace: Path, rows: list[dict[str, Any]], name: str = "a", kind: str = "public") -> None:
    """Rows as a source's file."""
    folder = workspace / "training-data" / "scaled" / kind
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def combined(workspace: Path) -> Path:
    return workspace / "training-data" / "scaled" / "combined"


def dropped(workspace: Path) -> dict[str, str]:
    """{id: reason} of what was left out."""
    lines = (combined(workspace) / "dropped.jsonl").read_text().splitlines()
    return {row["file"]: row["reason"] for row in map(json.loads, lines)}


def split_of(workspace: Path, form: str = "trl-tools") -> dict[str, str]:
    """{id: split} of what was written."""
    files = (combined(workspace) / form).glob("*.jsonl")
    return {json.loads(line)["id"]: file.stem for file in files for line in file.read_text().splitlines()}
