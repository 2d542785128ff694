"""What a stage came to, kept under what it rests on: while nothing of that has changed, no file is opened again.

The files are the truth, and whatever is kept here can be deleted at any time. It rests on the settings, this program,
and the sum of the files (`duel.file_sums`). What a stage saves leaves standing what the stages before it found: their
sums move on by what it saved itself, and by nothing else.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import orjson

from duel.file_sums import MODULUS, term
from duel.records.record import json_object
from duel.settings import Settings
from duel.workspace import Workspace

STANDING_FILE = "standing.json"


@dataclass(frozen=True)
class Snapshot:
    """The files of some kinds when it was taken: "prompt", "commit", "answer", "score" (of all contests), a bucket."""

    workspace: Workspace
    kinds: tuple[str, ...]
    found: int
    added: int  # what this process had added by then

    @classmethod
    def take(cls, workspace: Workspace, *kinds: str) -> Self:
        found, added = 0, sum(workspace.saves.added[kind] for kind in kinds)
        folders: list[Path] = []
        for kind in kinds:
            if kind == "answer":
                folders += workspace.answer_folders()
            else:
                contests = workspace.side_contests() if kind == "score" else []
                for folder in (workspace.root / kind, *(workspace.root / kind / f"_{name}" for name in contests)):
                    folders += workspace.folders.inside(folder)
        for folder in folders:
            inside = folder.relative_to(workspace.root).as_posix()
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
                found += sum(term(f"{inside}/{entry.name}", entry) for entry in entries)
        return cls(workspace, kinds, found % MODULUS, added)

    @property
    def before(self) -> str:
        return f"{self.found:032x}"

    def now(self) -> str:
        """The sum as it is if nobody but this process has changed a file since: one edited meanwhile is not in it."""
        added = sum(self.workspace.saves.added[kind] for kind in self.kinds) - self.added
        return f"{(self.found + added) % MODULUS:032x}"


def ground(settings: Settings, *further: object) -> str:
    """The fingerprint of the settings but for the money, of this program and of whatever else is looked at."""
    told = repr((program().hex(), settings.model_dump_json(exclude={"endpoint": {"budget_usd"}}), *further))
    return hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def recall(workspace: Workspace, name: str, rests_on: str, files: Snapshot) -> dict[str, Any] | None:
    """What `keep` has kept; None where something has changed since."""
    match json_object(workspace.private / STANDING_FILE).get(name):
        case {"on": on, "files": sums, "said": dict(said)} if (on, sums) == (rests_on, files.before):
            return said
    return None


def keep(workspace: Workspace, name: str, rests_on: str, files: Snapshot, said: dict[str, Any]) -> None:
    """Keep what the stage `name` came to, over the files as they are now."""
    kept = json_object(workspace.private / STANDING_FILE)
    _write(workspace, kept | {name: {"on": rests_on, "files": files.now(), "said": said}})


def carry(workspace: Workspace, names: Iterable[str], files: Snapshot) -> None:
    """What stood before this stage for `names`, and is left as it is by what the stage saved, stands after it."""
    kept, now = json_object(workspace.private / STANDING_FILE), files.now()
    known = (one for name in names if isinstance(one := kept.get(name), dict))
    standing = [one for one in known if one.get("files") == files.before]
    if standing and now != files.before:
        for one in standing:
            one["files"] = now
        _write(workspace, kept)


def _write(workspace: Workspace, kept: dict[str, Any]) -> None:
    workspace.saves.let_the_clock_move()
    workspace.save(workspace.private / STANDING_FILE, orjson.dumps(kept))


@cache
def program() -> bytes:
    """The fingerprint of the package's bytes: another version looks at everything anew."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(file for file in Path(__file__).parent.rglob("*") if file.suffix in {".py", ".txt", ".toml"}):
        digest.update(path.read_bytes())
    return digest.digest()
