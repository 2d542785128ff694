"""What an audit says of a whole workspace: `report/audit.json`, the rows of dropped turns, a table for a terminal."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from duel import placement
from duel.audit.workspace_audit import Audited, AuditedTurn, Examiner
from duel.errors import ItemError, printable


@dataclass(frozen=True)
class AuditFindings:
    """What an audit says of a whole workspace."""

    summary: dict[str, Any]
    """`report/audit.json`."""
    dropped: list[Mapping[str, Any]]
    """Rows for `report/dropped.jsonl`: the turns that cannot be kept."""
    damage: list[ItemError] = field(default_factory=list)


def findings(audited: Audited, examiner: Examiner) -> AuditFindings:
    kept_out = [(turn, placement.obstacle(turn.found, examiner.settings)) for turn in audited.turns]
    dropped: list[Mapping[str, Any]] = [
        {"file": turn.path.stem, "instance_id": turn.instance_id, "reason": why.slug, "detail": why.reason}
        for turn, why in kept_out
        if why is not None
    ]
    return AuditFindings(_summary(audited, examiner), dropped, audited.damage)


def _summary(audited: Audited, examiner: Examiner) -> dict[str, Any]:
    """`report/audit.json`: the same of every turn, counted."""
    turns = audited.turns
    scores = sorted(turn.found.leak_score for turn in turns)
    leaking = [turn for turn in turns if turn.found.leaking]
    duplicates = {turn.path.stem: turn.duplicate_of for turn in turns if turn.duplicate_of}
    contaminated = sorted({turn.instance_id for turn in turns if turn.found.contaminated})
    benchmarks = examiner.benchmarks
    return {
        "format": "duel-audit/1",
        "side": examiner.side,
        "turns": len(turns) + audited.without + len(audited.damage),
        "audited": len(turns),
        "without": audited.without,
        "without_commit": sum(not turn.has_commit for turn in turns),
        "damaged": [str(error) for error in audited.damage],
        "leak_max": examiner.settings.audit.leak_max,
        "leaking": len(leaking),
        "leaking_fraction": round(len(leaking) / len(turns), 6) if turns else None,
        "reworded_turns": [turn.path.stem for turn in turns if turn.found.reworded],
        "leaks_by_kind": ranked(kind for turn in turns for kind in {leak.kind for leak in turn.found.leaks}),
        "auditor": {
            "model": examiner.settings.audit.auditor,
            "asked": sum(bool(turn.found.auditor) for turn in turns),
            "claiming": sum(any(leak.kind == "claim" for leak in turn.found.leaks) for turn in turns),
        },
        "leak_score_quantiles": {
            str(q): scores[min(len(scores) - 1, int(q * len(scores)))] for q in (0.5, 0.9, 0.99, 1.0) if scores
        },
        "leaking_turns": [
            {
                "file": turn.path.stem,
                "instance_id": turn.instance_id,
                "score": turn.found.leak_score,
                "findings": [f"{leak.kind} {leak.value[:120]}" for leak in turn.found.leaks[:5]],
            }
            for turn in sorted(leaking, key=lambda turn: -turn.found.leak_score)[:200]
        ],
        "protocol": {
            "ok": sum(not _broken_rules(turn) for turn in turns),
            "problems": ranked(rule for turn in turns for rule in _broken_rules(turn)),
        },
        "styles": ranked(turn.found.protocol.style for turn in turns if turn.found.protocol),
        "duplicates": {
            "threshold": examiner.settings.audit.near_duplicate,
            "groups": len(set(duplicates.values())),
            "duplicates": len(duplicates),
            "of": duplicates,
        },
        "secrets": {
            "turns": sum(bool(turn.found.secrets) for turn in turns),
            **ranked(kind for turn in turns for kind, n in turn.found.secrets.items() for _ in range(n)),
        },
        "contamination": {
            "by": benchmarks.by,
            "checked": benchmarks.checked,
            "unchecked": benchmarks.unchecked,
            "contaminated": sum(bool(turn.found.contaminated) for turn in turns),
            "instances": contaminated,
        },
        "licenses": ranked(turn.found.license or "unknown" for turn in turns),
        "license_refused": ranked(turn.found.license_refused for turn in turns if turn.found.license_refused),
    }


def _broken_rules(turn: AuditedTurn) -> set[str]:
    return {problem.rule for problem in turn.found.protocol.problems} if turn.found.protocol else set()


def ranked(values: Iterable[str]) -> dict[str, int]:
    """{value: how often}, the most frequent first."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


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
    if (auditor := summary["auditor"])["model"]:
        yield "shown to the auditor", str(auditor["asked"]), f"{auditor['claiming']} claim what follows from nothing"
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
    yield "licenses refused", str(sum(summary["license_refused"].values())), _listed(summary["licenses"])
    if summary["without_commit"]:
        yield "without pull request", str(summary["without_commit"]), "leaks could not be looked for"
    if summary["damaged"]:
        yield "damaged", str(len(summary["damaged"])), printable("; ".join(summary["damaged"]), 200)


def _listed(counts: Mapping[str, Any], before: str = "") -> str:
    """`a 3, b 1`; at most eight."""
    shown = [f"{printable(name, 40)} {printable(count, 80)}" for name, count in counts.items() if count]
    more = f", and {len(shown) - 8} more" if len(shown) > 8 else ""
    return f"{before}{', '.join(shown[:8])}{more}" if shown else ""
