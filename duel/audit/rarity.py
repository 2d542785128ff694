"""How rare a name is: counted over the workspace's other records, and over source code that every machine has.

What is counted once is kept in the workspace's private folder and added to: counting 100,000 pull requests takes a
minute and a half, reading the file some hundredths of a second.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import sysconfig
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path

from duel.audit.pull_facts import CHUNK, MAX_DIFF, WORD
from duel.errors import DuelError, ItemError
from duel.records import Answer, Commit
from duel.workspace import SHARDS_FOLDER, Workspace, file_name

# Counts lie in a table of fixed size, so that memory does not grow with the workspace. With 500,000 names two share a
# cell in one of eight cases, and a shared cell can only make a name look less rare than it is.
CELLS = 1 << 22
MOST = 65535
# A workspace with fewer records says little about what is rare; it is taken for one of this size. With 39 records, of
# which 13 are of one project, a smaller number took that project's own names for common ones.
LEAST_RECORDS = 500
# Folders of the standard library that say nothing about common usage.
_NOT_COMMON = frozenset({"site-packages", "test", "tests", "idlelib", "lib2to3", "ensurepip"})
# Packages whose source is read beside the standard library's.
PACKAGES = ("huggingface_hub", "numpy", "pyarrow", "pygments.lexers")
_ENDINGS = ("", *"s es d ed ing er ers ly ness al ally able ion ions ment ity ities".split())


@dataclass
class Rarity:
    """How many of the workspace's records (a pull request with what its agents saw) hold a name."""

    records: int = 0
    counts: array[int] = field(default_factory=lambda: array("H", bytes(2 * CELLS)))

    @classmethod
    def from_commits(cls, commits: Iterable[Commit], histories: Iterable[tuple[str, str]] = ()) -> Rarity:
        """Counted over the workspace's pull requests, and (instance_id, text) of what agents on them have seen."""
        rarity = cls()
        seen: dict[str, set[int]] = {}
        for instance_id, text in histories:
            seen.setdefault(instance_id, set()).update(_cells_of(text))
        for commit in commits:
            rarity.exchange(set(), seen.pop(commit.instance_id, set()) | _cells_of(_text_of(commit)))
        for cells in seen.values():
            rarity.exchange(set(), cells)
        return rarity

    @classmethod
    def of_workspace(cls, workspace: Workspace) -> Rarity:
        """Counted over all pull requests of the workspace and a fixed sample of the histories in its answers.

        What was counted before is taken from the workspace's private folder and added to. The result depends on the
        files alone: it is the one that counting all of them anew would give. Where the workspace is split, its shards
        and itself take what was counted over the whole.
        """
        for shared in (workspace.private / SHARED_FILE, workspace.root / SHARDS_FOLDER / SHARED_FILE):
            rarity, index = _read(shared)
            if index.shared:
                return rarity
        return _counted(workspace)

    def save_shared(self, workspace: Workspace, path: Path) -> None:
        """Keep the table for the shards of `workspace`."""
        _save(workspace, path, self, _Counted(shared=True))

    def exchange(self, before: set[int], after: set[int]) -> None:
        """Count one record's cells anew: `before` as it was counted (empty: not at all), `after` as it is."""
        self.records += bool(after) - bool(before)
        for cell in after - before:
            self.counts[cell] = min(self.counts[cell] + 1, MOST)
        for cell in before - after:
            self.counts[cell] -= 0 < self.counts[cell] < MOST

    def digest(self) -> bytes:
        return hashlib.blake2b(self.counts.tobytes(), digest_size=16).digest()

    def elsewhere(self, name: str) -> int:
        """How many OTHER records hold `name`, which is a fact of one record that was counted itself."""
        return max(0, self.counts[_cell(name.casefold())] - 1)

    def of(self, name: str) -> float:
        """1.0 for a name that no other record holds, 0.0 for one that all hold (inverse document frequency)."""
        records = max(self.records, LEAST_RECORDS)
        return 1 - math.log(1 + min(self.elsewhere(name), records)) / math.log(1 + records)

    def half(self, name: str) -> float:
        """The factor that takes back half of what `of` costs: several pull requests of one project share its names."""
        rarity = self.of(name)
        return (1 + rarity) / (2 * rarity) if rarity else 1.0


