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
GATE_NAMES = {
    "parsed_fraction": "turns that could be judged",
    "margin": "margin that was seen",
    "lcb": "lower bound of the margin",
    "people_margin": "margin by people's votes",
    "people_lcb": "lower bound by people's votes",
    "people_missing": "lower bound by people, missing votes made good",
    "clusters": "independent units",
    "leak_fraction": "challengers that leak or speak to the judges",
    "missing_votes": "lower bound, missing votes made good",
}
SHARES, POINTS = {"parsed_fraction", "leak_fraction"}, {"margin", "people_margin"}
DELTAS = {"lcb", "people_lcb", "missing_votes", "people_missing"}
GROUP_TITLES = {
    "style": ("By action style", "action style"),
    "repo": ("By repository", "repository"),
    "position": ("By turn position", "turn"),
    "license": ("By license", "license"),
}


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
        (gate_name(g), gate_figure(g.name, g.value), gate_rule(g), "held" if g.held else "NOT held")
        for g in verdict.gates
    ]
    return Table(("gate", "figure", "asked for", "held?"), list(rows), right=(1, 2))


def gate_name(gate: Gate) -> str:
    """A gate in plain words."""
    return GATE_NAMES.get(gate.name) or Outside(gate.name)


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
    rows = [(r["bucket"], r["rule"], wording.count(r["turns"]), wording.share(r["share"])) for r in summary["buckets"]]
    section = ReportPart(
        "Where the turns went", [Table(("bucket", "rule", "turns", "share"), list(rows), right=(2, 3))]
    )
    turns = summary["turns"]
    if turns["leaking"] is None:
        section.notes.append("Leaks: not checked. `audit.py` looks for what only the hidden pull request shows.")
    else:
        section.notes.append(
            f"Leaks: {wording.count(turns['leaking'])} of {wording.count(turns['audited'])} checked turns tell what"
            " only the hidden pull request shows; such a turn cannot be final while `[audit] enforce` is on."
        )
    if (auditor := summary["auditor"]).get("model"):
        row = (Outside(auditor["model"]), wording.count(auditor["asked"]), wording.count(auditor["claiming"]))
        caption = "The auditor: a turn that claims what follows from no line of the conversation is placed like a leak"
        section.tables.append(Table(("auditor", "suspicious turns shown", "claiming"), [row], (1, 2), caption))
    left = [(Outside(r["stage"]), Outside(r["reason"]), wording.count(r["items"])) for r in summary["left_out"]]
    if left:
        caption = "Left out, by stage and reason; each item is a line of report/dropped.jsonl"
        section.tables.append(Table(("stage", "reason", "items"), list(left), right=(2,), caption=caption))
    return section


def judges(verdict: Verdict) -> ReportPart:
    """The panel and the dimensions."""
    section = ReportPart("Judges")
    if not verdict.judges:
        section.notes.append("Not measured.")
        return section
    rows = [
        (
            Outside(j.judge),
            wording.score(j.score),
            wording.share(j.parse_rate),
            wording.share(j.flip_rate),
            wording.signed(j.first_shown_lean),
            wording.share(j.agreement),
            wording.count(j.calls),
            wording.dollars(j.cost),
        )
        for j in verdict.judges
    ]
    columns = ("judge", "score", "parsed", "flips", "lean to first", "agrees", "calls", "cost")
    section.tables.append(Table(columns, list(rows), right=range(1, 8)))
    section.notes += [
        "Lean: −0.5 always the second reply shown, +0.5 always the first. A verdict that flips with the order is a"
        " draw.",
        f"Effective votes: {wording.plain(verdict.effective_votes)} of {len(verdict.judges)}; judges that err together"
        " count for less than their number.",
    ]
    by_metric = [
        (
            Outside(m.metric),
            wording.score(m.score),
            wording.points(m.margin),
            wording.delta_points(m.lcb),
            wording.plain(m.alpha),
        )
        for m in verdict.metrics
    ]
    names = ("dimension", "score", "margin", "lower bound", "Krippendorff's alpha")
    section.tables += [Table(names, list(by_metric), right=range(1, 5))] * bool(by_metric)
    return section


def what_if(verdict: Verdict) -> ReportPart:
    """The same verdict under other thresholds."""
    section = ReportPart("What if")
    rows = verdict.what_if.thresholds
    if rows:
        section.tables.append(_threshold_table(rows, verdict.people))
        section.notes.append("A cell holds the refined and the defeat turns, by score alone: a leak moves a turn down.")
    margins = [
        (f"{row.win_margin:g} points" + " ←" * row.current, Outside(row.decision)) for row in verdict.what_if.margins
    ]
    if margins:
        section.tables.append(Table(("win margin asked for", "decision"), list(margins)))
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
    return Table(columns, list(lines), right=range(len(columns)))


def groups(summary: dict[str, Any]) -> list[ReportPart]:
    """Turns by action style, repository, turn position and license."""
    found = []
    for name, (title, column) in GROUP_TITLES.items():
        groups = summary["groups"][name]
        if name == "position":
            groups = sorted(groups, key=lambda row: int(row["name"] or 0))
        rows = [_group_row(Outside(g["name"]) if g["name"] else "not recorded", g) for g in groups[:GROUP_ROWS]]
        if len(groups) > GROUP_ROWS:
            rows.append(_group_row(f"{len(groups) - GROUP_ROWS:,} more", _summed(groups[GROUP_ROWS:])))
        columns = (column, "turns", "judged", "score", "final", "refined", "defeat")
        found.append(ReportPart(title, [Table(columns, list(rows), right=range(1, 7))] if rows else []))
    return found


def _group_row(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    numbers = (wording.count(row[key]) for key in ("final", "refined", "defeat"))
    return (name, wording.count(row["turns"]), wording.count(row["parsed"]), wording.score(row["score"]), *numbers)


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
    bins = [(Outside(b.label), wording.count(b.turns), wording.share(b.win_rate)) for b in lengths.bins]
    if bins:
        columns = (f"challenger's length against the {verdict.opponent_name}'s", "turns", "win rate")
        section.tables.append(Table(columns, list(bins), right=(1, 2)))
    own = [row for row in verdict.family_bias if row.own not in {"", "neither"}]
    if own:
        families = [(Outside(b.judge), Outside(b.own), wording.count(b.turns), _difference(b.difference)) for b in own]
        names = ("judge", "of one family with", "turns", "score against the other judges")
        section.tables.append(Table(names, list(families), right=(2, 3)))
    if verdict.attempts is not None:
        section.notes.append(f"Replies that tried to influence the judges: {verdict.attempts.turns:,}.")
    return section


def _difference(value: float | None) -> str:
    return wording.NO_DATA if value is None else f"{wording.signed(value, 1)} points"


def made_of(verdict: Verdict, summary: dict[str, Any]) -> ReportPart:
    """Models, calls, tokens, money, and where the turns were drawn from."""
    rows = [
        (
            row["role"],
            Outside(row["model"]),
            wording.count(row["calls"]),
            wording.count(row["input_tokens"]),
            wording.count(row["output_tokens"]),
            wording.dollars(row["cost"]),
        )
        for row in summary["costs"]
    ]
    section = ReportPart("Calls, cost and sources")
    if rows:
        columns = ("role", "model", "calls", "tokens in", "tokens out", "cost")
        section.tables.append(Table(columns, list(rows), right=range(2, 6)))
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
    if sampled:
        section.tables.append(Table(("sampling", "value"), list(sampled[:40]), caption="From report/sampling.json"))
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
