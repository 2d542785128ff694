"""The tables above the list of turns, as data: report.md and index.html show the same ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from duel.command import say
from duel.errors import printable
from duel.records import Gate, Thresholds, Verdict
from duel.reporting import wording
from duel.reporting.parts import Outside, ReportPart, Table
from duel.reporting.people_section import people_sections
from duel.reporting.run_sections import execution, refining, yields
from duel.reporting.tally import SourceCounts

# Rows of a table by repository or license; the rest is summed in one row, and index.html filters by any of them.
GROUP_ROWS = 20
SHARES, POINTS = {"parsed_fraction", "leak_fraction"}, {"margin", "people_margin"}
DELTAS = {"lcb", "people_lcb", "missing_votes", "people_missing"}
MEANING = ("what", "figure", "meaning")


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
        *(people_sections(verdict.people) if verdict.people is not None else ()),
    ]
    return [section for section in found if section.tables or section.notes]


def gates(verdict: Verdict) -> Table:
    rows = [
        {
            "name": wording.known("gates").get(gate.name) or Outside(gate.name),
            "figure": _gate_figure(gate.name, gate.value),
            "rule": _gate_rule(gate),
            "held": "held" if gate.held else "NOT held",
        }
        for gate in verdict.gates
    ]
    return Table.of("gates", rows)


def _gate_figure(name: str, value: float | None) -> str:
    if name in SHARES:
        return wording.share(value)
    if name in POINTS:
        return wording.points(value)
    if name in DELTAS:
        return wording.delta_points(value)
    return wording.count(value) if name == "clusters" else wording.plain(value, 4)


def _gate_rule(gate: Gate) -> str:
    if gate.threshold is not None and gate.name in POINTS | DELTAS:
        points = gate.threshold * (200 if gate.name in DELTAS else 1)
        return f"{'>' if gate.name in DELTAS and not points else '≥'} {points:g} points"
    return ("≤ " if gate.name == "leak_fraction" else "≥ ") + _gate_figure(gate.name, gate.threshold)


def buckets(summary: dict[str, Any]) -> ReportPart:
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


def certainty(verdict: Verdict) -> ReportPart:
    v, level = verdict, confidence(verdict)
    rows = [
        ("margin", wording.points(v.margin), f"challenger − {v.opponent_name}"),
        (f"lower bound, {level} one-sided", wording.delta_points(v.lcb), f"the gate's: studentized over {units(v)}"),
    ]
    named = wording.known("units")
    others = [
        (f"lower bound over {named.get(by, 'pull requests')}", found, f"{wording.count(found.clusters)} of them")
        for by, found in v.by_cluster.items()
        if by != v.cluster_by
    ]
    for name, found, words in (
        *others,
        ("lower bound at equal length", v.length_controlled, "what is left where both replies are as long"),
        ("lower bound, missing votes made good", v.missing, "by judge and history length"),
        ("lower bound over all judged turns", v.over_all, "with those that cannot be kept"),
    ):
        if found is not None:
            meaning = f"margin {wording.points(found.margin)}, {words}" if found.margin else words
            rows.append((name, wording.delta_points(found.lcb), meaning))
    floor, noise = "`validate.py --noise-floor 200` judges the king against itself", v.noise_floor
    if noise is not None:
        span = f"{wording.signed(noise.low, 1)} to {wording.signed(noise.high, 1)}"
        floor = f"the king against itself over {wording.count(noise.turns)} turns, 95 % interval {span}"
    judged = f"{wording.count(v.parsed)} judged, {wording.share(v.parsed_fraction)}"
    power = f"found with a chance of {wording.share(v.power)} at this size"
    strict = "the gate's" + (f", at alpha {v.alpha:g}" if v.alpha else "")
    decided = f"{wording.count(v.wins)} · {wording.count(v.ties)} · {wording.count(v.losses)}"
    rows += [
        ("cluster t bound", wording.delta_points(v.lcb_t), "the same level, for comparison"),
        ("bound over turns", wording.delta_points(v.lcb_iid), "too hopeful: takes turns as independent"),
        ("strict bound", wording.delta_points(v.lcb_strict), strict),
        ("worst case", wording.points(v.worst_case_margin), "if every unparsed turn had been lost"),
        ("turns", wording.count(v.turns), judged),
        (units(v), wording.count(v.clusters), "the independent units"),
        ("minimum detectable margin", wording.size(v.minimum_detectable_margin), power),
        ("turns needed", wording.count(v.turns_needed), "to decide a margin like today's"),
        ("wins · ties · losses", decided, "turns"),
        ("noise floor", wording.points(noise.margin if noise else None), floor),
    ]
    if v.looks is not None:
        looked = f"challengers judged here: {wording.count(v.looks.challengers)}, looks: {wording.count(v.looks.total)}"
        rows.append(("chance of a false accept by now", wording.share(v.looks.false_accept_chance), looked))
    rows += [
        (Outside(name), Outside(row.get("figure", "")), Outside(f"{row.get('what', '')}: {row.get('meaning', '')}"))
        for name, added in v.figures.items()
        for row in added
    ]
    return ReportPart("How sure this is", [Table(MEANING, rows, right=(1,))])


def confidence(verdict: Verdict) -> str:
    """The level of the gate's bound, as a percentage."""
    return f"{100 * (1 - (verdict.alpha_used or verdict.gate_alpha or 0.05)):.4g} %"


