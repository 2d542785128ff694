"""The tables above the list of turns, as data: report.md and index.html show the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from duel.reporting import figures
from duel.reporting.verdict import Gate, Thresholds, Verdict

# Rows of a table by repository or licence; the rest is summed in one row, and index.html filters by any of them.
GROUP_ROWS = 20
GATE_NAMES = {
    "parsed_fraction": "turns that could be judged",
    "margin": "margin",
    "lcb": "lower bound of the margin",
    "clusters": "pull requests",
}
GROUP_TITLES = {
    "style": ("By action style", "action style"),
    "repo": ("By repository", "repository"),
    "position": ("By turn position", "turn"),
    "license": ("By licence", "licence"),
}


class Outside(str):
    """A cell's text that comes from a model, a dataset or a file: a page shows it and never reads it as markup."""

    __slots__ = ()


@dataclass
class Table:
    """Cells are text; figures are formatted already. The columns in `right` hold figures."""

    columns: Sequence[str]
    rows: list[Sequence[str]]
    right: Sequence[int] = ()
    caption: str = ""


@dataclass
class Section:
    """A heading, its tables, and what is to be said below them (our own sentences; `code` in backticks)."""

    title: str
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """The section as JSON for the page; a cell from outside becomes a list of one, to be set in monospace."""
        tables = [
            {
                "columns": list(table.columns),
                "rows": [[[cell] if isinstance(cell, Outside) else cell for cell in row] for row in table.rows],
                "right": list(table.right),
                "caption": table.caption,
            }
            for table in self.tables
        ]
        return {"title": self.title, "tables": tables, "notes": self.notes}


