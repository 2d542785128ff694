"""The tables above the list of turns, as data: report.md and index.html show the same ones."""

from collections.abc import Mapping, Sequence
from typing import Any

from duel.records import Gate, People, Thresholds, Verdict
from duel.reporting import wording
from duel.reporting.execution_section import execution
from duel.reporting.parts import Outside, ReportPart, Table
from duel.reporting.refine_section import refining
from duel.reporting.trust import certainty, repeats
from duel.reporting.yield_section import SourceCounts, yields

# Rows of a table by repository or license; the rest is summed in one row, and index.html filters by any of them.
GROUP_ROWS = 20
SHARES, POINTS = {"parsed_fraction", "leak_fraction"}, {"margin", "people_margin"}
DELTAS = {"lcb", "people_lcb", "missing_votes", "people_missing"}


def sections(verdict: Verdict, summary: dict[str, Any], costs: Mapping[str, SourceCounts]) -> list[ReportPart]:
    """Everything between the verdict and the list of turns, in reading order; empty sections are left out."""
    found = [
        buckets(summary),
        yields(costs),
        certainty(verdict),
        repeats(verdict),
        judges(verdict),
        execution(summary["execution"]),
        refining(summary["refining"]),
        what_if(verdict),
        *groups(summary),
        bias(verdict),
        made_of(verdict, summary),
    ]
    return [section for section in found if section.tables or section.notes]


def gates(verdict: Verdict) -> Table:
    """The conditions of acceptance: figure, threshold, held or not."""
    rows = [
        {
            "name": wording.known("gates").get(gate.name) or Outside(gate.name),
            "figure": gate_figure(gate.name, gate.value),
            "rule": gate_rule(gate),
            "held": "held" if gate.held else "NOT held",
        }
        for gate in verdict.gates
    ]
    return Table.of("gates", rows)


def gate_figure(name: str, value: float | None) -> str:
    """A gate's figure or threshold, in its unit."""
    if name in SHARES:
        return wording.share(value)
    if name in POINTS:
        return wording.points(value)
    if name in DELTAS:
        return wording.delta_points(value)
    return wording.count(value) if name == "clusters" else wording.plain(value, 4)


def gate_rule(gate: Gate) -> str:
    """What the gate asks for."""
    if gate.threshold is not None and gate.name in POINTS | DELTAS:
        points = gate.threshold * (200 if gate.name in DELTAS else 1)
        return f"{'>' if gate.name in DELTAS and not points else '≥'} {points:g} points"
    return ("≤ " if gate.name == "leak_fraction" else "≥ ") + gate_figure(gate.name, gate.threshold)


def buckets(summary: dict[str, Any]) -> ReportPart:
    """Where the turns went, and what was left out on the way."""
    section = ReportPart("Where the turns went", [Table.of("buckets", summary["buckets"])])
    turns, auditor = summary["turns"], summary["auditor"]
    if turns["leaking"] is None:
        section.notes.append("Leaks: not checked. `audit.py` looks for what only the hidden pull request shows.")
    else:
        section.notes.append(
            f"Leaks: {wording.count(turns['leaking'])} of {wording.count(turns['audited'])} checked turns tell what"
            " only the hidden pull request shows; such a turn cannot be final while `[audit] enforce` is on."
        )
    caption = "The auditor: a turn that claims what follows from no line of the conversation is placed like a leak"
    section.add(Table.of("auditor", [auditor] * bool(auditor.get("model")), caption=caption))
    caption = "Left out, by stage and reason; each item is a line of report/dropped.jsonl"
    section.add(Table.of("left_out", summary["left_out"], caption=caption))
    return section


def judges(verdict: Verdict) -> ReportPart:
    """The panel and the dimensions."""
    if not verdict.judges:
        return ReportPart("Judges", notes=["Not measured."])
    section = ReportPart("Judges", [Table.of("judges", verdict.judges)])
    section.notes += [
        "Lean: −0.5 always the second reply shown, +0.5 always the first. A verdict that flips with the order is a"
        " draw.",
        f"Effective votes: {wording.plain(verdict.effective_votes)} of {len(verdict.judges)}; judges that err together"
        " count for less than their number.",
    ]
    section.add(Table.of("dimensions", verdict.metrics))
    return section


