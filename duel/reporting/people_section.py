"""The sections on people's votes: what they say of the challenger and of the panel, and who cast them."""

from collections.abc import Sequence

from duel.records import People
from duel.records.people import PeopleFigure
from duel.reporting import wording
from duel.reporting.parts import Outside, ReportPart, Table

SET_ASIDE = {
    "browsed": "browsed, not drawn",
    "not-judged": "on turns that have no score now",
    "skipped": "skipped",
    "texts-changed": "on texts that have changed since",
}
WORDS = {
    "ahead": "the challenger is ahead by people's votes",
    "not-shown": "people's votes do not show that the challenger is ahead",
    "undecided": "too few labeled pull requests to decide",
}


def people_sections(people: People) -> list[ReportPart]:
    """Everything that people's votes say, in reading order; one line on how to begin where nobody has voted."""
    if not people.labels:
        needed = ", ".join(f"{count:,} labels show a lead of {lead} score points" for lead, count in _needed(people))
        hint = f"Nobody has voted. `duel review` opens a blind page. With a chance of 80 %: {needed}."
        return [ReportPart("People", notes=[hint])]
    found = [corrected(people), by_part(people), raters(people), threshold(people), differences(people)]
    return [section for section in found if section.tables]


def corrected(people: People) -> ReportPart:
    """People's margin with the panel's help, and what it says of the panel."""
    bias = f"{wording.signed(people.bias, 1)} ± {wording.plain(people.bias_error, 1)} points"
    rows = [
        ("margin by people", wording.points(people.margin), "the panel on all turns, corrected by people on some"),
        ("lower bound", wording.delta_points(people.lcb), WORDS.get(people.decision, people.decision)),
        ("people alone", wording.points(people.margin_alone), f"bound {wording.delta_points(people.lcb_alone)}"),
        ("the panel alone", wording.points(people.panel_margin), f"{wording.plain(people.slope)} of it is used"),
        ("the panel is kinder by", bias, "than people; 95 % interval"),
        ("labeled turns", wording.count(people.labels), f"in {people.clusters:,} pull requests"),
        ("raters", wording.count(people.raters), people.scope),
    ]
    if people.lcb_raters is not None:
        rows.insert(2, ("bound for people like them", wording.delta_points(people.lcb_raters), "raters differ"))
    section = ReportPart("People", [Table(("what", "figure", "meaning"), list(rows), right=(1,))])
    if any(row.stand_in for row in people.by_rater):
        section.title += " (STAND-IN RATERS)"
        section.notes.append("STAND-IN RATERS: rules voted here, no person did. These figures mean nothing.")
    if people.set_aside:
        told = [f"{count:,} {SET_ASIDE.get(reason, reason)}" for reason, count in people.set_aside.items()]
        section.notes.append(f"Votes that do not count: {', '.join(told)}.")
    needed = ", ".join(f"{count:,} for {lead}" for lead, count in _needed(people))
    section.notes.append(f"Labels that show a lead with a chance of 80 %, by score points: {needed}.")
    return section


def _needed(people: People) -> list[tuple[str, int]]:
    return list(people.labels_needed.items())


def by_part(people: People) -> ReportPart:
    """Panel against people for each judge, dimension and bucket; and what people preferred at which score."""
    section = ReportPart("People and the panel")
    parts = (("judge", people.by_judge), ("dimension", people.by_metric), ("bucket by score", people.by_bucket))
    section.tables = [_against(name, rows) for name, rows in parts if rows]
    if people.confusion:
        rows = [(row.band, *map(wording.count, (row.challenger, row.tie, row.opponent))) for row in people.confusion]
        columns = ("the panel's score", "people prefer the challenger", "neither", "the opponent")
        section.tables.append(Table(columns, list(rows), right=(1, 2, 3)))
    section.notes.append("Kinder: the panel's margin less people's, with its 95 % interval; over all judged turns.")
    return section


def _against(name: str, rows: Sequence[PeopleFigure]) -> Table:
    cells = [
        (
            Outside(row.name),
            wording.count(row.labels),
            wording.points(row.panel),
            wording.points(row.people),
            wording.NO_DATA if row.bias is None else f"{wording.signed(row.bias, 1)} ± {wording.plain(row.error, 1)}",
            wording.share(row.agreement),
            wording.plain(row.alpha),
        )
        for row in rows
    ]
    columns = (name, "labels", "panel", "people", "kinder", "same winner", "Krippendorff's alpha")
    return Table(columns, list(cells), right=range(1, 7))


def raters(people: People) -> ReportPart:
    """How each person votes, and how far people agree."""
    rows = [
        (
            Outside(row.rater),
            wording.count(row.votes),
            wording.count(row.skipped),
            wording.NO_DATA if row.median_seconds is None else f"{row.median_seconds:.0f} s",
            wording.share(row.ties),
            wording.share(row.first_shown),
            f"{wording.share(row.self_agreement)} of {row.repeats}" if row.repeats else wording.NO_DATA,
            wording.share(row.with_panel),
        )
        for row in people.by_rater
    ]
    columns = ("rater", "votes", "skipped", "time", "ties", "for the first shown", "same again", "as the panel")
    section = ReportPart("Raters", [Table(columns, list(rows), right=range(1, 8))])
    if any(alpha is not None for alpha in people.agreement.values()):
        alphas = [(name, wording.plain(alpha)) for name, alpha in people.agreement.items()]
        section.tables.append(Table(("people among themselves", "Krippendorff's alpha"), list(alphas), right=(1,)))
    return section


def threshold(people: People) -> ReportPart:
    """Which `final_min` people's votes support."""
    rows = [
        (
            f"{100 * row.share:.0f} %",
            "no score" if row.final_min is None else f"{row.final_min:g}",
            wording.count(row.labels) if row.final_min is not None else "–",
            wording.share(row.observed) if row.final_min is not None else "–",
            wording.share(row.lower) if row.final_min is not None else "–",
            wording.count(row.turns) if row.final_min is not None else "–",
        )
        for row in people.final_min
    ]
    columns = ("people prefer the challenger in", "from a score of", "labels", "seen", "at least (95 %)", "turns")
    section = ReportPart(
        "What final_min would people choose", [Table(columns, list(rows), right=range(6))] if rows else []
    )
    section.notes.append("Tested from the top down until a threshold fails; set it as `[report] final_min`.")
    return section


def differences(people: People) -> ReportPart:
    """The turns on which people and panel are furthest apart."""
    rows = [
        (
            Outside(row.item),
            wording.points(row.panel),
            wording.points(row.people),
            Outside(row.panel_reason or "–"),
            Outside(row.people_reason or "–"),
        )
        for row in people.differ
    ]
    columns = ("turn", "panel", "people", "the judges' reasons", "people's reasons")
    tables = [Table(columns, list(rows), right=(1, 2))] if rows else []
    return ReportPart("Where people and panel differ most", tables)
