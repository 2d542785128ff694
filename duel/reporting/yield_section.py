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

FIRST, BEST, REFINED, GUIDED = SOURCES = ("first try", "best of n", "refined", "guided")
BY_STAGE = {"refine": REFINED, "guide": GUIDED}
"""Stages of the ledger whose calls belong to one source, as do those of `refine-…`: a judge's, say."""
MEASURES = ("calls", "dollars", "minutes")
TITLE = "What a kept turn costs"
_SPENT = (
    "SELECT stage, item, COUNT(*), SUM(cost), SUM(cost IS NULL), SUM(latency_s) / 60 FROM replies GROUP BY stage, item"
)


@dataclass
class SourceCounts:
    """What one source tried, kept and took. `dollars` is None where a price is unknown."""

    turns: int = 0
    kept: int = 0
    calls: int = 0
    dollars: float | None = 0.0
    minutes: float = 0.0

    def each(self, what: str) -> float | None:
        """One of MEASURES by kept turn; None where it is not known, or nothing was kept."""
        total: float | None = getattr(self, what)
        return total / self.kept if self.kept and total is not None else None

    def told(self, what: str) -> str:
        if not self.kept:
            return "none kept"
        return wording.dollars(self.each(what)) if what == "dollars" else wording.plain(self.each(what), 1)


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
        self.by_file[judged.turn.file] = source = first_source(judged.answer)
        if judged.turn.bucket == "final":
            made = judged.kept().made("challenger")
            self.kept[REFINED if made is not None and made.refine is not None else source] += 1

    def counts(self, workspace: Workspace) -> dict[str, SourceCounts]:
        """Each source with what the ledger says it took; {} for a workspace without a ledger.

        A call for a turn that was never judged belongs to the commonest source: it was made to get that.
        """
        if not workspace.ledger.exists():
            return {}
        turns = Counter(self.by_file.values())
        found = {name: SourceCounts(turns[name], self.kept[name]) for name in SOURCES}
        with Ledger(workspace.ledger) as ledger:
            for stage, item, calls, dollars, unpriced, minutes in ledger.query(_SPENT):
                later = BY_STAGE.get(stage.partition("-")[0])
                one = found[later or self.by_file.get(item) or max(turns, key=lambda name: turns[name], default=FIRST)]
                one.turns += stage in BY_STAGE
                one.calls, one.minutes = one.calls + calls, one.minutes + minutes
                one.dollars = None if unpriced or one.dollars is None else one.dollars + dollars
        return {name: one for name, one in found.items() if one.turns or one.calls}


def last_reply(workspace: Workspace) -> int:
    """The number of the last reply that was paid for: what the counts rest on."""
    if not workspace.ledger.exists():
        return 0
    with Ledger(workspace.ledger) as ledger:
        return int(ledger.query("SELECT COALESCE(MAX(id), 0) FROM replies")[0][0])


def yields(counts: Mapping[str, SourceCounts]) -> ReportPart:
    """The section: what each source took for a turn that it brought into `final/`."""
    section = ReportPart(TITLE)
    rows = [
        (name, wording.count(one.turns), wording.count(one.kept), *(one.told(what) for what in MEASURES))
        for name, one in counts.items()
    ]
    if rows:
        columns = ("source", "turns", "kept in final", "calls a kept turn", "dollars", "minutes")
        section.tables.append(Table(columns, rows, right=range(1, 6)))
        section.notes.append(
            "All replies in the ledger, those for turns that were lost as well. Minutes: a model's working time, one"
            " call after another."
        )
    return section


def chart(counts: Mapping[str, SourceCounts], width: int) -> Drawing | None:
    """A bar for each source and each measure; one source alone has nothing to be compared with."""
    kept = {name: one for name, one in counts.items() if one.kept}
    told = "; ".join(
        f"{name}: {', '.join(f'{one.told(what)} {what}' for what in MEASURES)}" for name, one in kept.items()
    )
    drawing, y = Drawing(TITLE, told, width, len(MEASURES) * (24 * len(kept) + 30)), 14.0
    for what in MEASURES:
        drawing.text(0, y, f"{what} a kept turn", "strong")
        most = max((one.each(what) or 0.0 for one in kept.values()), default=0.0) or 1.0
        for name, one in kept.items():
            y, length = y + 24, (width - 160) * (one.each(what) or 0.0) / most
            drawing.text(0, y, name, "small")
            drawing.rect(80, y - 11, length, 14, "fill-final", f"{name}: {one.told(what)} {what}")
            drawing.text(86 + length, y, one.told(what), "small muted")
        y += 30
    return drawing if len(kept) > 1 else None
