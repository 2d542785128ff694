"""What prompt.py leaves behind, last the mark that it is done, and what becomes of the files of older draws.

A rerun with the same settings has nothing to do; a file that was cut or edited since is noticed by its hash in the
mark.
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
from duel.command import say
from duel.errors import ItemError, printable
from duel.records import Answer, Commit, Prompt, Score
from duel.records.record import json_object
from duel.sections import SampleSection
from duel.settings import Settings
from duel.sources.parquet_tables import ParquetTable
from duel.workspace import PROMPTS_PER_FILE, Workspace

MARK = "prompt.json"  # in the private folder: which draw lies there, and that it is complete
VERSION = 1  # part of the fingerprint: raise it whenever the draw or its records change
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


def read_mark(workspace: Workspace) -> dict[str, Any]:
    """The file that says which draw lies in the workspace, and that it is complete; {} where there is none."""
    mark = json_object(workspace.private / MARK)
    return mark if isinstance(mark.get("files"), dict) else {}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


@dataclass
class Output:
    workspace: Workspace
    settings: Settings
    made_with: str
    configured: SampleSection  # as chain.toml alone has it: a later run takes over the draw while that stays the same
    written: dict[str, str] = field(default_factory=dict)  # hash by path within the workspace
    huge: dict[str, int] = field(default_factory=dict)
    """Tokens of each pull request that is too large for the challenger's prompt."""

    def is_finished(self) -> bool:
        """True where the files of this very draw are there as they were written; says so, and which are not."""
        workspace, mark = self.workspace, read_mark(self.workspace)
        if mark.get("made_with") != self.made_with:
            return False
        files = standing.Snapshot.take(workspace, *TURN_FILES)
        stand = standing.recall(workspace, "prompt", self.made_with, files) is not None
        changed = []
        for name, digest in mark["files"].items():
            found = digest if stand and name.split("/")[0] in TURN_FILES else ""
            with suppress(OSError):
                found = found or _digest((workspace.root / name).read_bytes())
            if found != digest:
                changed.append(name)
        for name in changed[:10]:
            say(f"changed or gone since it was drawn: {printable(name)}")
        if changed:
            say(f"{len(changed):,} of {len(mark['files']):,} files are not as they were drawn, and are drawn again")
            return False
        if not stand:
            standing.keep(workspace, "prompt", self.made_with, files, {})
        if mark["files"]:
            say(f"nothing to do: the {len(mark['files']):,} files of this draw are there; `--again` draws anew")
        return bool(mark["files"])

    def say_others(self) -> None:
        """Name prompt files from elsewhere: the next stages read them as well. Those of an older draw are replaced."""
        others = [path.name for path in self.workspace.prompt_files() if not self._is_ours(path)]
        if others and not read_mark(self.workspace):
            shown = ", ".join(others[:4]) + (" …" if len(others) > 4 else "")
            say(f"prompt/ also holds prompts from elsewhere ({shown}): the next stages take both")

    def _is_ours(self, path: Path) -> bool:
        return path.stem.startswith(f"prompts_{self.settings.sample.n}_")

    def begin(self) -> None:
        """From here until `finish` the workspace holds a draw that is not complete."""
        self.replaces = (self.workspace.private / MARK).exists()  # a draw of ours was here before, whole or not
        self.workspace.save(self.workspace.private / MARK, orjson.dumps({"made_with": "", "files": {}}))

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
        number, folder = 0, self.workspace.root / "prompt"
        while rows := [prompt.model_dump(mode="json") for prompt in islice(prompts, PROMPTS_PER_FILE)]:
            number += 1
            path = folder / f"prompts_{self.settings.sample.n}_{number}.json"
            self._save(path, orjson.dumps(rows, option=_PAGE))
        for path in self.workspace.prompt_files():
            if self._name(path) not in self.written:
                if self._is_ours(path):
                    path.unlink()
                elif self.replaces:
                    _move(path, self.workspace.attic / "prompt" / path.name)

    def finish(self, summary: dict[str, Any]) -> None:
        page = (
            "# Pull requests too large for the challenger's prompt\n\n"
            f"A pull request may take {pull.token_limit(self.settings):,} tokens (estimated), half of `max_model_len`."
            " Those listed here are skipped by every later stage, as `exclude_ids` are.\n\n"
        )
        page += "| instance_id | tokens |\n|---|---:|\n" if self.huge else "None in this draw.\n"
        for name, tokens in sorted(self.huge.items(), key=lambda row: (-row[1], row[0])):
            cell = re.sub(r"[`|\\]", "?", printable(name, 120))
            page += f"| `{cell}` | {tokens:,} |\n"
        self._save(self.workspace.report / "hugePR.md", page.encode())
        self._save(self.workspace.report / "sampling.json", orjson.dumps(summary, option=_PAGE))
        asked = {"sample": self.settings.sample, "configured": self.configured}
        mark = {"made_with": self.made_with, "files": self.written}
        mark |= {name: sample.model_dump(mode="json") for name, sample in asked.items()}
        self.workspace.save(self.workspace.private / MARK, orjson.dumps(mark))

    def _save(self, path: Path, data: bytes) -> None:
        self.workspace.save(path, data)
        self.written[self._name(path)] = _digest(data)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.workspace.root).as_posix()


def take_over(workspace: Workspace, answers_per_dir: int) -> None:
    """Give answers and scores of older draws to the turns of this one that are theirs; the others go to the attic."""
    wanted = {stem: (position, turn_of(prompt)) for stem, position, prompt in workspace.prompts([])}
    attic, retired, recalled = workspace.attic, 0, 0
    for path, answer in workspace.answers([]):
        turn = turn_of(answer)
        if wanted.get(path.stem, (0, ""))[1] != turn:
            name = f"{turn}~{path.stem}.json"
            _move(path, attic / "answer" / name)
            _move(workspace.score_path(path.stem), attic / "score" / name)
            retired += 1
    for path in workspace.score_paths():  # of an answer that is gone
        if path.stem not in wanted:
            _move(path, attic / "score" / f"{'0' * 16}~{path.stem}.json")

    newest_last = sorted((attic / "answer").glob("*~*.json"), key=lambda path: path.stat().st_mtime)
    kept = {path.name.partition("~")[0]: path for path in newest_last}
    folders = workspace.answer_folders()
    for stem, (position, turn) in wanted.items():
        if turn not in kept or workspace.find_answer(stem, folders) is not None:
            continue
        score = attic / "score" / kept[turn].name
        with suppress(ItemError):
            workspace.save(workspace.score_path(stem), workspace.read(score, Score).model_copy(update={"file": stem}))
            score.unlink()
        _move(kept[turn], workspace.new_answer_path(stem, position, answers_per_dir))
        recalled += 1
    if recalled:
        say(f"{recalled:,} turns of an earlier draw are in this one as well: their answers and votes are kept")
    if retired > recalled:
        say(f"{retired - recalled:,} turns of an earlier draw are not in this one: moved to {attic}")


def turn_of(record: Prompt | Answer) -> str:
    """What identifies a turn: 16 hexadecimal digits."""
    source = record.source
    parts = [record.instance_id, source.dataset, source.file, str(source.row), str(record.turn)]
    if source.row < 0:  # from elsewhere: only its text tells it from others
        parts.append(record.assistant)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _move(path: Path, to: Path) -> None:
    if path.exists():
        to.parent.mkdir(parents=True, exist_ok=True)
        path.replace(to)
