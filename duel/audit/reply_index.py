"""The audited reply: where a name stands in it, and what its command makes or looks for."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import pairwise
from typing import Any

from duel import shell, turn
from duel.audit.pull_facts import WORD, plain

_DEFINED = re.compile(r"\b(?:def|class|function|func|fn|let|const|var)\s+(\w+)|^\s*(\w+)\s*=[^=]", re.MULTILINE)
_LOOKERS = frozenset({"ls", "find", "tree", "fd", "stat", "test", "["})
_GREPS = frozenset({"grep", "egrep", "fgrep", "rg", "ag", "ack", "zgrep", "sed", "awk", "log"})
_GUESS = re.compile(r"\bor similar\b|\blikely\b|\bI (?:assume|guess|suppose)\b|\bprobably\b", re.IGNORECASE)


class ReplyIndex:
    """A reply with what the weighing asks of it."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def plain(self) -> str:
        return plain(self.text)

    @cached_property
    def command(self) -> str:
        return turn.command(self.text).casefold()

    @cached_property
    def script(self) -> shell.Script:
        return shell.parse(turn.command(self.text))

    @cached_property
    def style(self) -> shell.Style:
        return shell.script_style(self.script)

    @cached_property
    def grepped(self) -> frozenset[str]:
        """The words of the patterns that the command searches files or history for, casefolded."""
        commands = [c for c in self.script.commands if c.name in _GREPS or (c.name == "git" and _GREPS & {*c.words})]
        words = [word for c in commands for word in c.words[1:] if c.name != "sed" or "/" in word]
        return frozenset(name.casefold() for word in words for name in WORD.findall(word.removeprefix("-S")))

    @cached_property
    def made(self) -> frozenset[str]:
        """Names that the command itself makes: files it writes, and what is defined in what it writes."""
        command = turn.command(self.text)
        made = {part for c in self.script.commands for path in c.writes for part in WORD.findall(path)}
        if made:
            made.update(name for found in _DEFINED.findall(command) for name in found if name)
        return frozenset(name.casefold() for name in made)

    @cached_property
    def _fences(self) -> list[int]:
        return [match.start() for match in re.finditer(r"^```", self.text, re.MULTILINE)]

    def in_code(self, start: int) -> bool:
        return bisect_right(self._fences, start) % 2 == 1

    def prose(self) -> Iterator[tuple[int, int]]:
        """Where the reply speaks: the spans outside of its fenced blocks."""
        ends = [0, *self._fences, len(self.text)]
        yield from list(pairwise(ends))[::2]

    @cached_property
    def _searched(self) -> str:
        words = [" ".join(c.words[1:]) for c in self.script.commands if c.name in _LOOKERS]
        return " ".join(words).casefold()

    def looks_for(self, key: str) -> bool:
        """True where the command looks whether a file is there: by its path, its folder, or a pattern for its name."""
        if not self._searched:
            return False
        folder, _, name = key.rpartition("/")
        patterns = [word.strip("\"'") for word in self._searched.split()]
        return any(
            pattern.rstrip("/").removeprefix("./") in (key, folder) or ("*" in pattern and fnmatchcase(name, pattern))
            for pattern in patterns
            if len(pattern.strip("./*")) > 2 and not pattern.startswith("*.")
        )

    def lists_folder_of(self, path: str) -> bool:
        """True where the command lists the very folder that `path` lies in, to see what is there."""
        folder = path.rpartition("/")[0]
        return bool(folder) and any(word.rstrip("/").removeprefix("./") == folder for word in self._searched.split())

    def is_quoted(self, start: int) -> bool:
        """True where what starts at `start` is marked as code: in quotes, behind a dot, a dash or a dollar."""
        return self.text[max(0, start - 1) : start] in set("`'\".-#$/<“‘«")

    def is_marked(self, start: int, end: int) -> bool:
        """True where prose marks what stands there as a name: `x`, .x, --x, x()."""
        return self.text[max(0, start - 1) : start] in set("`.-$@") or self.text[end : end + 1] in set("(`")

    def is_guess(self, start: int, end: int) -> bool:
        """True where the words around say that what stands there is a guess."""
        return _GUESS.search(self.text, max(0, start - 30), end + 20) is not None

    def place(self, start: int) -> dict[str, Any]:
        line = self.text.count("\n", 0, start) + 1
        around = self.text[max(0, start - 40) : start + 60]
        return {"offset": start, "line": line, "text": " ".join(around.split())}

    def find(self, text: str) -> int:
        """Where `text` starts, white space and case aside; 0 where that cannot be told."""
        pattern = r"\s+".join(re.escape(part) for part in text.split()[:8])
        found = re.search(pattern, self.text, re.IGNORECASE)
        return found.start() if found else 0
