"""The blind-agent audit: facts in a reply that stand in the hidden pull request and nowhere in what the agent saw.

A challenger is written with the pull request in hand. What it tells must follow from the history alone; a path that
nobody listed, a helper that exists only in the patch or "as the diff shows" would teach a model to make things up.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from duel import shell, turn
from duel.audit import talk
from duel.audit.facts import CHUNK, HEX, NUMBER, PROSE_WORD, SHINGLE, WORD, Fact, Facts, is_compound, plain
from duel.audit.rarity import Rarity, commonness
from duel.audit.seen import Seen
from duel.records import Commit, Message

# Weight of a fact that no other record holds and that nothing in the history suggests. Settings call a turn leaking
# above 1.0, so each of these leaks alone, and each loses to two reasons for doubt.
BASE = {
    "path": 1.5,
    "test": 1.6,
    "identifier": 1.5,
    "literal": 1.4,
    "line": 1.3,
    "line number": 1.3,
    "hash": 1.5,
    "pull": 1.3,
    "number": 1.2,
    "talk": 1.3,
}
# Reasons for doubt, as factors.
GUESSABLE = 0.85  # every word it is put together from was seen
IN_REPOSITORY = 0.85  # it stands on unchanged or removed lines: a model may remember the project
IN_CODE = 0.75  # it is used in code that the agent writes, where a model's memory of libraries speaks
MADE_HERE = 0.6  # the reply itself makes it: a file it writes, a function it defines
LOOKED_FOR = 0.6  # the command looks whether the path is there
KNOWN = 0.97  # a compound name that up to nine modules of the background have, but hardly another record
WELL_KNOWN = 0.8  # a compound name that up to nine modules of the background and other records have
LEAST_WEIGHT = 0.25
"""Lighter findings are noise and are left out."""
CODE_LINES_MOST = 0.9
"""What verbatim lines of code weigh together at most: an honest agent may write the same fix."""


@dataclass(frozen=True)
class Finding:
    """One leaked fact: what, where in the reply, where in the pull request, how rare, how heavy."""

    kind: str
    value: str
    start: int
    place: dict[str, Any]
    pr_place: dict[str, Any]
    rarity: float
    elsewhere: int
    weight: float
    in_code: bool = False

    def sentence(self) -> str:
        """The finding in one line of plain words."""
        value = self.value if len(self.value) <= 120 else self.value[:119] + "…"
        where = f"line {self.place['line']} of the reply"
        if self.kind == "talk":
            return f'"{value}" ({where}) speaks of what the agent was never told of'
        return f"{_ARTICLE.get(self.kind, 'the ' + self.kind)} `{value}` ({where}) stands nowhere in the conversation"

    def fields(self) -> dict[str, Any]:
        """The finding as it stands in an answer's `audit`."""
        return {
            "kind": self.kind,
            "value": self.value,
            "place": self.place,
            "pr_place": self.pr_place,
            "rarity": round(self.rarity, 3),
            "elsewhere": self.elsewhere,
            "weight": round(self.weight, 3),
        }


_ARTICLE = {"hash": "the commit hash", "pull": "the pull request number", "line": "the line", "test": "the test"}


@dataclass(frozen=True)
class Leaks:
    """What a reply tells that its author cannot know. `leaking`: the score exceeds the limit."""

    findings: tuple[Finding, ...] = ()
    score: float = 0.0
    leaking: bool = False

    def fields(self) -> dict[str, Any]:
        """The keys of an answer's `audit` that this fills."""
        return {
            "leaks": [finding.fields() for finding in self.findings],
            "leak_score": self.score,
            "leaking": self.leaking,
        }


def find_leaks(reply: str, messages: Sequence[Message], commit: Commit, rarity: Rarity, leak_max: float = 1.0) -> Leaks:
    """The facts of `commit` that `reply` tells although nothing in `messages` does, the heaviest first. Never raises.

    The score is the sum of the findings' weights; a turn leaks where it exceeds `leak_max`.
    """
    search = _Search(_Reply(reply), Seen(messages, commit.issue), _facts_of(commit), rarity)
    findings = sorted(_distinct(list(search.findings())), key=lambda finding: (-finding.weight, finding.start))
    score = round(sum(finding.weight for finding in findings), 3)
    return Leaks(tuple(findings), score, score > leak_max)


