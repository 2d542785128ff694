"""The sections on what was done besides judging: commands that were run, rewrites, and what a kept turn costs."""

from collections.abc import Mapping, Sequence
from typing import Any

from duel.reporting import wording
from duel.reporting.parts import Outside, ReportPart, Table
from duel.reporting.tally import SourceCounts, share


def yields(counts: Mapping[str, SourceCounts]) -> ReportPart:
    """What each source took for a turn that it brought into `final/`: calls, dollars, minutes of the models' time."""
    section = ReportPart("What a kept turn costs")
    rows = [
        {"source": name, **vars(one), **{what: one.told(what) for what in ("calls", "dollars", "minutes")}}
        for name, one in counts.items()
    ]
    section.add(Table.of("yields", rows))
    if rows:
        section.notes.append(
            "All replies in the ledger, those for turns that were lost as well. Minutes: a model's working time, one"
            " call after another."
        )
    return section


def execution(found: Mapping[str, Any]) -> ReportPart:
    section = ReportPart("What the commands did")
    if found["why_not"]:
        section.notes.append(f"Nothing could be run: {found['why_not']}. Judges saw no output of any command.")
        return section
    if not found["evidence"] and not found["without"]:
        told = "`[execute] backend` says where, and docs/execution.md how."
        if found["executor"]:
            told = "Commands were run, but these votes were cast without: rerun validate.py."
        section.notes.append(f"Judges saw no output of any command. {told}")
        return section
    why, judged = wording.known("no_evidence"), sum(found["turns"].values())
    counted = [
        ("judges saw what both commands did", found["evidence"]),
        ("both did the same: correctness is a draw by rule", found["same"]),
    ]
    for reason, number in found["without"].items():
        counted.append((f"no evidence: {why[reason]}" if reason in why else Outside(reason), number))
    rows = [{"turns": words, "number": number, "share": share(number, judged)} for words, number in counted]
    section.tables.append(Table.of("evidence", rows))
    panels = [
        {"judges": name, **{of: found[of][key] for of in ("turns", "agreement", "flip_rate")}}
        for name, key in (("with evidence", "with"), ("without", "without"))
    ]
    section.tables.append(Table.of("agreement", panels))
    if found["executor"]:
        section.notes.append(f"Run with {found['executor']}.")
    return section


def refining(rounds: Sequence[Mapping[str, Any]]) -> ReportPart:
    """What refining brought: by round, promoted by whom, against their own parents, and the control arm."""
    section = ReportPart("Refining")
    if not rounds:
        return section
    rows = [
        {
            **row,
            "held_out": _with_error(row["by_held_out"], 100, " %"),
            "unchanged": _with_error(row["control"], 100, " %"),
            "parent": _with_error(row["against_parent"], 1, ""),
        }
        for row in rounds
    ]
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