def what_if(verdict: Verdict) -> ReportPart:
    """The same verdict under other thresholds."""
    section = ReportPart("What if")
    if rows := verdict.what_if.thresholds:
        section.tables.append(_threshold_table(rows, verdict.people))
        section.notes.append("A cell holds the refined and the defeat turns, by score alone: a leak moves a turn down.")
    margins = verdict.what_if.margins
    tried = [(f"{row.win_margin:g} points" + " ←" * row.current, Outside(row.decision)) for row in margins]
    section.add(Table(("win margin asked for", "decision"), tried))
    if section.tables:
        section.notes.append(
            "← stands in the settings now. Change `[report]` or `[duel]` in chain.toml, then `validate.py --regate`"
            " and `report.py`: no call."
        )
    return section


def _threshold_table(rows: Sequence[Thresholds], people: People | None) -> Table:
    """A row for each `final_min` and a column for each `defeat_min`; where people voted, what they say of a row."""
    cells = {(row.final_min, row.defeat_min): f"{row.refined:,} · {row.defeat:,}" + " ←" * row.current for row in rows}
    finals = {row.final_min: row.final for row in rows}
    lows = sorted({row.defeat_min for row in rows})
    agreed = {row.final_min: f"in {100 * row.share:.0f} %" for row in people.final_min} if people else {}
    columns = ["final from", "final", *(f"refined from {low:g}" for low in lows)]
    lines = [
        [f"{high:g}", wording.count(finals[high]), *(cells.get((high, low), "–") for low in lows)]
        for high in sorted(finals)
    ]
    if any(high in agreed for high in finals):
        columns.append("people prefer it")
        lines = [[*line, agreed.get(high, "–")] for line, high in zip(lines, sorted(finals), strict=True)]
    return Table(columns, lines, right=range(len(columns)))


def groups(summary: dict[str, Any]) -> list[ReportPart]:
    """Turns by action style, repository, turn position and license."""
    found = []
    for name, (title, column) in wording.known("groups").items():
        groups = summary["groups"][name]
        if name == "position":
            groups = sorted(groups, key=lambda row: int(row["name"] or 0))
        rows = [g | {"name": Outside(g["name"]) if g["name"] else "not recorded"} for g in groups[:GROUP_ROWS]]
        if more := groups[GROUP_ROWS:]:
            rows.append(_summed(more) | {"name": f"{len(more):,} more"})
        found.append(ReportPart(title))
        found[-1].add(Table.of("groups", rows, column))
    return found


def _summed(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    counted = ("turns", "parsed", "final", "refined", "defeat")
    total: dict[str, Any] = {key: sum(row[key] for row in rows) for key in counted}
    weighted = sum((row["score"] or 0.0) * row["parsed"] for row in rows)
    return total | {"score": weighted / total["parsed"] if total["parsed"] else None}


def bias(verdict: Verdict) -> ReportPart:
    """What should not matter, and whether it does."""
    lengths = verdict.length_bias
    section = ReportPart("What should not matter")
    section.notes.append(
        f"Length: the longer reply won {wording.share(lengths.longer_won)} of the decided turns; length and score"
        f" correlate at {wording.signed(lengths.correlation)}."
    )
    section.add(Table.of("lengths", lengths.bins, verdict.opponent_name))
    section.add(Table.of("families", [row for row in verdict.family_bias if row.own not in {"", "neither"}]))
    if verdict.attempts is not None:
        section.notes.append(f"Replies that tried to influence the judges: {verdict.attempts.turns:,}.")
    return section


def made_of(verdict: Verdict, summary: dict[str, Any]) -> ReportPart:
    """Models, calls, tokens, money, and where the turns were drawn from."""
    section = ReportPart("Calls, cost and sources")
    if summary["costs"]:
        section.tables.append(Table.of("costs", summary["costs"]))
        section.notes.append(
            "Writers: the replies that were kept. Judges: every reply, as the verdict counts them."
            " `python -m duel.calls` lists every call, retries included."
        )
    section.notes.append(f"Judging: {wording.count(verdict.calls)} calls, {wording.dollars(verdict.cost)}.")
    asked = verdict.asked
    if asked and asked.strategy == "screen":
        section.notes.append(
            f"The screen saved {wording.share(asked.saved_share)} of the votes; {asked.stopped:,} turns stopped after"
            " their first one and are in no bucket."
        )
    sampled = [(Outside(key), Outside(value)) for key, value in _flat(summary["sampling"])]
    section.add(Table(("sampling", "value"), sampled[:40], caption="From report/sampling.json"))
    return section


def _flat(values: dict[str, Any]) -> list[tuple[str, str]]:
    """The plain values of a record, nested ones as `outer.inner`; lists stay in the file."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += [(f"{key}.{inner}", leaf) for inner, leaf in _flat(value)]
        elif isinstance(value, str | int | float) and value != "":
            rows.append((key, str(value)))
    return rows
