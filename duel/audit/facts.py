"""What a hidden pull request tells: paths, names, literals, lines, line numbers, hashes, numbers, and their places.

Facts are keyed by their casefolded text, so that a look-up for a word of a reply is one dictionary access.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from duel.records import Commit

WORD = re.compile(r"[^\W\d]\w*")
# What is joined by more than a word is: kebab-case, dotted names, URLs, flags, scoped packages, owner/branch.
CHUNK = re.compile(r"(?<!\w)[@$]?\w++(?:(?:::|->|[-.:/@+~$])\w++)++")
LITERAL = re.compile(r"""(?:(?<!\w)|(?<=\b[bfruBFRU])|(?<=\b[bfrBFR]{2}))(["'`])((?:\\.|(?!\1)[^\\]){4,300})\1""")
NUMBER = re.compile(r"(?<![\w.])[0-9]++(?:\.[0-9]++)?+(?!\.?\w)")
HEX = re.compile(r"(?<![0-9a-zA-Z])[0-9a-f]{7,40}(?![0-9a-zA-Z])")
PROSE_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
SHINGLE = 6
"""Words of prose in a row that nobody writes twice by chance."""
MAX_DIFF = 400_000
"""Characters of a diff that are looked at. The largest of 39 real ones has 21,000."""

_HUNK = re.compile(r"@@ -(\d{1,9})(?:,\d+)? \+(\d{1,9})(?:,\d+)? @@ ?(.*)")
_INDEX = re.compile(r"^index ([0-9a-f]{7,40})\.\.([0-9a-f]{7,40})", re.MULTILINE)
_TEST_NAME = re.compile(
    r"\b(?:def|func|fn|function|void|fun)\s+(test\w*|Test\w+|\w+_test\b|should\w*)|\bclass\s+(\w*Tests?\w*)"
    r"|^\s*(test_\w+)\s*[({]",
)
_TEST_TITLE = re.compile(r"""\b(?:it|test|describe|context|specify|t\.Run)\s*\(\s*(["'`])(.{4,200}?)\1""")


class DiffLine(NamedTuple):
    """One line of a diff: part, file, sign (`+`, `-`, ` `, or `@` for the heading of a hunk), text, numbers."""

    part: str
    path: str
    sign: str
    text: str
    number: int
    """1-based position in the text of the diff."""
    old: int
    new: int


class Fact(NamedTuple):
    """One thing that the pull request tells, and where it stands first (on a changed line where it stands on one)."""

    kind: str
    value: str
    part: str
    path: str
    line: int
    changed: bool
    """It stands on an added or removed line, not only on the unchanged ones around."""
    added: bool = False
    """It stands on added lines alone: it is not in the repository yet."""


def diff_lines(part: str, diff: str) -> Iterator[DiffLine]:
    """The lines of a unified diff. Whatever is no diff yields nothing or less; nothing raises."""
    path, old, new, inside = "", 0, 0, False
    for number, text in enumerate(diff[:MAX_DIFF].split("\n"), start=1):
        if text.startswith("diff --git ") or (not inside and text.startswith(("--- ", "+++ "))):
            inside = False
            name = text[4:].split("\t")[0].strip() if text[0] in "+-" else text.rsplit(" b/", 1)[-1]
            if name != "/dev/null":
                path = re.sub(r"^[ab]/", "", name)
        elif hunk := _HUNK.match(text):
            old, new, inside = int(hunk[1]), int(hunk[2]), True
            yield DiffLine(part, path, "@", hunk[3], number, old, new)
        elif inside and text[:1] in ("+", "-", " ", ""):
            sign = text[:1] or " "
            yield DiffLine(part, path, sign, text[1:], number, old, new)
            old += sign != "+"
            new += sign != "-"


@dataclass
class Facts:
    """Everything that one pull request tells."""

    words: dict[str, Fact] = field(default_factory=dict)
    chunks: dict[str, Fact] = field(default_factory=dict)
    literals: dict[str, Fact] = field(default_factory=dict)
    lines: dict[str, Fact] = field(default_factory=dict)
    shingles: dict[tuple[str, ...], Fact] = field(default_factory=dict)
    paths: dict[str, Fact] = field(default_factory=dict)
    numbers: dict[str, Fact] = field(default_factory=dict)
    line_numbers: dict[int, list[DiffLine]] = field(default_factory=dict)
    squeezed: str = ""
    """The changed lines casefolded and without white space, one a line."""
    hashes: tuple[str, ...] = ()
    pull_number: str = ""

    @classmethod
    def of(cls, commit: Commit) -> Facts:
        """The facts of `commit`. The issue is none: the agent was given it."""
        facts = cls(pull_number=str(commit.pull_number or ""))
        diff = [*diff_lines("patch", commit.patch), *diff_lines("test_patch", commit.test_patch)]
        # Changed lines first: a fact keeps its first place, and the changed lines are where it weighs most.
        for line in sorted(diff, key=lambda line: line.sign not in "+-"):
            facts._add_line(line)
        facts.squeezed = "\n".join("".join(line.text[:2000].casefold().split()) for line in diff if line.sign in "+-")
        old = {word.casefold() for line in diff if line.sign != "+" for word in WORD.findall(line.text)}
        for table in (facts.words, facts.chunks):
            for key, fact in table.items():
                if fact.changed and key not in old:
                    table[key] = fact._replace(added=True)
        facts._add_description(commit.description)
        facts._add_paths([*(line.path for line in diff), *(changed.path for changed in commit.files)])
        hashes = [commit.commit, *(h for pair in _INDEX.findall(commit.patch + "\n" + commit.test_patch) for h in pair)]
        facts.hashes = tuple(dict.fromkeys(h for h in hashes if len(h) >= 7 and set(h) != {"0"}))
        return facts

    def line_of(self, run: str) -> Fact:
        """The changed line that holds `run`, which is casefolded and without white space."""
        found = (fact for key, fact in self.lines.items() if fact.changed and run in "".join(key.split()))
        return next(found, Fact("line", run, "patch", "", 0, changed=True))

    def _add_line(self, line: DiffLine) -> None:
        changed = line.sign in "+-"
        text = line.text[:2000]

        def fact(kind: str, value: str) -> Fact:
            return Fact(kind, value, line.part, line.path, line.number, changed)

        for word in WORD.findall(text):
            if (key := word.casefold()) not in self.words:
                self.words[key] = fact("identifier", word)
        for chunk in CHUNK.findall(text):
            if (key := chunk.casefold()) not in self.chunks:
                self.chunks[key] = fact("identifier", chunk)
        if "est" in text or "hould" in text:
            for name in (name for found in _TEST_NAME.findall(text) for name in found if name):
                self.words[name.casefold()] = fact("test", name)
        if "'" in text or '"' in text or "`" in text:
            self._add_literals(text, fact("literal", ""))
        if changed:
            for number in NUMBER.findall(text):
                self.numbers.setdefault(number, fact("number", number))
        if line.sign != "@":
            self.lines.setdefault(plain(text), fact("line", text.strip()))
            for number in {line.old, line.new} if changed else {line.old}:
                self.line_numbers.setdefault(number, []).append(line)
        self._add_prose(text, fact("line", text.strip()))

    def _add_literals(self, text: str, fact: Fact) -> None:
        for _, title in _TEST_TITLE.findall(text):
            self.literals.setdefault(plain(title), fact._replace(kind="test", value=title))
        for _, literal in LITERAL.findall(text):
            self.literals.setdefault(plain(literal), fact._replace(value=literal))

    def _add_prose(self, text: str, fact: Fact) -> None:
        if text.count(" ") < SHINGLE // 2:
            return  # too few words, and most lines of code are short
        words = [word.casefold() for word in PROSE_WORD.findall(text)]
        for start in range(len(words) - SHINGLE + 1):
            self.shingles.setdefault(tuple(words[start : start + SHINGLE]), fact)

    def _add_description(self, text: str) -> None:
        for number, line in enumerate(text[:MAX_DIFF].split("\n"), start=1):
            fact = Fact("identifier", "", "description", "", number, changed=False)
            for word in WORD.findall(line):
                if is_compound(word):
                    self.words.setdefault(word.casefold(), fact._replace(value=word))
            for chunk in CHUNK.findall(line):
                self.chunks.setdefault(chunk.casefold(), fact._replace(value=chunk))
            self._add_prose(line, fact._replace(kind="line", value=line.strip()))

    def _add_paths(self, paths: list[str]) -> None:
        for path in dict.fromkeys(path for path in paths if path):
            fact = Fact("path", path, "record", path, 0, changed=True)
            parts = path.split("/")
            for start in range(len(parts)):
                self.paths.setdefault("/".join(parts[start:]).casefold(), fact)


def plain(text: str) -> str:
    """`text` casefolded, with each run of white space as one blank."""
    return " ".join(text.casefold().split())


def is_compound(word: str) -> bool:
    """True for a name that is put together or marked as code: snake_case, CamelCase, ALL_CAPS with digits, `x2y`."""
    core = word.strip("_")
    return bool(
        "_" in core or word.startswith("_") or re.search(r"[a-z0-9][A-Z]|[A-Z]{2,}[a-z]{2}|[A-Za-z]\d|\d[A-Za-z]", core)
    )


def subwords(name: str) -> list[str]:
    """The words that a name is put together from, casefolded: `HTTPDigestAuth_v2` → http, digest, auth, v, 2."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+", name)
    return [part.casefold() for part in parts]
