"""Everything that a verdict rests on, computed once, and the registry of the figures that are read off it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from duel.judging import bounds, looks
from duel.judging.bounds import Bounds, Units
from duel.judging.rubric import short_hash
from duel.judging.scoring import Columns, Floats, VoteTable
from duel.judging.statistics import finite
from duel.registry import Registry
from duel.settings import Settings

# Obstacles that count towards the leak fraction: the challenger tells what it may not, or speaks to the judges.
LEAKING = ("leak", "attempt")


@dataclass(frozen=True)
class Case:
    """What is brought before the gate: the votes on one mode's pairs, and what is known of them."""

    columns: Columns  # the turns that could be kept
    settings: Settings
    mode: int = 2
    made_with: Mapping[str, str] = field(default_factory=dict)  # fingerprints of rubric and panel
    noise: Columns | None = None  # the king against its own second answer
    canary: Columns | None = None  # the king against itself with an attack added, of the kinds in `attacks`
    attacks: Sequence[str] = ()
    confirmed: Mapping[str, float] = field(default_factory=dict)  # file -> score of a second, independent look
    ineligible: Columns | None = None  # judged although they cannot be kept (`[judge] ineligible`)
    kept_out: Mapping[str, str] = field(default_factory=dict)  # file -> slug of what keeps it out of every bucket
    left_out: Mapping[str, int] = field(default_factory=dict)
    earlier: Sequence[Mapping[str, Any]] = ()  # the looks taken in this workspace before this one


@dataclass(frozen=True)
class Evidence:
    """A case with its tables and bounds."""

    case: Case
    table: VoteTable  # what the gate rests on: all votes, or under the screen the first vote of each turn
    panel: VoteTable  # the full panel's votes, from which buckets and agreement follow
    units: Units
    other_units: Units
    challenger: str  # its fingerprint, as those of all votes and of the settings that make the tested figures
    votes: str
    statistic: str
    level: float  # what the bound of this look may use of alpha
    bounds: Bounds

    @classmethod
    def of(cls, case: Case) -> Evidence:
        settings, columns = case.settings, case.columns
        panel = VoteTable.of(columns, settings)
        table = VoteTable.screened(columns, settings) if settings.judge.strategy == "screen" else panel
        units, other = bounds.choose(columns, table.parsed, settings)
        challenger = short_hash(sorted({(case.mode, name) for name in columns.made_by}))
        votes, tested = columns.digest(), statistic(settings, units.by)
        before = looks.before(case.earlier, challenger, votes, tested)
        duel, parsed = settings.duel, int(table.parsed.sum())
        level = looks.level(before, units.count, duel.gate_alpha, duel.looks, tested, parsed)
        measured = bounds.measure(table, units, other, settings, level)
        return cls(case, table, panel, units, other, challenger, votes, tested, level, measured)

    @property
    def settings(self) -> Settings:
        return self.case.settings

    @property
    def columns(self) -> Columns:
        return self.case.columns

    @cached_property
    def parsed(self) -> int:
        return int(self.table.parsed.sum())

    @property
    def parsed_fraction(self) -> float | None:
        return self.parsed / len(self.columns) if len(self.columns) else None

    @cached_property
    def points(self) -> float | None:
        return finite(self.table.challenger_score()) if self.parsed else None

    @property
    def margin(self) -> float | None:
        return None if self.points is None else 2 * self.points - 100

    @property
    def leak_fraction(self) -> float | None:
        turns = len(self.columns) + len(self.case.kept_out)
        return sum(slug in LEAKING for slug in self.case.kept_out.values()) / turns if turns else None

    @cached_property
    def noise(self) -> VoteTable | None:
        found = self.case.noise
        return VoteTable.of(found, self.settings) if found is not None and len(found) else None

    @property
    def scores(self) -> Floats:
        """(T,): the full panel's points, NaN where a turn has none: what buckets are made of."""
        return self.panel.standings.scores


def statistic(settings: Settings, clustered: str) -> str:
    """The fingerprint of whatever changes the tested figures, thresholds apart: a change of it is another look."""
    judge = settings.judge.model_dump(include={"metric_keys", "models", "orders", "strategy", "ineligible"})
    duel = settings.duel.model_dump(include={"mode", "bootstrap_resamples", "seed"})
    audit = settings.audit.model_dump(include={"enforce", "leak_max"})
    return short_hash([judge, settings.quorum, settings.judge.tie_band, duel, clustered, audit])


Figure = Callable[[Evidence], Mapping[str, Any]]
"""Fields of the verdict. A figure from outside gives {"figures": {its name: [{what, figure, meaning}, …]}}."""
FIGURES: Registry[Figure] = Registry("figure", "duel.judging.verdict_figures")
