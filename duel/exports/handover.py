"""Counts at every hand-over: turns in = turns out + dropped by reason, or the export fails.

A neighbour's pipeline once read an array as JSON lines and lost 4,045 rows without a word. Here each step says what it
took and what it gave, and the next one must take just that.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from duel.command import say
from duel.errors import UserError
from duel.exports.example import Division, Dropped, Example, Loaded

Step: TypeAlias = Callable[[Sequence[Example]], Iterable[Example | Dropped]]  # what stays of them, and what does not


class ExportError(UserError):
    """An export whose counts do not add up, or that has nothing to write. Nothing is left half-written."""


class Handover:
    """The chain of counts of one export, and everything that was left out on the way.

    Its methods raise ExportError where a source held more or less, or a step lost or invented an example.
    """

    def __init__(self) -> None:
        self.counts: list[dict[str, Any]] = []
        """As they stand in the manifest: step, taken, given, dropped by reason."""
        self.left_out: list[tuple[str, Dropped]] = []

    def read(self, loaded: Loaded) -> list[Example]:
        self.record(f"read {loaded.origin}", loaded.found, len(loaded.examples), loaded.dropped)
        return loaded.examples

    def through(self, name: str, examples: list[Example], step: Step) -> list[Example]:
        kept, dropped = list[Example](), list[Dropped]()
        for one in step(examples):
            if isinstance(one, Dropped):
                dropped.append(one)
            else:
                kept.append(one)
        self.record(name, len(examples), len(kept), dropped)
        return kept

    def across(self, division: Division, dropped: Sequence[Dropped]) -> None:
        left = sum(map(len, division.parts.values()))
        self.record("copies across splits", left + len(dropped), left, dropped)

    def record(self, name: str, taken: int, given: int, dropped: Sequence[Dropped]) -> None:
        if taken != given + len(dropped):
            counts = f"{taken} in, {given} out, {len(dropped)} dropped"
            hint = "nothing was exported; this is a fault of the exporter or of a file that changed meanwhile"
            raise ExportError("the counts of a step do not add up", where=name, value=counts, hint=hint)
        reasons = dict(sorted(Counter(drop.reason for drop in dropped).items()))
        self.counts.append({"step": name, "taken": taken, "given": given, "dropped": reasons})
        self.left_out += [(name, drop) for drop in dropped]

    def must_be_some(self, examples: list[Example]) -> list[Example]:
        if not examples:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in self.reasons().most_common(5))
            what, hint = "nothing is left to export", "loosen the filters or the audit"
            raise ExportError(what, value=reasons or "the source is empty", hint=hint)
        return examples

    def reasons(self) -> Counter[str]:
        return Counter(drop.reason for _, drop in self.left_out)

    def say(self) -> None:
        for reason, count in sorted(self.reasons().items()):
            say(f"{count:,} dropped: {reason}")

    def rows(self) -> list[Mapping[str, Any]]:
        """What was left out, as rows of report/dropped.jsonl; a lone surrogate becomes a question mark."""
        rows = list[Mapping[str, Any]]()
        for step, one in self.left_out:
            told = {"instance_id": one.instance_id, "reason": one.reason, "detail": f"{step}: {one.detail}"}
            rows.append({"file": one.id} | {key: v.encode("utf-8", "replace").decode() for key, v in told.items()})
        return rows
