"""The audit's summary as a table for a terminal: plain text, one check a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from duel.errors import printable


def table(summary: Mapping[str, Any]) -> str:
    """`report/audit.json` as lines of three columns: check, turns it holds for, what was found."""
    rows = [("check", "turns", "what was found"), *_rows(summary)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{check:<{widths[0]}}  {turns:>{widths[1]}}  {found}".rstrip() for check, turns, found in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield f"audited ({summary['side']})", str(summary["audited"]), _listed({"without a reply": summary["without"]})
    share = f"{summary['leaking_fraction']:.2%}" if summary["leaking_fraction"] is not None else ""
    yield "leaking", str(summary["leaking"]), f"{share} above {summary['leak_max']:g}".strip()
    if reworded := len(summary["reworded_turns"]):
        yield "reworded", str(reworded), "asked again with the leak named: the word is gone, the knowledge may be there"
    yield "leaked facts, by kind", str(sum(summary["leaks_by_kind"].values())), _listed(summary["leaks_by_kind"])
    protocol = summary["protocol"]
    yield "protocol kept", str(protocol["ok"]), _listed(protocol["problems"])
    yield "actions", "", _listed(summary["styles"])
    duplicates = summary["duplicates"]
    yield "near-duplicates", str(duplicates["duplicates"]), f"in {duplicates['groups']} groups"
    secrets = {kind: n for kind, n in summary["secrets"].items() if kind != "turns"}
    yield "secrets, personal data", str(summary["secrets"]["turns"]), _listed(secrets)
    contamination = summary["contamination"]
    yield "contaminated", str(contamination["contaminated"]), _listed(contamination["checked"], "checked: ")
    if contamination["unchecked"]:
        yield "NOT checked", "", _listed(contamination["unchecked"])
    if not contamination["checked"] and not contamination["unchecked"]:
        yield "NOT checked", "", "contamination: [audit] decontaminate is empty"
    yield "licences refused", str(sum(summary["license_refused"].values())), _listed(summary["licenses"])
    if summary["without_commit"]:
        yield "without pull request", str(summary["without_commit"]), "leaks could not be looked for"
    if summary["damaged"]:
        yield "damaged", str(len(summary["damaged"])), printable("; ".join(summary["damaged"]), 200)


def _listed(counts: Mapping[str, Any], before: str = "") -> str:
    """`a 3, b 1`; at most eight."""
    shown = [f"{printable(name, 40)} {printable(count, 80)}" for name, count in counts.items() if count]
    more = f", and {len(shown) - 8} more" if len(shown) > 8 else ""
    return f"{before}{', '.join(shown[:8])}{more}" if shown else ""
