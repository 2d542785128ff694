"""What refining brought: by round, promoted by whom, the new turns against their own parents, and the control arm."""

from collections.abc import Mapping, Sequence
from typing import Any

from duel.reporting import wording
from duel.reporting.parts import ReportPart, Table


def refining(rounds: Sequence[Mapping[str, Any]]) -> ReportPart:
    """The section; empty where nothing was written once more."""
    section = ReportPart("Refining")
    if not rounds:
        return section
    rows = []
    for row in rounds:
        shares = {"held_out": row["by_held_out"], "unchanged": row["control"]}
        told_shares = {name: _with_error(found, 100, " %") for name, found in shares.items()}
        rows.append({**row, **told_shares, "parent": _with_error(row["against_parent"], 1, "")})
    caption = "Promoted: at least `final_min` against the opponent. 50 against its own parent: no better. ±: 95 %"
    section.tables.append(Table.of("refining", rows, caption=caption))
    refused = [(row["round"], *item) for row in rounds for item in row["refused"].items()]
    names = ("round", "reason", "rewrites")
    section.add(Table.of("rewrites", [dict(zip(names, found, strict=True)) for found in refused]))
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
