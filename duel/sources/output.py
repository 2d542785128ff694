"""What prompt.py leaves behind: prompt files, mirrored pull requests, two pages, and last the mark that it is done.

The mark names what the prompts were made with and a hash of every file, so that a rerun with the same settings has
nothing to do, and a file that was cut or edited since is noticed.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from duel import pull, standing
from duel.errors import printable
from duel.file_sums import Snapshot
from duel.records import Commit, Prompt
from duel.settings import Settings
from duel.sources.parquet_tables import ParquetTable
from duel.workspace import PROMPTS_PER_FILE, Workspace

# Part of the fingerprint: raise it whenever the draw or its records change.
VERSION = 1
TURN_FILES = ("prompt", "commit")
"""Folders with something of each turn: once their files are known to be whole, none is read to see whether it is."""
_PAGE = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


def fingerprint(
    settings: Settings, trajectories: ParquetTable, pulls: ParquetTable | None, workspace: Workspace
) -> str:
    later = {name for name in ("phase", "weights") if not getattr(settings.sample, name)}  # older draws know neither
    sample = settings.sample.model_dump(mode="json", exclude={"dataset", "pulls", "revision", "pulls_revision", *later})
    lists = [workspace.resolve(name) for name in settings.audit.decontaminate]
    parts = {
        "version": VERSION,
        "sample": sample,
        "trajectories": [trajectories.name, trajectories.revision],
        "pulls": [pulls.name, pulls.revision] if pulls else [],
        "exclude_ids": sorted(settings.generate.exclude_ids),
        "huge": pull.token_limit(settings),
        "mode": settings.duel.mode,
        "audit": settings.audit.model_dump(mode="json", include={"decontaminate", "decontaminate_by", "licenses"}),
        "lists": [_digest(path.read_bytes()) for path in lists if path.is_file()],
    }
    return _digest(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS))


@dataclass
class Output:
    workspace: Workspace
    settings: Settings
    made_with: str
    written: dict[str, str] = field(default_factory=dict)  # hash by path within the workspace
    huge: dict[str, int] = field(default_factory=dict)
    """Tokens of each pull request that is too large for the challenger's prompt."""
    replaces: bool = False  # A draw of ours was here before, whole or not
    asked: dict[str, Any] = field(default_factory=dict)
    """What a later run compares and takes over: `sample` as it was drawn, `configured` as chain.toml had it."""

    def finished_files(self) -> dict[str, bool]:
        mark = read_mark(self.workspace)
        if mark.get("made_with") != self.made_with:
            return {}
        files = Snapshot.take(self.workspace, *TURN_FILES)
        stand = standing.recall(self.workspace, "prompt", self.made_with, files) is not None
        found = dict.fromkeys(mark["files"], False)
        for name, digest in mark["files"].items():
            with suppress(OSError):
                known = stand and name.split("/")[0] in TURN_FILES
                found[name] = known or _digest((self.workspace.root / name).read_bytes()) == digest
        if not stand and all(found.values()):
            standing.keep(self.workspace, "prompt", self.made_with, files, {})
        return found

    def is_ours(self, path: Path) -> bool:
        return path.stem.startswith(f"prompts_{self.settings.sample.n}_")

    def begin(self) -> None:
        """From here until `finish` the workspace holds a draw that is not complete."""
        self.replaces = mark_path(self.workspace).exists()
        self.workspace.save(mark_path(self.workspace), orjson.dumps({"made_with": "", "files": {}}))

    def save_commits(self, commits: Iterable[Commit]) -> set[str]:
        saved: set[str] = set()
        for commit in commits:
            self._save(self.workspace.commit_path(commit.instance_id, len(saved)), commit.dump())
            saved.add(commit.instance_id)
            size = pull.tokens(commit)
            if size > pull.token_limit(self.settings):
                self.huge[commit.instance_id] = size
        return saved

    def save_prompts(self, prompts: Iterator[Prompt]) -> None:
        number = 0
        while rows := [prompt.model_dump(mode="json") for prompt in islice(prompts, PROMPTS_PER_FILE)]:
            number += 1
            path = self.workspace.root / "prompt" / f"prompts_{self.settings.sample.n}_{number}.json"
            self._save(path, orjson.dumps(rows, option=_PAGE))
        for path in self.workspace.prompt_files():
            if self._name(path) not in self.written and self.is_ours(path):
                path.unlink()

    def finish(self, summary: dict[str, Any]) -> None:
        self._save(self.workspace.report / "hugePR.md", huge_page(self.huge, self.settings).encode())
        self._save(self.workspace.report / "sampling.json", orjson.dumps(summary, option=_PAGE))
        mark = {"made_with": self.made_with, "files": self.written, **self.asked}
        self.workspace.save(mark_path(self.workspace), orjson.dumps(mark))

    def _save(self, path: Path, data: bytes) -> None:
        self.workspace.save(path, data)
        self.written[self._name(path)] = _digest(data)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.workspace.root).as_posix()


def mark_path(workspace: Workspace) -> Path:
    """The file that says which draw lies in the workspace, and that it is complete."""
    return workspace.private / "prompt.json"


def read_mark(workspace: Workspace) -> dict[str, Any]:
    try:
        mark = orjson.loads(mark_path(workspace).read_bytes())
    except (OSError, ValueError):
        return {}
    return mark if isinstance(mark, dict) and isinstance(mark.get("files"), dict) else {}


def huge_page(huge: dict[str, int], settings: Settings) -> str:
    limit = pull.token_limit(settings)
    page = (
        "# Pull requests too large for the challenger's prompt\n\n"
        f"A pull request may take {limit:,} tokens (estimated), half of `max_model_len`. Those listed here are"
        " skipped by every later stage, as `exclude_ids` are.\n\n"
    )
    if not huge:
        return page + "None in this draw.\n"
    page += "| instance_id | tokens |\n|---|---:|\n"
    for name, tokens in sorted(huge.items(), key=lambda row: (-row[1], row[0])):
        cell = re.sub(r"[`|\\]", "?", printable(name, 120))
        page += f"| `{cell}` | {tokens:,} |\n"
    return page


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
