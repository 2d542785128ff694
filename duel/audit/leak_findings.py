"""What the blind-agent audit says: one finding for each leaked fact, and what they weigh together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from duel.records import Audit, Leak, fingerprint

LEAST_WEIGHT = 0.25  # lighter findings are noise and are left out
WEAK_LINES_MOST = 0.9
"""What lines that do not leak alone weigh together at most, and all lines in code: an honest agent may find the fix."""


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
        return f"{_ARTICLE.get(self.kind, 'the ' + self.kind)} `{value}` ({where}) stands nowhere in the conversation"

    def record(self) -> Leak:
        return Leak(
            kind=self.kind,
            value=self.value,
            place=self.place,
            pr_place=self.pr_place,
            rarity=round(self.rarity, 3),
            elsewhere=self.elsewhere,
            weight=round(self.weight, 3),
        )


_ARTICLE = {"hash": "the commit hash", "pull": "the pull request number"}
_DEEDS = {
    "blind edit": "edits `{}`, of which the conversation has shown nothing",
    "window": "opens just the changed lines of `{}`, which nobody has opened",
    "other history": "reaches for other commits or releases: `{}`",
}


@dataclass(frozen=True)
class Leaks:
    """What a reply tells that its author cannot know. `leaking`: the score exceeds the limit."""

    findings: tuple[LeakFinding, ...] = ()
    score: float = 0.0
    leaking: bool = False
    reworded: bool = False  # the reply was written after the leaks of an earlier one had been named

    def audit(self, reply: str) -> Audit:
        """An audit of `reply` that holds these findings and no other check yet."""
        return Audit(
            text=fingerprint(reply),
            leaks=[finding.record() for finding in self.findings],
            leak_score=self.score,
            leaking=self.leaking,
            reworded=self.reworded,
        )


def distinct(findings: Sequence[LeakFinding]) -> list[LeakFinding]:
    """Without those that overlap a better one, and with weak lines together capped.

    Of those that leak alone the longest is best, since it says most; of the others the heaviest.
    """
    kept: list[LeakFinding] = []
    weak_lines = 0.0
    for finding in sorted(findings, key=_goodness):
        end = finding.start + len(finding.value)
        if any(finding.start < k.start + len(k.value) and k.start < end for k in kept):
            continue
        if finding.kind == "line" and (finding.in_code or finding.weight <= 1.0):
            finding = replace(finding, weight=min(finding.weight, WEAK_LINES_MOST - weak_lines))
            weak_lines += finding.weight
        if finding.weight >= LEAST_WEIGHT:
            kept.append(finding)
    return kept


def _goodness(finding: LeakFinding) -> tuple[float, float, int, str]:
    alone = finding.weight > 1.0
    return (-len(finding.value) if alone else 1, -finding.weight, finding.start, finding.kind)
