"""What refining brought: by round, promoted by whom, the new turns against their own parents, and the control arm."""

from collections.abc import Mapping, Sequence
from typing import Any

from duel.reporting import wording
from duel.reporting.parts import Outside, ReportPart, Table


def refining(rounds: Sequence[Mapping[str, Any]]) -> ReportPart:
    """The section; empty where nothing was written once more."""
    section = ReportPart("Refining")
    if not rounds:
        return section
    rows = [
        (
            wording.count(row["round"]),
            wording.count(row["rewritten"]),
            wording.share(row["by_coaches"]),
            _with_error(row["by_held_out"], 100, " %"),
            _with_error(row["control"], 100, " %"),
            _with_error(row["against_parent"], 1, ""),
            wording.count(row["promoted"]),
            wording.count(row["open"]),
        )
        for row in rounds
    ]
    columns = [
        *("round", "written once more", "promoted by coaches", "promoted by held-out judges"),
        *("promoted unchanged (control arm)", "against its own parent", "into final/", "open"),
    ]
    caption = "Promoted: at least `final_min` against the opponent. 50 against its own parent: no better. ±: 95 %"
    section.tables.append(Table(columns, list(rows), right=range(8), caption=caption))
    reasons = [(row["round"], reason, count) for row in rounds for reason, count in row["refused"].items()]
    if reasons:
        refused = [(wording.count(number), Outside(reason), wording.count(count)) for number, reason, count in reasons]
        section.tables.append(Table(("round", "never judged, never kept", "rewrites"), list(refused), right=(0, 2)))
    section.notes += [told(row) for row in rounds]
    section.notes.append(
        "Coaches are the judges whose reasons the writer was given: their own share shows how well it pleases them, and"
        " decides nothing. The verdict above is on the first challengers alone."
    )
    return section


def told(row: Mapping[str, Any]) -> str:
    """One round in a sentence or two: did it help, and by how much."""
    parent, name = row["against_parent"], f"Round {row['round']}: "
    if row["helped"] is None:
        return f"{name}{parent['turns']:,} rewrites of {parent['clusters']:,} pull requests are too few to tell."
    lead = f"{wording.signed(parent['mean'] - 50, 1)} ± {parent['error']:.1f} points from a draw"
    said = "refining helped" if row["helped"] else "refining did not help"
    sentence = f"{name}{said}: held-out judges see the new turn {lead} against its own parent."
    if row["gain"] is None:
        return f"{sentence} There is no control arm to compare with."
    gain = f"{wording.signed(100 * row['gain'], 1)} ± {100 * row['gain_error']:.1f} percentage points"
    if row["gain"] <= row["gain_error"]:
        return f"{sentence} They promote no more of them than of turns that nobody changed ({gain})."
    return f"{sentence} They promote more of them than of turns that nobody changed: {gain}."


def _with_error(found: Mapping[str, Any], scale: float, unit: str) -> str:
    if found["mean"] is None:
        return wording.NO_DATA
    error = "" if found["error"] is None else f" ± {scale * found['error']:.1f}"
    return f"{scale * found['mean']:.1f}{error}{unit}"
