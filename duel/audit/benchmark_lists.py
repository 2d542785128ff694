"""Where lists of benchmark instances come from: files a user names, the Hub, and `humaneval.txt` without a network.

HumanEval (Chen et al. 2021, arXiv 2107.03374) and MBPP (Austin et al. 2021, arXiv 2108.07732) are lists of functions.
"""

import contextlib
import csv
import io
import os
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from duel import wordlists
from duel.environment import environment, expanded, hub_is_off, hub_token
from duel.errors import DuelError, ItemError, SettingsError
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
OF_FUNCTIONS = ("humaneval", "mbpp")
FRESH_SECONDS = 30 * 24 * 3600  # a list read less than this long ago is taken from the cache: benchmarks rarely change
_COLUMNS = ("instance_id", "repo", "base_commit")
_TEXT_COLUMNS = ("problem_statement", "issue", "issue_text", "text")
_FUNCTION_COLUMNS = ("task_id", "code")
_DEFINITION = re.compile(r"\bdef\s+(\w+)\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)")


def signatures(code: str, name: str = "") -> Iterator[int]:
    """A hash of each Python function, or of `name` alone, by its name and the names of its parameters.

    With one parameter the name needs two words or ten letters: `fib(n)` stands in too much honest code.
    """
    for found, given in _DEFINITION.findall(code):
        parameters = re.findall(r"(?:^|,)\s*\**(\w+)", re.sub(r"\[[^\]]*\]|\([^()]*\)", "", given))
        if name in ("", found) and (len(parameters) > 1 or "_" in found[1:-1] or len(found) >= 10):
            told = f"{found}({','.join(parameters)})".lower().encode()
            yield zlib.crc32(told) << 32 | zlib.adler32(told)


def humaneval() -> list[dict[str, Any]]:
    rows = (row.split() for (row,) in wordlists.rows("duel.audit", "humaneval.txt"))
    return [
        {"instance_id": instance, "signatures": [int(signed, 16)], "ngrams": [int(n, 16) for n in ngrams]}
        for instance, signed, *ngrams in rows
    ]


def rows_of_file(file: Path) -> list[dict[str, Any]]:
    """The instances in a file: one id a line with `#` comments, json, jsonl, csv, parquet. Raises SettingsError."""
    try:
        if rows := _instances(_records(file)):
            return rows
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise SettingsError("cannot read a list of instances", where=file, value=error) from None
    hint = "one id a line, or a table with a column `instance_id`"
    raise SettingsError("a list of instances without one id", where=file, hint=hint)


def _records(file: Path) -> Iterable[Any]:
    match file.suffix.lower():
        case ".parquet":
            return _of_parquet(file)
        case ".json":
            content = orjson.loads(file.read_bytes())  # [...], {"instances": [...]} or {"id": {...}}
            values = content.values() if isinstance(content, dict) else ()
            return next((value for value in values if isinstance(value, list)), list(content))
        case ".jsonl":
            return [orjson.loads(line) for line in file.read_bytes().splitlines() if line.strip()]
        case ".csv":
            return list(csv.DictReader(io.StringIO(file.read_text("utf-8", "replace"))))
    return [line.split("#", 1)[0].strip() for line in file.read_text("utf-8", "replace").splitlines()]


def _of_parquet(file: Any) -> list[dict[str, Any]]:
    import pyarrow.parquet as parquet

    table = parquet.ParquetFile(file)
    wanted = [name for name in (*_COLUMNS, *_TEXT_COLUMNS, *_FUNCTION_COLUMNS) if name in table.schema_arrow.names]
    return list(table.read(columns=wanted).to_pylist())


def _instances(records: Iterable[Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for record in records:
        row = record if isinstance(record, Mapping) else {"instance_id": record}
        kept: dict[str, Any] = {name: str(row.get(name) or "").strip() for name in _COLUMNS}
        kept["problem_statement"] = str(next((row[name] for name in _TEXT_COLUMNS if row.get(name)), ""))
        if "task_id" in row and not row.get("instance_id"):
            kept["instance_id"] = f"task {row['task_id']}"
            kept["signatures"] = [*signatures(str(row.get("code") or ""))][-1:]
        rows += [kept] if kept["instance_id"] else []
    return rows


def hub_rows(
    dataset: str, workspace: Workspace, offline: bool, known_by: Callable[[str], list[int]]
) -> list[dict[str, Any]]:
    """The instances of a Hub data set but for `train`, from the cache or by reading their columns. Raises ItemError."""
    base = Path(environment("XDG_CACHE_HOME", workspace.root) or expanded("~/.cache"))
    home = base if base.is_absolute() else workspace.private  # no home folder, as in some containers
    cache = home / "duel-curation" / "benchmarks" / f"{file_name(dataset)}.json"
    kept: list[dict[str, Any]] = []
    with contextlib.suppress(OSError, ValueError):
        kept = orjson.loads(cache.read_bytes())
        if kept and time.time() - cache.stat().st_mtime < FRESH_SECONDS and "ngrams" in kept[0]:
            return kept
    try:
        rows = _read_hub(dataset, workspace, offline)
    except ItemError:
        if kept:
            return kept
        raise
    for row in rows:
        row["ngrams"] = known_by(row.pop("problem_statement"))
    part = cache.with_name(f"{cache.name}.{os.getpid()}")  # runs in other workspaces may write the same list
    with contextlib.suppress(DuelError, OSError):  # a cache that cannot be written costs only the next run's calls
        Workspace(cache.parent).save(part, orjson.dumps(rows))
        part.replace(cache)
    return rows


def _read_hub(dataset: str, workspace: Workspace, offline: bool) -> list[dict[str, Any]]:
    if offline or hub_is_off(workspace.root):
        raise ItemError("unchecked", "offline, and no copy in the cache")
    from huggingface_hub import HfFileSystem

    endpoint = environment("HF_ENDPOINT", workspace.root) or None
    hub = HfFileSystem(endpoint=endpoint, token=hub_token(workspace.root) or False)
    records = []
    try:
        for path in sorted(hub.find(f"datasets/{dataset}")):
            if path.endswith(".parquet") and "train" not in Path(path).name:
                with hub.open(path) as opened:
                    records += _of_parquet(opened)
    except Exception as error:  # the client raises errors of many packages; each means that the list is not available
        raise ItemError("unchecked", f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}") from None
    if rows := _instances(records):
        return rows
    raise ItemError("unchecked", "no parquet file with instances")
