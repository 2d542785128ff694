"""The sections on people's votes: what they say of the challenger and of the panel, and who cast them."""

from duel.records import People
from duel.reporting import wording
from duel.reporting.parts import ReportPart, Table


def people_sections(people: People) -> list[ReportPart]:
    """Everything that people's votes say, in reading order; one line on how to begin where nobody has voted."""
    needed = people.labels_needed.items()
    if not people.labels:
        leads = ", ".join(f"{count:,} labels show a lead of {lead} score points" for lead, count in needed)
        hint = f"Nobody has voted. `duel review` opens a blind page. With a chance of 80 %: {leads}."
        return [ReportPart("People", notes=[hint])]
    first = corrected(people)
    leads = ", ".join(f"{count:,} for {lead}" for lead, count in needed)
    first.notes.append(f"Labels that show a lead with a chance of 80 %, by score points: {leads}.")
    reasons = ("panel_reason", "people_reason")
    differ = [vars(row) | {name: getattr(row, name) or "–" for name in reasons} for row in people.differ]
    last = ReportPart("Where people and panel differ most")
    last.add(Table.of("differences", differ))
    found = [first, by_part(people), raters(people), threshold(people), last]
    return [section for section in found if section.tables]


def corrected(people: People) -> ReportPart:
    bias = f"{wording.signed(people.bias, 1)} ± {wording.plain(people.bias_error, 1)} points"
    decided = wording.known("people_decision").get(people.decision, people.decision)
    rows = [
        ("margin by people", wording.points(people.margin), "the panel on all turns, corrected by people on some"),
        ("lower bound", wording.delta_points(people.lcb), decided),
        ("people alone", wording.points(people.margin_alone), f"bound {wording.delta_points(people.lcb_alone)}"),
        ("the panel alone", wording.points(people.panel_margin), f"{wording.plain(people.slope)} of it is used"),
        ("the panel is kinder by", bias, "than people; 95 % interval"),
        ("labeled turns", wording.count(people.labels), f"in {people.clusters:,} pull requests"),
        ("raters", wording.count(people.raters), people.scope),
    ]
    if people.lcb_raters is not None:
        rows.insert(2, ("bound for people like them", wording.delta_points(people.lcb_raters), "raters differ"))
    section = ReportPart("People", [Table(("what", "figure", "meaning"), rows, right=(1,))])
    if any(row.stand_in for row in people.by_rater):
        section.title += " (STAND-IN RATERS)"
        section.notes.append("STAND-IN RATERS: rules voted here, no person did. These figures mean nothing.")
    if people.set_aside:
        why = wording.known("votes_set_aside")
        told = [f"{count:,} {why.get(reason, reason)}" for reason, count in people.set_aside.items()]
        section.notes.append(f"Votes that do not count: {', '.join(told)}.")
    return section


def by_part(people: People) -> ReportPart:
    """Panel against people for each judge, dimension and bucket; and what people preferred at which score."""
    section = ReportPart("People and the panel")
    parts = {"judge": people.by_judge, "dimension": people.by_metric, "bucket by score": people.by_bucket}
    for name, rows in parts.items():
        shown = []
        for row in rows:
            kinder = f"{wording.signed(row.bias, 1)} ± {wording.plain(row.error, 1)}"
            shown.append(vars(row) | {"kinder": wording.NO_DATA if row.bias is None else kinder})
        section.add(Table.of("against", shown, name))
    section.add(Table.of("confusion", people.confusion))
    section.notes.append("Kinder: the panel's margin less people's, with its 95 % interval; over all judged turns.")
    return section


def raters(people: People) -> ReportPart:
    rows = []
    for row in people.by_rater:
        time = wording.NO_DATA if row.median_seconds is None else f"{row.median_seconds:.0f} s"
        again = f"{wording.share(row.self_agreement)} of {row.repeats}" if row.repeats else wording.NO_DATA
        rows.append(vars(row) | {"time": time, "again": again})
    section = ReportPart("Raters", [Table.of("raters", rows)])
    if any(alpha is not None for alpha in people.agreement.values()):
        alphas = [(name, wording.plain(alpha)) for name, alpha in people.agreement.items()]
        section.tables.append(Table(("people among themselves", "Krippendorff's alpha"), alphas, right=(1,)))
    return section


def threshold(people: People) -> ReportPart:
    rows = []
    for row in people.final_min:
        found = ["no score", *"–" * 4]
        if row.final_min is not None:
            shares = (wording.share(share) for share in (row.observed, row.lower))
            found = [f"{row.final_min:g}", wording.count(row.labels), *shares, wording.count(row.turns)]
        rows.append([f"{100 * row.share:.0f} %", *found])
    columns = ("people prefer the challenger in", "from a score of", "labels", "seen", "at least (95 %)", "turns")
    section = ReportPart("What final_min would people choose")
    section.add(Table(columns, rows, right=range(6)))
    section.notes.append("Tested from the top down until a threshold fails; set it as `[report] final_min`.")
    return section
