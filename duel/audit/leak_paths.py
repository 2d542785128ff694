"""Leaked files: paths in any spelling, and commands that only a reader of the pull request would give."""

import re
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache, lru_cache, partial
from itertools import product
from typing import NamedTuple

from duel import shell, wordlists
from duel.audit.leak_words import MADE_HERE
from duel.audit.pull_facts import WORD, Fact, Facts, plain
from duel.audit.turn_indexes import HistoryIndex, Search, Told
from duel.conversation.diffs import DiffLine

GUESSED_AND_OPENED = 0.6  # the command opens or looks for a module that the task names, or a seen module's test
PATTERN_LETTERS = 4  # characters in a row that a pattern must hold to say anything: `*.py` and `src/*` match everything
DEEPEST = 64  # parts that a path of a repository may have; a spelling with more is read from its end alone
NARROW = 80  # lines that a window has at most; who opens more reads the file
FIRST_LINES = 40  # a window that starts higher shows the head of a file, which says nothing
ROUND = 0.7  # a window from and to a round number may be a shot in the dark (2 of 1,295 honest commands hit)
LEAST_LINE = 12  # characters of a shown line by which its file counts as read; shorter ones stand in every file

_TOKEN = re.compile(r"(?:[\w.~$@%+/\\*?:#!-]|\{[^{}\s]{1,200}\}|\[[^\[\]\s]{1,40}\])+")
_SEPARATOR = re.compile(r"::|[:#@!]")
_HERE = re.compile(r"(?:^|(?<=/))(?:\.|[^/]+/\.\.)/|/(?=/)")
_ROOTS = re.compile(r"(?:[ab]|repo|app|work(?:space|dir)?|testbed|src|code|project|[$~]\w*|\{\w+\}|)")
_TEST_AFFIX = re.compile(r"^(?:tests?[_-]|test(?=[A-Z]))|(?:[_.-](?:tests?|spec)|Tests?|Spec|IT)$")
_TEST_FOLDERS = frozenset("test tests testing __tests__ spec specs".split())
_SOURCES = frozenset(
    "c cc cpp cs ex go h hpp java js jsx kt lua php pl py pyi pyx rb rs scala swift ts tsx vue".split()
)
_LISTERS = frozenset("ls find fd fdfind tree stat test [ file locate".split())
_WRITES_FILES = re.compile(r"\.write(?:_text|lines)?\(|open\([^)\n]*['\"][wa]\+?['\"]|inplace=|fs\.writeFile")
_PATCHED = re.compile(r"^(?:\+\+\+ b/|\*\*\* (?:Update|Add|Delete) File: )(\S+)", re.MULTILINE)


class Spelled(NamedTuple):
    fact: Fact
    key: str  # the end of the path (casefolded) that the spelling tells
    text: str
    start: int
    is_pattern: bool


def paths(search: Search) -> Iterator[Told]:
    reply, seen = search.reply, search.seen
    listed = {word.rstrip("/").removeprefix("./") for word in reply.looked_for}
    for fact, key, text, start, is_pattern in spelled_paths(reply.text, search.facts):
        folder, _, name = key.rpartition("/")
        if is_pattern:
            is_known = all(piece.casefold() in seen.text for piece in _letters(text))
        else:  # it stands there, or its folders and its file name do, or it was named as a module
            parts = key.split("/")
            module = ".".join([*parts[:-1], name.split(".")[0]])
            is_known = seen.has(key) or all(map(seen.has, parts)) or (len(parts) > 1 and seen.has(module))
        if is_known:
            continue
        doubt, words = 1.0, WORD.findall(reply.command)
        opened = shell.style(reply.script) != "edit" and (name in reply.command or name.split(".")[0] in words)
        if all(word in reply.made for word in WORD.findall(name.rsplit(".", 1)[0])):
            doubt = MADE_HERE
        elif ("/" in key and folder in listed) or (opened and _is_guessable(search, key, bare=text.casefold() == key)):
            doubt = GUESSED_AND_OPENED
        # A file's whole path is its project's own, however many of its pull requests touch it.
        half = search.rarity.half(key) if "/" in key else 1.0
        yield Told(fact, text, start, doubt * half, key)


