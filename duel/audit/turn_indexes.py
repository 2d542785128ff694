"""A turn as the leak audit asks it: where a name stands in the reply, and what its author has seen before."""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

from duel import shell, turn
from duel.audit.pull_facts import WORD, Fact, Facts, named, plain, spoken
from duel.audit.rarity import Rarity
from duel.records import Message

_DEFINED = re.compile(r"\b(?:def|class|function|func|fn|let|const|var)\s+(\w+)|^\s*(\w+)\s*=[^=]", re.MULTILINE)
_LOOKERS = frozenset({"ls", "find", "tree", "fd", "stat", "test", "["})
_GREPS = frozenset({"grep", "egrep", "fgrep", "rg", "ag", "ack", "zgrep", "sed", "awk", "log"})
_RANGE = re.compile(r"(?<!\d)(\d{1,7}),\s?(\d{1,7})p|\bl(?:ines? )?(\d{1,7})\s?(?:-|–|to|and|through)\s?l?(\d{1,7})")
_HEAD = re.compile(r"\bhead\b[^|\n]{0,200}?-(?:n\s?|-lines=)?(\d{1,7})")
_NUMBERED = re.compile(
    r"(?m)^[ \t]*(?:[^\s:]{1,200}[:-])?(\d{1,7})(?:[:\t|-]|[ ]{1,2}(?=\S))|:(\d{1,7})\b|\blines? (\d{1,7})|#l(\d{1,7})"
)
NEAR = 12  # a line this close to one whose number was shown is counted off without help


class ReplyIndex:
    """The audited reply, and what its command makes or looks for; names and words without regard to case."""

    def __init__(self, text: str) -> None:
        self.text, self.plain = text, plain(text)
        command = turn.command(text)
        self.command, self.script = command.casefold(), shell.parse(command)
        commands = self.script.commands
        # Words of the patterns that the command searches files or history for.
        greps = [c for c in commands if c.name in _GREPS or (c.name == "git" and _GREPS & {*c.words})]
        words = [word.removeprefix("-S") for c in greps for word in c.words[1:] if c.name != "sed" or "/" in word]
        self.grepped = frozenset(name.casefold() for word in words for name in WORD.findall(word))
        # Names that the command itself makes: files it writes, and what is defined in what it writes.
        made = {part.casefold() for c in commands for path in c.writes for part in WORD.findall(path)}
        defined = _DEFINED.findall(command) if made else ()
        self.made = made | {name.casefold() for found in defined for name in found if name}
        looked = (word for c in commands if c.name in _LOOKERS for word in c.words[1:])
        self.looked_for = " ".join(looked).casefold().split()
        self._fences = [match.start() for match in re.finditer(r"^```", text, re.MULTILINE)]

    def in_code(self, start: int) -> bool:
        return bisect_right(self._fences, start) % 2 == 1

    def prose(self) -> list[tuple[int, int]]:
        """The spans outside of fenced blocks."""
        return list(pairwise([0, *self._fences, len(self.text)]))[::2]

    def looks_for(self, key: str) -> bool:
        """True where the command looks whether a file is there: by its path, its folder, or a pattern for its name."""
        folder, _, name = key.rpartition("/")
        words = (word.strip("\"'") for word in self.looked_for)
        patterns = [word for word in words if len(word.strip("./*")) > 2 and not word.startswith("*.")]
        is_named = any(pattern.rstrip("/").removeprefix("./") in (key, folder) for pattern in patterns)
        return is_named or any("*" in pattern and fnmatchcase(name, pattern) for pattern in patterns)

    def is_quoted(self, start: int) -> bool:
        """Marked as code: in quotes, behind a dot, a dash or a dollar."""
        return self.text[max(0, start - 1) : start] in set("`'\".-#$/<“‘«")

    def is_marked(self, start: int, end: int) -> bool:
        """Marked in prose as a name: `x`, .x, --x, x()."""
        return self.text[max(0, start - 1) : start] in set("`.-$@") or self.text[end : end + 1] in set("(`")

    def place(self, start: int) -> dict[str, Any]:
        around = " ".join(self.text[max(0, start - 40) : start + 60].split())
        return {"offset": start, "line": self.text.count("\n", 0, start) + 1, "text": around}

    def find(self, text: str) -> int:
        """Where `text` starts, white space and case aside; 0 where that cannot be told."""
        pattern = r"\s+".join(re.escape(part) for part in text.split()[:8])
        found = re.search(pattern, self.text, re.IGNORECASE)
        return found.start() if found else 0


