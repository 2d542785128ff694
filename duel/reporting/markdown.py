"""report.md: the verdict and why on the first screen, then charts and tables, then a row for every turn."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from duel.records import Verdict
from duel.reporting.charts import Drawing
from duel.reporting.listed_turns import ListedTurn
from duel.reporting.report_sections import gates
from duel.reporting.wording import Outside, ReportPart, Table, code, count, points, prose, score

BANNER = (
    "> **OFFLINE STAND-IN: these figures mean nothing.** No model took part: rules that ship with the project wrote"
    " and judged every reply, to show that the pipeline works."
)
OFFLINE_TITLE = " (OFFLINE STAND-IN)"
CELL_CHARACTERS = 120
ALL_TURNS = 300  # turns up to which each has a row: the file then stays under 300 KB
LISTED = 50


@dataclass
class Listed:
    """The turns that have a row: all of them, or of more than `ALL_TURNS` those that one looks at first."""

    count: int = 0
    turns: list[ListedTurn] = field(default_factory=list)  # the first `ALL_TURNS`, best first
    worst: deque[ListedTurn] = field(default_factory=lambda: deque(maxlen=LISTED))
    disputed: list[ListedTurn] = field(default_factory=list)
    leaks: list[ListedTurn] = field(default_factory=list)

    def add(self, turn: ListedTurn) -> None:
        self.count += 1
        if len(self.turns) < ALL_TURNS:
            self.turns.append(turn)
        if turn.leaking and len(self.leaks) < LISTED:
            self.leaks.append(turn)
        if turn.score is not None:
            self.worst.appendleft(turn)
            if turn.flips:
                self.disputed.append(turn)
        if len(self.disputed) > ALL_TURNS:
            self.disputed = self.most_disputed()

    def most_disputed(self) -> list[ListedTurn]:
        return sorted(self.disputed, key=lambda turn: -turn.flips)[:LISTED]


def write(
    verdict: Verdict,
    summary: dict[str, Any],
    sections: Sequence[ReportPart],
    charts: dict[str, Drawing],
    listed: Listed,
) -> str:
    """The whole page. The turns came best first."""
    decision = prose(verdict.decision, 40)
    pictures = [f"![{chart.title}]({name}.svg)" for name, chart in charts.items()]
    parts = [
        f"# Duel report: {decision}" + OFFLINE_TITLE * summary["offline"],
        BANNER * summary["offline"],
        f"**{decision.capitalize()}.** The challenger scored"
        f" {score(verdict.challenger_score)}, the {verdict.opponent_name} {score(verdict.king_score)}:"
        f" a margin of **{points(verdict.margin)}** over {count(verdict.parsed)} judged turns from"
        f" {count(verdict.clusters)} pull requests. Scores run from 0 to 100; 50 is a tie.",
        table(gates(verdict)),
        "\n".join(f"- {prose(sentence)}" for sentence in verdict.why),
        "Every turn side by side: open [index.html](index.html) in a browser; it needs no network.",
        "\n".join(["## Charts", "", *pictures]) if pictures else "",
        *map(section, sections),
        turn_table(listed),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def section(section: ReportPart) -> str:
    parts = [f"## {section.title}"]
    for shown in section.tables:
        parts += [f"{shown.caption}:"] * bool(shown.caption) + [table(shown)]
    return "\n\n".join(parts + section.notes)


def table(table: Table) -> str:
    """A Markdown table whose columns line up in a terminal."""
    shown = [[code(cell, CELL_CHARACTERS) if isinstance(cell, Outside) else cell for cell in row] for row in table.rows]
    rows = [list(table.columns), *shown]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        sized = enumerate(zip(row, widths, strict=True))
        cells = (cell.rjust(width) if i in table.right else cell.ljust(width) for i, (cell, width) in sized)
        lines.append(f"| {' | '.join(cells)} |")
    rule = ("-" * (width + 1) + (":" if i in table.right else "-") for i, width in enumerate(widths))
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])


def turn_table(listed: Listed) -> str:
    """A row for every turn, best first; of more than `ALL_TURNS` only those that one looks at first."""
    if listed.count <= ALL_TURNS:
        lead = "Best first. A link leads to the kept turn, or to the answer where the turn is in no bucket."
        return f"## Every turn\n\n{lead}\n\n{_rows(listed.turns)}"
    kinds = {
        "The best": [turn for turn in listed.turns if turn.score is not None][:LISTED],
        "The worst": list(listed.worst),
        "The most disputed (judges flip with the order)": listed.most_disputed(),
        "Leaks": listed.leaks,
    }
    lead = (
        f"{count(listed.count)} turns were judged; {LISTED} of each kind are listed here."
        " [index.html](index.html) has every one, `score/` and `answer_*/` their records."
    )
    return "\n\n".join(["## Turns", lead, *(f"### {name}\n\n{_rows(some)}" for name, some in kinds.items() if some)])


def _rows(turns: Sequence[ListedTurn]) -> str:
    """Head and rows, not padded: there may be hundreds."""
    dimensions = [*turns[0].metrics] if turns else []
    names = ("score", "file", "issue", "bucket", "action style", *dimensions, "leak", "flips")
    lines = [f"|{'|'.join(names)}|", f"|--:|---|---|---|---|{'--:|' * len(dimensions)}---|--:|"]
    for turn in turns:
        cells = (
            score(turn.score) if turn.score is not None else "–",
            f"[{code(turn.file)}](../{quote(turn.kept or turn.path)})",
            code(turn.title, 60),
            turn.bucket or code(turn.reason),
            code(turn.style, 24),
            *("–" if value is None else f"{value:.0f}" for value in turn.metrics.values()),
            {None: "not checked", True: "**leak**", False: "no"}[turn.leaking],
            str(turn.flips),
        )
        lines.append(f"|{'|'.join(cells)}|")
    return "\n".join(lines)