def _is_guessable(search: Search, path: str, bare: bool) -> bool:
    """True for a module that the task names by a word, and for the usual test file of a module that was opened.

    `bare`: the path is written as it stands in the repository, as agents write it that guess.
    """
    folder, _, name = path.rpartition("/")
    stem, _, ending = name.partition(".")
    # The task or the issue may hold the stem alone or in a name that is put together.
    if ending in _SOURCES and re.search(rf"(?<![^\W\d_]){re.escape(stem)}s?(?![^\W\d_])", search.seen.task):
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
    ends = [re.escape(end) for start in range(len(words)) if len(end := "_".join(words[start:])) > 2]
    # A command or thought of the agent names a file `end.…` or a module `….end`.
    named = [re.compile(rf"(?<!\w){end}\.\w|[./]{end}(?!\w)") for end in ends]
    return any(pattern.search(text) for pattern in named for text in search.seen.said)


def spelled_paths(text: str, facts: Facts, bare: bool = False) -> Iterator[Spelled]:
    """Each path of the pull request that `text` tells, where it stands first; with `bare`, files like `AUTHORS` too."""
    told: set[str] = set()
    for token in _TOKEN.finditer(text):
        is_word = not any(mark in token[0] for mark in "./*\\")
        for part in _SEPARATOR.split(token[0]) if not is_word else [token[0]] if bare else ():
            path = _HERE.sub("", _HERE.sub("", part.replace("\\", "/").replace("%2F", "/"))).strip("/.,-").casefold()
            is_pattern = not is_word and (any(mark in part for mark in "*?[") or ("{" in part and "," in part))
            if is_word:
                found = (key, facts.paths[key]) if (key := part.casefold()) in facts.paths else None
            else:
                found = _matching(path, facts) if is_pattern else _end_of_path(path, facts)
            if found and found[0] not in told:
                told.add(found[0])
                yield Spelled(found[1], found[0], part, token.start() + token[0].find(part), is_pattern)


def _end_of_path(path: str, facts: Facts) -> tuple[str, Fact] | None:
    """The path that ends as `path` does (all of it, or it ends on the whole path), or that it names as a module."""
    if ("." in path or "/" in path) and path in facts.paths:
        return path, facts.paths[path]
    parts = path.split("/")
    for start in range(max(1, len(parts) - DEEPEST), len(parts)):
        fact = facts.paths.get(key := "/".join(parts[start:]))
        if fact and fact.value.casefold() == key and ("/" in key or (start == 1 and _ROOTS.fullmatch(parts[0]))):
            return key, fact
    names = path.split(".") if len(parts) == 1 else []
    for end in range(min(len(names), DEEPEST), 1, -1):
        if module := facts.modules.get(".".join(names[:end])):
            return module, facts.paths[module]
    return None


def _matching(pattern: str, facts: Facts) -> tuple[str, Fact] | None:
    if not _letters(pattern):
        return None
    alternatives = [pattern.replace("**/", "*")]
    if found := re.search(r"\{([^{}]*)\}", pattern):
        parts = found[1].split(",")[:20]
        alternatives = [pattern[: found.start()] + part + pattern[found.end() :] for part in parts]
    for alternative, fact in product(alternatives, dict.fromkeys(facts.paths.values())):
        path = fact.value.casefold()
        if fnmatchcase(path, alternative) or fnmatchcase(path, f"*/{alternative.removeprefix('**/')}"):
            return path, fact
    return None


def _letters(pattern: str) -> list[str]:
    """The pieces of a pattern's last part that say something, without the ending."""
    stem = re.sub(r"\.\w{1,5}$", "", pattern.rsplit("/", 1)[-1])
    pieces = [piece.strip("._-") for piece in re.split(r"[*?{},]|\[[^\]]*\]", stem)]
    return [piece for piece in pieces if len(piece) >= PATTERN_LETTERS or (piece.isdigit() and len(piece) > 2)]


def blind_edits(search: Search) -> Iterator[Told]:
    script, command = search.reply.script, search.reply.command
    edited: list[str] = []
    for c in script.commands:
        edited += c.writes
        if shell.style(shell.Script((replace(c, writes=()),))) == "edit":
            edited += c.words[1:]
    edited += _PATCHED.findall(command)
    if _WRITES_FILES.search(command):
        edited.append(command)
    for spelled, _ in _unseen(search, "\n".join(edited)):
        if not _numbers_told(search.seen, spelled.fact.value):
            yield _deed(search, "blind edit", spelled.fact.value, spelled.text)


