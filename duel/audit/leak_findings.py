"""What the blind-agent audit says: one finding for each leaked fact, what it weighs, and what all weigh together."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from duel.audit.pull_facts import Fact, Facts
from duel.audit.rarity import Rarity
from duel.audit.turn_indexes import HistoryIndex, ReplyIndex
from duel.records import Leak

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


def sentence(leak: Leak) -> str:
    value = leak.value if len(leak.value) <= 120 else leak.value[:119] + "…"
    where = f"line {leak.place['line']} of the reply"
    if leak.kind == "talk":
        return f'"{value}" ({where}) speaks of what the agent was never told of'
    if leak.kind in _DEEDS:
        return f"the command ({where}) {_DEEDS[leak.kind].format(value)}"
    return f"the {_CALLED.get(leak.kind, leak.kind)} `{value}` ({where}) stands nowhere in the conversation"


@dataclass(frozen=True)
class Search:
    """One reply, what its author saw, what the pull request tells, and how rare each name is."""

    reply: ReplyIndex
    seen: HistoryIndex
    facts: Facts
    rarity: Rarity

    def finding(self, fact: Fact, value: str, start: int, factor: float = 1.0, key: str = "") -> Leak:
        """`fact`, told as `value` from `start` on. With a `key`, other records that hold it make it lighter."""
        rarity = self.rarity.of(key) if key else 1.0
        return Leak(
            kind=fact.kind,
            value=value,
            place=self.reply.place(start),
            pr_place={"part": fact.part, "path": fact.path, "line": fact.line},
            rarity=rarity,
            elsewhere=self.rarity.elsewhere(key) if key else 0,
            weight=BASE[fact.kind] * rarity * factor,
        )


Findings: TypeAlias = Iterator[Leak]


def first_of_each(pattern: re.Pattern[str], text: str) -> Iterator[tuple[re.Match[str], str]]:
    done: set[str] = set()
    for match in pattern.finditer(text):
        key = match[0].casefold()
        if key not in done:
            done.add(key)
            yield match, key


def start_of(leak: Leak) -> int:
    return int(leak.place["offset"])


def distinct(findings: Sequence[Leak], reply: ReplyIndex) -> list[Leak]:
    """Without those that overlap a better one, and with weak lines together capped.

    Of those that leak alone the longest is best, since it says most; of the others the heaviest.
    """

    def goodness(leak: Leak) -> tuple[float, float, int, str]:
        return (-len(leak.value) if leak.weight > 1.0 else 1, -leak.weight, start_of(leak), leak.kind)

    kept: list[Leak] = []
    weak_lines = 0.0
    for leak in sorted(findings, key=goodness):
        start, end = start_of(leak), start_of(leak) + len(leak.value)
        if any(start < start_of(k) + len(k.value) and start_of(k) < end for k in kept):
            continue
        if leak.kind == "line" and (leak.weight <= 1.0 or reply.in_code(start)):
            leak.weight = min(leak.weight, WEAK_LINES_MOST - weak_lines)
            weak_lines += leak.weight
        if leak.weight >= LEAST_WEIGHT:
            kept.append(leak)
    return kept
