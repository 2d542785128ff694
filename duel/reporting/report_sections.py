"""The sections on the verdict, as data that report.md and index.html show alike, and its few lines for a terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from duel.command import say
from duel.errors import printable
from duel.records import People, Verdict
from duel.records.votes import STAND_IN
from duel.reporting.run_sections import buckets, execution, groups, made_of, refining, yields
from duel.reporting.tally import SourceCounts
from duel.reporting.wording import (
    NO_DATA,
    UNITS,
    Outside,
    ReportPart,
    Table,
    count,
    delta_points,
    interval,
    known,
    plain,
    points,
    score,
    share,
    signed,
    size,
)

MEANING = ("what", "figure", "meaning")
SAID = {"turns", "minimum detectable margin", "noise floor", "chance of a false accept by now"}  # on a terminal too


def sections(verdict: Verdict, summary: dict[str, Any], costs: Mapping[str, SourceCounts]) -> list[ReportPart]:
    """Everything between the verdict and the list of turns, in reading order; empty sections are left out."""
    found = [buckets(summary), yields(costs), certainty(verdict), repeats(verdict), judges(verdict)]
    found += [execution(summary["execution"]), refining(summary["refining"]), what_if(verdict), *groups(summary)]
    found += [bias(verdict), made_of(verdict, summary), *(people_sections(verdict.people) if verdict.people else ())]
    return [section for section in found if section.tables or section.notes]


def gates(verdict: Verdict) -> Table:
    rows = []
    for gate in verdict.gates:
        unit, name = known("gates").get(gate.name, ("decimals", Outside(gate.name)))
        told, in_deltas = UNITS[unit], unit == "delta_points"
        rule = ("≤ " if gate.name == "leak_fraction" else "≥ ") + told(gate.threshold)
        if gate.threshold is not None and unit in ("points", "delta_points"):
            asked = gate.threshold * (200 if in_deltas else 1)
            rule = f"{'>' if in_deltas and not asked else '≥'} {asked:g} points"
        held = "held" if gate.held else "NOT held"
        rows.append({"name": name, "figure": told(gate.value), "rule": rule, "held": held})
    return Table.of("gates", rows)


def certainty(verdict: Verdict) -> ReportPart:
    v, noise = verdict, verdict.noise_floor
    over = [
        (f"lower bound over {known('units').get(by, 'pull requests')}", found, f"{count(found.clusters)} of them")
        for by, found in v.by_cluster.items()
        if by != v.cluster_by
    ]
    bounds = [
        *over,
        ("lower bound at equal length", v.length_controlled, "what is left where both replies are as long"),
        ("lower bound, missing votes made good", v.missing, "by judge and history length"),
        ("lower bound over all judged turns", v.over_all, "with those that cannot be kept"),
    ]
    floor = "`validate.py --noise-floor 200` judges the king against itself"
    if noise is not None:
        span = f"{signed(noise.low, 1)} to {signed(noise.high, 1)}"
        floor = f"the king against itself over {count(noise.turns)} turns, 95 % interval {span}"
    power = f"found with a chance of {share(v.power)} at this size"
    rows = [
        ("margin", points(v.margin), f"challenger − {v.opponent_name}"),
        (f"lower bound, {confidence(v)} one-sided", delta_points(v.lcb), f"the gate's: studentized over {units(v)}"),
        *(
            (name, delta_points(found.lcb), f"margin {points(found.margin)}, {words}" if found.margin else words)
            for name, found, words in bounds
            if found is not None
        ),
        ("cluster t bound", delta_points(v.lcb_t), "the same level, for comparison"),
        ("bound over turns", delta_points(v.lcb_iid), "too hopeful: takes turns as independent"),
        ("strict bound", delta_points(v.lcb_strict), "the gate's" + (f", at alpha {v.alpha:g}" if v.alpha else "")),
        ("worst case", points(v.worst_case_margin), "if every unparsed turn had been lost"),
        ("turns", count(v.turns), f"{count(v.parsed)} judged, {share(v.parsed_fraction)}"),
        (units(v), count(v.clusters), "the independent units"),
        ("minimum detectable margin", size(v.minimum_detectable_margin), power),
        ("turns needed", count(v.turns_needed), "to decide a margin like today's"),
        ("wins · ties · losses", " · ".join(map(count, (v.wins, v.ties, v.losses))), "turns"),
        ("noise floor", points(noise.margin if noise else None), floor),
    ]
    if v.looks is not None:
        looked = f"challengers judged here: {count(v.looks.challengers)}, looks: {count(v.looks.total)}"
        rows.append(("chance of a false accept by now", share(v.looks.false_accept_chance), looked))
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
    return str(known("units").get(verdict.cluster_by, "pull requests"))


def repeats(verdict: Verdict) -> ReportPart:
    """What a score is worth on a second look, and how far an attack moves a judge."""
    found, noise = verdict.repeats, verdict.noise_floor
    rows, notes = [], []
    if found is not None and found.final:
        rows = [
            ("now", score(found.final_mean), share(1.0), f"{found.final:,} turns by score"),
            ("the same panel", score(found.expected_same), share(found.again_same), "expected"),
            ("another panel", score(found.expected_other), share(found.again_other), "expected"),
        ]
        if found.confirmed:
            second = (score(found.confirmed_mean), share(found.confirmed_share))
            rows.append(("second look (`--confirm`)", *second, f"measured on {found.confirmed:,} turns"))
        notes.append(
            f"Reliability: {plain(found.reliability_orders)} before the same panel,"
            f" {plain(found.reliability_judges)} before another. The best of many noisy scores are too high;"
            " `score_expected` in each kept turn is the score that a second look is expected to give."
        )
    if noise is not None and noise.final_share is not None:
        notes.append(f"Of the king's answers judged against each other {share(noise.final_share)} reach `final_min`.")
    again = Table(("final, judged by", "mean score", "final again", "of"), rows, right=(1, 2))
    canary = Table.of("canary", verdict.canary.judges if verdict.canary else ())
    return ReportPart("Would it come out again?", [again, canary], notes)


def judges(verdict: Verdict) -> ReportPart:
    notes = [
        "Lean: −0.5 always the second reply shown, +0.5 always the first. A verdict that flips with the order is a"
        " draw.",
        f"Effective votes: {plain(verdict.effective_votes)} of {len(verdict.judges)}; judges that err together"
        " count for less than their number.",
    ]
    if not verdict.judges:
        return ReportPart("Judges", notes=["Not measured."])
    return ReportPart("Judges", [Table.of("judges", verdict.judges), Table.of("dimensions", verdict.metrics)], notes)


def what_if(verdict: Verdict) -> ReportPart:
    """The same verdict under other thresholds; where people voted, what they say of a `final_min`.

    The table has a row for each `final_min` and a column for each `defeat_min`.
    """
    tried = verdict.what_if.thresholds
    agreed = {row.final_min: row.share for row in verdict.people.final_min} if verdict.people else {}
    finals, lows = {row.final_min: row.final for row in tried}, sorted({row.defeat_min for row in tried})
    cells = {(row.final_min, row.defeat_min): f"{row.refined:,} · {row.defeat:,}" + " ←" * row.current for row in tried}
    columns = ["final from", "final", *(f"refined from {low:g}" for low in lows)]
    lines = {
        high: [f"{high:g}", count(finals[high]), *(cells.get((high, low), "–") for low in lows)]
        for high in sorted(finals)
    }
    if agreed.keys() & lines.keys():
        columns.append("people prefer it")
        for high, line in lines.items():
            line.append(f"in {100 * agreed[high]:.0f} %" if high in agreed else "–")
    margins = [
        (f"{row.win_margin:g} points" + " ←" * row.current, Outside(row.decision)) for row in verdict.what_if.margins
    ]
    thresholds = Table(columns, [*lines.values()], right=range(len(columns)))
    section = ReportPart("What if", [thresholds, Table(("win margin asked for", "decision"), margins)])
    if tried:
        section.notes.append("A cell holds the refined and the defeat turns, by score alone: a leak moves a turn down.")
    if section.tables:
        section.notes.append(
            "← stands in the settings now. Change `[report]` or `[duel]` in chain.toml, then `validate.py --regate`"
            " and `report.py`: no call."
        )
    return section


def bias(verdict: Verdict) -> ReportPart:
    lengths, attempts = verdict.length_bias, verdict.attempts
    families = [row for row in verdict.family_bias if row.own not in {"", "neither"}]
    notes = [
        f"Length: the longer reply won {share(lengths.longer_won)} of the decided turns; length and score"
        f" correlate at {signed(lengths.correlation)}."
    ]
    if attempts is not None:
        notes.append(f"Replies that tried to influence the judges: {attempts.turns:,}.")
    tables = [Table.of("lengths", lengths.bins, verdict.opponent_name), Table.of("families", families)]
    return ReportPart("What should not matter", tables, notes)


def people_sections(people: People) -> list[ReportPart]:
    """What people's votes say of the challenger and of the panel, and who cast them; how to begin where nobody has."""
    needed = people.labels_needed.items()
    if not people.labels:
        leads = ", ".join(f"{count(labels)} labels show a lead of {lead} score points" for lead, labels in needed)
        hint = f"Nobody has voted. `duel review` opens a blind page. With a chance of 80 %: {leads}."
        return [ReportPart("People", notes=[hint])]
    leads = ", ".join(f"{count(labels)} for {lead}" for lead, labels in needed)
    corrected = _people_corrected(people)
    corrected.notes.append(f"Labels that show a lead with a chance of 80 %, by score points: {leads}.")
    compared = {"judge": people.by_judge, "dimension": people.by_metric, "bucket by score": people.by_bucket}
    tables = [Table.of("against", rows, name) for name, rows in compared.items()]
    alphas = [(name, plain(alpha)) for name, alpha in people.agreement.items()]
    measured = any(alpha is not None for alpha in people.agreement.values())
    agreement = Table(("people among themselves", "Krippendorff's alpha"), alphas * measured, right=(1,))
    kinder = "Kinder: the panel's margin less people's, with its 95 % interval; over all judged turns."
    found = [
        corrected,
        ReportPart("People and the panel", [*tables, Table.of("confusion", people.confusion)], [kinder]),
        ReportPart("Raters", [Table.of("raters", people.by_rater), agreement]),
        _people_threshold(people),
        ReportPart("Where people and panel differ most", [Table.of("differences", people.differ)]),
    ]
    return [section for section in found if section.tables]