def names(text: str) -> set[str]:
    folded = text.casefold()
    return {*WORD.findall(folded), *CHUNK.findall(folded)}


def _cells_of(text: str) -> set[int]:
    return {_cell(name) for name in names(text)}


def _text_of(commit: Commit) -> str:
    paths = (file.path for file in commit.files)
    return "\n".join([commit.issue, commit.description, commit.patch[:MAX_DIFF], commit.test_patch[:MAX_DIFF], *paths])


# -- what was counted before ---------------------------------------------------------------------------------------

# Histories that are counted beside the pull requests. 400 of 40 KB take 0.6 s.
HISTORIES = 400
FILE = "names.counted"
SHARED_FILE = "names.shared"  # what was counted over the whole of a workspace that is split into shards
# A table that was counted by other rules is counted anew.
_RULES = hashlib.sha256(f"{CELLS} {MAX_DIFF} {WORD.pattern} {CHUNK.pattern}".encode()).hexdigest()[:16]


@dataclass
class _Counted:
    """Which files a table has counted."""

    commits: dict[str, list[int]] = field(default_factory=dict)
    """Stem of each pull request's file -> its size and the time of its last change, in nanoseconds."""
    histories: dict[str, str] = field(default_factory=dict)
    """Stem of each answer in the sample -> stem of its pull request's file."""
    shared: bool = False
    """The table stands as it is, whatever files there are."""

    def stems_by_record(self) -> dict[str, list[str]]:
        """The answers of each record, in the order of their names."""
        found: dict[str, list[str]] = {}
        for stem, record in sorted(self.histories.items()):
            found.setdefault(record, []).append(stem)
        return found


def _counted(workspace: Workspace) -> Rarity:
    """The counts of the files as they are, from those that are kept and what has come since."""
    answers = {path.stem: path for path in workspace.answer_paths()}
    commits = {path.stem: path for path in workspace.commit_paths()}
    stats = {stem: path.stat() for stem, path in commits.items()}
    now = _Counted({stem: [found.st_size, found.st_mtime_ns] for stem, found in stats.items()})
    rarity, kept = _read(workspace.private / FILE)
    # Cells can be taken back only of what still can be read as it was.
    changed = any(now.commits.get(stem) != mark for stem, mark in kept.commits.items())
    if changed or kept.histories.keys() - answers.keys():
        rarity, kept = Rarity(), _Counted()
    sample = sorted(answers, key=lambda stem: hashlib.sha256(stem.encode()).digest())[:HISTORIES]
    texts: dict[str, str] = {}
    for stem in sample:
        if record := kept.histories.get(stem) or _read_history(workspace, answers[stem], texts):
            now.histories[stem] = record
    if now != kept:
        _exchange(workspace, commits, answers, rarity, kept, now, texts)
        with contextlib.suppress(DuelError):  # where nothing can be written, the next run counts again
            _save(workspace, workspace.private / FILE, rarity, now)
    return rarity


def _exchange(
    workspace: Workspace,
    commits: dict[str, Path],
    answers: dict[str, Path],
    rarity: Rarity,
    kept: _Counted,
    now: _Counted,
    texts: dict[str, str],
) -> None:
    """Count each record that has changed: a new pull request, or one of whose histories another sample is taken."""
    before, after = kept.stems_by_record(), now.stems_by_record()
    changed = {record for record in {*before, *after} if before.get(record) != after.get(record)}

    def cells(record: str, index: _Counted, stems: list[str]) -> set[int]:
        found: set[int] = set()
        if record in index.commits:
            with contextlib.suppress(ItemError):
                found |= _cells_of(_text_of(workspace.read(commits[record], Commit)))
        for stem in stems:
            if stem in texts or _read_history(workspace, answers[stem], texts):
                found |= _cells_of(texts[stem])
        return found

    for record in sorted(changed | (now.commits.keys() - kept.commits.keys())):
        rarity.exchange(cells(record, kept, before.get(record, [])), cells(record, now, after.get(record, [])))


