"""What a kept turn costs, by how it came about: calls, dollars and minutes of the models' time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from duel.calls.ledger import Ledger
from duel.records import Answer
from duel.reporting import wording
from duel.reporting.listed_turns import Judged
from duel.reporting.parts import ReportPart, Table
from duel.reporting.svg import Drawing
from duel.workspace import Workspace

FIRST, BEST, REFINED, GUIDED = "first try", "best of n", "refined", "guided"
BY_STAGE = {"refine": REFINED, "guide": GUIDED}
"""Stages (as the ledger names them, or with more behind the name) whose calls belong to one source."""
_SPENT = (
    "SELECT stage, item, COUNT(*), COALESCE(SUM(cost), 0.0), SUM(cost IS NULL), SUM(latency_s) / 60 FROM replies "
    "GROUP BY stage, item"
)


@dataclass
class SourceCounts:
    """What one source tried, kept and took."""

    turns: int = 0
    kept: int = 0
    calls: int = 0
    dollars: float = 0.0
    unpriced: int = 0
    """Calls whose price is unknown."""
    minutes: float = 0.0

    def each(self) -> dict[str, float | None]:
        """By kept turn; None where nothing was kept, or a price is unknown."""
        if not self.kept:
            return {"calls": None, "dollars": None, "minutes": None}
        dollars = None if self.unpriced else self.dollars / self.kept
        return {"calls": self.calls / self.kept, "dollars": dollars, "minutes": self.minutes / self.kept}


def source_of(answer: Answer) -> str:
    """How the challenger that stands in `answer` came about."""
    made = answer.made("challenger")
    return REFINED if made is not None and made.refined else first_source(answer)


def first_source(answer: Answer) -> str:
    """How the turn's first challenger came about, whatever became of it later."""
    if "guided" in answer.source.dataset.split("/"):
        return GUIDED
    return BEST if any(one.selection for one in answer.candidates) else FIRST


@dataclass
class Yields:
    """The judged turns by source."""

    by_file: dict[str, str] = field(default_factory=dict)
    kept: Counter[str] = field(default_factory=Counter)

    def add(self, judged: Judged) -> None:
        self.by_file[judged.turn.file] = first_source(judged.answer)
        if judged.turn.bucket == "final":
            self.kept[source_of(judged.kept())] += 1

    def counts(self, workspace: Workspace) -> dict[str, SourceCounts]:
        """Each source with what the ledger says it took; {} for a workspace without a ledger.

        A call for a turn that was never judged belongs to the commonest source: it was made to get that.
        """
        if not workspace.ledger.exists():
            return {}
        found = {name: SourceCounts(turns) for name, turns in Counter(self.by_file.values()).items()}
        commonest = max(found, key=lambda name: found[name].turns, default=FIRST)
        tried: Counter[str] = Counter()
        with Ledger(workspace.ledger) as ledger:
            for stage, item, calls, dollars, unpriced, minutes in ledger.query(_SPENT):
                later = BY_STAGE.get(str(stage).partition("-")[0])
                tried[later or ""] += str(stage) in BY_STAGE
                one = found.setdefault(later or self.by_file.get(item, commonest), SourceCounts())
                one.calls, one.unpriced = one.calls + calls, one.unpriced + unpriced
                one.dollars, one.minutes = one.dollars + dollars, one.minutes + minutes
        for name, kept in self.kept.items():
            found.setdefault(name, SourceCounts()).kept = kept
        for name, one in found.items():
            one.turns = one.turns or tried[name]
        return {name: found[name] for name in (FIRST, BEST, REFINED, GUIDED) if name in found}


def yields(counts: Mapping[str, SourceCounts]) -> ReportPart:
    """The section: what each source took for a turn that it brought into `final/`."""
    section = ReportPart("What a kept turn costs")
    rows = [
        (
            name,
            wording.count(one.turns),
            wording.count(one.kept),
            wording.share(one.kept / one.turns if one.turns else None),
            *(_told(what, value, one) for what, value in one.each().items()),
        )
        for name, one in counts.items()
    ]
    if rows:
        columns = ("source", "turns", "kept in final", "share", "calls a kept turn", "dollars", "minutes")
        section.tables.append(Table(columns, list(rows), right=range(1, 7)))
        section.notes.append(
            "All replies that the ledger holds, for turns that were lost as well. Minutes are those in which a model"
            " worked, one call after another."
        )
    return section


def _told(what: str, value: float | None, one: SourceCounts) -> str:
    if not one.kept:
        return "none kept"
    return wording.dollars(value) if what == "dollars" else wording.plain(value, 1)


def chart(counts: Mapping[str, SourceCounts], width: int) -> Drawing | None:
    """A bar for each source and each of calls, dollars and minutes by kept turn."""
    kept = {name: one for name, one in counts.items() if one.kept}
    if not kept:
        return None
    rows = [(what, {name: one.each()[what] for name, one in kept.items()}) for what in ("calls", "dollars", "minutes")]
    shown = [(what, values) for what, values in rows if None not in values.values()]
    height = sum(22 + 24 * len(values) for _, values in shown)
    told = "; ".join(
        f"{what}: " + ", ".join(f"{n} {_told(what, v, kept[n])}" for n, v in vs.items()) for what, vs in shown
    )
    drawing, y = Drawing("What a kept turn costs", told, width, height), 14.0
    for what, values in shown:
        drawing.text(0, y, f"{what} a kept turn", "strong")
        most = max((value or 0.0 for value in values.values()), default=0.0) or 1.0
        for name, value in values.items():
            y += 24
            length = (width - 160) * (value or 0.0) / most
            drawing.text(0, y, name, "small")
            drawing.rect(80, y - 11, length, 14, "fill-final", f"{name}: {_told(what, value, kept[name])} {what}")
            drawing.text(86 + length, y, _told(what, value, kept[name]), "small muted")
        y += 22
    return drawing
