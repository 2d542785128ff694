"""The workspace: file names, atomic saves, what is there, locks.

Stages meet at plain files under one folder. This module alone knows what those files are called. What only this project
needs lies in `.duel/` beside them: the ledger of paid replies, the workspace's secret, the locks.
"""

import contextlib
import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import orjson

from duel.environment import expanded
from duel.errors import ItemError, UserError, WorkspaceError, require
from duel.file_sums import Saves
from duel.records import Answer, Bucket, Commit, Guided, Prompt, Record, Score, Verdict

PROMPTS_PER_FILE = 200
BUCKETS: tuple[Bucket, ...] = ("final", "refined", "defeat")
PRIVATE_FOLDER = ".duel"
SHARDS_FOLDER = "shards"
SHARD_FILE = f"{PRIVATE_FOLDER}/shard.json"  # in a shard: which one it is, of how many, and how many prompts it has
DUEL_FILE = "_duel.json"
LOCK_WAIT_S = 1.0
# How file systems say that they have no locks: some network and FUSE mounts.
NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}

# A name that is its own file name on every system: no separator, no leading dot, short enough for "<name>.json".
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,149}")
# Names that Windows gives to devices; a workspace is often on a shared drive.
_DEVICE_NAME = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_DIGITS = re.compile(r"(\d+)")
_TURN = re.compile(r"_(\d{1,9})_(\d{1,9})$")
_ANSWERS = re.compile(r"answer(_\d+)?")
_PROMPT_FILE = re.compile(r"prompts_(\d+)_(\d+)")

Found = TypeVar("Found", bound=Record)
_inside = lru_cache(1024)(Path.joinpath)  # a Path is slow to make and to spell: those of the folders are made once


