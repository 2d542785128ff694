"""One reply held against one pull request: what each kind of evidence weighs, and what the searches share."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from duel.audit.history_index import HistoryIndex
from duel.audit.leak_findings import LeakFinding
from duel.audit.pull_facts import Fact, Facts
from duel.audit.rarity import Rarity
from duel.audit.reply_index import ReplyIndex

Findings: TypeAlias = Iterator[LeakFinding]
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


@dataclass(frozen=True)
class Search:
    """One reply, what its author saw, what the pull request tells, and how rare each name is."""

    reply: ReplyIndex
    seen: HistoryIndex
    facts: Facts
    rarity: Rarity

    def finding(self, fact: Fact, value: str, start: int, factor: float, key: str = "") -> LeakFinding:
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


def first_of_each(pattern: re.Pattern[str], text: str) -> Iterator[tuple[re.Match[str], str]]:
    done: set[str] = set()
    for match in pattern.finditer(text):
        key = match[0].casefold()
        if key not in done:
            done.add(key)
            yield match, key
