"""A shard: a plain workspace `shards/0007/` with the turns of some repositories, on which every stage runs unchanged.

A repository, and so a pull request, lies in one shard only: its turns are one cluster of the verdict's bound.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from duel.audit.contamination import canonical_repo, repo_of
from duel.calls.ledger import spent
from duel.errors import WorkspaceError
from duel.workspace import SHARD_FILE, SHARDS_FOLDER, Workspace


@dataclass(frozen=True)
class Shard:
    """One part of a workspace, and how far its stages have come."""

    number: int
    of: int
    prompts: int
    workspace: Workspace

    @property
    def name(self) -> str:
        return self.workspace.root.name

    @property
    def decided(self) -> bool:
        """True once all of its stages have run: the shard's own verdict marks the end of the last."""
        return self.workspace.duel.exists() or not self.prompts

    def figures(self) -> dict[str, Any]:
        """How far its stages have come. Every answer is read: 0.1 ms each."""
        challengers = [_has_challenger(path) for path in self.workspace.answer_paths()]
        return {
            "shard": self.name,
            "turns": self.prompts,
            "kings": len(challengers),
            "challengers": sum(challengers),
            "judged": len(self.workspace.score_paths()),
            "decided": self.decided,
            "dollars": round(self.spent(), 4),
        }

    def spent(self) -> float:
        return spent(self.workspace.ledger)


def number_of(instance_id: str, repo: str, shards: int) -> int:
    """The shard of a pull request: by a hash of its repository, under the name that all spellings share."""
    whose = repo_of(instance_id) or canonical_repo(repo) or instance_id
    return int.from_bytes(hashlib.sha256(whose.encode("utf-8", "surrogatepass")).digest()[:8]) % shards


def place(whole: Workspace, number: int) -> Workspace:
    return Workspace(whole.root / SHARDS_FOLDER / f"{number:04d}")


def there(whole: Workspace) -> list[Shard]:
    """The shards of `whole` by number. Raises WorkspaceError where there are none, or not all of them."""
    folder = whole.root / SHARDS_FOLDER
    parts = sorted(found(whole), key=lambda shard: shard.number)
    if not parts:
        raise WorkspaceError("there are no shards", where=folder, hint="`duel shard split 4` makes four of them")
    if [shard.number for shard in parts] != list(range(parts[0].of)) or len({shard.of for shard in parts}) > 1:
        raise WorkspaceError(
            "some shards are missing",
            where=folder,
            value=f"{len(parts)} of {max(shard.of for shard in parts)}",
            hint="bring them back, or run the same `duel shard split` again",
        )
    return parts


def found(whole: Workspace) -> Iterator[Shard]:
    """The shards whose split was finished, in no order; some may be missing."""
    for mark in (whole.root / SHARDS_FOLDER).glob(f"*/{SHARD_FILE}"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told: dict[str, Any] = orjson.loads(mark.read_bytes())
            yield Shard(int(told["number"]), int(told["of"]), int(told["prompts"]), Workspace(mark.parent.parent))


def _has_challenger(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return bool(orjson.loads(path.read_bytes()).get("challenger"))
    return False


def bring(source: Path, target: Path) -> bool:
    """Make `target` the same file as `source`, unless it is already, or newer; copied where no link can be made."""
    try:
        there, came = target.stat(), source.stat()
        if (there.st_dev, there.st_ino) == (came.st_dev, came.st_ino) or there.st_mtime_ns >= came.st_mtime_ns:
            return False
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:  # another disk, or a file system without links
        shutil.copy2(source, part)
    part.replace(target)
    return True
