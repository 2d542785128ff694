"""The gate: the conditions of acceptance, the decision, and the verdict that holds them with every figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from duel.judging import bounds, looks
from duel.judging.bounds import Bounds, Units
from duel.judging.rubric import short_hash
from duel.judging.scoring import Columns, VoteTable
from duel.judging.statistics import Floats, finite
from duel.records import Gate, Verdict, WinMargin
from duel.records.decision import Decision
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


# What the what-if table tries beside the settings' own value.
WHAT_IF_MARGINS = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0)
# A margin of 2.0 may come out as 1.9999999999999858.
ROUNDING = 1e-9
UNITS = {"repo": "repositories", "instance_id": "pull requests", "file": "prompt files"}


def decide(case: Case) -> Verdict:
    """The verdict on `case`. No call, no clock: the same case gives the same verdict."""
    evidence, gates, decision = judged(case)
    duel, history = case.settings.duel, looks.joined(case.earlier, look_of(evidence, decision))
    fields: dict[str, Any] = {
        "accepted": decision == "accepted",
        "decision": decision,
        "gates": gates,
        "why": reasons(gates, decision, evidence),
        "mode": case.mode,
        "opponent": "king" if case.mode == 2 else "assistant",
        "win_margin": duel.win_margin,
        "looks": looks.summary(history, duel.looks, evidence.challenger),
        "left_out": dict(sorted(case.left_out.items())),
        "made_with": {
            "rubric": case.made_with.get("rubric", ""),
            "panel": case.made_with.get("panel", ""),
            "settings": gate_hash(case.settings),
            "statistic": evidence.statistic,
            "votes": evidence.votes,
        },
    }
    more: dict[str, list[dict[str, Any]]] = {}
    for name in FIGURES:
        found = dict(FIGURES[name](evidence))
        more |= found.pop("figures", {})
        fields |= found
    fields["what_if"].margins = [
        WinMargin(win_margin=win, decision=decide_by(gates_at(evidence, win), evidence), current=win == duel.win_margin)
        for win in sorted({*WHAT_IF_MARGINS, duel.win_margin})
    ]
    return Verdict(**fields, figures=more)


def look_of(evidence: Evidence, decision: Decision) -> dict[str, Any]:
    """This verdict as the history of looks keeps it."""
    return {
        "challenger": evidence.challenger,
        "writers": sorted(set(evidence.columns.challengers)),
        "mode": evidence.case.mode,
        "turns": len(evidence.columns),
        "parsed": evidence.parsed,
        "clusters": evidence.units.count,
        "alpha": evidence.level,
        "margin": evidence.margin,
        "lcb": evidence.bounds.studentized,
        "decision": decision,
        "votes": evidence.votes,
        "statistic": evidence.statistic,
    }


def judged(case: Case) -> tuple[Evidence, list[Gate], Decision]:
    """The evidence, the conditions and the decision, without the tables."""
    evidence = Evidence.of(case)
    gates = gates_at(evidence, case.settings.duel.win_margin)
    return evidence, gates, decide_by(gates, evidence)


def gates_at(evidence: Evidence, win_margin: float) -> list[Gate]:
    """The conditions, each with its figure, its threshold and whether it held."""
    duel, bounds = evidence.settings.duel, evidence.bounds
    lcb, missing = bounds.studentized, bounds.missing.lcb if bounds.missing.clusters else bounds.studentized
    reach = win_margin / 200 if duel.margin_bound else 0.0
    return [
        at_least("parsed_fraction", evidence.parsed_fraction, duel.min_valid_turn_frac),
        at_least("margin", evidence.margin, win_margin),
        Gate(name="lcb", value=lcb, threshold=reach, held=lcb is not None and lcb > 0 and lcb >= reach - ROUNDING),
        at_least("clusters", evidence.units.count, duel.min_clusters),
        at_most("leak_fraction", evidence.leak_fraction, duel.max_leak_frac),
        Gate(name="missing_votes", value=missing, threshold=0.0, held=missing is not None and missing > 0),
    ]


def at_least(name: str, value: float | None, threshold: float) -> Gate:
    """The condition that `value` is `threshold` or more; no figure holds nothing."""
    return Gate(name=name, value=value, threshold=threshold, held=value is not None and value >= threshold - ROUNDING)


def at_most(name: str, value: float | None, threshold: float) -> Gate:
    return Gate(name=name, value=value, threshold=threshold, held=value is not None and value <= threshold + ROUNDING)


def decide_by(gates: Sequence[Gate], evidence: Evidence) -> Decision:
    """accepted, rejected, or undecided: too few clusters, or length alone may explain the win."""
    if evidence.units.count < evidence.settings.duel.min_clusters:
        return "undecided"
    if not all(gate.held for gate in gates):
        return "rejected"
    return "undecided" if length_explains(evidence) else "accepted"


def length_explains(evidence: Evidence) -> bool:
    """True where the lower bound at equal length is not above 0."""
    bound = evidence.bounds.length.lcb
    return evidence.settings.duel.length_control and (bound is None or bound <= 0)


def reasons(gates: Sequence[Gate], decision: Decision, evidence: Evidence) -> list[str]:
    """The verdict in sentences."""
    units, duel = evidence.units, evidence.settings.duel
    lower = f"The lower bound does not exceed {'win_margin' if duel.margin_bound else '0'}: what is seen may be noise."
    used_up = "The planned looks at this challenger are used up: another look, or statistic, can accept nothing."
    words = {
        "parsed_fraction": "Too few turns are parsed.",
        "margin": "The margin is under the one that is asked for.",
        "lcb": lower if evidence.level > 0 else used_up,
        "clusters": f"{units.count} {UNITS[units.by]} are too few to decide on; {duel.min_clusters} are needed.",
        "leak_fraction": "Too many challengers leak the pull request or speak to the judges.",
        "missing_votes": "With the missing votes made good, the lower bound is not above 0: votes that miss where"
        " the challenger does worse may explain the win.",
    }
    length = "Every condition holds, but at equal length the lower bound is not above 0: length may explain it."
    held = length if length_explains(evidence) else "Every condition of the gate holds."
    said = [words[gate.name] for gate in gates if not gate.held] or [held]
    if units.by == "instance_id" and duel.cluster_by == "auto":
        fewer = f"{evidence.other_units.count} repositories, fewer than {duel.min_clusters}"
        said.append(f"The turns come from {fewer}: the verdict speaks of these repositories alone.")
    if decision == "accepted" and not duel.margin_bound:
        seen = "The margin is the one that was seen; the bound is tested against 0."
        said.append(f"{seen} With margin_bound = true the bound itself must reach win_margin.")
    return said


def gate_hash(settings: Settings) -> str:
    """What identifies the settings that turn votes into a verdict."""
    judge = settings.judge.model_dump(include={"metric_keys", "quorum", "tie_band", "strategy", "ineligible"})
    return short_hash([settings.duel.model_dump(), settings.report.model_dump(), judge])