def sections(verdict: Verdict, summary: dict[str, Any]) -> list[Section]:
    """Everything between the verdict and the list of turns, in reading order; empty sections are left out."""
    found = [
        buckets(summary),
        certainty(verdict),
        judges(verdict),
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
    if name == "parsed_fraction":
        return figures.share(value)
    if name == "margin":
        return figures.points(value)
    if name == "lcb":
        return figures.delta_points(value)
    return figures.count(value) if name == "clusters" else figures.plain(value, 4)


def gate_rule(gate: Gate) -> str:
    """What the gate asks for."""
    if gate.threshold is not None and gate.name in {"margin", "lcb"}:
        points = gate.threshold * (200 if gate.name == "lcb" else 1)
        return f"{'>' if gate.name == 'lcb' else '≥'} {points:g} points"
    return "≥ " + gate_figure(gate.name, gate.threshold)


def buckets(summary: dict[str, Any]) -> Section:
    """Where the turns went, and what was left out on the way."""
    rows = [(r["bucket"], r["rule"], figures.count(r["turns"]), figures.share(r["share"])) for r in summary["buckets"]]
    section = Section("Where the turns went", [Table(("bucket", "rule", "turns", "share"), list(rows), right=(2, 3))])
    turns = summary["turns"]
    if turns["leaking"] is None:
        section.notes.append("Leaks: not checked. `audit.py` looks for what only the hidden pull request shows.")
    else:
        section.notes.append(
            f"Leaks: {figures.count(turns['leaking'])} of {figures.count(turns['audited'])} checked turns tell what"
            " only the hidden pull request shows; such a turn cannot be final while `[audit] enforce` is on."
        )
    left = [(Outside(r["stage"]), Outside(r["reason"]), figures.count(r["items"])) for r in summary["left_out"]]
    if left:
        caption = "Left out, by stage and reason; each item is a line of report/dropped.jsonl"
        section.tables.append(Table(("stage", "reason", "items"), list(left), right=(2,), caption=caption))
    return section


def certainty(verdict: Verdict) -> Section:
    """How sure the verdict is."""
    v, looks = verdict, verdict.looks
    level = confidence(verdict)
    decided = f"{figures.count(v.wins)} · {figures.count(v.ties)} · {figures.count(v.losses)}"
    judged = f"{figures.count(v.parsed)} judged, {figures.share(v.parsed_fraction)}"
    power = f"found with a chance of {figures.share(v.power)} at this size"
    rows = [
        ("margin", figures.points(v.margin), f"challenger − {v.opponent_name}"),
        (f"lower bound, {level} one-sided", figures.delta_points(v.lcb), "the gate's: studentized over pull requests"),
        ("cluster t bound", figures.delta_points(v.lcb_t), "the same level, for comparison"),
        ("bound over turns", figures.delta_points(v.lcb_iid), "too hopeful: takes turns as independent"),
        (
            "strict bound",
            figures.delta_points(v.lcb_strict),
            "the gate's" + (f", at alpha {v.alpha:g}" if v.alpha else ""),
        ),
        ("worst case", figures.points(v.worst_case_margin), "if every unparsed turn had been lost"),
        ("turns", figures.count(v.turns), judged),
        ("pull requests", figures.count(v.clusters), "the independent units"),
        ("minimum detectable margin", figures.size(v.minimum_detectable_margin), power),
        ("turns needed", figures.count(v.turns_needed), "to decide a margin like today's"),
        ("wins · ties · losses", decided, "turns"),
        ("noise floor", figures.points(v.noise_floor.margin if v.noise_floor else None), noise_words(v)),
    ]
    if looks is not None:
        looked = f"challengers judged here: {figures.count(looks.challengers)}, looks: {figures.count(looks.total)}"
        rows.append(("chance of a false accept by now", figures.share(looks.false_accept_chance), looked))
    return Section("How sure this is", [Table(("what", "figure", "meaning"), list(rows), right=(1,))])


def confidence(verdict: Verdict) -> str:
    """The level of the gate's bound, as a percentage."""
    return f"{100 * (1 - (verdict.alpha_used or verdict.gate_alpha or 0.05)):.4g} %"


def noise_words(verdict: Verdict) -> str:
    """What the noise floor was measured on, or how to measure it."""
    noise = verdict.noise_floor
    if noise is None:
        return "`validate.py --noise-floor 200` judges the king against itself"
    span = f"{figures.signed(noise.low, 1)} to {figures.signed(noise.high, 1)}"
    return f"the king against itself over {figures.count(noise.turns)} turns, 95 % interval {span}"


def judges(verdict: Verdict) -> Section:
    """The panel and the dimensions."""
    section = Section("Judges")
    if not verdict.judges:
        section.notes.append("Not measured.")
        return section
    rows = [
        (
            Outside(j.judge),
            figures.score(j.score),
            figures.share(j.parse_rate),
            figures.share(j.flip_rate),
            figures.signed(j.first_shown_lean),
            figures.share(j.agreement),
            figures.count(j.calls),
            figures.dollars(j.cost),
        )
        for j in verdict.judges
    ]
    columns = ("judge", "score", "parsed", "flips", "lean to first", "agrees", "calls", "cost")
    section.tables.append(Table(columns, list(rows), right=range(1, 8)))
    section.notes += [
        "Lean: −0.5 always the second reply shown, +0.5 always the first. A verdict that flips with the order is a"
        " draw.",
        f"Effective votes: {figures.plain(verdict.effective_votes)} of {len(verdict.judges)}; judges that err together"
        " count for less than their number.",
    ]
    by_metric = [
        (
            Outside(m.metric),
            figures.score(m.score),
            figures.points(m.margin),
            figures.delta_points(m.lcb),
            figures.plain(m.alpha),
        )
        for m in verdict.metrics
    ]
    names = ("dimension", "score", "margin", "lower bound", "Krippendorff's alpha")
    section.tables += [Table(names, list(by_metric), right=range(1, 5))] * bool(by_metric)
    return section


def what_if(verdict: Verdict) -> Section:
    """The same verdict under other thresholds."""
    section = Section("What if")
    rows = verdict.what_if.thresholds
    if rows:
        section.tables.append(_threshold_table(rows))
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


def _threshold_table(rows: Sequence[Thresholds]) -> Table:
    """A row for each `final_min` and a column for each `defeat_min`."""
    cells = {(row.final_min, row.defeat_min): f"{row.refined:,} · {row.defeat:,}" + " ←" * row.current for row in rows}
    finals = {row.final_min: row.final for row in rows}
    lows = sorted({row.defeat_min for row in rows})
    columns = ["final from", "final", *(f"refined from {low:g}" for low in lows)]
    lines = [
        [f"{high:g}", figures.count(finals[high]), *(cells.get((high, low), "–") for low in lows)]
        for high in sorted(finals)
    ]
    return Table(columns, list(lines), right=range(len(columns)))


def groups(summary: dict[str, Any]) -> list[Section]:
    """Turns by action style, repository, turn position and licence."""
    found = []
    for name, (title, column) in GROUP_TITLES.items():
        groups = summary["groups"][name]
        if name == "position":
            groups = sorted(groups, key=lambda row: int(row["name"] or 0))
        rows = [_group_row(Outside(g["name"]) if g["name"] else "not recorded", g) for g in groups[:GROUP_ROWS]]
        if len(groups) > GROUP_ROWS:
            rows.append(_group_row(f"{len(groups) - GROUP_ROWS:,} more", _summed(groups[GROUP_ROWS:])))
        columns = (column, "turns", "judged", "score", "final", "refined", "defeat")
        found.append(Section(title, [Table(columns, list(rows), right=range(1, 7))] if rows else []))
    return found


def _group_row(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    numbers = (figures.count(row[key]) for key in ("final", "refined", "defeat"))
    return (name, figures.count(row["turns"]), figures.count(row["parsed"]), figures.score(row["score"]), *numbers)


def _summed(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    counted = ("turns", "parsed", "final", "refined", "defeat")
    total: dict[str, Any] = {key: sum(row[key] for row in rows) for key in counted}
    weighted = sum((row["score"] or 0.0) * row["parsed"] for row in rows)
    return total | {"score": weighted / total["parsed"] if total["parsed"] else None}


def bias(verdict: Verdict) -> Section:
    """What should not matter, and whether it does."""
    lengths = verdict.length_bias
    section = Section("What should not matter")
    section.notes.append(
        f"Length: the longer reply won {figures.share(lengths.longer_won)} of the decided turns; length and score"
        f" correlate at {figures.signed(lengths.correlation)}."
    )
    bins = [(Outside(b.label), figures.count(b.turns), figures.share(b.win_rate)) for b in lengths.bins]
    if bins:
        columns = (f"challenger's length against the {verdict.opponent_name}'s", "turns", "win rate")
        section.tables.append(Table(columns, list(bins), right=(1, 2)))
    own = [row for row in verdict.family_bias if row.own not in {"", "neither"}]
    if own:
        families = [(Outside(b.judge), Outside(b.own), figures.count(b.turns), _difference(b.difference)) for b in own]
        names = ("judge", "of one family with", "turns", "score against the other judges")
        section.tables.append(Table(names, list(families), right=(2, 3)))
    if verdict.attempts is not None:
        section.notes.append(f"Replies that tried to influence the judges: {verdict.attempts.turns:,}.")
    return section


def _difference(value: float | None) -> str:
    return figures.NO_DATA if value is None else f"{figures.signed(value, 1)} points"


def made_of(verdict: Verdict, summary: dict[str, Any]) -> Section:
    """Models, calls, tokens, money, and where the turns were drawn from."""
    rows = [
        (
            row["role"],
            Outside(row["model"]),
            figures.count(row["calls"]),
            figures.count(row["input_tokens"]),
            figures.count(row["output_tokens"]),
            figures.dollars(row["cost"]),
        )
        for row in summary["costs"]
    ]
    section = Section("Calls, cost and sources")
    if rows:
        columns = ("role", "model", "calls", "tokens in", "tokens out", "cost")
        section.tables.append(Table(columns, list(rows), right=range(2, 6)))
        section.notes.append(
            "Writers: the replies that were kept. Judges: every reply, as the verdict counts them."
            " `python -m duel.calls` lists every call, retries included."
        )
    section.notes.append(f"Judging: {figures.count(verdict.calls)} calls, {figures.dollars(verdict.cost)}.")
    if verdict.adaptive and verdict.adaptive.saved_share:
        section.notes.append(f"The adaptive panel saved {figures.share(verdict.adaptive.saved_share)} of the votes.")
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