def units(verdict: Verdict) -> str:
    return str(wording.known("units").get(verdict.cluster_by, "pull requests"))


def repeats(verdict: Verdict) -> ReportPart:
    """What a score is worth on a second look, and how far an attack moves a judge."""
    found, section = verdict.repeats, ReportPart("Would it come out again?")
    if found is not None and found.final:
        rows = [
            ("now", wording.score(found.final_mean), wording.share(1.0), f"{found.final:,} turns by score"),
            ("the same panel", wording.score(found.expected_same), wording.share(found.again_same), "expected"),
            ("another panel", wording.score(found.expected_other), wording.share(found.again_other), "expected"),
        ]
        if found.confirmed:
            share = wording.share(found.confirmed_share)
            seen = f"measured on {found.confirmed:,} turns"
            rows.append(("second look (`--confirm`)", wording.score(found.confirmed_mean), share, seen))
        section.tables.append(Table(("final, judged by", "mean score", "final again", "of"), rows, right=(1, 2)))
        section.notes.append(
            f"Reliability: {wording.plain(found.reliability_orders)} before the same panel,"
            f" {wording.plain(found.reliability_judges)} before another. The best of many noisy scores are too high;"
            " `score_expected` in each kept turn is the score that a second look is expected to give."
        )
    if verdict.noise_floor is not None and verdict.noise_floor.final_share is not None:
        share = wording.share(verdict.noise_floor.final_share)
        section.notes.append(f"Of the king's answers judged against each other {share} reach `final_min`.")
    if verdict.canary is not None:
        caption = "Canary: a king with an attack on the judges added, against the very same king without"
        section.add(Table.of("canary", verdict.canary.judges, caption=caption))
    return section


def judges(verdict: Verdict) -> ReportPart:
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
    """The same verdict under other thresholds; where people voted, what they say of a `final_min`."""
    section = ReportPart("What if")
    if rows := verdict.what_if.thresholds:
        agreed = {row.final_min: row.share for row in verdict.people.final_min} if verdict.people else {}
        section.tables.append(_threshold_table(rows, agreed))
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


