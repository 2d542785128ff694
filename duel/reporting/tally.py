"""Counting over all judged turns, one at a time: buckets, groups, judges by metric, clusters, the charts' bins."""

from collections import Counter
from dataclasses import dataclass, field

from duel.records import Side
from duel.reporting.execution_section import Executed
from duel.reporting.listed_turns import Judged, ListedTurn
from duel.reporting.yield_section import Yields

# Three judges in two orders over five dimensions give scores in steps of 1.67 points: three steps to a bin of 5, so
# that no bin is higher than its neighbour only because more scores can fall into it.
SCORE_BIN = 5
SCORE_BINS = 100 // SCORE_BIN
LENGTH_BINS = 10
WRITERS: tuple[Side, ...] = ("king", "challenger")
GROUPINGS = ("style", "repo", "position", "license")


@dataclass(slots=True)
class Mean:
    """A sum and how many it is the sum of."""

    total: float = 0.0
    number: int = 0

    def add(self, value: float) -> None:
        self.total += value
        self.number += 1

    @property
    def value(self) -> float | None:
        return self.total / self.number if self.number else None


@dataclass
class Group:
    """Turns that share an action style, a repository, a turn position or a license."""

    turns: int = 0
    scores: Mean = field(default_factory=Mean)
    buckets: Counter[str] = field(default_factory=Counter)

    def add(self, turn: ListedTurn) -> None:
        self.turns += 1
        self.buckets[turn.bucket or ""] += 1
        if turn.score is not None:
            self.scores.add(turn.score)


@dataclass
class Tally:
    """Everything the pages count for themselves; the verdict's own figures come from `_duel.json`."""

    turns: int = 0
    buckets: Counter[str] = field(default_factory=Counter)
    """By bucket; "" holds the turns that go nowhere."""
    leaking: int = 0
    audited: int = 0
    flipped: int = 0
    groups: dict[str, dict[str, Group]] = field(default_factory=lambda: {name: {} for name in GROUPINGS})
    clusters: dict[str, Mean] = field(default_factory=dict)
    """Instance id -> the deltas of its parsed turns."""
    histogram: list[Counter[str]] = field(default_factory=lambda: [Counter() for _ in range(SCORE_BINS)])
    """A bin of `SCORE_BIN` points each: bucket -> turns."""
    score_by_length: Counter[tuple[int, int]] = field(default_factory=Counter)
    """(bin of the length difference, bin of the score) -> turns."""
    length_means: list[Mean] = field(default_factory=lambda: [Mean() for _ in range(LENGTH_BINS)])
    writer_tokens: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    """Side -> model -> prompt and completion tokens, and the replies they were for."""
    executed: Executed = field(default_factory=Executed)
    yields: Yields = field(default_factory=Yields)

    def add(self, judged: Judged) -> None:
        turn = judged.turn
        self.turns += 1
        self.buckets[turn.bucket or ""] += 1
        self.leaking += turn.leaking is True
        self.audited += turn.leaking is not None
        self.flipped += turn.flips > 0
        for name in GROUPINGS:
            value = str(getattr(turn, name) or "")
            self.groups[name].setdefault(value, Group()).add(turn)
        self._add_writers(judged)
        self.executed.add(judged.score)
        self.yields.add(judged)
        if turn.score is not None:
            self._add_score(turn, turn.score)

    def _add_score(self, turn: ListedTurn, score: float) -> None:
        self.clusters.setdefault(turn.instance_id, Mean()).add(score / 100 - 0.5)
        score_bin = _bin(score / 100, SCORE_BINS)
        self.histogram[score_bin][turn.bucket or "none"] += 1
        if turn.length_difference is not None:
            length_bin = _bin((turn.length_difference + 1) / 2, LENGTH_BINS)
            self.score_by_length[length_bin, score_bin] += 1
            self.length_means[length_bin].add(score)

    def _add_writers(self, judged: Judged) -> None:
        for side in WRITERS:
            made = judged.answer.made(side)
            if made is None:
                continue
            tokens = self.writer_tokens.setdefault(side, {}).setdefault(made.model or "unknown", Counter())
            tokens["replies"] += 1
            for name in ("prompt_tokens", "completion_tokens", "cached_tokens"):
                value = made.usage.get(name)
                tokens[name] += value if isinstance(value, int) else 0


def _bin(share: float, bins: int) -> int:
    """The bin of a share of 0 to 1; 1 itself is in the last one."""
    return min(max(int(share * bins + 1e-9), 0), bins - 1)
