"""The sections on people's votes: what they say of the challenger and of the panel, and who cast them."""

from __future__ import annotations

from collections.abc import Sequence

from duel.records import People
from duel.records.people import PeopleFigure
from duel.reporting import figures
from duel.reporting.parts import Outside, Section, Table

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


def people_sections(people: People) -> list[Section]:
    """Everything that people's votes say, in reading order; one line on how to begin where nobody has voted."""
    if not people.labels:
        needed = ", ".join(f"{count:,} labels show a lead of {lead} score points" for lead, count in _needed(people))
        hint = f"Nobody has voted. `duel review` opens a blind page. With a chance of 80 %: {needed}."
        return [Section("People", notes=[hint])]
    found = [corrected(people), by_part(people), raters(people), threshold(people), differences(people)]
    return [section for section in found if section.tables]


def corrected(people: People) -> Section:
    """People's margin with the panel's help, and what it says of the panel."""
    bias = f"{figures.signed(people.bias, 1)} ± {figures.plain(people.bias_error, 1)} points"
    rows = [
        ("margin by people", figures.points(people.margin), "the panel on all turns, corrected by people on some"),
        ("lower bound", figures.delta_points(people.lcb), WORDS.get(people.decision, people.decision)),
        ("people alone", figures.points(people.margin_alone), f"bound {figures.delta_points(people.lcb_alone)}"),
        ("the panel alone", figures.points(people.panel_margin), f"{figures.plain(people.slope)} of it is used"),
        ("the panel is kinder by", bias, "than people; 95 % interval"),
        ("labeled turns", figures.count(people.labels), f"in {people.clusters:,} pull requests"),
        ("raters", figures.count(people.raters), people.scope),
    ]
    if people.lcb_raters is not None:
        rows.insert(2, ("bound for people like them", figures.delta_points(people.lcb_raters), "raters differ"))
    section = Section("People", [Table(("what", "figure", "meaning"), list(rows), right=(1,))])
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


def by_part(people: People) -> Section:
    """Panel against people for each judge, dimension and bucket; and what people preferred at which score."""
    section = Section("People and the panel")
    parts = (("judge", people.by_judge), ("dimension", people.by_metric), ("bucket by score", people.by_bucket))
    section.tables = [_against(name, rows) for name, rows in parts if rows]
    if people.confusion:
        rows = [(row.band, *map(figures.count, (row.challenger, row.tie, row.opponent))) for row in people.confusion]
        columns = ("the panel's score", "people prefer the challenger", "neither", "the opponent")
        section.tables.append(Table(columns, list(rows), right=(1, 2, 3)))
    section.notes.append("Kinder: the panel's margin less people's, with its 95 % interval; over all judged turns.")
    return section


def _against(name: str, rows: Sequence[PeopleFigure]) -> Table:
    cells = [
        (
            Outside(row.name),
            figures.count(row.labels),
            figures.points(row.panel),
            figures.points(row.people),
            figures.NO_DATA if row.bias is None else f"{figures.signed(row.bias, 1)} ± {figures.plain(row.error, 1)}",
            figures.share(row.agreement),
            figures.plain(row.alpha),
        )
        for row in rows
    ]
    columns = (name, "labels", "panel", "people", "kinder", "same winner", "Krippendorff's alpha")
    return Table(columns, list(cells), right=range(1, 7))


def raters(people: People) -> Section:
    """How each person votes, and how far people agree."""
    rows = [
        (
            Outside(row.rater),
            figures.count(row.votes),
            figures.count(row.skipped),
            figures.NO_DATA if row.median_seconds is None else f"{row.median_seconds:.0f} s",
            figures.share(row.ties),
            figures.share(row.first_shown),
            f"{figures.share(row.self_agreement)} of {row.repeats}" if row.repeats else figures.NO_DATA,
            figures.share(row.with_panel),
        )
        for row in people.by_rater
    ]
    columns = ("rater", "votes", "skipped", "time", "ties", "for the first shown", "same again", "as the panel")
    section = Section("Raters", [Table(columns, list(rows), right=range(1, 8))])
    if any(alpha is not None for alpha in people.agreement.values()):
        alphas = [(name, figures.plain(alpha)) for name, alpha in people.agreement.items()]
        section.tables.append(Table(("people among themselves", "Krippendorff's alpha"), list(alphas), right=(1,)))
    return section


def threshold(people: People) -> Section:
    """Which `final_min` people's votes support."""
    rows = [
        (
            f"{100 * row.share:.0f} %",
            "no score" if row.final_min is None else f"{row.final_min:g}",
            figures.count(row.labels) if row.final_min is not None else "–",
            figures.share(row.observed) if row.final_min is not None else "–",
            figures.share(row.lower) if row.final_min is not None else "–",
            figures.count(row.turns) if row.final_min is not None else "–",
        )
        for row in people.final_min
    ]
    columns = ("people prefer the challenger in", "from a score of", "labels", "seen", "at least (95 %)", "turns")
    section = Section(
        "What final_min would people choose", [Table(columns, list(rows), right=range(6))] if rows else []
    )
    section.notes.append("Tested from the top down until a threshold fails; set it as `[report] final_min`.")
    return section


def differences(people: People) -> Section:
    """The turns on which people and panel are furthest apart."""
    rows = [
        (
            Outside(row.item),
            figures.points(row.panel),
            figures.points(row.people),
            Outside(row.panel_reason or "–"),
            Outside(row.people_reason or "–"),
        )
        for row in people.differ
    ]
    columns = ("turn", "panel", "people", "the judges' reasons", "people's reasons")
    tables = [Table(columns, list(rows), right=(1, 2))] if rows else []
    return Section("Where people and panel differ most", tables)
