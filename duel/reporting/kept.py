"""The buckets on disk: `final/`, `refined/` and `defeat/`, rewritten at each run without touching users' own files."""

import contextlib
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import orjson

from duel.records import Bucket, Kept
from duel.reporting.listed_turns import Judged
from duel.workspace import BUCKETS, Workspace, cannot_write

MANIFEST = "kept.json"
_IN_A_BUCKET = re.compile(rf"({'|'.join(BUCKETS)})/(\d+/)?[^/\0]+\.json")


class Shelves:
    """The three folders. A file is this project's where its manifest lists it, or where it is the kept record of a
    turn that was judged here (a run that was killed had no time to list it). Any other file is the user's and stays."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.in_the_way: list[str] = []  # users' own files that lie where a turn should go
        self._before: set[str] = set()
        # A damaged manifest lists nothing, and no name in it leads out of the buckets.
        with contextlib.suppress(OSError, ValueError):
            names = orjson.loads((workspace.private / MANIFEST).read_bytes())
            if isinstance(names, list):
                self._before = {name for name in names if isinstance(name, str) and _IN_A_BUCKET.fullmatch(name)}

    def put(self, bucket: Bucket, file: str, payload: bytes) -> str:
        """Write the record of a turn into its bucket; returns the file's name, relative to the workspace."""
        path = self.workspace.kept_path(bucket, file)
        before, name = _bytes(path), self._name(path)
        if before != payload:
            if name not in self._before and path.exists() and not _is_kept_record(before):
                self.in_the_way.append(name)
            else:
                self.workspace.save(path, payload)
        return name

    def tidy(self, judged: Collection[str], kept: set[str]) -> int:
        """Remove the turns that have left a bucket, remember those that are `kept`; returns how many were removed."""
        gone = self._before - kept
        for path in (path for bucket in BUCKETS for path in self.workspace.kept_paths(bucket)):
            name = self._name(path)
            known = name in kept or name in gone or path.stem not in judged
            if not known and _is_kept_record(_bytes(path)):  # no manifest lists it
                gone.add(name)
        for name in sorted(gone):
            path = self.workspace.root / name
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise cannot_write(path, error) from None
        self.workspace.save_page(self.workspace.private / MANIFEST, sorted(kept.difference(self.in_the_way)))
        return len(gone)

    def _name(self, path: Path) -> str:
        return str(path)[len(str(self.workspace.root)) + 1 :].replace(os.sep, "/")


def enriched(judged: Judged) -> Kept:
    """The answer with what the panel said of it, or the held-out judges of the rewrite that took its place."""
    fields: dict[str, Any] = dict(judged.kept())
    fields.pop("format", None)
    rewritten = judged.lineage[-1].held_out if judged.lineage else None
    said = rewritten or judged.score
    return Kept.model_construct(
        **fields
        | {
            "score": said.score if rewritten else judged.turn.score,
            "score_expected": None if rewritten else judged.expected,
            "metrics": said.metrics,
            "reason": said.reason,
            "bucket_reason": judged.turn.why,
            "mode": judged.score.mode,
            "license": judged.turn.license,
            "lineage": [trial.promotion() for trial in judged.lineage],
            "base_commit": judged.commit.commit if judged.commit else "",
        }
    )


def _bytes(path: Path) -> bytes | None:
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return None


def _is_kept_record(payload: bytes | None) -> bool:
    try:
        record = orjson.loads(payload or b"")
    except ValueError:
        return False
    tag = record.get("format") if isinstance(record, dict) else None
    return isinstance(tag, str) and tag.split("/")[0] == Kept.kind()