def _distinct(findings: list[Finding]) -> list[Finding]:
    """Without those that overlap a better one, and with code lines together capped.

    Of those that leak alone the longest is best, since it says most; of the others the heaviest.
    """
    kept: list[Finding] = []
    code_lines = 0.0
    for finding in sorted(findings, key=_goodness):
        end = finding.start + len(finding.value)
        if any(finding.start < k.start + len(k.value) and k.start < end for k in kept):
            continue
        if finding.kind == "line" and finding.in_code:
            finding = replace(finding, weight=min(finding.weight, CODE_LINES_MOST - code_lines))
            code_lines += finding.weight
        if finding.weight >= LEAST_WEIGHT:
            kept.append(finding)
    return kept


def _goodness(finding: Finding) -> tuple[float, float, int, str]:
    alone = finding.weight > 1.0
    return (-len(finding.value) if alone else 1, -finding.weight, finding.start, finding.kind)


_LAST: dict[str, tuple[Commit, Facts]] = {}


def _facts_of(commit: Commit) -> Facts:
    """The facts of a commit; the turns of one pull request come one after the other, so a few are kept."""
    kept = _LAST.get(commit.instance_id)
    if kept is None or kept[0] != commit:
        if len(_LAST) >= 32:
            _LAST.pop(next(iter(_LAST)))
        kept = _LAST[commit.instance_id] = (commit, Facts.of(commit))
    return kept[1]


_DEFINED = re.compile(r"\b(?:def|class|function|func|fn|let|const|var)\s+(\w+)|^\s*(\w+)\s*=[^=]", re.MULTILINE)
_LINE_NUMBER = re.compile(
    r"\b(?:lines?|ln\.?|row) ?(?:no\.? |number |numbers |#|~)?(\d{1,6})\b"
    r"(?:\s?(?:-|–|to|and|through)\s?(\d{1,6}))?"
    r"|(?<![\w/-])[\w/-]++\.\w{1,5}:(\d{1,6})\b|#?\bL(\d{1,6})\b|@@ -(\d{1,6})",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"(?<!\d)\d{1,6}(?!\d)", re.ASCII)
_SED_POINT = re.compile(r"(?<![\w.,$])(\d{1,6})(?:,\d{1,6})?(?:[siacd]\b|[sc][/|#\\])")
_SENTENCE_CODE = re.compile(r"[()=\[\]{}<>_|;]|\w\.\w|\bimport\b")


