"""What an audit rests on, as fingerprints: where none has changed, the findings of the last audit stand."""

from __future__ import annotations

import contextlib
import hashlib
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duel.audit import outside_checks
from duel.records import Answer, Commit, Side
from duel.settings import Settings
from duel.workspace import Workspace

if TYPE_CHECKING:
    from duel.audit.contamination import Benchmarks


def ground(settings: Settings, benchmarks: Benchmarks) -> bytes:
    """What every turn's audit rests on: this program, `[audit]`, and the lists of benchmarks."""
    digest = hashlib.blake2b(_program(), digest_size=16)
    digest.update(settings.audit.model_dump_json().encode())
    digest.update(outside_checks.program())
    digest.update(repr((benchmarks.digests, benchmarks.unchecked)).encode())
    return digest.digest()


def of_workspace(workspace: Workspace, settings: Settings, benchmarks: Benchmarks) -> str:
    """What the audit of all turns rests on: the ground of each, and every pull request's and answer's file."""
    digest = hashlib.blake2b(ground(settings, benchmarks), digest_size=16)
    # Names, sizes and times: no file is opened (100,000 take 0.5 s).
    for folder in (*workspace.folders.inside(workspace.root / "commit"), *workspace.answer_folders()):
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                found = entry.stat()
                line = f"{folder.name}/{entry.name} {found.st_size} {found.st_mtime_ns}\n"
                digest.update(line.encode("utf-8", "replace"))
    return digest.hexdigest()


def of_turn(base: bytes, reply: str, answer: Answer, commit: Commit | None) -> str:
    """What the audit of one reply rests on: `base`, the reply, its history and its pull request."""
    digest = hashlib.blake2b(base, digest_size=8)
    digest.update(commit.dump() if commit is not None else b"")
    for text in (reply, *(part for message in answer.messages for part in (message.role, message.content))):
        digest.update(b"\0" + text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def last(workspace: Workspace, side: Side, key: str) -> dict[str, Any] | None:
    """What `remember` kept under `key`; None where something has changed since."""
    import orjson

    with contextlib.suppress(OSError, ValueError):
        kept = orjson.loads(_path(workspace, side).read_bytes())
        if isinstance(kept, dict) and kept.get("key") == key:
            return kept
    return None


def remember(workspace: Workspace, side: Side, key: str, said: dict[str, Any]) -> None:
    import orjson

    workspace.save(_path(workspace, side), orjson.dumps({"key": key, **said}))


def _path(workspace: Workspace, side: Side) -> Path:
    return workspace.private / f"audited-{side}.json"


@cache
def _program() -> bytes:
    """The bytes of the package, its tables included: another version audits anew."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(Path(__file__).parent.parent.rglob("*")):
        if path.suffix in {".py", ".txt"}:
            digest.update(path.read_bytes())
    return digest.digest()
