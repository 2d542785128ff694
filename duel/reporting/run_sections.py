"""The sections on what became of the turns: their buckets and groups, commands that were run, rewrites, cost."""

from collections.abc import Mapping, Sequence
from typing import Any

from duel.records import Verdict
from duel.reporting.tally import MEASURES, SourceCounts, ratio
from duel.reporting.wording import Outside, ReportPart, Table, count, dollars, known, prose, share, signed

# Rows of a table by repository or license; the rest is summed in one row, and index.html filters by any of them.
GROUP_ROWS = 20


def buckets(summary: dict[str, Any]) -> ReportPart:
    turns, auditors = summary["turns"], [summary["auditor"]] * bool(summary["auditor"].get("model"))
    leaks = "Leaks: not checked. `duel audit` looks for what only the hidden pull request shows."
    if turns["leaking"] is not None:
        leaks = (
            f"Leaks: {count(turns['leaking'])} of {count(turns['audited'])} judged and checked turns tell what"
            " only the hidden pull request shows; such a turn cannot be final while `[audit] enforce` is on."
        )
    rows = {"buckets": summary["buckets"], "auditor": auditors, "left_out": summary["left_out"]}
    return ReportPart("Where the turns went", [Table.of(name, found) for name, found in rows.items()], [leaks])


def yields(counts: Mapping[str, SourceCounts]) -> ReportPart:
    """What each source took for a turn that it brought into `final/`: calls, dollars, minutes of the models' time."""
    rows = [
        {"source": name, **vars(one), **{what: one.told(what) for what in MEASURES}} for name, one in counts.items()
    ]
    note = (
        "All replies in the ledger, those for turns that were lost as well. Minutes: a model's working time, one"
        " call after another."
    )
    return ReportPart("What a kept turn costs", [Table.of("yields", rows)], [note] * bool(rows))


def execution(found: Mapping[str, Any]) -> ReportPart:
    title, unseen = "What the commands did", "Judges saw no output of any command."
    if found["why_not"]:
        return ReportPart(title, notes=[f"Nothing could be run: {prose(found['why_not'])}. {unseen}"])
    if not found["evidence"] and not found["without"]:
        told = "`[execute] backend` says where, and docs/execution.md how."
        if found["executor"]:
            told = "Commands were run, but these votes were cast without: rerun validate.py."
        return ReportPart(title, notes=[f"{unseen} {told}"])
    why, judged = known("no_evidence"), sum(found["turns"].values())
    counted = [
        ("judges saw what both commands did", found["evidence"]),
        ("both did the same: correctness is a draw by rule", found["same"]),
    ]
    for reason, number in found["without"].items():
        counted.append((f"no evidence: {why[reason]}" if reason in why else Outside(reason), number))
    rows = [{"turns": words, "number": number, "share": ratio(number, judged)} for words, number in counted]
    panels = [
        {"judges": name, **{of: found[of][key] for of in ("turns", "agreement", "flip_rate")}}
        for name, key in (("with evidence", "with"), ("without", "without"))
    ]
    run_with = f"Run with {prose(found['executor'])}." if found["executor"] else ""
    return ReportPart(title, [Table.of("evidence", rows), Table.of("agreement", panels)], [run_with])


def refining(rounds: Sequence[Mapping[str, Any]]) -> ReportPart:
    """What refining brought: by round, promoted by whom, against their own parents, and the control arm."""
    refused = [
        {"round": row["round"], "reason": reason, "rewrites": number}
        for row in rounds
        for reason, number in row["refused"].items()
    ]
    last = (
        "Coaches are the judges whose reasons the writer was given: their own share shows how well it pleases them, and"
        " decides nothing. The verdict above is on the first challengers alone."
    )
    tables = [Table.of("refining", rounds), Table.of("rewrites", refused)]
    return ReportPart("Refining", tables, [*map(told, rounds), *[last] * bool(rounds)])


def told(row: Mapping[str, Any]) -> str:
    """One round in a sentence or two: did it help, and by how much."""
    parent, name = row["against_parent"], f"Round {row['round']}: "
    if row["helped"] is None:
        return f"{name}{parent['turns']:,} rewrites of {parent['clusters']:,} pull requests are too few to tell."
    lead = f"{signed(parent['mean'] - 50, 1)} ± {parent['error']:.1f} points from a draw"
    said = "refining helped" if row["helped"] else "refining did not help"
    sentence = f"{name}{said}: held-out judges see the new turn {lead} against its own parent."
    if row["gain"] is None:
        return f"{sentence} There is no control arm to compare with."
    gain = f"{signed(100 * row['gain'], 1)} ± {100 * row['gain_error']:.1f} percentage points"
    if row["gain"] <= row["gain_error"]:
        return f"{sentence} They promote no more of them than of turns that nobody changed ({gain})."
    return f"{sentence} They promote more of them than of turns that nobody changed: {gain}."


def groups(summary: dict[str, Any]) -> list[ReportPart]:
    found = []
    for name, (title, column) in known("groups").items():
        groups = summary["groups"][name]
        if name == "position":
            groups = sorted(groups, key=lambda row: int(row["name"] or 0))
        rows = [g | {"name": Outside(g["name"]) if g["name"] else "not recorded"} for g in groups[:GROUP_ROWS]]
        if more := groups[GROUP_ROWS:]:
            total = {key: sum(row[key] for row in more) for key in ("turns", "parsed", "final", "refined", "defeat")}
            weighted = sum((row["score"] or 0.0) * row["parsed"] for row in more)
            rows.append({**total, "name": f"{len(more):,} more", "score": ratio(weighted, total["parsed"])})
        found.append(ReportPart(title, [Table.of("groups", rows, column)]))
    return found


def made_of(verdict: Verdict, summary: dict[str, Any]) -> ReportPart:
    writers = (
        "Writers: the replies that were kept. Judges: every reply, as the verdict counts them."
        " `duel calls` lists every call, retries included."
    )
    notes = [writers * bool(summary["costs"]), f"Judging: {count(verdict.calls)} calls, {dollars(verdict.cost)}."]
    if verdict.asked and verdict.asked.strategy == "screen":
        notes.append(
            f"The screen saved {share(verdict.asked.saved_share)} of the votes; {verdict.asked.stopped:,} turns stopped"
            " after their first one and are in no bucket."
        )
    sampled = [(Outside(key), Outside(value)) for key, value in _flat(summary["sampling"])]
    sampling = Table(("sampling", "value"), sampled[:40], caption="From report/sampling.json")
    return ReportPart("Calls, cost and sources", [Table.of("costs", summary["costs"]), sampling], notes)


def _flat(values: dict[str, Any]) -> list[tuple[str, str]]:
    """The plain values of a record, nested ones as `outer.inner`; lists stay in the file."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += [(f"{key}.{inner}", leaf) for inner, leaf in _flat(value)]
        elif isinstance(value, str | int | float) and value != "":
            rows.append((key, str(value)))
    return rows