def _people_corrected(people: People) -> ReportPart:
    decided = known("people_decision").get(people.decision, people.decision)
    rows = [
        ("margin by people", points(people.margin), "the panel on all turns, corrected by people on some"),
        ("lower bound", delta_points(people.lcb), decided),
        ("people alone", points(people.margin_alone), f"bound {delta_points(people.lcb_alone)}"),
        ("the panel alone", points(people.panel_margin), f"{plain(people.slope)} of it is used"),
        ("the panel is kinder by", interval(people.bias, people.bias_error, " points"), "than people; 95 % interval"),
        ("labeled turns", count(people.labels), f"in {people.clusters:,} pull requests"),
        ("raters", count(people.raters), people.scope),
    ]
    if people.lcb_raters is not None:
        rows.insert(2, ("bound for people like them", delta_points(people.lcb_raters), "raters differ"))
    section = ReportPart("People", [Table(MEANING, rows, right=(1,))])
    if any(row.rater.startswith(STAND_IN) for row in people.by_rater):
        section.title += " (STAND-IN RATERS)"
        section.notes.append("STAND-IN RATERS: rules voted here, no person did. These figures mean nothing.")
    if people.set_aside:
        why = known("votes_set_aside")
        told = [f"{number:,} {why.get(reason, reason)}" for reason, number in people.set_aside.items()]
        section.notes.append(f"Votes that do not count: {', '.join(told)}.")
    return section


