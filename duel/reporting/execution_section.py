"""What running the commands told: turns with evidence or why not, and the agreement of judges with and without it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from duel.records import DIMENSIONS, Score
from duel.reporting import wording
from duel.reporting.parts import Outside, ReportPart, Table

SEEN = ("shown", "same")


@dataclass
class Panels:
    """Judges on turns of one kind."""

    turns: int = 0
    pairs: int = 0
    agreed: int = 0
    asked: int = 0
    flipped: int = 0

    def add(self, score: Score) -> None:
        """Count who names the same winner, and who turns with the order."""
        orders: dict[str, list[float]] = {}
        for vote in score.votes:
            if vote.parsed:
                values = [value for name in DIMENSIONS if (value := getattr(vote, name)) is not None]
                orders.setdefault(vote.judge, []).append(sum(values) / len(values) - 0.5)
        winners = [_sign(sum(values)) for values in orders.values()]
        self.turns += 1
        self.pairs += len(list(combinations(winners, 2)))
        self.agreed += sum(one == two for one, two in combinations(winners, 2))
        both = [values for values in orders.values() if len(values) == 2]
        self.asked += len(both)
        self.flipped += sum(_sign(one) * _sign(two) < 0 for one, two in both)


@dataclass
class Executed:
    """The judged turns by what is known of their commands."""

    kinds: Counter[str] = field(default_factory=Counter)
    panels: dict[bool, Panels] = field(default_factory=lambda: {True: Panels(), False: Panels()})

    def add(self, score: Score) -> None:
        """Count one turn."""
        self.kinds[score.evidence] += 1
        self.panels[score.evidence in SEEN].add(score)

    def summary(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """As plain data; `run` is report/execute.json."""
        return {
            "evidence": sum(self.kinds[kind] for kind in SEEN),
            "same": self.kinds["same"],
            "without": {kind: count for kind, count in sorted(self.kinds.items()) if kind and kind not in SEEN},
            "executor": str(run.get("executor", "")),
            "why_not": str(run.get("why_not", "")),
            "agreement": {_name(seen): _share(p.agreed, p.pairs) for seen, p in self.panels.items()},
            "flip_rate": {_name(seen): _share(p.flipped, p.asked) for seen, p in self.panels.items()},
            "turns": {_name(seen): p.turns for seen, p in self.panels.items()},
        }


def execution(found: Mapping[str, Any]) -> ReportPart:
    """The section; one sentence where nothing was run."""
    section = ReportPart("What the commands did")
    if found["why_not"]:
        section.notes.append(f"Nothing could be run: {found['why_not']}. Judges saw no output of any command.")
        return section
    judged = sum(found["turns"].values())
    if not found["evidence"] and not found["without"]:
        told = "`[execute] backend` says where, and docs/execution.md how."
        if found["executor"]:
            told = "Commands were run, but these votes were cast without: rerun validate.py."
        section.notes.append(f"Judges saw no output of any command. {told}")
        return section
    why = wording.known("no_evidence")
    rows = [
        ("judges saw what both commands did", wording.count(found["evidence"]), _of(found["evidence"], judged)),
        ("both did the same: correctness is a draw by rule", wording.count(found["same"]), _of(found["same"], judged)),
        *(
            (f"no evidence: {why[reason]}" if reason in why else Outside(reason), *_counted(count, judged))
            for reason, count in found["without"].items()
        ),
    ]
    section.tables.append(Table(("turns", "number", "share"), rows, right=(1, 2)))
    panels = [
        {"judges": name, **{of: found[of][key] for of in ("turns", "agreement", "flip_rate")}}
        for name, key in (("with evidence", "with"), ("without", "without"))
    ]
    section.tables.append(Table.of("agreement", panels))
    if found["executor"]:
        section.notes.append(f"Run with {found['executor']}.")
    return section


def _counted(count: int, judged: int) -> tuple[str, str]:
    return wording.count(count), _of(count, judged)


def _of(count: int, judged: int) -> str:
    return wording.share(_share(count, judged))


def _name(seen: bool) -> str:
    return "with" if seen else "without"


def _share(count: int, of: int) -> float | None:
    return count / of if of else None


def _sign(value: float) -> int:
    return (value > 1e-9) - (value < -1e-9)