def file_name(name: str) -> str:
    """A file name for an outside `name` that never leaves its folder and never collides with another's.

    Plain names stand for themselves. Any other becomes a readable start, a `~` (which no plain name has) and a hash.
    """
    if _PLAIN_NAME.fullmatch(name) and not _DEVICE_NAME.fullmatch(name):
        return name
    start = re.sub(r"[^A-Za-z0-9._+-]+", "_", name)[:60].strip("._-") or "name"
    return f"{start}~{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:20]}"


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """A sort key that puts `prompts_9_2` before `prompts_9_10`."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in _DIGITS.split(name) if part]


@dataclass
class NumberedFolders:
    """Folders of at most `most` files: the first lie in the folder itself, further ones in `1/`, `2/`, … inside it."""

    most: int = 5000  # files in one folder: `[store] answers_per_dir`
    _inside: dict[str, list[Path]] = field(default_factory=dict)  # by the folder's name: a Path is slow to look up
    _lay: dict[str, tuple[dict[str, Path], set[Path]]] = field(default_factory=dict)

    def place(self, folder: Path, file: str, position: int) -> Path:
        """Where `file` lies, else where it goes as the one at `position`, from 0."""
        number, name = max(position, 0) // self.most, str(folder)
        home = _inside(folder, str(number)) if number else folder
        if os.path.exists(wanted := home / file):
            return wanted
        # Each folder is listed once: to look for a file in twenty of them takes 0.2 ms. The first that has it counts.
        lay, listed = self._lay.setdefault(name, ({}, set()))
        folders = self.inside(folder)
        for inside in reversed(folders) if len(listed) < len(folders) else ():
            if inside not in listed and inside.is_dir():
                listed.add(inside)
                lay |= {entry.name: inside for entry in os.scandir(inside)}
        if (number or file in lay) and os.path.exists(found := lay.get(file, folder) / file):
            return found
        if number:  # it will be written there, and asked for without its position
            lay[file] = home
        return wanted

    def inside(self, folder: Path) -> list[Path]:
        """`folder`, and the numbered ones in it."""
        found = self._inside.setdefault(name := str(folder), [folder])
        while os.path.isdir(further := os.path.join(name, str(len(found)))):
            found.append(Path(further))
        return found

    def make(self, folder: Path) -> None:
        """Make `folder`; of numbered ones (a workspace may have a number for its name) all before it, too."""
        folder.mkdir(parents=True, exist_ok=True)
        numbered = str(folder.parent) in self._lay and folder.name.isdecimal()
        for number in range(1, int(folder.name) if numbered else 0):
            (folder.parent / str(number)).mkdir(exist_ok=True)


class Workspace:
    """One folder with everything a run reads and writes. Making the object touches no file."""

    def __init__(self, root: Path | str = ".") -> None:
        self.root = expanded(root).absolute()
        self.folders = NumberedFolders()
        self.saves = Saves(self.root)
        self.private = self.root / PRIVATE_FOLDER
        self.ledger = self.private / "ledger.sqlite"
        self.duel = self.root / "score" / DUEL_FILE
        self.report = self.root / "report"  # pages and lists for people
        self.dropped_path = self.report / "dropped.jsonl"  # a line for each item that a stage left out, with the reason
        self.review = self.root / "review"  # people's votes, and what was drawn for whom
        self.attic = self.root / "attic"  # what an older draw left behind: kept, never judged
        self._folders_made: set[str] = set()

    def __repr__(self) -> str:
        return f"Workspace({str(self.root)!r})"

    def resolve(self, path: str | Path) -> Path:
        """A path from the settings: relative ones are relative to the workspace."""
        return self.root / expanded(path)

    def commit_path(self, instance_id: str, position: int = 0) -> Path:
        return self.folders.place(_inside(self.root, "commit"), f"{file_name(instance_id)}.json", position)

    def score_path(self, stem: str, contest: str = "") -> Path:
        """Where the panel's view of the answer `stem` is kept, of the duel or of a further contest."""
        return self._place(f"score/_{contest}" if contest else "score", stem)

    def guided_path(self, task: str) -> Path:
        return self.root / "guided" / f"{file_name(task)}.json"

    def guided(self, damage: list[ItemError]) -> Iterator[tuple[Path, Guided]]:
        yield from self.read_all(self._sorted(self.root / "guided"), Guided, damage)

    def kept_path(self, bucket: Bucket, stem: str) -> Path:
        return self._place(bucket, stem)

    def _place(self, folder: str, stem: str) -> Path:
        turn = _TURN.search(stem)
        position = (int(turn[1]) - 1) * PROMPTS_PER_FILE + int(turn[2]) - 1 if turn else 0
        return self.folders.place(_inside(self.root, folder), f"{stem}.json", position)

    def kept_paths(self, bucket: Bucket) -> list[Path]:
        return self._sorted(self.root / bucket)

    def prompt_files(self) -> list[Path]:
        found = [p for p in self._listing(self.root / "prompt") if _PROMPT_FILE.fullmatch(p.stem)]
        return sorted(found, key=lambda path: natural_order(path.stem))

    def prompts(self, damage: list[ItemError], files: list[Path] | None = None) -> Iterator[tuple[str, int, Prompt]]:
        """Each prompt as (answer stem, position over all files from 0, record), one file in memory at a time.

        `files`: only these, and the position is the one among them.
        What cannot be read is appended to `damage`; the others go on.
        """
        position = -1
        for path in self.prompt_files() if files is None else files:
            try:
                rows = orjson.loads(path.read_bytes())
                require(isinstance(rows, list), "damaged", "not a JSON array of prompts")
            except (ItemError, ValueError, OSError) as error:
                damage.append(_damaged(path, error))
                continue
            for order, row in enumerate(rows, start=1):
                position += 1
                if row is None:  # it is another shard's
                    continue
                try:
                    prompt = Prompt.parse(row)
                except ItemError as error:
                    damage.append(ItemError("damaged", error.what, where=f"{path.name} #{order}"))
                    continue
                yield f"{path.stem}_{order}", position, prompt

    def count_prompts(self) -> int:
        """How many prompts there are, from the names of the full files and the length of each series' last."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return int(orjson.loads((self.root / SHARD_FILE).read_bytes())["prompts"])
        last: dict[str, Path] = {path.stem.rsplit("_", 1)[0]: path for path in self.prompt_files()}
        count = PROMPTS_PER_FILE * (len(self.prompt_files()) - len(last))
        for path in last.values():
            with contextlib.suppress(OSError, ValueError, TypeError):
                count += len(orjson.loads(path.read_bytes()))
        return count

    def answer_folders(self) -> list[Path]:
        """`answer_0/`, `answer_1/`, … and a plain `answer/`, which comes last."""
        found = [path for path in self.root.glob("answer*") if _ANSWERS.fullmatch(path.name) and path.is_dir()]
        return sorted(found, key=lambda path: (path.name == "answer", natural_order(path.name)))

    def new_answer_path(self, stem: str, position: int, answers_per_dir: int) -> Path:
        return self.root / f"answer_{position // answers_per_dir}" / f"{stem}.json"

    def find_answer(self, stem: str, folders: list[Path] | None = None) -> Path | None:
        """The file of the answer `stem`, wherever it lies. Pass `answer_folders()` when asking often."""
        inside = self.answer_folders() if folders is None else folders
        return next((path for folder in inside if (path := folder / f"{stem}.json").exists()), None)

    def answers_of(self, stems: Iterable[str], damage: list[ItemError]) -> Iterator[tuple[Path, Answer]]:
        """The answers of these stems that are there, each wherever it lies."""
        folders = self.answer_folders()
        places = (self.find_answer(stem, folders) for stem in stems)
        yield from self.read_all([path for path in places if path], Answer, damage)

    def answer_paths(self) -> list[Path]:
        """Every answer file in natural order of its stem; a stem that lies in two folders counts once."""
        found = {path.stem: path for folder in reversed(self.answer_folders()) for path in self._listing(folder)}
        return [found[stem] for stem in sorted(found, key=natural_order)]

    def answers(self, damage: list[ItemError]) -> Iterator[tuple[Path, Answer]]:
        yield from self.read_all(self.answer_paths(), Answer, damage)

    def commit(self, instance_id: str) -> Commit | None:
        """The mirrored pull request of `instance_id`, or None. Raises ItemError where the file is damaged."""
        path = self.commit_path(instance_id)
        if not path.exists():
            return None
        commit = self.read(path, Commit)
        named = commit.instance_id
        require(named == instance_id, "damaged", "the mirrored pull request is another's", where=path, value=named)
        return commit

    def readable_commit(self, instance_id: str) -> Commit | None:
        """The same, and None where it is damaged: for whoever can do without, since others name what is wrong."""
        with contextlib.suppress(ItemError):
            return self.commit(instance_id)
        return None

    def commit_paths(self) -> list[Path]:
        return self._sorted(self.root / "commit")

    def commits(self, damage: list[ItemError]) -> Iterator[tuple[Path, Commit]]:
        yield from self.read_all(self.commit_paths(), Commit, damage)

    def score_paths(self, contest: str = "") -> list[Path]:
        """Every score file in natural order, of the duel or of a further contest; `_duel.json` is none."""
        found = self._sorted(self.root / "score" / (contest and f"_{contest}"))
        return [path for path in found if not path.name.startswith("_")]

    def side_contests(self) -> list[str]:
        """The further contests that have scores ("noise", "confirm", …)."""
        return sorted(path.name[1:] for path in (self.root / "score").glob("_*") if path.is_dir())

    def scores(self, damage: list[ItemError]) -> Iterator[tuple[Path, Score]]:
        yield from self.read_all(self.score_paths(), Score, damage)

    def verdict(self) -> Verdict:
        """The verdict. Raises UserError where there is none, or none that can be read."""
        if not self.duel.exists():
            raise UserError("there is no verdict to report", where=self.duel, hint="run validate.py first")
        try:
            return self.read(self.duel, Verdict)
        except ItemError as error:
            hint = "`validate.py --regate` writes it anew from score/, without a call"
            raise UserError(f"the verdict cannot be read: {error.what}", where=self.duel, hint=hint) from None

    def read(self, path: Path, kind: type[Found]) -> Found:
        """One record of its kind. Raises ItemError (reason `damaged`) that names the file."""
        try:
            return kind.parse(path.read_bytes())
        except (ItemError, OSError) as error:
            raise _damaged(path, error) from None

    def save(self, path: Path, data: bytes | Record) -> None:
        """Replace the file in one step: a reader sees the old bytes or the new ones, never half.

        It is not synced to disk: whatever cost money is durable in the ledger before it comes here (one fdatasync costs
        231 µs), and a file that a power cut leaves empty is found, named and written again.
        """
        payload = data.dump() if isinstance(data, Record) else data
        part = os.path.join(folder := os.path.dirname(path), f".{path.name}.part")
        try:
            if folder not in self._folders_made or not os.path.isdir(folder):
                self.folders.make(path.parent)
                self._folders_made.add(folder)
            with self.saves.counted(path):
                with open(part, "wb") as file:
                    file.write(payload)
                os.replace(part, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise cannot_write(path, error) from None

    def save_page(self, path: Path, value: Any) -> None:
        """Save plain data as JSON that people can read, too."""
        self.save(path, orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))

    def _listing(self, folder: Path) -> list[Path]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return [folder / e.name for e in os.scandir(folder) if e.name.endswith(".json") and e.name[0] != "."]
        return []

    def _sorted(self, folder: Path) -> list[Path]:
        found = [path for inside in self.folders.inside(folder) for path in self._listing(inside)]
        return sorted(found, key=lambda path: natural_order(path.stem))

    def read_all(self, paths: list[Path], kind: type[Found], damage: list[ItemError]) -> Iterator[tuple[Path, Found]]:
        """Each readable record with its file; what cannot be read is appended to `damage`."""
        for path in paths:
            try:
                yield path, self.read(path, kind)
            except ItemError as error:
                damage.append(error)

    @contextlib.contextmanager
    def lock(self, what: str, command: str, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
        """Hold the right to write `what` ("prompt", "answer", "score", "report") while the body runs.

        Raises WorkspaceError that names the run which holds it after `wait_s`. A run that has died holds nothing: the
        kernel frees its lock (a moment later where a child was just being started), and where the file system has no
        locks, a marker that names a dead process of this machine is taken over.
        """
        from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

        path, about = self.private / f"{what}.lock", self.private / f"{what}.run"
        lock: BaseFileLock = FileLock(path, thread_local=False)
        try:
            self.private.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=wait_s)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                lock = SoftFileLock(self.private / f"{what}.held", thread_local=False)
                lock.acquire(timeout=wait_s)
        except Timeout:
            holder = about.read_text("utf-8", "replace").strip() if about.exists() else ""
            told = f"another run is writing {what} files"
            hint = "wait for it to end, or give this one its own --workspace"
            raise WorkspaceError(told, where=self.root, value=holder or "unknown process", hint=hint) from None
        except OSError as error:
            raise cannot_write(path, error) from None
        try:
            with contextlib.suppress(OSError):  # a full disk is told by whatever must be saved
                about.write_text(f"{command}, process {os.getpid()}\n", "utf-8")
            yield
        finally:
            lock.release()

    def secret(self, *, keep: bool = True) -> bytes:
        """32 random bytes of this workspace, made and kept on first use: they key what outsiders must not guess."""
        path = self.private / "secret"
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            kept = path.read_bytes()
            if len(kept) == 32:
                return kept
        fresh = secrets.token_bytes(32)
        if keep:
            self.save(path, fresh)
            path.chmod(0o600)
        return fresh

    def save_dropped(self, stage: str, rows: list[Mapping[str, Any]]) -> None:
        """Replace what `stage` had left out by `rows`, each {file, instance_id, reason, detail}; others' rows stay."""
        kept: list[Mapping[str, Any]] = [row for row in self.dropped() if row.get("stage") != stage]
        kept += [{"stage": stage, **row} for row in rows]
        if kept or self.dropped_path.exists():
            self.save(self.dropped_path, b"".join(orjson.dumps(row) + b"\n" for row in kept))

    def dropped(self) -> list[dict[str, Any]]:
        """What the stages have left out so far; a line that cannot be read is passed over."""
        rows = []
        for line in self.dropped_path.read_bytes().splitlines() if self.dropped_path.exists() else ():
            with contextlib.suppress(ValueError):
                rows.append(orjson.loads(line))
        return [row for row in rows if isinstance(row, dict)]


def cannot_write(path: Path, error: OSError) -> WorkspaceError:
    """What to tell a user whose disk is full, or whose folder is closed."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return disk_full(path)
    return WorkspaceError("cannot write", where=path, value=error.strerror, hint="is the folder yours to write in?")


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """What the file system refuses in the body is told as `cannot_write` tells it."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from None


def disk_full(path: Path) -> WorkspaceError:
    return WorkspaceError("the disk is full", where=path, hint="free some space and run the same command again")


def _damaged(path: Path, error: Exception) -> ItemError:
    what = error.what if isinstance(error, ItemError) else getattr(error, "strerror", None) or f"not JSON: {error}"
    return ItemError("damaged", what, where="/".join(path.parts[-2:]))
