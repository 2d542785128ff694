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
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

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
            if kept := _read(shared):
                return kept[0]
        return _counted(workspace)

    def save(self, workspace: Workspace, path: Path, counted: _Counted | None = None) -> None:
        """Keep the table, with what it has counted; without that it is for the shards of `workspace`, as it is."""
        import orjson

        packed = zlib.compress(self.counts.tobytes(), 1)
        fields = {"rules": _RULES, "digest": _digest(packed), "records": self.records, "counted": counted or {}}
        workspace.save(path, orjson.dumps(fields) + b"\n" + packed)

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


def _cell(name: str) -> int:
    return zlib.crc32(name.encode("utf-8", "replace")) % CELLS


def _cells_of(text: str) -> set[int]:
    folded = text.casefold()
    return {_cell(name) for name in {*WORD.findall(folded), *CHUNK.findall(folded)}}


def _text_of(commit: Commit) -> str:
    paths = (file.path for file in commit.files)
    return "\n".join([commit.issue, commit.description, commit.patch[:MAX_DIFF], commit.test_patch[:MAX_DIFF], *paths])


# -- what was counted before ---------------------------------------------------------------------------------------

# Stem of a pull request's file -> its size and the time of its last change in nanoseconds (none: there is no such
# file), and the stems of the answers in the sample that are about it.
_Counted: TypeAlias = dict[str, tuple[list[int], list[str]]]
# Histories that are counted beside the pull requests. 400 of 40 KB take 0.6 s.
HISTORIES = 400
FILE = "names.counted"
SHARED_FILE = "names.shared"  # what was counted over the whole of a workspace that is split into shards
# A table that was counted by other rules is counted anew.
_RULES = hashlib.sha256(f"2 {CELLS} {MAX_DIFF} {WORD.pattern} {CHUNK.pattern}".encode()).hexdigest()[:16]


def _counted(workspace: Workspace) -> Rarity:
    """The counts of the files as they are, from those that are kept and what has come since."""
    answers = {path.stem: path for path in workspace.answer_paths()}
    commits = {path.stem: path for path in workspace.commit_paths()}
    stats = {stem: path.stat() for stem, path in commits.items()}
    now: _Counted = {stem: ([found.st_size, found.st_mtime_ns], []) for stem, found in stats.items()}
    nothing: tuple[list[int], list[str]] = ([], [])
    rarity, kept = _read(workspace.private / FILE) or (Rarity(), {})
    about = {stem: record for record, (_, stems) in kept.items() for stem in stems}
    # Cells can be taken back only of what still can be read as it was.
    changed = any(mark and now.get(record, nothing)[0] != mark for record, (mark, _) in kept.items())
    if changed or about.keys() - answers.keys():
        rarity, kept, about = Rarity(), {}, {}
    read: dict[str, tuple[str, str]] = {}

    def history(stem: str) -> tuple[str, str]:
        """The stem of the pull request's file of an answer, and what its agent has seen; ("", "") if it is damaged."""
        if stem not in read:
            read[stem] = ("", "")
            with contextlib.suppress(ItemError):
                answer = workspace.read(answers[stem], Answer)
                text = "\n".join(message.content for message in answer.messages)
                read[stem] = (file_name(answer.instance_id), text)
        return read[stem]

    for stem in sorted(answers, key=lambda stem: hashlib.sha256(stem.encode()).digest())[:HISTORIES]:
        if record := about.get(stem) or history(stem)[0]:
            now.setdefault(record, ([], []))[1].append(stem)

    def cells(record: str, mark: list[int], stems: list[str]) -> set[int]:
        found = {cell for stem in stems for cell in _cells_of(history(stem)[1])}
        if mark:
            with contextlib.suppress(ItemError):
                found |= _cells_of(_text_of(workspace.read(commits[record], Commit)))
        return found

    changes = {record for record in {*kept, *now} if kept.get(record, nothing) != now.get(record, nothing)}
    for record in sorted(changes):
        rarity.exchange(cells(record, *kept.get(record, nothing)), cells(record, *now.get(record, nothing)))
    if changes:
        with contextlib.suppress(DuelError):  # where nothing can be written, the next run counts again
            rarity.save(workspace, workspace.private / FILE, now)
    return rarity


def _read(path: Path) -> tuple[Rarity, _Counted] | None:
    """The kept table with what it has counted; None where there is none, or another, or a damaged one."""
    import orjson

    try:
        head, _, packed = path.read_bytes().partition(b"\n")
        fields = orjson.loads(head)
        counts = array("H", zlib.decompress(packed))
        if fields["rules"] != _RULES or len(counts) != CELLS or fields["digest"] != _digest(packed):
            return None
        counted = {record: (mark, stems) for record, (mark, stems) in fields["counted"].items()}
        return Rarity(fields["records"], counts), counted
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zlib.error):
        return None


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
        counts: Counter[str] = Counter()
        specs = [spec for name in PACKAGES if (spec := find_spec(name))]
        packages = [folder for spec in specs for folder in spec.submodule_search_locations or ()]
        for root in map(Path, [sysconfig.get_paths()["stdlib"], *packages]):
            for file in sorted(root.rglob("*.py")):
                if _NOT_COMMON.isdisjoint(file.relative_to(root).parts):
                    counts.update(set(WORD.findall(file.read_text("utf-8", "replace").casefold())))
        take_background(counts)
    return _BACKGROUND[0]


def take_background(counts: Counter[str]) -> None:
    _BACKGROUND[:] = [counts]


def commonness(word: str) -> int:
    """In how many modules of the background `word` stands, in any of its English forms."""
    known, folded = background(), word.casefold()
    if folded in known or not folded.isalpha() or len(folded) <= 4:
        return known.get(folded, 0)
    stems = [folded.removesuffix(ending) for ending in _ENDINGS if not ending or folded.endswith(ending)]
    found = 0
    for stem in (stem for stem in stems if len(stem) >= 4):
        forms = [stem + ending for ending in ("", "s", "e", "y", "ed", "ing", "ion")]
        forms += [stem[:-1] + "y"] if stem.endswith("i") else []
        found = max(found, *(known.get(form, 0) for form in forms))
    return found
