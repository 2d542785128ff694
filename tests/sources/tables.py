"""Small parquet files in the datasets' own columns, made for one test each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
TRAJECTORIES = pa.schema(
    [
        ("instance_id", pa.string()),
        ("repo", pa.string()),
        ("messages", MESSAGES),
        ("trajectory_format", pa.string()),
        ("exit_status", pa.string()),
        ("duration_sec", pa.float64()),
    ]
)
PATCH = """\
diff --git a/src/app.py b/src/app.py
index 1111111..2222222 100644
--- a/src/app.py
+++ b/src/app.py
@@ -1,2 +1,2 @@
-broken = True
+broken = False
 done = True
"""


def base_commit(instance_id: str) -> str:
    """A commit hash of its own for each instance."""
    return instance_id.encode().hex().ljust(40, "0")[:40]


def issue(instance_id: str) -> str:
    return f"Something in {instance_id} is broken.\n\nIt should not be."


def messages(instance_id: str, turns: int, rollout: int = 0) -> list[dict[str, Any]]:
    """System prompt, task, and `turns` assistant turns with an observation behind each but the last."""
    task = f"Solve this.\n\n{issue(instance_id)}\n\n- Repo: x\n- Base commit: {base_commit(instance_id)}\n"
    said = [{"role": "system", "content": "One bash block per reply."}, {"role": "user", "content": task}]
    for turn in range(1, turns + 1):
        command = f"ls {instance_id} # rollout {rollout} turn {turn}"
        said.append({"role": "assistant", "content": f"I look.\n\n```bash\n{command}\n```"})
        said.append({"role": "user", "content": f"Observation: after turn {turn}"})
    return said[:-1]


def rollout(instance_id: str | None, turns: int = 5, number: int = 0, **changes: Any) -> dict[str, Any]:
    """One row."""
    return {
        "instance_id": instance_id,
        "repo": (instance_id or "").rpartition("-")[0].replace("__", "/"),
        "messages": messages(instance_id or "", turns, number),
        "trajectory_format": "mini-swe-agent-1",
        "exit_status": "Submitted" if number % 4 == 0 else "incomplete",
        "duration_sec": 1.5,
        **changes,
    }


def write_rollouts(path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema = TRAJECTORIES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema), path, compression="zstd")
    return path


def pull(instance_id: str, **changes: Any) -> dict[str, Any]:
    """One pull request."""
    return {
        "base_commit": base_commit(instance_id),
        "created_at": "2024-05-01T10:00:00Z",
        "hints_text": "",
        "instance_id": instance_id,
        "patch": PATCH,
        "pr_description": f"Fix {instance_id}",
        "problem_statement": issue(instance_id),
        "pull_number": 7,
        "repo": instance_id.rpartition("-")[0].replace("__", "/"),
        "test_patch": PATCH.replace("src/app.py", "tests/test_app.py"),
        "FAIL_TO_PASS": ["test_one"],
        "license": "MIT",
        **changes,
    }


def write_pulls(path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema), path)
    return path


def dataset(folder: Path, files: int, pulls_per_file: int = 3, rollouts: int = 4) -> dict[str, Path]:
    """Files as the Hub has them, by name in the repository; a pull request of each straddles into the next."""
    paths = {}
    for number in range(files):
        ids = [f"owner__repo{number % 5}-{number * pulls_per_file + k}" for k in range(pulls_per_file)]
        rows = [rollout(name, turns=3 + k % 4, number=k) for name in ids for k in range(rollouts)]
        if number:
            rows.insert(0, rollout(f"owner__repo{(number - 1) % 5}-{number * pulls_per_file - 1}", turns=6, number=9))
        name = f"data/train-{number:05d}.parquet"
        paths[name] = write_rollouts(folder / name, rows)
    return paths


CLEAN = "[audit]\ndecontaminate = []\n"


def configure(home: Path, **sample: Any) -> None:
    """Write chain.toml with these keys in [sample]."""
    keys = {"dataset": "runs", "pulls": "pulls.parquet", "n": 6, **sample}
    lines = [f"{key} = {toml(value)}" for key, value in keys.items()]
    (home / "chain.toml").write_text("[sample]\n" + "\n".join(lines) + "\n" + CLEAN)


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + " }"
    return json.dumps(value)


def drawn(home: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((home / "prompt").glob("*.json")) for row in json.loads(path.read_bytes())]


def everything(home: Path) -> dict[str, bytes]:
    """The bytes of every file that the stage hands over."""
    return {
        path.relative_to(home).as_posix(): path.read_bytes()
        for folder in ("prompt", "commit", "report")
        for path in sorted((home / folder).glob("*"))
    }


def left_out(home: Path) -> dict[str, Any]:
    return json.loads((home / "report" / "sampling.json").read_bytes())["left_out"]
