"""How rare a name is: counted over the workspace's other records, and over source code that every machine has."""

from __future__ import annotations

import contextlib
import hashlib
import math
import sysconfig
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from duel.audit.pull_facts import CHUNK, MAX_DIFF, WORD
from duel.errors import ItemError
from duel.records import Answer, Commit
from duel.workspace import Workspace

# Counts lie in a table of fixed size, so that memory does not grow with the workspace. With 500,000 names two share a
# cell in one of eight cases, and a shared cell can only make a name look less rare than it is.
CELLS = 1 << 22
# A workspace with fewer records says little about what is rare; it is taken for one of this size. With 39 records, of
# which 13 are of one project, a smaller number took that project's own names for common ones.
LEAST_RECORDS = 500
# Histories that are counted beside the pull requests. 400 of 40 KB take 0.6 s.
HISTORIES = 400
# Folders of the standard library that say nothing about common usage.
_NOT_COMMON = frozenset({"site-packages", "test", "tests", "idlelib", "lib2to3", "ensurepip"})
# Packages whose source is read beside the standard library's.
PACKAGES = ("huggingface_hub", "numpy", "pyarrow", "pygments.lexers")
_ENDINGS = (
    "",
    "s",
    "es",
    "d",
    "ed",
    "ing",
    "er",
    "ers",
    "ly",
    "ness",
    "al",
    "ally",
    "able",
    "ion",
    "ions",
    "ment",
    "ity",
    "ities",
)


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
            seen.setdefault(instance_id, set()).update(_cell(name) for name in names(text))
        for commit in commits:
            rarity._count(seen.pop(commit.instance_id, set()) | {_cell(name) for name in names(_text(commit))})
        for cells in seen.values():
            rarity._count(cells)
        return rarity

    @classmethod
    def of_workspace(cls, workspace: Workspace) -> Rarity:
        """Counted over all pull requests of the workspace and a fixed sample of the histories in its answers."""
        return cls.from_commits((commit for _, commit in workspace.commits([])), _histories(workspace))

    def _count(self, cells: set[int]) -> None:
        self.records += 1
        for cell in cells:
            self.counts[cell] = min(self.counts[cell] + 1, 65535)

    def digest(self) -> bytes:
        """A fingerprint of all counts."""
        return hashlib.blake2b(self.counts.tobytes(), digest_size=16).digest()

    def elsewhere(self, name: str) -> int:
        """How many OTHER records hold `name`, which is a fact of one record that was counted itself."""
        return max(0, self.counts[_cell(name.casefold())] - 1)

    def of(self, name: str) -> float:
        """1.0 for a name that no other record holds, 0.0 for one that all hold (inverse document frequency)."""
        records = max(self.records, LEAST_RECORDS)
        return 1 - math.log(1 + min(self.elsewhere(name), records)) / math.log(1 + records)


def _histories(workspace: Workspace) -> Iterator[tuple[str, str]]:
    """(instance_id, text) of at most HISTORIES answers, evenly spread over the workspace."""
    paths = workspace.answer_paths()
    for path in paths[:: max(1, math.ceil(len(paths) / HISTORIES))]:
        with contextlib.suppress(ItemError):
            answer = workspace.read(path, Answer)
            yield answer.instance_id, "\n".join(message.content for message in answer.messages)


def names(text: str) -> set[str]:
    """The names in a text, casefolded."""
    folded = text.casefold()
    return {*WORD.findall(folded), *CHUNK.findall(folded)}


def _text(commit: Commit) -> str:
    paths = (file.path for file in commit.files)
    return "\n".join([commit.issue, commit.description, commit.patch[:MAX_DIFF], commit.test_patch[:MAX_DIFF], *paths])


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
    """Use what another process has read."""
    _BACKGROUND[:] = [counts]


def _read_background() -> Counter[str]:
    counts: Counter[str] = Counter()
    for root in [Path(sysconfig.get_paths()["stdlib"]), *_package_folders()]:
        for file in sorted(root.rglob("*.py")):
            if _NOT_COMMON.isdisjoint(file.relative_to(root).parts):
                counts.update(set(WORD.findall(file.read_text("utf-8", "replace").casefold())))
    return counts


def _package_folders() -> Iterator[Path]:
    for name in PACKAGES:
        spec = find_spec(name)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            yield Path(folder)


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
