"""The sections on the verdict, as data that report.md and index.html show alike, and its few lines for a terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from duel.command import say
from duel.errors import printable
from duel.records import Gate, People, Verdict
from duel.reporting.parts import Outside, ReportPart, Table
from duel.reporting.run_sections import buckets, execution, groups, made_of, refining, yields
from duel.reporting.tally import SourceCounts
from duel.reporting.wording import NO_DATA, count, delta_points, known, plain, points, score, share, signed, size

SHARES, POINTS = {"parsed_fraction", "leak_fraction"}, {"margin", "people_margin"}
DELTAS = {"lcb", "people_lcb", "missing_votes", "people_missing"}
MEANING = ("what", "figure", "meaning")
SAID = {"turns", "minimum detectable margin", "noise floor", "chance of a false accept by now"}  # on a terminal too


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
    def figure(name: str, value: float | None) -> str:
        if name in SHARES | POINTS | DELTAS:
            return (share if name in SHARES else points if name in POINTS else delta_points)(value)
        return count(value) if name == "clusters" else plain(value, 4)

    def rule(gate: Gate) -> str:
        if gate.threshold is not None and gate.name in POINTS | DELTAS:
            asked = gate.threshold * (200 if gate.name in DELTAS else 1)
            return f"{'>' if gate.name in DELTAS and not asked else '≥'} {asked:g} points"
        return ("≤ " if gate.name == "leak_fraction" else "≥ ") + figure(gate.name, gate.threshold)

    rows = [
        {
            "name": known("gates").get(gate.name) or Outside(gate.name),
            "figure": figure(gate.name, gate.value),
            "rule": rule(gate),
            "held": "held" if gate.held else "NOT held",
        }
        for gate in verdict.gates
    ]
    return Table.of("gates", rows)


def certainty(verdict: Verdict) -> ReportPart:
    v, noise = verdict, verdict.noise_floor
    gate_level = f"lower bound, {confidence(v)} one-sided"
    rows = [
        ("margin", points(v.margin), f"challenger − {v.opponent_name}"),
        (gate_level, delta_points(v.lcb), f"the gate's: studentized over {units(v)}"),
    ]
    others = [
        (f"lower bound over {known('units').get(by, 'pull requests')}", found, f"{count(found.clusters)} of them")
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
            meaning = f"margin {points(found.margin)}, {words}" if found.margin else words
            rows.append((name, delta_points(found.lcb), meaning))
    floor = "`validate.py --noise-floor 200` judges the king against itself"
    if noise is not None:
        span = f"{signed(noise.low, 1)} to {signed(noise.high, 1)}"
        floor = f"the king against itself over {count(noise.turns)} turns, 95 % interval {span}"
    power = f"found with a chance of {share(v.power)} at this size"
    rows += [
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
    found, section = verdict.repeats, ReportPart("Would it come out again?")
    if found is not None and found.final:
        rows = [
            ("now", score(found.final_mean), share(1.0), f"{found.final:,} turns by score"),
            ("the same panel", score(found.expected_same), share(found.again_same), "expected"),
            ("another panel", score(found.expected_other), share(found.again_other), "expected"),
        ]
        if found.confirmed:
            second = (score(found.confirmed_mean), share(found.confirmed_share))
            rows.append(("second look (`--confirm`)", *second, f"measured on {found.confirmed:,} turns"))
        section.tables.append(Table(("final, judged by", "mean score", "final again", "of"), rows, right=(1, 2)))
        section.notes.append(
            f"Reliability: {plain(found.reliability_orders)} before the same panel,"
            f" {plain(found.reliability_judges)} before another. The best of many noisy scores are too high;"
            " `score_expected` in each kept turn is the score that a second look is expected to give."
        )
    if verdict.noise_floor is not None and verdict.noise_floor.final_share is not None:
        reached = share(verdict.noise_floor.final_share)
        section.notes.append(f"Of the king's answers judged against each other {reached} reach `final_min`.")
    if verdict.canary is not None:
        caption = "Canary: a king with an attack on the judges added, against the very same king without"
        section.add(Table.of("canary", verdict.canary.judges, caption=caption))
    return section


def judges(verdict: Verdict) -> ReportPart:
    if not verdict.judges:
        return ReportPart("Judges", notes=["Not measured."])
    notes = [
        "Lean: −0.5 always the second reply shown, +0.5 always the first. A verdict that flips with the order is a"
        " draw.",
        f"Effective votes: {plain(verdict.effective_votes)} of {len(verdict.judges)}; judges that err together"
        " count for less than their number.",
    ]
    section = ReportPart("Judges", [Table.of("judges", verdict.judges)], notes)
    section.add(Table.of("dimensions", verdict.metrics))
    return section


def what_if(verdict: Verdict) -> ReportPart:
    """The same verdict under other thresholds; where people voted, what they say of a `final_min`.

    The table has a row for each `final_min` and a column for each `defeat_min`.
    """
    section = ReportPart("What if")
    if tried := verdict.what_if.thresholds:
        agreed = {row.final_min: row.share for row in verdict.people.final_min} if verdict.people else {}
        cells = {
            (row.final_min, row.defeat_min): f"{row.refined:,} · {row.defeat:,}" + " ←" * row.current for row in tried
        }
        finals, lows = {row.final_min: row.final for row in tried}, sorted({row.defeat_min for row in tried})
        by_people = any(high in agreed for high in finals)
        columns = ["final from", "final", *(f"refined from {low:g}" for low in lows), *["people prefer it"] * by_people]
        lines = []
        for high in sorted(finals):
            told = f"in {100 * agreed[high]:.0f} %" if high in agreed else "–"
            found = (cells.get((high, low), "–") for low in lows)
            lines.append([f"{high:g}", count(finals[high]), *found, *[told] * by_people])
        section.tables.append(Table(columns, lines, right=range(len(columns))))
        section.notes.append("A cell holds the refined and the defeat turns, by score alone: a leak moves a turn down.")
    margins = verdict.what_if.margins
    rows = [(f"{row.win_margin:g} points" + " ←" * row.current, Outside(row.decision)) for row in margins]
    section.add(Table(("win margin asked for", "decision"), rows))
    if section.tables:
        section.notes.append(
            "← stands in the settings now. Change `[report]` or `[duel]` in chain.toml, then `validate.py --regate`"
            " and `report.py`: no call."
        )
    return section


def bias(verdict: Verdict) -> ReportPart:
    lengths = verdict.length_bias
    section = ReportPart("What should not matter")
    section.notes.append(
        f"Length: the longer reply won {share(lengths.longer_won)} of the decided turns; length and score"
        f" correlate at {signed(lengths.correlation)}."
    )
    section.add(Table.of("lengths", lengths.bins, verdict.opponent_name))
    section.add(Table.of("families", [row for row in verdict.family_bias if row.own not in {"", "neither"}]))
    if verdict.attempts is not None:
        section.notes.append(f"Replies that tried to influence the judges: {verdict.attempts.turns:,}.")
    return section


def people_sections(people: People) -> list[ReportPart]:
    """What people's votes say of the challenger and of the panel, and who cast them; how to begin where nobody has."""
    needed = people.labels_needed.items()
    if not people.labels:
        leads = ", ".join(f"{count(labels)} labels show a lead of {lead} score points" for lead, labels in needed)
        hint = f"Nobody has voted. `duel review` opens a blind page. With a chance of 80 %: {leads}."
        return [ReportPart("People", notes=[hint])]
    corrected, compared = _people_corrected(people), ReportPart("People and the panel")
    leads = ", ".join(f"{count(labels)} for {lead}" for lead, labels in needed)
    corrected.notes.append(f"Labels that show a lead with a chance of 80 %, by score points: {leads}.")
    parts = {"judge": people.by_judge, "dimension": people.by_metric, "bucket by score": people.by_bucket}
    for name, rows in parts.items():
        kinder = (NO_DATA if row.bias is None else f"{signed(row.bias, 1)} ± {plain(row.error, 1)}" for row in rows)
        shown = [vars(row) | {"kinder": words} for row, words in zip(rows, kinder, strict=True)]
        compared.add(Table.of("against", shown, name))
    compared.add(Table.of("confusion", people.confusion))
    compared.notes.append("Kinder: the panel's margin less people's, with its 95 % interval; over all judged turns.")
    reasons = ("panel_reason", "people_reason")
    differ = [vars(row) | {name: getattr(row, name) or "–" for name in reasons} for row in people.differ]
    last = ReportPart("Where people and panel differ most")
    last.add(Table.of("differences", differ))
    found = [corrected, compared, _raters(people), _people_threshold(people), last]
    return [section for section in found if section.tables]