def _threshold_table(rows: Sequence[Thresholds], agreed: Mapping[float | None, float]) -> Table:
    """A row for each `final_min` and a column for each `defeat_min`; `agreed`: the share of people behind a row."""
    cells = {(row.final_min, row.defeat_min): f"{row.refined:,} · {row.defeat:,}" + " ←" * row.current for row in rows}
    finals = {row.final_min: row.final for row in rows}
    lows = sorted({row.defeat_min for row in rows})
    by_people = any(high in agreed for high in finals)
    columns = ["final from", "final", *(f"refined from {low:g}" for low in lows), *["people prefer it"] * by_people]
    lines = []
    for high in sorted(finals):
        line = [f"{high:g}", wording.count(finals[high]), *(cells.get((high, low), "–") for low in lows)]
        told = f"in {100 * agreed[high]:.0f} %" if high in agreed else "–"
        lines.append([*line, *[told] * by_people])
    return Table(columns, lines, right=range(len(columns)))


def groups(summary: dict[str, Any]) -> list[ReportPart]:
    found = []
    for name, (title, column) in wording.known("groups").items():
        groups = summary["groups"][name]
        if name == "position":
            groups = sorted(groups, key=lambda row: int(row["name"] or 0))
        rows = [g | {"name": Outside(g["name"]) if g["name"] else "not recorded"} for g in groups[:GROUP_ROWS]]
        if more := groups[GROUP_ROWS:]:
            total = {key: sum(row[key] for row in more) for key in ("turns", "parsed", "final", "refined", "defeat")}
            weighted = sum((row["score"] or 0.0) * row["parsed"] for row in more)
            score = weighted / total["parsed"] if total["parsed"] else None
            rows.append({**total, "name": f"{len(more):,} more", "score": score})
        found.append(ReportPart(title))
        found[-1].add(Table.of("groups", rows, column))
    return found


def bias(verdict: Verdict) -> ReportPart:
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
    section = ReportPart("Calls, cost and sources")
    if summary["costs"]:
        section.tables.append(Table.of("costs", summary["costs"]))
        section.notes.append(
            "Writers: the replies that were kept. Judges: every reply, as the verdict counts them."
            " `duel calls` lists every call, retries included."
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


def say_verdict(verdict: Verdict, path: Path) -> None:
    """Print the verdict in a few lines for the person who watches."""
    say(f"\n{'OFFLINE, stand-in judges: ' if verdict.offline else ''}{verdict.decision.upper()}")
    for name, *figures in gates(verdict).rows:
        say(f"  {printable(name):<48} {figures[0]:>12}  {figures[1]:>10}  {figures[2]}")
    for sentence in verdict.why:
        say(f"  {sentence}")
    say(
        f"  {verdict.parsed:,} of {verdict.turns:,} turns parsed, {verdict.clusters:,} {units(verdict)};"
        f" by score final {verdict.buckets['final']:,}, refined {verdict.buckets['refined']:,},"
        f" defeat {verdict.buckets['defeat']:,}"
    )
    if verdict.minimum_detectable_margin is not None:
        say(
            f"  the smallest margin that this many turns can tell: {verdict.minimum_detectable_margin:.1f} points"
            f" (power {verdict.power:g})"
        )
    if verdict.noise_floor:
        say(f"  noise alone: {wording.points(verdict.noise_floor.margin)}; real: {wording.points(verdict.margin)}")
    repeats = verdict.repeats
    if repeats and repeats.final and repeats.again_same is not None:
        say(
            f"  of {repeats.final:,} final turns the same panel would make {repeats.again_same:.0%} final again:"
            f" mean {repeats.final_mean:.1f}, expected {repeats.expected_same:.1f}"
        )
    for judge in verdict.canary.judges if verdict.canary else ():
        moved = f"moved by {wording.points(judge.margin)}, {judge.moved} of {judge.turns} turns"
        say(f"  canary, {printable(judge.judge)}: {moved}")
    looks = verdict.looks
    if looks and (looks.total or 0) > 1:
        say(f"  look {looks.total} in this workspace: chance of a false accept by now {looks.false_accept_chance:.0%}")
    if verdict.missing_votes:
        say(f"  {verdict.missing_votes:,} votes are missing; run the same command again to ask for them")
    say(f"  all of it: {path}")
