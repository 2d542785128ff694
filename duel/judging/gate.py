"""The gate: the conditions of acceptance, the decision, and the verdict that holds them with every figure."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from duel.judging import bounds, looks
from duel.judging.rubric import short_hash
from duel.judging.scoring import Columns, VoteTable
from duel.records import Gate, Verdict, WinMargin
from duel.records.decision import Decision
from duel.registry import Registry
from duel.settings import Settings

LEAKING = ("leak", "attempt")  # obstacles of the leak fraction: it tells what it may not, or speaks to the judges


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


class Evidence:
    """A case with its tables and bounds, from which every figure of the verdict follows; None for "no data"."""

    def __init__(self, case: Case) -> None:
        self.case, self.settings, self.columns = case, case.settings, case.columns
        settings, columns, duel, turns = case.settings, case.columns, case.settings.duel, len(case.columns)
        # The full panel's votes, from which buckets and agreement follow, and what the gate rests on: the same, or
        # under the screen the first vote of each turn.
        self.panel = VoteTable(columns, settings)
        self.table = VoteTable(columns, settings, True) if settings.judge.strategy == "screen" else self.panel
        self.units, self.other_units = bounds.choose(columns, self.table.parsed, settings)
        self.parsed = int(self.table.parsed.sum())
        # Fingerprints of the challenger, of all votes and of the settings that make the tested figures.
        self.challenger = short_hash(sorted({(case.mode, name) for name in columns.made_by}))
        self.votes, self.statistic = columns.digest(), statistic(settings, self.units.by)
        before = looks.before(case.earlier, self.challenger, self.votes, self.statistic)
        # What the bound of this look may use of alpha.
        self.level = looks.level(before, self.units.count, duel.gate_alpha, duel.looks, self.statistic, self.parsed)
        self.bounds = bounds.measure(self.table, self.units, self.other_units, settings, self.level)
        self.parsed_fraction = self.parsed / turns if turns else None
        self.points = self.table.challenger_score() if self.parsed else None
        self.margin = None if self.points is None else 2 * self.points - 100
        brought = turns + len(case.kept_out)
        self.leak_fraction = sum(slug in LEAKING for slug in case.kept_out.values()) / brought if brought else None
        self.noise = VoteTable(case.noise, settings) if case.noise is not None and len(case.noise) else None


def statistic(settings: Settings, clustered: str) -> str:
    """The fingerprint of whatever changes the tested figures, thresholds apart: a change of it is another look."""
    judge = settings.judge.model_dump(include={"metric_keys", "models", "orders", "strategy", "ineligible"})
    duel = settings.duel.model_dump(include={"mode", "bootstrap_resamples", "seed"})
    audit = settings.audit.model_dump(include={"enforce", "leak_max"})
    return short_hash([judge, settings.quorum, settings.judge.tie_band, duel, clustered, audit])


Figure = Callable[[Evidence], Mapping[str, Any]]
"""Fields of the verdict. A figure from outside gives {"figures": {its name: [{what, figure, meaning}, …]}}."""
FIGURES: Registry[Figure] = Registry("figure", "duel.judging.verdict_figures")


WHAT_IF_MARGINS = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0)  # tried beside the settings' own value
ROUNDING = 1e-9  # a margin of 2.0 may come out as 1.9999999999999858
UNITS = {"repo": "repositories", "instance_id": "pull requests", "file": "prompt files"}


def decide(case: Case) -> Verdict:
    """The verdict on `case`. No call, no clock: the same case gives the same verdict."""
    evidence, gates, decision = judged(case)
    duel, history = case.settings.duel, looks.joined(case.earlier, look_of(evidence, decision))
    made_with = {"rubric": case.made_with.get("rubric", ""), "panel": case.made_with.get("panel", "")}
    made_with |= {"settings": gate_hash(case.settings), "statistic": evidence.statistic, "votes": evidence.votes}
    fields: dict[str, Any] = {"accepted": decision == "accepted", "decision": decision, "gates": gates}
    fields |= {"why": reasons(gates, decision, evidence), "win_margin": duel.win_margin, "made_with": made_with}
    fields |= {"mode": case.mode, "opponent": "king" if case.mode == 2 else "assistant"}
    fields |= {"looks": looks.summary(history, duel.looks, evidence.challenger)}
    fields |= {"left_out": dict(sorted(case.left_out.items()))}
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
    columns, units = evidence.columns, evidence.units
    look: dict[str, Any] = {"challenger": evidence.challenger, "writers": sorted(set(columns.challengers))}
    look |= {"mode": evidence.case.mode, "turns": len(columns), "parsed": evidence.parsed, "clusters": units.count}
    look |= {"alpha": evidence.level, "margin": evidence.margin, "lcb": evidence.bounds.lcb}
    return look | {"decision": decision, "votes": evidence.votes, "statistic": evidence.statistic}


def judged(case: Case) -> tuple[Evidence, list[Gate], Decision]:
    """The evidence, the conditions and the decision, without the tables."""
    evidence = Evidence(case)
    gates = gates_at(evidence, case.settings.duel.win_margin)
    return evidence, gates, decide_by(gates, evidence)


def gates_at(evidence: Evidence, win_margin: float) -> list[Gate]:
    """The conditions, each with its figure, its threshold and whether it held."""
    duel, lcb, missing = evidence.settings.duel, evidence.bounds.lcb, evidence.bounds.missing
    return [
        at_least("parsed_fraction", evidence.parsed_fraction, duel.min_valid_turn_frac),
        at_least("margin", evidence.margin, win_margin),
        at_least("lcb", lcb, win_margin / 200 if duel.margin_bound else 0.0, above=0.0),
        at_least("clusters", evidence.units.count, duel.min_clusters),
        at_most("leak_fraction", evidence.leak_fraction, duel.max_leak_frac),
        at_least("missing_votes", missing.lcb if missing.clusters else lcb, 0.0, above=0.0),
    ]


def at_least(name: str, value: float | None, threshold: float, above: float = -math.inf) -> Gate:
    """The condition that `value` is `threshold` or more, and more than `above`; no figure holds nothing."""
    held = value is not None and value > above and value >= threshold - ROUNDING
    return Gate(name=name, value=value, threshold=threshold, held=held)


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
    return evidence.settings.duel.length_control and (evidence.bounds.length.lcb or 0) <= 0


def reasons(gates: Sequence[Gate], decision: Decision, evidence: Evidence) -> list[str]:
    """The verdict in sentences."""
    units, duel = evidence.units, evidence.settings.duel
    lower = f"The lower bound does not exceed {'win_margin' if duel.margin_bound else '0'}: what is seen may be noise."
    used_up = "The planned looks at this challenger are used up: another look, or statistic, can accept nothing."
    made_good = "With the missing votes made good, the lower bound is not above 0"
    words = {
        "parsed_fraction": "Too few turns are parsed.",
        "margin": "The margin is under the one that is asked for.",
        "lcb": lower if evidence.level > 0 else used_up,
        "clusters": f"{units.count} {UNITS[units.by]} are too few to decide on; {duel.min_clusters} are needed.",
        "leak_fraction": "Too many challengers leak the pull request or speak to the judges.",
        "missing_votes": f"{made_good}: votes that miss where the challenger does worse may explain the win.",
    }
    length = "Every condition holds, but at equal length the lower bound is not above 0: length may explain it."
    held = length if length_explains(evidence) else "Every condition of the gate holds."
    failed = [gate.name for gate in gates if not gate.held]
    if "lcb" in failed and "missing_votes" in failed:  # no win is seen that missing votes could explain
        failed.remove("missing_votes")
    said = [words[name] for name in failed] or [held]
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
