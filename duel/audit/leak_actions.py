"""Leaks by deed: a command that only somebody who has read the pull request, or looks it up, would give."""

import re
from collections.abc import Iterator
from dataclasses import replace

from duel import shell
from duel.audit.history_index import HistoryIndex
from duel.audit.leak_findings import LeakFinding
from duel.audit.leak_paths import spelled_paths
from duel.audit.leak_search import Search
from duel.audit.pull_facts import DiffLine, Fact, plain

NARROW = 80
"""Lines that a window has at most; who opens more reads the file."""
FIRST_LINES = 40
"""A window that starts higher shows the head of a file, which says nothing."""
ROUND = 0.7
"""A window from and to a round number may be a shot in the dark (2 of 1,295 honest commands hit)."""
LEAST_LINE = 12
"""Characters of a line that must have been shown for its file to count as read; shorter ones stand in every file."""

_WINDOWS = (
    r"(?<![\w.])(?P<low>\d{1,6}),\s?(?P<high>\d{1,6})p",
    r"(?<![\w.])(?P<low>\d{1,6}),\+(?P<more>\d{1,4})p",
    r"NR\s*>=?\s*(?P<low>\d{1,6})[^\n]{0,40}?NR\s*<=?\s*(?P<high>\d{1,6})",
    r"NR\s*==\s*(?P<low>\d{1,6})\s*,\s*NR\s*==\s*(?P<high>\d{1,6})",
    r"\bhead -(?:n ?)?(?P<high>\d{1,6})\b[^\n]{0,200}?\|\s*tail -(?:n ?)?(?P<last>\d{1,6})\b",
    r"\btail -(?:n ?)?\+(?P<low>\d{1,6})\b[^\n]{0,200}?\|\s*head -(?:n ?)?(?P<more>\d{1,6})\b",
    r"(?:--line-range|-r)[= ](?P<low>\d{1,6}):(?P<high>\d{1,6})",
)
_LISTERS = frozenset("ls find fd fdfind tree stat test [ file locate".split())
_WRITES_FILES = re.compile(r"\.write(?:_text|lines)?\(|open\([^)\n]*['\"][wa]\+?['\"]|inplace=|fs\.writeFile")
_PATCHED = re.compile(r"^(?:\+\+\+ b/|\*\*\* (?:Update|Add|Delete) File: )(\S+)", re.MULTILINE)
# What reaches for commits, branches, releases that the agent's checkout does not stand on.
_OTHER_HISTORY = re.compile(
    r"\bgit\b[^\n|;&]{0,80}?\s(?:(?:log|rev-list|shortlog|show|grep|whatchanged)\b[^\n|;&]{0,200}?\s"
    r"(?P<all>--all|--remotes|--branches|--tags|--reflog|-g|--walk-reflogs)\b"
    r"|(?P<fetch>fetch|pull|clone|ls-remote|cherry-pick|reflog|fsck|remote update|bundle|branch (?:-a|-r|--all"
    r"|--remotes))\b)"
    r"|\bgit\b[^\n|;&]{0,200}?[\s.:](?P<branch>(?:refs/)?(?:remotes/)?(?:origin|upstream)/[\w./-]+|FETCH_HEAD"
    r"|refs/pull/\d+|HEAD@\{\d+\}|@\{u(?:pstream)?\})"
    r"|\bgit (?:show|checkout|diff|log|switch|restore|worktree add)\b[^\n|;&]{0,80}?[\s.=](?P<tag>v?\d+\.\d+(?:\.\d+)*)"
    r"(?=[\s:.]|$)(?!\.\w)"
    r"|\b(?P<package>pip3? download|npm (?:pack|view)|gem fetch|cargo (?:download|install)|go mod download"
    r"|uv pip download|easy_install|conda search)\b"
    r"|\b(?:pip3?|npm) install [^\n|;&]{0,80}?(?P<target>(?:-t|--target|--prefix)[ =])"
    r"|\b(?P<hub>gh (?:pr|api|issue|release|repo|search)|glab mr)\b"
    r"|(?P<url>(?:https?://|git@)[^\s'\"]*(?:/pull/\d|/commit/|/compare/|/merge_requests/|/archive/|/releases/"
    r"|/blob/|\.patch\b|\.diff\b|raw\.githubusercontent\.com|api\.github\.com|codeload\.github\.com"
    r"|files\.pythonhosted\.org))",
    re.IGNORECASE,
)
_INSTALL = (
    r"\b(?:pip3?|uv pip|npm|yarn|pnpm|gem) (?:install|add|i)\b[^\n|;&]{{0,120}}?[\s'\"](?P<release>{name}"
    r"(?:[=@<>~][^\s'\"]*)?)(?=[\s'\"]|$)"
)


def blind_edits(search: Search) -> Iterator[LeakFinding]:
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


def windows(search: Search) -> Iterator[LeakFinding]:
    """A narrow window on changed lines of a file that nobody has opened."""
    command = search.reply.command
    spans = [
        span for pattern in _WINDOWS for match in re.finditer(pattern, command, re.IGNORECASE) if (span := _span(match))
    ]
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


def other_history(search: Search) -> Iterator[LeakFinding]:
    """Commands that reach for commits or releases beyond the checkout, unless the conversation spoke of them."""
    command, seen = search.reply.command, search.seen
    patterns = [_OTHER_HISTORY]
    if len(search.facts.project) > 2:
        patterns.append(re.compile(_INSTALL.format(name=re.escape(search.facts.project)), re.IGNORECASE))
    for pattern in patterns:
        for match in pattern.finditer(command):
            value = next(filter(None, match.groups()))
            if value.casefold() not in seen.text:
                yield _finding(search, "other history", "", value)
                return


def _finding(search: Search, kind: str, path: str, value: str, factor: float = 1.0) -> LeakFinding:
    start = max(0, search.reply.text.casefold().rfind(value.casefold()))
    return search.finding(Fact(kind, value, "record", path, 0, changed=True), value, start, factor)
