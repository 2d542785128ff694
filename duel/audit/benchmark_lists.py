"""Where lists of benchmark instances come from: files a user names, and the Hub (only the columns that name them)."""

import csv
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from duel.audit import benchmark_functions
from duel.environment import environment, expanded, hub_is_off, hub_token
from duel.errors import ItemError, SettingsError
from duel.workspace import Workspace, file_name

HUB_LISTS = {
    "swe-bench": "princeton-nlp/SWE-bench",
    "lite": "princeton-nlp/SWE-bench_Lite",
    "verified": "princeton-nlp/SWE-bench_Verified",
    "multilingual": "SWE-bench/SWE-bench_Multilingual",
    "multimodal": "princeton-nlp/SWE-bench_Multimodal",
    "pro": "ScaleAI/SWE-bench_Pro",
    "mbpp": "google-research-datasets/mbpp",
}
"""The benchmarks that have a short name in the settings, and where they lie on the Hub."""
COLUMNS = ("instance_id", "repo", "base_commit")
"""What names an instance; of a list on the Hub these columns are read, and the issue."""
_PROBLEM = ("task_id", "code")
"""What a benchmark of single functions has in their place."""
FRESH_SECONDS = 30 * 24 * 3600
"""A list that was read less than this long ago is taken from the cache without a call; benchmarks rarely change."""
_TEXT_COLUMNS = ("problem_statement", "issue", "issue_text", "text")


def rows_of_file(file: Path) -> list[dict[str, Any]]:
    """The instances in a file: plain text (one id a line, `#` comments), json, jsonl, csv or parquet.

    Raises SettingsError where it cannot be read, or holds no id.
    """
    try:
        rows = [_row(row) for row in _records(file)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise SettingsError("cannot read a list of instances", where=file, value=error) from None
    rows = [row for row in rows if row["instance_id"]]
    if not rows:
        hint = "one id a line, or a table with a column `instance_id`"
        raise SettingsError("a list of instances without one id", where=file, hint=hint)
    return rows


def _row(row: Any) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        return {"instance_id": str(row or "").strip()}
    if "task_id" in row and not row.get("instance_id"):
        signed = [*benchmark_functions.signatures(str(row.get("code") or ""))][-1:]
        row = {**row, "instance_id": f"task {row['task_id']}", "signatures": signed}
    text = next((row[name] for name in _TEXT_COLUMNS if row.get(name)), "")
    return {**{name: str(row.get(name) or "").strip() for name in COLUMNS}, "problem_statement": str(text or "")} | (
        {"signatures": row["signatures"]} if "signatures" in row else {}
    )


def _records(file: Path) -> Iterable[Any]:
    """What a file lists, by its ending: rows, or ids alone."""
    import orjson

    match file.suffix.lower():
        case ".json":
            content = orjson.loads(file.read_bytes())  # [...], {"instances": [...]} or {"id": {...}}
            if isinstance(content, dict):
                content = next((value for value in content.values() if isinstance(value, list)), content)
            return list(content)
        case ".jsonl":
            return [orjson.loads(line) for line in file.read_bytes().splitlines() if line.strip()]
        case ".csv":
            with file.open(newline="", encoding="utf-8", errors="replace") as lines:
                return list(csv.DictReader(lines))
        case ".parquet":
            return _columns(file)
    return [line.split("#", 1)[0].strip() for line in file.read_text("utf-8", "replace").splitlines()]


def _columns(file: Any) -> list[dict[str, Any]]:
    """The rows of a parquet file with the columns that name an instance or hold its issue."""
    import pyarrow.parquet as parquet

    table = parquet.ParquetFile(file)
    wanted = [name for name in (*COLUMNS, *_TEXT_COLUMNS, *_PROBLEM) if name in table.schema_arrow.names]
    return list(table.read(columns=wanted).to_pylist())


def hub_rows(
    dataset: str, workspace: Workspace, offline: bool, known_by: Callable[[str], list[int]]
) -> list[dict[str, Any]]:
    """The instances of a Hub data set (all splits but `train`), from the cache or by reading their columns.

    Of an issue only what it is known by again is kept (`ngrams`), not its text.

    Raises ItemError with the reason where neither is to be had.
    """
    import orjson

    base = Path(environment("XDG_CACHE_HOME", workspace.root) or expanded("~/.cache"))
    home = base if base.is_absolute() else workspace.private  # no home folder, as in some containers
    cache = home / "duel-curation" / "benchmarks" / f"{file_name(dataset)}.json"
    try:
        kept: list[dict[str, Any]] | None = orjson.loads(cache.read_bytes())
        age = time.time() - cache.stat().st_mtime
    except (OSError, ValueError):
        kept, age = None, 0.0
    if kept and age < FRESH_SECONDS and "ngrams" in kept[0]:
        return kept
    try:
        rows = _read_hub(dataset, workspace, offline)
    except ItemError:
        if kept:
            return kept
        raise
    for row in rows:
        row["ngrams"] = known_by(row.pop("problem_statement"))
    _keep(cache, orjson.dumps(rows))
    return rows


def _read_hub(dataset: str, workspace: Workspace, offline: bool) -> list[dict[str, Any]]:
    if offline or hub_is_off(workspace.root):
        raise ItemError("unchecked", "offline, and no copy in the cache")
    from huggingface_hub import HfFileSystem

    endpoint = environment("HF_ENDPOINT", workspace.root) or None
    hub = HfFileSystem(endpoint=endpoint, token=hub_token(workspace.root) or False)
    try:
        rows = []
        for path in sorted(hub.find(f"datasets/{dataset}")):
            if not path.endswith(".parquet") or "train" in Path(path).name:
                continue
            with hub.open(path) as opened:
                rows += _columns(opened)
    except Exception as error:  # the client raises errors of many packages; each means that the list is not to be had
        raise ItemError("unchecked", f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}") from None
    instances = [row for row in map(_row, rows) if row["instance_id"]]
    if not instances:
        raise ItemError("unchecked", "no parquet file with instances")
    return instances


def _keep(file: Path, data: bytes) -> None:
    """Save in the cache; a cache that cannot be written costs only the next run's calls."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        part.replace(file)
    except OSError:
        part.unlink(missing_ok=True)
