"""Leaked paths in any spelling: absolute, behind a revision or a host, with a line or a test, as module or pattern."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from duel.audit.leak_search import MADE_HERE, Findings, Search
from duel.audit.pull_facts import WORD, Fact, Facts

GUESSED_AND_OPENED = 0.6
"""The command opens or looks for what the task's words suggest: a module of that name, or a seen module's test."""
PATTERN_LETTERS = 4  # characters in a row that a pattern must hold to say anything: `*.py` and `src/*` match everything

DEEPEST = 64  # parts that a path of a repository may have; a spelling with more is read from its end alone

_TOKEN = re.compile(r"(?:[\w.~$@%+/\\*?:#!-]|\{[^{}\s]{1,200}\}|\[[^\[\]\s]{1,40}\])+")
_SEPARATOR = re.compile(r"::|[:#@!]")
_HERE = re.compile(r"(?:^|(?<=/))(?:\.|[^/]+/\.\.)/|/(?=/)")
_ROOTS = re.compile(r"(?:[ab]|repo|app|work(?:space|dir)?|testbed|src|code|project|[$~]\w*|\{\w+\}|)")
_TEST_AFFIX = re.compile(r"^(?:tests?[_-]|test(?=[A-Z]))|(?:[_.-](?:tests?|spec)|Tests?|Spec|IT)$")
_TEST_FOLDERS = frozenset("test tests testing __tests__ spec specs".split())
_SOURCES = frozenset(
    "c cc cpp cs ex go h hpp java js jsx kt lua php pl py pyi pyx rb rs scala swift ts tsx vue".split()
)


class Spelled(NamedTuple):
    """One path of the pull request as a reply spells it."""

    fact: Fact
    key: str
    """The end of the path (casefolded) that the spelling tells."""
    text: str
    start: int
    pattern: bool = False


def paths(search: Search) -> Findings:
    """Files of the pull request of which the history has no word."""
    for spelled in spelled_paths(search.reply.text, search.facts):
        seen, key = search.seen, spelled.key
        pieces = _letters(spelled.text) if spelled.pattern else []
        if not (all(piece.casefold() in seen.text for piece in pieces) if spelled.pattern else seen.has_path(key)):
            # A file's whole path is its project's own, however many of its pull requests touch it.
            half = search.rarity.half(key) if "/" in key else 1.0
            yield search.finding(spelled.fact, spelled.text, spelled.start, _doubt(search, spelled) * half, key)


def _doubt(search: Search, spelled: Spelled) -> float:
    reply, key = search.reply, spelled.key
    name = key.rsplit("/", 1)[-1]
    if all(word in reply.made for word in WORD.findall(name.rsplit(".", 1)[0])):
        return MADE_HERE
    if reply.lists_folder_of(key):
        return GUESSED_AND_OPENED
    opened = reply.style != "edit" and (name in reply.command or name.split(".")[0] in WORD.findall(reply.command))
    return GUESSED_AND_OPENED if opened and is_guessable(search, key, spelled.text.casefold() == key) else 1.0


def is_guessable(search: Search, path: str, bare: bool) -> bool:
    """True for a module that the task names by a word, and for the usual test file of a module that was opened.

    `bare`: the path is written as it stands in the repository, as agents write it that guess.
    """
    folder, _, name = path.rpartition("/")
    stem, _, ending = name.partition(".")
    if ending in _SOURCES and search.seen.task_has(stem):
        return True
    tested = _TEST_AFFIX.sub("", stem)
    home, _, last = folder.rpartition("/")
    # Tests lie beside the code that they test: whoever has just opened a module looks for them there, or in the root.
    opened = re.compile(rf"(?<![\w/]){re.escape(home)}/(?:[\w-]+/)?{re.escape(tested)}\.")
    beside = bare and last in _TEST_FOLDERS and (not home or any(map(opened.search, search.seen.commands[-1:])))
    if tested == stem or not (beside or not folder or f"{folder}/" in search.seen.text):
        return False
    # `find tests -name '*cpp*'` looks for `test_domain_cpp.py`, the test of `domains/cpp.py`.
    words = tested.split("_") if search.reply.looks_for(path) else [tested]
    ends = ("_".join(words[start:]) for start in range(len(words)))
    return any(len(end) > 2 and search.seen.has_opened_module(end) for end in ends)


def spelled_paths(text: str, facts: Facts, bare: bool = False) -> Iterator[Spelled]:
    """Each path of the pull request that `text` tells, where it stands first; with `bare`, files like `AUTHORS` too."""
    told: set[str] = set()
    for token in _TOKEN.finditer(text):
        key = token[0].casefold()
        if bare and "." not in key and "/" not in key and key in facts.paths and key not in told:
            told.add(key)
            yield Spelled(facts.paths[key], key, token[0], token.start())
        for found in _spelled(token[0], token.start(), facts):
            if found.key not in told:
                told.add(found.key)
                yield found


def _spelled(token: str, start: int, facts: Facts) -> Iterator[Spelled]:
    if not ("." in token or "/" in token or "*" in token or "\\" in token):
        return
    for part in _SEPARATOR.split(token):
        at = start + token.find(part)
        plain = _HERE.sub("", _HERE.sub("", part.replace("\\", "/").replace("%2F", "/"))).strip("/.,-").casefold()
        if any(mark in part for mark in "*?[") or ("{" in part and "," in part):
            yield from (Spelled(fact, path, part, at, pattern=True) for path, fact in _matching(plain, facts))
        elif found := _end_of_path(plain, facts) or _module(plain, facts):
            yield Spelled(found[1], found[0], part, at)


def _end_of_path(plain: str, facts: Facts) -> tuple[str, Fact] | None:
    """The path that ends as `plain` does: all of `plain` is its end, or `plain` ends on the whole path."""
    if "." not in plain and "/" not in plain:
        return None
    if plain in facts.paths:
        return plain, facts.paths[plain]
    parts = plain.split("/")
    for start in range(max(1, len(parts) - DEEPEST), len(parts)):
        key = "/".join(parts[start:])
        fact = facts.paths.get(key)
        if fact and fact.value.casefold() == key and ("/" in key or (start == 1 and _ROOTS.fullmatch(parts[0]))):
            return key, fact
    return None


def _module(plain: str, facts: Facts) -> tuple[str, Fact] | None:
    """The path of the module that `plain` (`shop.basket.Basket`) names."""
    parts = plain.split(".")
    if "/" not in plain:
        for end in range(min(len(parts), DEEPEST), 1, -1):
            if key := facts.modules.get(".".join(parts[:end])):
                return key, facts.paths[key]
    return None


def _matching(pattern: str, facts: Facts) -> Iterator[tuple[str, Fact]]:
    """The first path that a shell pattern means."""
    if not _letters(pattern):
        return
    for alternative in _braces(pattern):
        for fact in dict.fromkeys(facts.paths.values()):
            path = fact.value.casefold()
            if fnmatchcase(path, alternative) or fnmatchcase(path, f"*/{alternative.removeprefix('**/')}"):
                yield path, fact
                return


def _braces(pattern: str) -> list[str]:
    """`shop/{basket,cart}.py` as its alternatives."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if not found:
        return [pattern.replace("**/", "*")]
    return [pattern[: found.start()] + part + pattern[found.end() :] for part in found[1].split(",")[:20]]


def _letters(pattern: str) -> list[str]:
    """The pieces of a pattern's last part that say something, without the ending."""
    stem = re.sub(r"\.\w{1,5}$", "", pattern.rsplit("/", 1)[-1])
    pieces = [piece.strip("._-") for piece in re.split(r"[*?{},]|\[[^\]]*\]", stem)]
    return [piece for piece in pieces if len(piece) >= PATTERN_LETTERS or (piece.isdigit() and len(piece) > 2)]
