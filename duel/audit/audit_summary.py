"""What an audit says of a whole workspace: `report/audit.json`, the rows of dropped turns, a table for a terminal."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from duel import placement
from duel.audit.contamination import Benchmarks
from duel.errors import ItemError, printable
from duel.records import Audit, Side
from duel.settings import Settings

LISTED = 200  # leaking turns that report/audit.json tells one by one


@dataclass
class AuditTally:
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)  # (what is counted, of which kind)
    leaking: list[dict[str, Any]] = field(default_factory=list)
    reworded: list[str] = field(default_factory=list)
    contaminated: set[str] = field(default_factory=set)
    dropped: list[Mapping[str, Any]] = field(default_factory=list)  # rows for `report/dropped.jsonl`
    damage: dict[str, ItemError] = field(default_factory=dict)
    """What kept the answer of a stem from being audited: an older audit may lie in it."""

    def take(self, stem: str, instance_id: str, found: Audit, settings: Settings, has_commit: bool) -> None:
        turn = {"file": stem, "instance_id": instance_id}
        broken = {problem.rule for problem in found.protocol.problems} if found.protocol else set()
        kinds = {leak.kind for leak in found.leaks}
        counted = {
            "audited": [""],
            "without commit": [""] * (not has_commit),
            "leak": kinds,
            "auditor": ["asked"] * bool(found.auditor) + ["claiming"] * ("claim" in kinds),
            "protocol": broken or ["ok"],
            "style": [found.protocol.style] if found.protocol else [],
            "secrets": [kind for kind, n in found.secrets.items() for _ in range(n)],
            "turns": ["secrets"] * bool(found.secrets) + ["contaminated"] * bool(found.contaminated),
            "license": [found.license or "unknown"],
            "refused": [found.license_refused] if found.license_refused else [],
        }
        self.counts.update((what, kind) for what, each in counted.items() for kind in each)
        if found.leaking:
            told = [f"{leak.kind} {leak.value[:120]}" for leak in found.leaks[:5]]
            self.leaking.append({**turn, "score": found.leak_score, "findings": told})
        if found.reworded:
            self.reworded.append(stem)
        if found.contaminated:
            self.contaminated.add(instance_id)
        if why := placement.obstacle(found, settings):
            self.dropped.append({**turn, "reason": why.slug, "detail": why.reason})

    def add(self, other: "AuditTally") -> None:
        self.counts += other.counts
        self.contaminated |= other.contaminated
        self.damage |= other.damage
        for name in ("leaking", "reworded", "dropped"):
            getattr(self, name).extend(getattr(other, name))

    def kinds(self, what: str) -> dict[str, int]:
        return ranked({kind: count for (of, kind), count in self.counts.items() if of == what})


def summary(
    tally: AuditTally, settings: Settings, side: Side, benchmarks: Benchmarks, duplicates: Mapping[str, str]
) -> dict[str, Any]:
    """`report/audit.json`. `duplicates` is {file stem of a turn: that of the turn which stands for it}."""
    counts, without, audited = tally.counts, tally.counts["without", ""], tally.counts["audited", ""]
    problems = {rule: count for rule, count in tally.kinds("protocol").items() if rule != "ok"}
    copies = {"threshold": settings.audit.near_duplicate, "groups": len(set(duplicates.values()))}
    checked = {"by": benchmarks.by, "checked": benchmarks.checked, "unchecked": benchmarks.unchecked}
    contaminated = {"contaminated": counts["turns", "contaminated"], "instances": sorted(tally.contaminated)}
    return {
        "format": "duel-audit/1",
        "side": side,
        "turns": audited + without + len(tally.damage),
        "audited": audited,
        "without": without,
        "without_commit": counts["without commit", ""],
        "damaged": [str(error) for error in tally.damage.values()],
        "leak_max": settings.audit.leak_max,
        "leaking": len(tally.leaking),
        "leaking_fraction": round(len(tally.leaking) / audited, 6) if audited else None,
        "reworded_turns": tally.reworded,
        "leaks_by_kind": tally.kinds("leak"),
        "auditor": {"model": settings.audit.auditor}
        | {kind: counts["auditor", kind] for kind in ("asked", "claiming")},
        "leaking_turns": sorted(tally.leaking, key=lambda row: -row["score"])[:LISTED],
        "protocol": {"ok": counts["protocol", "ok"], "problems": problems},
        "styles": tally.kinds("style"),
        "duplicates": {**copies, "duplicates": len(duplicates), "of": dict(duplicates)},
        "secrets": {"turns": counts["turns", "secrets"], **tally.kinds("secrets")},
        "contamination": checked | contaminated,
        "licenses": tally.kinds("license"),
        "license_refused": tally.kinds("refused"),
    }


def ranked(values: Iterable[str] | Mapping[str, int]) -> dict[str, int]:
    """{value: how often}, the most frequent first; of the values, or of their counts."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def table(summary: Mapping[str, Any]) -> str:
    rows = [
        ("check", "turns", "what was found"),
        *((check, str(turns), found) for check, turns, found in _rows(summary)),
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{check:<{widths[0]}}  {turns:>{widths[1]}}  {found}".rstrip() for check, turns, found in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    yield f"audited ({summary['side']})", summary["audited"], _listed({"without a reply": summary["without"]})
    share = f"{summary['leaking_fraction']:.2%}" if summary["leaking_fraction"] is not None else ""
    yield "leaking", summary["leaking"], f"{share} above {summary['leak_max']:g}".strip()
    if reworded := len(summary["reworded_turns"]):
        yield "reworded", reworded, "asked again with the leak named: the word is gone, the knowledge may be there"
    if (auditor := summary["auditor"])["model"]:
        yield "shown to the auditor", auditor["asked"], f"{auditor['claiming']} claim what follows from nothing"
    yield "leaked facts, by kind", sum(summary["leaks_by_kind"].values()), _listed(summary["leaks_by_kind"])
    yield "protocol kept", summary["protocol"]["ok"], _listed(summary["protocol"]["problems"])
    yield "actions", "", _listed(summary["styles"])
    yield "near-duplicates", summary["duplicates"]["duplicates"], f"in {summary['duplicates']['groups']} groups"
    secrets = {kind: n for kind, n in summary["secrets"].items() if kind != "turns"}
    yield "secrets, personal data", summary["secrets"]["turns"], _listed(secrets)
    contamination = summary["contamination"]
    yield "contaminated", contamination["contaminated"], _listed(contamination["checked"], "checked: ")
    if contamination["unchecked"]:
        yield "NOT checked", "", _listed(contamination["unchecked"])
    elif not contamination["checked"]:
        yield "NOT checked", "", "contamination: [audit] decontaminate is empty"
    yield "licenses refused", sum(summary["license_refused"].values()), _listed(summary["licenses"])
    if summary["without_commit"]:
        yield "without pull request", summary["without_commit"], "leaks could not be looked for"
    if summary["damaged"]:
        yield "damaged", len(summary["damaged"]), printable("; ".join(summary["damaged"]), 200)


def _listed(counts: Mapping[str, Any], before: str = "") -> str:
    shown = [f"{printable(name, 40)} {printable(count, 80)}" for name, count in counts.items() if count]
    more = f", and {len(shown) - 8} more" if len(shown) > 8 else ""
    return f"{before}{', '.join(shown[:8])}{more}" if shown else ""