def _read_history(workspace: Workspace, path: Path, texts: dict[str, str]) -> str:
    """Read what an answer's agent has seen; returns the stem of its pull request's file, "" for a damaged answer."""
    try:
        answer = workspace.read(path, Answer)
    except ItemError:
        return ""
    texts[path.stem] = "\n".join(message.content for message in answer.messages)
    return file_name(answer.instance_id)


def _read(path: Path) -> tuple[Rarity, _Counted]:
    """The kept table with its index; empty ones where there is none, or another, or a damaged one."""
    import orjson

    try:
        head, _, packed = path.read_bytes().partition(b"\n")
        fields = orjson.loads(head)
        counts = array("H", zlib.decompress(packed))
        if fields["rules"] != _RULES or len(counts) != CELLS or fields["digest"] != _digest(packed):
            return Rarity(), _Counted()
        return Rarity(fields["records"], counts), _Counted(**fields["files"])
    except (OSError, ValueError, KeyError, TypeError, zlib.error):
        return Rarity(), _Counted()


def _save(workspace: Workspace, path: Path, rarity: Rarity, index: _Counted) -> None:
    import orjson

    packed = zlib.compress(rarity.counts.tobytes(), 1)
    fields = {"rules": _RULES, "digest": _digest(packed), "records": rarity.records, "files": asdict(index)}
    workspace.save(path, orjson.dumps(fields) + b"\n" + packed)


def _digest(packed: bytes) -> str:
    return hashlib.sha256(packed).hexdigest()[:16]


# -- the background ------------------------------------------------------------------------------------------------


_BACKGROUND: list[Counter[str]] = []


def background() -> Counter[str]:
    """In how many modules of source code that is on every machine which runs this a word stands, casefolded.

    Python's standard library and a few packages that this project needs anyway hold the names and the English that
    programs are written in; Pygments' lexers hold the built-in names of 500 languages. Reading them takes 0.5 s, so a
    process reads them once, or takes what another has read (`take_background`).
    """
    if not _BACKGROUND:
        take_background(_read_background())
    return _BACKGROUND[0]


def take_background(counts: Counter[str]) -> None:
    _BACKGROUND[:] = [counts]


def _read_background() -> Counter[str]:
    counts: Counter[str] = Counter()
    specs = [spec for name in PACKAGES if (spec := find_spec(name))]
    packages = [folder for spec in specs for folder in spec.submodule_search_locations or ()]
    for root in map(Path, [sysconfig.get_paths()["stdlib"], *packages]):
        for file in sorted(root.rglob("*.py")):
            if _NOT_COMMON.isdisjoint(file.relative_to(root).parts):
                counts.update(set(WORD.findall(file.read_text("utf-8", "replace").casefold())))
    return counts


def commonness(word: str) -> int:
    """In how many modules of the background `word` stands, in any of its English forms."""
    known = background()
    folded = word.casefold()
    found = known.get(folded, 0)
    if not found and folded.isalpha() and len(folded) > 4:
        found = max((known.get(form, 0) for form in _forms(folded)), default=0)
    return found


def _forms(word: str) -> Iterator[str]:
    """The forms of an English word that share its stem."""
    for ending in _ENDINGS:
        stem = word.removesuffix(ending)
        if len(stem) >= 4 and (stem != word or not ending):
            for other in ("", "s", "e", "y", "ed", "ing", "ion"):
                yield stem + other
            if stem.endswith("i"):
                yield stem[:-1] + "y"


def _cell(name: str) -> int:
    return zlib.crc32(name.encode("utf-8", "replace")) % CELLS
