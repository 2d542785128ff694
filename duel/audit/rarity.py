"""How rare a name is: counted over the workspace's other records, and over source code that every machine has.

The count is kept in the workspace: counting 100,000 pull requests takes a minute and a half.
"""

import contextlib
import hashlib
import math
import os
import string
import sysconfig
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import orjson

from duel.audit.pull_facts import CHUNK, MAX_DIFF, WORD
from duel.errors import DuelError
from duel.records import Answer, Commit
from duel.standing import Snapshot
from duel.workspace import SHARDS_FOLDER, Workspace

# Counts lie in a table of fixed size, so that memory does not grow with the workspace. With 500,000 names two share a
# cell in one of eight cases, and a shared cell can only make a name look less rare than it is.
CELLS = 1 << 22
HISTORIES = 400  # histories that are counted beside the pull requests. 400 of 40 KB take 0.6 s
FILE = "names.counted"
SHARED_FILE = "names.shared"  # what was counted over the whole of a workspace that is split into shards
# A table that was counted by other rules is counted anew.
_RULES = hashlib.sha256(f"3 {CELLS} {MAX_DIFF} {WORD.pattern} {CHUNK.pattern}".encode()).hexdigest()[:16]
MOST = 65535
# A smaller workspace is taken for one of this size: with 39 records, of which 13 are of one project, a smaller number
# took that project's own names for common ones.
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
    counts: "array[int]" = field(default_factory=lambda: array("H", [0]) * CELLS)

    @classmethod
    def from_commits(cls, commits: Iterable[Commit], histories: Iterable[tuple[str, str]] = ()) -> "Rarity":
        """Counted over the workspace's pull requests, and (instance_id, text) of what agents on them have seen."""
        rarity = cls()
        seen: dict[str, str] = {}
        for instance_id, text in histories:
            seen[instance_id] = f"{seen.get(instance_id, '')}\n{text}"
        for commit in commits:
            told = [commit.issue, commit.description, commit.patch[:MAX_DIFF], commit.test_patch[:MAX_DIFF]]
            told += [seen.pop(commit.instance_id, ""), *(file.path for file in commit.files)]
            rarity._add("\n".join(told))
        for text in seen.values():
            rarity._add(text)
        return rarity

    def _add(self, record: str) -> None:
        folded = record.casefold()
        cells = {_cell(name) for name in {*WORD.findall(folded), *CHUNK.findall(folded)}}
        self.records += bool(cells)
        for cell in cells:
            self.counts[cell] = min(self.counts[cell] + 1, MOST)

    @classmethod
    def of_workspace(cls, workspace: Workspace) -> "Rarity":
        """Counted over all pull requests of the workspace and a fixed sample of the histories in its answers.

        What was counted of the same files is kept; a workspace that is split, and its shards, take the whole's count.
        """
        for shared in (workspace.private / SHARED_FILE, workspace.root / SHARDS_FOLDER / SHARED_FILE):
            if kept := _read(shared, _RULES):
                return kept
        answers = sorted(workspace.answer_paths(), key=lambda path: hashlib.sha256(path.stem.encode()).digest())
        sample = answers[:HISTORIES]  # a history never changes, whatever a stage adds to its answer
        counted = [_RULES, Snapshot.take(workspace, "commit").before, *(path.stem for path in sample)]
        rests_on = hashlib.sha256("\n".join(counted).encode()).hexdigest()
        if kept := _read(workspace.private / FILE, rests_on):
            return kept
        histories = (
            (answer.instance_id, "\n".join(message.content for message in answer.messages))
            for _, answer in workspace.read_all(sample, Answer, [])
        )
        rarity = cls.from_commits((commit for _, commit in workspace.commits([])), histories)
        with contextlib.suppress(DuelError):  # where nothing can be written, the next run counts again
            rarity.save(workspace, workspace.private / FILE, rests_on)
        return rarity

    def save(self, workspace: Workspace, path: Path, rests_on: str = "") -> None:
        """Keep the table with what it `rests_on`; without that it is for the shards of `workspace`."""
        head = orjson.dumps({"rests_on": rests_on or _RULES, "records": self.records})
        workspace.save(path, head + b"\n" + self.packed)

    @cached_property
    def packed(self) -> bytes:
        """The table as it is kept, when all is counted: 8 MB become 200 KB."""
        return zlib.compress(self.counts, 1)

    def digest(self) -> bytes:
        return hashlib.blake2b(self.packed, digest_size=16).digest()

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


def _read(path: Path, rests_on: str) -> Rarity | None:
    """The kept table; None where there is none, or a damaged one, or one that rests on something else."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, zlib.error):
        head, _, packed = path.read_bytes().partition(b"\n")
        fields = orjson.loads(head)
        if fields["rests_on"] == rests_on:
            rarity = Rarity(fields["records"], array("H", zlib.decompress(packed, bufsize=2 * CELLS)))
            rarity.packed = packed
            return rarity
    return None


BACKGROUND: Counter[str] = Counter()  # read once a process, or handed on by the one that started it
# What is no part of an ASCII word becomes a space, a capital its small letter.
_APART = {n: chr(n).lower() if chr(n).isalnum() or chr(n) == "_" else " " for n in range(128)}


def background() -> Counter[str]:
    """In how many modules of source code that is on every machine which runs this a word stands, casefolded.

    Pygments' lexers hold the built-in names of 500 languages. Reading all takes 0.3 s, once a process.
    """
    if not BACKGROUND:
        BACKGROUND.update(chain.from_iterable(words(file.read_bytes()) for file in _modules()))
    return BACKGROUND


def _modules() -> Iterator[Path]:
    specs = [spec for name in PACKAGES if (spec := find_spec(name))]
    packages = [folder for spec in specs for folder in spec.submodule_search_locations or ()]
    for root in (sysconfig.get_paths()["stdlib"], *packages):
        for folder, inside, names in os.walk(root):
            inside[:] = {*inside} - _NOT_COMMON  # no walk through all that is installed beside the library
            yield from (Path(folder, name) for name in names if name.endswith(".py"))


def words(source: bytes) -> set[str]:
    """The different words (`WORD`) of a file, casefolded; where all is ASCII, in half of the time."""
    if not source.isascii():
        return set(WORD.findall(source.decode("utf-8", "replace").casefold()))
    return {word.lstrip(string.digits) for word in set(source.decode().translate(_APART).split())} - {""}


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