class _Reply:
    """A reply with what the weighing asks of it."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def plain(self) -> str:
        return plain(self.text)

    @cached_property
    def made(self) -> frozenset[str]:
        """Names that the command itself makes: files it writes, and what is defined in what it writes."""
        command = turn.command(self.text)
        made = {part for c in shell.parse(command).commands for path in c.writes for part in WORD.findall(path)}
        if made:
            made.update(name for found in _DEFINED.findall(command) for name in found if name)
        return frozenset(name.casefold() for name in made)

    @cached_property
    def _fences(self) -> list[int]:
        return [match.start() for match in re.finditer(r"^```", self.text, re.MULTILINE)]

    def in_code(self, start: int) -> bool:
        """True inside a fenced block."""
        return bisect_right(self._fences, start) % 2 == 1

    @cached_property
    def _searched(self) -> str:
        """The arguments of the commands that look for files."""
        commands = shell.parse(turn.command(self.text)).commands
        words = [" ".join(c.words[1:]) for c in commands if c.name in {"ls", "find", "tree", "fd", "stat", "test", "["}]
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

    def is_quoted(self, start: int) -> bool:
        """True where what starts at `start` is marked as code: in quotes, behind a dot, a dash or a dollar."""
        return self.text[max(0, start - 1) : start] in set("`'\".-#$/<")

    def place(self, start: int) -> dict[str, Any]:
        line = self.text.count("\n", 0, start) + 1
        around = self.text[max(0, start - 40) : start + 60]
        return {"offset": start, "line": line, "text": " ".join(around.split())}

    def find(self, text: str) -> int:
        """Where `text` starts, white space and case aside; 0 where that cannot be told."""
        pattern = r"\s+".join(re.escape(part) for part in text.split()[:8])
        found = re.search(pattern, self.text, re.IGNORECASE)
        return found.start() if found else 0


@dataclass(frozen=True)
class _Search:
    """One reply against one pull request."""

    reply: _Reply
    seen: Seen
    facts: Facts
    rarity: Rarity

    def findings(self) -> Iterator[Finding]:
        yield from self._paths()
        yield from self._names()
        yield from self._chunks()
        yield from self._literals()
        yield from self._code_lines()
        yield from self._prose()
        yield from self._line_numbers()
        yield from self._numbers()
        yield from self._talk()

    def _finding(self, fact: Fact, value: str, start: int, factor: float, key: str = "") -> Finding:
        rarity = self.rarity.of(key) if key else 1.0
        return Finding(
            kind=fact.kind,
            value=value,
            start=start,
            place=self.reply.place(start),
            pr_place={"part": fact.part, "path": fact.path, "line": fact.line},
            rarity=rarity,
            elsewhere=self.rarity.elsewhere(key) if key else 0,
            weight=BASE[fact.kind] * rarity * factor,
            in_code=self.reply.in_code(start),
        )

    def _paths(self) -> Iterator[Finding]:
        for match, key in _first_of_each(CHUNK, self.reply.text):
            fact = self.facts.paths.get(key)
            if fact and not self.seen.has_path(key):
                factor = LOOKED_FOR if self.reply.looks_for(key) else 1.0
                if all(word in self.reply.made for word in WORD.findall(key.rsplit(".", 1)[0])):
                    factor *= MADE_HERE
                # A file's whole path is its project's own, however many of its pull requests touch it.
                common = self.rarity.of(key)
                factor *= (1 + common) / (2 * common) if "/" in key and common else 1.0
                yield self._finding(fact, match[0], match.start(), factor, key)

    def _names(self) -> Iterator[Finding]:
        for match, key in _first_of_each(WORD, self.reply.text):
            fact = self.facts.words.get(key)
            if fact and len(key) >= 3 and not self.seen.has(key):
                factor = self._name_factor(fact, key, self.reply.in_code(match.start()))
                if factor:
                    yield self._finding(fact, match[0], match.start(), factor, key)

    def _name_factor(self, fact: Fact, key: str, in_code: bool) -> float:
        """How far a name nobody mentioned speaks against its author; 0.0 for words that everyone uses."""
        compound = is_compound(fact.value)
        factor = _known_factor(commonness(key), self.rarity.elsewhere(key), compound, in_code)
        if len(key) == 3:
            factor *= 0.5
        if compound and self.seen.has_parts(fact.value):
            factor *= GUESSABLE
        if not fact.added:
            factor *= IN_REPOSITORY
        if key in self.reply.made or self.reply.looks_for(key):
            return factor * MADE_HERE
        return factor * IN_CODE if in_code else factor

    def _chunks(self) -> Iterator[Finding]:
        """Names joined by more than a word is (`retry-limit`, `server.timeout`, `owner/branch`) of common words.

        Where one of the words is a finding by itself, the whole adds nothing.
        """
        for match, key in _first_of_each(CHUNK, self.reply.text):
            fact = self.facts.chunks.get(key)
            if fact is None or key in self.facts.paths or self.seen.has(key):
                continue
            parts = WORD.findall(key)
            unseen = [part for part in parts if not self.seen.has(part)]
            if len(unseen) * 2 < len(parts) or not unseen or not all(commonness(part) for part in unseen):
                continue
            short = len(parts) < 3
            if parts[0] in sys.stdlib_module_names or (short and not self.reply.is_quoted(match.start())):
                continue
            factor = (1.0 if fact.added else IN_REPOSITORY) * (0.6 if short and "." in key else 1.0)
            yield self._finding(fact, match[0], match.start(), factor, key)

    def _literals(self) -> Iterator[Finding]:
        """Strings of at least two words; a single word is a name. Two words count in full only in quotes."""
        for key, fact in self.facts.literals.items():
            if " " not in key or key not in self.reply.plain or self.seen.has_line(key) or self.seen.has_phrase(key):
                continue
            words = PROSE_WORD.findall(key)
            start = self.reply.find(fact.value)
            unseen = sum(not self.seen.has(word) for word in words)
            factor = min(1.0, 0.2 * len(words) + 0.1 * unseen + 0.4 * self.reply.is_quoted(start))
            if len(words) >= 2:
                yield self._finding(fact, fact.value, start, factor, key)

    def _code_lines(self) -> Iterator[Finding]:
        """Lines taken over word for word. In code that the agent writes they may be the same fix, found honestly."""
        for key, fact in self.facts.lines.items():
            if (
                len(key) >= 12
                and len(WORD.findall(key)) > 1
                and key in self.reply.plain
                and not self.seen.has_line(key)
            ):
                start = self.reply.find(fact.value)
                pairs = self.seen.unseen_pairs(key)
                if self.reply.in_code(start):
                    factor = 0.12 * pairs
                elif all(self.seen.has(word) for word in WORD.findall(key)):
                    factor = 0.5 + 0.11 * pairs
                else:
                    factor = 0.6 + 0.2 * pairs
                yield self._finding(fact, fact.value, start, min(1.0, factor))

    def _prose(self) -> Iterator[Finding]:
        """Sentences of comments, docstrings and the description, taken over word for word."""
        text = self.reply.text
        words = list(PROSE_WORD.finditer(text))
        folded = [word[0].casefold() for word in words]
        start = 0
        while start + SHINGLE <= len(words):
            fact = self.facts.shingles.get(tuple(folded[start : start + SHINGLE]))
            if fact is None:
                start += 1
                continue
            end = start + SHINGLE
            while end < len(words) and tuple(folded[end - SHINGLE + 1 : end + 1]) in self.facts.shingles:
                end += 1
            said = text[words[start].start() : words[end - 1].end()]
            if not _SENTENCE_CODE.search(said) and not self.seen.has_phrase(said):
                yield self._finding(fact, said, words[start].start(), min(1.0, 0.12 * (end - start)))
            start = end

    def _line_numbers(self) -> Iterator[Finding]:
        if self.facts.line_numbers.keys().isdisjoint(map(int, _DIGITS.findall(self.reply.text))):
            return
        found = [
            finding
            for pattern, factor in ((_LINE_NUMBER, 1.0), (_SED_POINT, 0.5))
            for match, _ in _first_of_each(pattern, self.reply.text)
            for number in filter(None, match.groups())
            for finding in self._line_number(int(number), match, factor)
        ]
        yield from sorted(found, key=lambda finding: (-finding.weight, finding.start))[:1]

    def _line_number(self, number: int, match: re.Match[str], factor: float) -> Iterator[Finding]:
        """A changed line's number that was not shown, heavier where the line or its file is named beside it."""
        around = self.reply.text[max(0, match.start() - 200) : match.end() + 200].casefold()
        for line in self.facts.line_numbers.get(number, ()):
            named = line.path.rsplit("/", 1)[-1].casefold() in around
            cited = len(plain(line.text)) >= 4 and plain(line.text) in plain(around)
            shown = self.seen.could_count(number, line.path) or (number >= 100 and self.seen.has_number(str(number)))
            if shown and (not cited or self.seen.has_line(line.text) or self.seen.has_phrase(line.text)):
                continue
            if not (named or cited or number >= 50):
                continue
            fact = Fact("line number", match[0], line.part, line.path, line.number, line.sign in "+-")
            yield self._finding(fact, match[0], match.start(), min(1.0, factor * (0.5 + 0.5 * cited + 0.4 * named)))

    def _numbers(self) -> Iterator[Finding]:
        text = self.reply.text
        for match, key in _first_of_each(NUMBER, text):
            fact = self.facts.numbers.get(key)
            if fact and _is_odd(key) and not self.seen.has_number(key):
                factor = IN_CODE if self.reply.in_code(match.start()) else 1.0
                yield self._finding(fact, match[0], match.start(), factor)
        for match, key in _first_of_each(HEX, text):
            if any(known.startswith(key) for known in self.facts.hashes) and key not in self.seen.text:
                yield self._finding(Fact("hash", key, "record", "", 0, True), key, match.start(), 1.0)
        number = self.facts.pull_number
        if len(number) > 1 and not self.seen.has_number(number):
            pull = re.search(
                rf"(?:#|\bPR ?#?|\bpulls?/|\bissues?/|\bpull request #?|\bgh-|![ ]?){number}\b", text, re.IGNORECASE
            )
            if pull:
                factor = IN_CODE if self.reply.in_code(pull.start()) else 1.0
                yield self._finding(Fact("pull", number, "record", "", 0, True), pull[0], pull.start(), factor)

    def _talk(self) -> Iterator[Finding]:
        for phrase in talk.betrayals(self.reply.text, self.seen):
            yield self._finding(Fact("talk", phrase.text, "record", "", 0, False), phrase.text, phrase.start, 1.0)


def _known_factor(common: int, elsewhere: int, compound: bool, in_code: bool) -> float:
    """The doubt about a name that `common` modules of the background and `elsewhere` other records have."""
    if not common:
        return 1.0
    if not compound or in_code or common > 9:
        return 0.0
    return KNOWN if common <= 4 or elsewhere < 2 else WELL_KNOWN


def _is_odd(number: str) -> bool:
    """True for a number that nobody writes by habit: at least four digits, not round, no year, no power of two."""
    digits = number.replace(".", "").strip("0")
    value = float(number)
    if len(digits) < 3 or (value < 1000 and "." not in number):
        return False
    power_of_two = value.is_integer() and int(value).bit_count() in (1, int(value).bit_length())
    return not (1900 <= value <= 2100 or power_of_two)


def _first_of_each(pattern: re.Pattern[str], text: str) -> Iterator[tuple[re.Match[str], str]]:
    """Each distinct match (casefolded), where it stands first."""
    done: set[str] = set()
    for match in pattern.finditer(text):
        key = match[0].casefold()
        if key not in done:
            done.add(key)
            yield match, key