def _people_threshold(people: People) -> ReportPart:
    rows = []
    for row in people.final_min:
        found = ["no score", *"–" * 4]
        if row.final_min is not None:
            found = [f"{row.final_min:g}", count(row.labels), share(row.observed), share(row.lower), count(row.turns)]
        rows.append([f"{100 * row.share:.0f} %", *found])
    columns = ("people prefer the challenger in", "from a score of", "labels", "seen", "at least (95 %)", "turns")
    note = "Tested from the top down until a threshold fails; set it as `[report] final_min`."
    return ReportPart("What final_min would people choose", [Table(columns, rows, right=range(6))], [note])


def say_verdict(verdict: Verdict, path: Path) -> None:
    """Print the verdict for the person who watches: its gates and reasons, and the figures that limit it."""
    say(f"\n{'OFFLINE, stand-in judges: ' if verdict.offline else ''}{verdict.decision.upper()}")
    for name, *figures in gates(verdict).rows:
        say(f"  {printable(name):<48} {figures[0]:>12}  {figures[1]:>10}  {figures[2]}")
    for sentence in verdict.why:
        say(f"  {sentence}")
    by_score = ", ".join(f"{name} {verdict.buckets[name]:,}" for name in ("final", "refined", "defeat"))
    say(f"  {verdict.clusters:,} {units(verdict)}; by score {by_score}")
    for name, figure, meaning in certainty(verdict).tables[0].rows:
        if name in SAID and figure != NO_DATA:
            say(f"  {printable(f'{name}: {figure}, {meaning}')}")
    repeats = verdict.repeats
    if repeats and repeats.final and repeats.again_same is not None:
        say(
            f"  of {repeats.final:,} final turns the same panel would make {repeats.again_same:.0%} final again:"
            f" mean {repeats.final_mean:.1f}, expected {repeats.expected_same:.1f}"
        )
    for judge in verdict.canary.judges if verdict.canary else ():
        moved = f"moved by {points(judge.margin)}, {judge.moved} of {judge.turns} turns"
        say(f"  canary, {printable(judge.judge)}: {moved}")
    if verdict.missing_votes:
        say(f"  votes that are missing: {verdict.missing_votes:,}; run the same command again to ask for them")
    say(f"  all of it: {path}")
