"""What a hidden pull request tells: paths, names, literals, lines, line numbers, hashes, numbers, and their places.

Most pull requests are asked for a handful of words, so a table holds no more than what stands there; where it stands is
looked up for the few that a reply tells.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from duel.records import Commit

WORD = re.compile(r"[^\W\d]\w*")
# What is joined by more than a word is: kebab-case, dotted names, URLs, flags, scoped packages, owner/branch.
# (No possessive groups: Python 3.11.2, which Debian 12 has, matches `a/b.` where `(…)++` may only match `a/b`.)
CHUNK = re.compile(r"(?<!\w)[@$]?\w++(?:(?:::|->|[-.:/@+~$])\w++)+")
LITERAL = re.compile(r"""(?:(?<!\w)|(?<=\b[bfruBFRU])|(?<=\b[bfrBFR]{2}))(["'`])((?:\\.|(?!\1)[^\\\n]){4,300})\1""")
NUMBER = re.compile(r"(?<![\w.])[0-9]++(?:\.[0-9]++)?(?!\.?\w)")
HEX = re.compile(r"(?<![0-9a-zA-Z])[0-9a-f]{7,40}(?![0-9a-zA-Z])")
PROSE_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_PROSE_WORD_OR_END = re.compile(rf"{PROSE_WORD.pattern}|\n")
TOKEN = re.compile(r"\w+|[^\w\s`]")
MAX_DIFF = 400_000  # characters of a diff that are looked at. The largest of 39 real ones has 21,000

LINE = 2000  # characters of one line that are looked at; longer ones are no source code

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
    number: int  # 1-based position in the text of the diff
    old: int
    new: int


class Fact(NamedTuple):
    """One thing that the pull request tells, and where it stands first (on a changed line where it stands on one)."""

    kind: str
    value: str
    part: str = "record"
    path: str = ""
    line: int = 0
    changed: bool = True  # it stands on an added or removed line, not only on the unchanged ones around
    added: bool = False  # it stands on added lines alone: it is not in the repository yet


def diff_lines(part: str, diff: str) -> Iterator[DiffLine]:
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


class Names:
    """The names of one pattern in a pull request. Only those that a reply holds are ever looked up to their place."""

    def __init__(self, pattern: re.Pattern[str], kind: str, lines: list[DiffLine], described: Sequence[DiffLine] = ()):
        self._pattern, self._kind, self._lines, self._described = pattern, kind, lines, described

    @cached_property
    def _keys(self) -> frozenset[str]:
        lines = (*self._lines, *self._described)
        return frozenset(self._pattern.findall("\n".join(line.text for line in lines).casefold()))

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def _holding(self, key: str, lines: Sequence[DiffLine]) -> list[DiffLine]:
        folded = ((line, line.text.casefold()) for line in lines)
        return [line for line, text in folded if key in text and key in self._pattern.findall(text)]

    def get(self, key: str) -> Fact | None:
        """The fact that `key` (casefolded) is, or None; on a changed line where it stands on one."""
        if key not in self:
            return None
        kind, on_lines = self._kind, self._holding(key, self._lines)
        holding = on_lines or self._holding(key, self._described)
        if not holding:
            return None
        line = holding[0]
        for one in reversed(on_lines) if kind == "identifier" else ():
            if key in {name.casefold() for found in _TEST_NAME.findall(one.text) for name in found}:
                line, kind = one, "test"
        value = next((name for name in self._pattern.findall(line.text) if name.casefold() == key), key)
        if not on_lines and self._pattern is WORD and not is_compound(value):
            return None
        return fact_on(line, kind, value)._replace(added=all(one.sign == "+" for one in holding))


class Facts:
    """Everything that one pull request tells. The issue is none of it: the agent was given that.

    `literals` and `lines` are keyed by their `plain` text. Each table is made when it is first asked for.
    """

    def __init__(self, commit: Commit) -> None:
        diff = [*diff_lines("patch", commit.patch), *diff_lines("test_patch", commit.test_patch)]
        # Changed lines first: a fact keeps its first place, and the changed lines are where it weighs most.
        self._lines = sorted(
            (line._replace(text=line.text[:LINE]) if len(line.text) > LINE else line for line in diff),
            key=lambda line: line.sign not in "+-",
        )
        self._changed = [line for line in self._lines if line.sign in "+-"]
        self._text = "\n".join(line.text for line in self._lines)
        self._description = commit.description[:MAX_DIFF]
        described = enumerate(self._description.split("\n"), start=1)
        self._described = [DiffLine("description", "", " ", text, number, 0, 0) for number, text in described]
        self._files = [*(line.path for line in diff), *(changed.path for changed in commit.files)]
        hashes = [commit.commit, *(h for pair in _INDEX.findall(f"{commit.patch}\n{commit.test_patch}") for h in pair)]
        self.hashes = tuple(dict.fromkeys(h for h in hashes if len(h) >= 7 and set(h) != {"0"}))
        self.project = commit.repo.rsplit("/", 1)[-1].casefold()
        self.pull_number = str(commit.pull_number or "")
        self.words = Names(WORD, "identifier", self._lines, self._described)
        self.chunks = Names(CHUNK, "identifier", self._lines, self._described)
        self.numbers = Names(NUMBER, "number", self._changed)

    @cached_property
    def squeezed(self) -> str:
        return "\n".join(squeezed(line.text) for line in self._changed)

    @cached_property
    def literals(self) -> dict[str, str]:
        return {plain(literal): literal for _, literal in LITERAL.findall(self._text)}

    @cached_property
    def lines(self) -> dict[str, DiffLine]:
        found: dict[str, DiffLine] = {}
        for line in self._lines:
            if line.sign != "@":
                found.setdefault(plain(line.text), line)
        return found

    @cached_property
    def line_numbers(self) -> dict[int, list[DiffLine]]:
        """The lines by their numbers in the old and the new file; unchanged ones by the old number."""
        found: dict[int, list[DiffLine]] = {}
        for line in self._lines:
            if line.sign != "@":
                for number in {line.old, line.new} if line.sign in "+-" else {line.old}:
                    found.setdefault(number, []).append(line)
        return found

    @cached_property
    def prose(self) -> str:
        """The words of the diffs and the description, casefolded, one blank apart, one line a line."""
        return " ".join(["", *_PROSE_WORD_OR_END.findall(f"{self._text}\n{self._description}".casefold()), ""])

    @cached_property
    def prose_words(self) -> frozenset[str]:
        return frozenset(self.prose.split())

    @cached_property
    def tokens(self) -> frozenset[str]:
        return frozenset(TOKEN.findall("\n".join(line.text for line in self._changed).casefold()))

    @cached_property
    def paths(self) -> dict[str, Fact]:
        """The files, by their whole path and by each end of it."""
        found: dict[str, Fact] = {}
        for path in dict.fromkeys(path for path in self._files if path):
            fact = Fact("path", path, path=path)
            parts = path.split("/")
            for start in range(len(parts)):
                found.setdefault("/".join(parts[start:]).casefold(), fact)
        return found

    @cached_property
    def modules(self) -> dict[str, str]:
        """{the dotted name of a file's module, or an end of it of two words and more: the end of its path}."""
        found: dict[str, str] = {}
        for key in self.paths:
            stem = re.sub(r"(?:/__init__)?\.\w{1,5}$", "", key)
            if "/" in stem:
                found.setdefault(stem.replace("/", "."), key)
        return found

    @cached_property
    def by_path(self) -> dict[str, list[DiffLine]]:
        """The lines of each file (casefolded path) that is there before the change; new files have none."""
        found: dict[str, list[DiffLine]] = {}
        for line in self._lines:
            if line.part == "patch" and line.sign != "@":
                found.setdefault(line.path.casefold(), []).append(line)
        return {path: lines for path, lines in found.items() if any(line.sign != "+" for line in lines)}

    def literal(self, value: str) -> Fact:
        line = next(line for line in self._lines if value in line.text)
        is_title = any(value == title for _, title in _TEST_TITLE.findall(line.text))
        return fact_on(line, "test" if is_title else "literal", value)

    def line_with(self, part: str, form: Callable[[str], str]) -> Fact:
        """The line of the diffs or the description whose `form` holds `part`."""
        line = next((line for line in (*self._lines, *self._described) if part in form(line.text)), None)
        return fact_on(line, "line", line.text.strip()) if line else Fact("line", part, changed=False)


def fact_on(line: DiffLine, kind: str, value: str) -> Fact:
    return Fact(kind, value, line.part, line.path, line.number, line.sign in "+-")


def plain(text: str) -> str:
    """`text` casefolded, with each run of white space as one blank."""
    return " ".join(text.casefold().split())


def squeezed(text: str) -> str:
    return "".join(text.casefold().split())


def spoken(text: str) -> str:
    """The words of `text`, casefolded and one blank apart."""
    return " ".join(PROSE_WORD.findall(text.casefold()))


def is_compound(word: str) -> bool:
    """True for a name that is put together or marked as code: snake_case, CamelCase, ALL_CAPS with digits, `x2y`."""
    core = word.strip("_")
    mixed = re.search(r"[a-z0-9][A-Z]|[A-Z]{2,}[a-z]{2}|[A-Za-z]\d|\d[A-Za-z]", core)
    return "_" in core or word.startswith("_") or mixed is not None