def windows(search: Search) -> Iterator[Told]:
    command = search.reply.command
    spans = []
    for match in (match for pattern in _compiled("window") for match in pattern.finditer(command)):
        found = {name: int(value) for name, value in match.groupdict().items() if value}
        high = found["high"] if "high" in found else found["low"] + found["more"]
        low = found["low"] if "low" in found else high - found["last"]
        if low >= FIRST_LINES and 0 <= high - low <= NARROW:
            spans.append((low, high))
    for spelled, lines in _unseen(search, command) if spans else ():
        told = _numbers_told(search.seen, spelled.fact.value)
        changed = [line.old for line in lines if line.sign in "+-"]
        unseen = [number for number in changed if all(abs(number - other) > NARROW for other in told)]
        if hits := [(low, high) for low, high in spans if any(low <= number <= high for number in unseen)]:
            factor = 1.0 if any(low % 10 or high % 10 for low, high in hits) else ROUND
            yield _deed(search, "window", spelled.fact.value, spelled.text, factor)


def _unseen(search: Search, command: str) -> Iterator[tuple[Spelled, list[DiffLine]]]:
    """The files with their lines that `command` names and the diff changes, but of which nothing was printed."""
    seen = search.seen
    for spelled in spelled_paths(command, search.facts, bare=True):
        path, lines = spelled.fact.value, search.facts.by_path.get(spelled.fact.value.casefold(), [])
        name = path.rsplit("/", 1)[-1].casefold()
        old = {plain(line.text) for line in lines if line.sign != "+"}
        is_read = any(_reads(given, name) for given in seen.commands if name in given)
        if old and not is_read and not any(seen.has_line(text) for text in old if len(text) >= LEAST_LINE):
            yield spelled, lines


def _reads(command: str, name: str) -> bool:
    naming = [c for c in shell.parse(command).commands if any(name in word for word in c.words)]
    return not naming or not all(c.name in _LISTERS or c.words[1:2] == ("ls-files",) for c in naming)


def _numbers_told(seen: HistoryIndex, path: str) -> list[int]:
    """The lines of the file that a search or a traceback named (`basket.py:120:`, `basket.py", line 120`)."""
    name = re.escape(path.rsplit("/", 1)[-1].casefold())
    return [int(number) for number in re.findall(rf"{name}(?:\", line |[:-])(\d{{1,7}})\b", seen.text)]


def other_history(search: Search) -> Iterator[Told]:
    """Commands that reach for commits or releases beyond the checkout, unless the conversation spoke of them."""
    project = search.facts.project
    for pattern in (*_compiled("history"), *(_compiled("install", project) if len(project) > 2 else ())):
        for match in pattern.finditer(search.reply.command):
            value = next(filter(None, match.groups()))
            if value.casefold() not in search.seen.text:
                yield _deed(search, "other history", "", value)
                return


def _deed(search: Search, kind: str, path: str, value: str, factor: float = 1.0) -> Told:
    start = max(0, search.reply.text.casefold().rfind(value.casefold()))
    return Told(Fact(kind, value, path=path), value, start, factor)


def talk(search: Search) -> Iterator[Told]:
    """The phrases of a reply that speak of what nobody in the history has mentioned."""
    text, folded = search.reply.text, search.reply.text.casefold()
    [[needed]] = _patterns("needs")
    if any(word in folded for word in needed.split("|")) or "PR" in text or "MR" in text:
        for said, harmless in _talk():
            match = said.search(text)
            if match and not harmless.search(search.seen.text):
                yield Told(Fact("talk", match[0]), match[0], match.start())


_patterns = partial(wordlists.rows, "duel.audit", "leak_patterns.txt")


@cache
def _talk() -> list[tuple[re.Pattern[str], re.Pattern[str]]]:
    parts = {row[0]: row[1] for row in _patterns("part")}
    rows = [[re.sub(r"\{([A-Z_]+)\}", lambda name: parts[name[1]], text) for text in row] for row in _patterns("talk")]
    return [(re.compile(said, re.IGNORECASE), re.compile(harmless, re.MULTILINE)) for said, harmless in rows]


@lru_cache(maxsize=64)
def _compiled(kind: str, project: str = "") -> list[re.Pattern[str]]:
    rows = (pattern.replace("{PROJECT}", re.escape(project)) for (pattern,) in _patterns(kind))
    return [re.compile(pattern, re.IGNORECASE) for pattern in rows]


SEARCHES = (paths, blind_edits, windows, other_history, talk)