def _people_corrected(people: People) -> ReportPart:
    kinder = f"{signed(people.bias, 1)} ± {plain(people.bias_error, 1)} points"
    decided = known("people_decision").get(people.decision, people.decision)
    rows = [
        ("margin by people", points(people.margin), "the panel on all turns, corrected by people on some"),
        ("lower bound", delta_points(people.lcb), decided),
        ("people alone", points(people.margin_alone), f"bound {delta_points(people.lcb_alone)}"),
        ("the panel alone", points(people.panel_margin), f"{plain(people.slope)} of it is used"),
        ("the panel is kinder by", kinder, "than people; 95 % interval"),
        ("labeled turns", count(people.labels), f"in {people.clusters:,} pull requests"),
        ("raters", count(people.raters), people.scope),
    ]
    if people.lcb_raters is not None:
        rows.insert(2, ("bound for people like them", delta_points(people.lcb_raters), "raters differ"))
    section = ReportPart("People", [Table(MEANING, rows, right=(1,))])
    if any(row.stand_in for row in people.by_rater):
        section.title += " (STAND-IN RATERS)"
        section.notes.append("STAND-IN RATERS: rules voted here, no person did. These figures mean nothing.")
    if people.set_aside:
        why = known("votes_set_aside")
        told = [f"{number:,} {why.get(reason, reason)}" for reason, number in people.set_aside.items()]
        section.notes.append(f"Votes that do not count: {', '.join(told)}.")
    return section


