"""What the blind-agent audit says: one finding for each leaked fact, what it weighs, and what all weigh together."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from duel.audit.pull_facts import Fact, Facts
from duel.audit.rarity import Rarity
from duel.audit.turn_indexes import HistoryIndex, ReplyIndex
from duel.records import Audit, Leak, fingerprint

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
    "blind edit": 1.3,
    "window": 1.3,
    "other history": 1.3,
    "claim": 1.3,
}
# Reasons for doubt that several searches share, as factors.
IN_REPOSITORY = 0.85  # it stands on unchanged or removed lines too: a model may remember the project
UNCHANGED = 0.6  # it stands on unchanged lines or in the description alone
IN_CODE = 0.75  # it is used in code that the agent writes, where a model's memory of libraries speaks
MADE_HERE = 0.6  # the reply itself makes it: a file it writes, a function it defines
LEAST_WEIGHT = 0.25  # lighter findings are noise and are left out
WEAK_LINES_MOST = 0.9
"""What lines that do not leak alone weigh together at most, and all lines in code: an honest agent may find the fix."""
_CALLED = {"hash": "commit hash", "pull": "pull request number"}
_DEEDS = {
    "blind edit": "edits `{}`, of which the conversation has shown nothing",
    "window": "opens just the changed lines of `{}`, which nobody has opened",
    "other history": "reaches for other commits or releases: `{}`",
}


@dataclass(frozen=True)
class LeakFinding:
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
        value = self.value if len(self.value) <= 120 else self.value[:119] + "…"
        where = f"line {self.place['line']} of the reply"
        if self.kind == "talk":
            return f'"{value}" ({where}) speaks of what the agent was never told of'
        if self.kind == "claim":
            return f'"{value}" ({where}) follows from no line of the conversation'
        if self.kind in _DEEDS:
            return f"the command ({where}) {_DEEDS[self.kind].format(value)}"
        return f"the {_CALLED.get(self.kind, self.kind)} `{value}` ({where}) stands nowhere in the conversation"

    def record(self) -> Leak:
        rarity, weight = round(self.rarity, 3), round(self.weight, 3)
        told = {name: getattr(self, name) for name in ("kind", "value", "place", "pr_place", "elsewhere")}
        return Leak(**told, rarity=rarity, weight=weight)


@dataclass(frozen=True)
class Leaks:
    """What a reply tells that its author cannot know. `leaking`: the score exceeds the limit."""

    findings: tuple[LeakFinding, ...] = ()
    score: float = 0.0
    leaking: bool = False
    reworded: bool = False  # the reply was written after the leaks of an earlier one had been named

    def audit(self, reply: str) -> Audit:
        leaks = [finding.record() for finding in self.findings]
        scored = {"leak_score": self.score, "leaking": self.leaking, "reworded": self.reworded}
        return Audit(text=fingerprint(reply), leaks=leaks, **scored)


@dataclass(frozen=True)
class Search:
    """One reply, what its author saw, what the pull request tells, and how rare each name is."""

    reply: ReplyIndex
    seen: HistoryIndex
    facts: Facts
    rarity: Rarity

    def finding(self, fact: Fact, value: str, start: int, factor: float = 1.0, key: str = "") -> LeakFinding:
        """`fact`, told as `value` from `start` on. With a `key`, other records that hold it make it lighter."""
        rarity = self.rarity.of(key) if key else 1.0
        return LeakFinding(
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


Findings: TypeAlias = Iterator[LeakFinding]


def first_of_each(pattern: re.Pattern[str], text: str) -> Iterator[tuple[re.Match[str], str]]:
    done: set[str] = set()
    for match in pattern.finditer(text):
        key = match[0].casefold()
        if key not in done:
            done.add(key)
            yield match, key


def distinct(findings: Sequence[LeakFinding]) -> list[LeakFinding]:
    """Without those that overlap a better one, and with weak lines together capped.

    Of those that leak alone the longest is best, since it says most; of the others the heaviest.
    """

    def goodness(finding: LeakFinding) -> tuple[float, float, int, str]:
        return (-len(finding.value) if finding.weight > 1.0 else 1, -finding.weight, finding.start, finding.kind)

    kept: list[LeakFinding] = []
    weak_lines = 0.0
    for finding in sorted(findings, key=goodness):
        end = finding.start + len(finding.value)
        if any(finding.start < k.start + len(k.value) and k.start < end for k in kept):
            continue
        if finding.kind == "line" and (finding.in_code or finding.weight <= 1.0):
            finding = replace(finding, weight=min(finding.weight, WEAK_LINES_MOST - weak_lines))
            weak_lines += finding.weight
        if finding.weight >= LEAST_WEIGHT:
            kept.append(finding)
    return kept
