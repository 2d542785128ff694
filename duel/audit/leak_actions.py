"""Leaks by deed: a command that only somebody who has read the pull request, or looks it up, would give."""

import re
from dataclasses import replace
from functools import cache, lru_cache

from duel import shell
from duel.audit.history_index import HistoryIndex
from duel.audit.leak_findings import LeakFinding
from duel.audit.leak_paths import spelled_paths
from duel.audit.leak_phrases import TABLE
from duel.audit.leak_search import Findings, Search
from duel.audit.pull_facts import DiffLine, Fact, plain
from duel.audit.tables_beside import rows

NARROW = 80  # lines that a window has at most; who opens more reads the file
FIRST_LINES = 40  # a window that starts higher shows the head of a file, which says nothing
ROUND = 0.7  # a window from and to a round number may be a shot in the dark (2 of 1,295 honest commands hit)
LEAST_LINE = 12
"""Characters of a line that must have been shown for its file to count as read; shorter ones stand in every file."""

_LISTERS = frozenset("ls find fd fdfind tree stat test [ file locate".split())
_WRITES_FILES = re.compile(r"\.write(?:_text|lines)?\(|open\([^)\n]*['\"][wa]\+?['\"]|inplace=|fs\.writeFile")
_PATCHED = re.compile(r"^(?:\+\+\+ b/|\*\*\* (?:Update|Add|Delete) File: )(\S+)", re.MULTILINE)


def blind_edits(search: Search) -> Findings:
    """Edits of a file of the pull request of which nothing was ever printed."""
    for spelled in spelled_paths(_edited(search), search.facts, bare=True):
        path = spelled.fact.value
        lines = search.facts.by_path.get(path.casefold())
        if lines and not _was_printed(search.seen, path, lines) and not _numbers_told(search.seen, path):
            yield _finding(search, "blind edit", path, spelled.text)


def _edited(search: Search) -> str:
    """The words of the command that name what it edits, one a line."""
    script, command = search.reply.script, search.reply.command
    words = [path for c in script.commands for path in c.writes]
    for c in script.commands:
        if shell.script_style(replace(script, commands=(replace(c, writes=()),))) == "edit":
            words += c.words[1:]
    words += _PATCHED.findall(command)
    if _WRITES_FILES.search(command):
        words.append(command)
    return "\n".join(words)


def _was_printed(seen: HistoryIndex, path: str, lines: list[DiffLine]) -> bool:
    """True where a command was given that reads the file, or any of its lines that the diff knows was shown."""
    name = path.rsplit("/", 1)[-1].casefold()
    if any(name in command and not _only_lists(command, name) for command in seen.commands):
        return True
    old = {plain(line.text) for line in lines if line.sign != "+"}
    return any(seen.has_line(text) for text in old if len(text) >= LEAST_LINE)


def _numbers_told(seen: HistoryIndex, path: str) -> list[int]:
    """The lines of the file that a search or a traceback named (`basket.py:120:`, `basket.py", line 120`)."""
    name = re.escape(path.rsplit("/", 1)[-1].casefold())
    return [int(number) for number in re.findall(rf"{name}(?:\", line |[:-])(\d{{1,7}})\b", seen.text)]


def _only_lists(command: str, name: str) -> bool:
    """True where every simple command that names the file says no more than that it is there."""
    naming = [c for c in shell.parse(command).commands if any(name in word for word in c.words)]
    return bool(naming) and all(c.name in _LISTERS or c.words[1:2] == ("ls-files",) for c in naming)


def windows(search: Search) -> Findings:
    """A narrow window on changed lines of a file that nobody has opened."""
    command = search.reply.command
    spans = [span for pattern in _windows() for match in pattern.finditer(command) if (span := _span(match))]
    for spelled in spelled_paths(command, search.facts, bare=True) if spans else ():
        path = spelled.fact.value
        lines = search.facts.by_path.get(path.casefold())
        if not lines or _was_printed(search.seen, path, lines):
            continue
        changed = [line.old for line in lines if line.sign in "+-"]
        told = _numbers_told(search.seen, path)
        unseen = [number for number in changed if not any(abs(number - other) <= NARROW for other in told)]
        hits = [span for span in spans if any(span[0] <= number <= span[1] for number in unseen)]
        if hits:
            factor = 1.0 if any(low % 10 or high % 10 for low, high in hits) else ROUND
            yield _finding(search, "window", path, spelled.text, factor)


def _span(match: re.Match[str]) -> tuple[int, int] | None:
    """The lines that a command shows; None where they are many or a file's first ones."""
    found = {name: int(value) for name, value in match.groupdict().items() if value}
    high = found["high"] if "high" in found else found["low"] + found["more"]
    low = found["low"] if "low" in found else high - found["last"]
    return (low, high) if low >= FIRST_LINES and 0 <= high - low <= NARROW else None


def other_history(search: Search) -> Findings:
    """Commands that reach for commits or releases beyond the checkout, unless the conversation spoke of them."""
    project = search.facts.project
    for pattern in (_history(), _install(project)) if len(project) > 2 else (_history(),):
        for match in pattern.finditer(search.reply.command):
            value = next(filter(None, match.groups()))
            if value.casefold() not in search.seen.text:
                yield _finding(search, "other history", "", value)
                return


def _finding(search: Search, kind: str, path: str, value: str, factor: float = 1.0) -> LeakFinding:
    start = max(0, search.reply.text.casefold().rfind(value.casefold()))
    return search.finding(Fact(kind, value, path=path), value, start, factor)


@cache
def _windows() -> list[re.Pattern[str]]:
    return [re.compile(pattern, re.IGNORECASE) for (pattern,) in rows(TABLE, "window")]


@cache
def _history() -> re.Pattern[str]:
    return re.compile("|".join(pattern for (pattern,) in rows(TABLE, "history")), re.IGNORECASE)


@lru_cache(maxsize=64)
def _install(project: str) -> re.Pattern[str]:
    [[pattern]] = rows(TABLE, "install")
    return re.compile(pattern.replace("{PROJECT}", re.escape(project)), re.IGNORECASE)