class HistoryIndex:
    """Everything that the agent has seen, without regard to case."""

    def __init__(self, messages: Sequence[Message], issue: str = "") -> None:
        self._messages, self._forms = messages, dict[Callable[[str], str], str]()
        self.text = "\n".join([*(message.content for message in messages), issue]).casefold()
        self.task = "\n".join([*(message.content for message in messages[:2]), issue]).casefold()
        self.said = [message.content.casefold() for message in messages if message.role == "assistant"]

    def has(self, name: str) -> bool:
        """True where `name` (casefolded) stands in the history as a whole word; a digit before it is no part of it."""
        start = -1
        while (start := self.text.find(name, start + 1)) >= 0:
            before, after = self.text[start - 1 : start], self.text[start + len(name) : start + len(name) + 1]
            joined_before = _in_name(name[0]) and _in_name(before) and (not before.isdigit() or name[0].isdigit())
            if not joined_before and not (_in_name(name[-1]) and _in_name(after)):
                return True
        return False

    def has_number(self, number: str) -> bool:
        """True where exactly these digits stand in the history, whatever letters stand around them."""
        return re.search(rf"(?<!\d){number}(?!\d)", self.text) is not None

    def has_text(self, text: str) -> bool:
        """True where the same line stands there, but for white space, or the same words in a row."""
        return self.has_line(text) or self.has_phrase(text)

    def has_line(self, line: str) -> bool:
        return plain(line) in self.form(plain)

    def has_phrase(self, text: str) -> bool:
        words = spoken(text)
        return bool(words.strip()) and words in self.form(spoken)

    def unseen_pairs(self, line: str) -> int:
        """How many neighboring pairs of names in `line` the history never had side by side."""
        names = self.form(named)
        return sum(f" {a} {b} " not in names for a, b in pairwise(named(line).split()))

    def form(self, make: Callable[[str], str]) -> str:
        """The text as `plain`, `squeezed`, `spoken` or `named` make it, made once."""
        if make not in self._forms:
            self._forms[make] = make(self.text)
        return self._forms[make]

    def could_count(self, number: int, path: str) -> bool:
        """True where the agent could have counted its way to line `number` of `path` from what it was shown of it."""
        name = path.rsplit("/", 1)[-1].casefold()
        shown = (pair for text, ranges in self._exchanges if name in text for pair in ranges)
        return any(low - NEAR <= number <= high + NEAR for low, high in shown)

    @cached_property
    def commands(self) -> list[str]:
        said = (message.content for message in self._messages if message.role == "assistant")
        return [turn.command(text).casefold() for text in said]

    @cached_property
    def _exchanges(self) -> list[tuple[str, list[tuple[int, int]]]]:
        """Each command with what it printed, and the ranges of line numbers that it showed."""
        texts = [""]
        for message in self._messages:
            texts += [""] * (message.role == "assistant")
            texts[-1] += "\n" + message.content.casefold()
        exchanges = []
        for text in texts:
            ranges = [(int(next(filter(None, found))),) * 2 for found in _NUMBERED.findall(text)]
            ranges += [(1, int(number)) for number in _HEAD.findall(text)]
            ranges += [(int(a or c), int(b or d)) for a, b, c, d in _RANGE.findall(text)]
            ranges += [(1, text.count("\n"))] if re.search(r"^cat [^<|]+$", text, re.MULTILINE) else []
            exchanges.append((text, ranges))
        return exchanges


def _in_name(character: str) -> bool:
    return character.isalnum() or character == "_"


class Search(NamedTuple):
    """One reply, what its author saw, what the pull request tells, and how rare each name is."""

    reply: ReplyIndex
    seen: HistoryIndex
    facts: Facts
    rarity: Rarity


class Told(NamedTuple):
    """A fact that the reply tells as `value` from `start` on, and the product of the doubts about it."""

    fact: Fact
    value: str
    start: int
    factor: float = 1.0
    key: str = ""  # by what other records would hold it
