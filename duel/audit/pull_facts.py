"""What a hidden pull request tells: paths, names, literals, lines, line numbers, hashes, numbers, and their places."""

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

from duel.conversation.diffs import DiffLine, lines_of
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

_INDEX = re.compile(r"^index ([0-9a-f]{7,40})\.\.([0-9a-f]{7,40})", re.MULTILINE)
_TEST_NAME = re.compile(
    r"\b(?:def|func|fn|function|void|fun)\s+(test\w*|Test\w+|\w+_test\b|should\w*)|\bclass\s+(\w*Tests?\w*)"
    r"|^\s*(test_\w+)\s*[({]",
)
_TEST_TITLE = re.compile(r"""\b(?:it|test|describe|context|specify|t\.Run)\s*\(\s*(["'`])(.{4,200}?)\1""")


class Fact(NamedTuple):
    """One thing that the pull request tells, and where it stands first (on a changed line where it stands on one)."""

    kind: str
    value: str
    part: str = "record"
    path: str = ""
    line: int = 0
    changed: bool = True  # it stands on an added or removed line, not only on the unchanged ones around
    added: bool = False  # it stands on added lines alone: it is not in the repository yet


class Names:
    """The names of one pattern in a pull request. Only those that a reply holds are ever looked up to their place."""

    def __init__(self, pattern: re.Pattern[str], kind: str, lines: list[DiffLine], described: Sequence[DiffLine] = ()):
        self._pattern, self._kind, self._lines, self._described = pattern, kind, lines, described

    @cached_property
    def keys(self) -> frozenset[str]:
        lines = (*self._lines, *self._described)
        return frozenset(self._pattern.findall("\n".join(line.text for line in lines).casefold()))

    def get(self, key: str) -> Fact | None:
        """The fact that `key` (casefolded) is, or None; on a changed line where it stands on one."""
        if key not in self.keys:
            return None

        def holding(lines: Sequence[DiffLine]) -> list[DiffLine]:
            folded = ((line, line.text.casefold()) for line in lines)
            return [line for line, text in folded if key in text and key in self._pattern.findall(text)]

        on_lines = holding(self._lines)
        found = on_lines or holding(self._described)
        line, kind = found[0], self._kind
        for one in reversed(on_lines) if kind == "identifier" else ():
            if key in {name.casefold() for named in _TEST_NAME.findall(one.text) for name in named}:
                line, kind = one, "test"
        value = next((name for name in self._pattern.findall(line.text) if name.casefold() == key), key)
        if not on_lines and self._pattern is WORD and not is_compound(value):
            return None
        return fact_on(line, kind, value)._replace(added=all(one.sign == "+" for one in found))


class Facts:
    """Everything that one pull request tells. The issue is none of it: the agent was given that."""

    def __init__(self, commit: Commit) -> None:
        patches = {"patch": commit.patch, "test_patch": commit.test_patch}
        diff = [line for part, patch in patches.items() for line in lines_of(part, patch[:MAX_DIFF])]
        # Changed lines first: a fact keeps its first place, and the changed lines are where it weighs most.
        self._lines = sorted(diff, key=lambda line: line.sign not in "+-")
        changed = [line for line in self._lines if line.sign in "+-"]
        description = commit.description[:MAX_DIFF]
        described = enumerate(description.split("\n"), start=1)
        self._described = [DiffLine("description", "", " ", text, number, 0, 0) for number, text in described]
        hashes = [commit.commit, *(h for pair in _INDEX.findall(f"{commit.patch}\n{commit.test_patch}") for h in pair)]
        self.hashes = tuple(dict.fromkeys(h for h in hashes if len(h) >= 7 and set(h) != {"0"}))
        self.project = commit.repo.rsplit("/", 1)[-1].casefold()
        self.pull_number = str(commit.pull_number or "")
        self.words = Names(WORD, "identifier", self._lines, self._described)
        self.chunks = Names(CHUNK, "identifier", self._lines, self._described)
        self.numbers = Names(NUMBER, "number", changed)
        text = "\n".join(line.text for line in self._lines)
        self.literals = {plain(literal): literal for _, literal in LITERAL.findall(text)}
        # The words of the diffs and the description, casefolded, one blank apart, one line a line.
        self.prose = " ".join(["", *_PROSE_WORD_OR_END.findall(f"{text}\n{description}".casefold()), ""])
        self.prose_words = frozenset(self.prose.split())
        self.tokens = frozenset(TOKEN.findall("\n".join(line.text for line in changed).casefold()))
        self.squeezed = "\n".join(squeezed(line.text) for line in changed)
        self.lines: dict[str, DiffLine] = {}  # by their `plain` text
        self.line_numbers: dict[int, list[DiffLine]] = {}  # in the old and the new file; unchanged ones in the old
        self.by_path: dict[str, list[DiffLine]] = {}  # of the patch, by casefolded path
        for line in (line for line in self._lines if line.sign != "@"):
            self.lines.setdefault(plain(line.text), line)
            for number in {line.old, line.new} if line.sign in "+-" else {line.old}:
                self.line_numbers.setdefault(number, []).append(line)
            if line.part == "patch":
                self.by_path.setdefault(line.path.casefold(), []).append(line)
        self.paths: dict[str, Fact] = {}  # by the whole path and by each end of it
        for path in filter(None, dict.fromkeys([*(line.path for line in diff), *(file.path for file in commit.files)])):
            parts = path.casefold().split("/")
            for start in range(len(parts)):
                self.paths.setdefault("/".join(parts[start:]), Fact("path", path, path=path))
        self.modules: dict[str, str] = {}  # {dotted name of a module, or an end of it of two words and more: its path}
        for key in self.paths:
            stem = re.sub(r"(?:/__init__)?\.\w{1,5}$", "", key)
            if "/" in stem:
                self.modules.setdefault(stem.replace("/", "."), key)

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
    return " ".join(text.casefold().split())


def squeezed(text: str) -> str:
    return "".join(text.casefold().split())


def spoken(text: str) -> str:
    """The words of `text`, casefolded and one blank apart, also around them."""
    return f" {' '.join(PROSE_WORD.findall(text.casefold()))} "


def named(text: str) -> str:
    """The names in `text` in the same way."""
    return f" {' '.join(WORD.findall(text.casefold()))} "


def is_compound(word: str) -> bool:
    """True for a name that is put together or marked as code: snake_case, CamelCase, ALL_CAPS with digits, `x2y`."""
    core = word.strip("_")
    mixed = re.search(r"[a-z0-9][A-Z]|[A-Z]{2,}[a-z]{2}|[A-Za-z]\d|\d[A-Za-z]", core)
    return "_" in core or word.startswith("_") or mixed is not None