def _raters(people: People) -> ReportPart:
    rows = []
    for row in people.by_rater:
        time = NO_DATA if row.median_seconds is None else f"{row.median_seconds:.0f} s"
        again = f"{share(row.self_agreement)} of {row.repeats}" if row.repeats else NO_DATA
        rows.append(vars(row) | {"time": time, "again": again})
    section = ReportPart("Raters", [Table.of("raters", rows)])
    if any(alpha is not None for alpha in people.agreement.values()):
        alphas = [(name, plain(alpha)) for name, alpha in people.agreement.items()]
        section.tables.append(Table(("people among themselves", "Krippendorff's alpha"), alphas, right=(1,)))
    return section


def _people_threshold(people: People) -> ReportPart:
    rows = []
    for row in people.final_min:
        found = ["no score", *"–" * 4]
        if row.final_min is not None:
            found = [f"{row.final_min:g}", count(row.labels), share(row.observed), share(row.lower), count(row.turns)]
        rows.append([f"{100 * row.share:.0f} %", *found])
    columns = ("people prefer the challenger in", "from a score of", "labels", "seen", "at least (95 %)", "turns")
    section = ReportPart("What final_min would people choose")
    section.add(Table(columns, rows, right=range(6)))
    section.notes.append("Tested from the top down until a threshold fails; set it as `[report] final_min`.")
    return section


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
        say(f"  {verdict.missing_votes:,} votes are missing; run the same command again to ask for them")
    say(f"  all of it: {path}")
