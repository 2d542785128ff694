"""Auditing the answers of a workspace: each turn by itself, on all cores, then all of them against each other.

Other packages bring checks of their own; a turn that one of them minds goes into no bucket:

[project.entry-points."duel.audit_check"]
no-sudo = "my_package:no_sudo"          # (reply, answer, commit) -> "", or what is wrong with the reply in words
"""

import hashlib
import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeAlias

from duel import placement, standing, untrusted
from duel.audit.contamination import Benchmarks
from duel.audit.duplicates import Hashed, hashed_words, similar_groups
from duel.audit.leaks import find_leaks
from duel.audit.licenses import refused
from duel.audit.protocol import check
from duel.audit.rarity import BACKGROUND, Rarity, background
from duel.audit.secrets import scrub
from duel.errors import ItemError, printable
from duel.processes import spread
from duel.records import Answer, Audit, Candidate, Commit, Side, fingerprint
from duel.registry import Registry
from duel.settings import Settings
from duel.workspace import Workspace

CHECKS: Registry[Callable[[str, Answer, Commit | None], str]] = Registry("audit_check")
LISTED = 200  # leaking turns that report/audit.json tells one by one
CHUNK = 50  # answers that one process takes at a time
FEW = 500  # workspaces smaller than this are audited in one process: starting others takes longer (0.7 s)
# What is held of an audited turn, so that memory grows little with them: its file, its words, its group so far.
AuditedTurn: TypeAlias = tuple[Path, Hashed, str]


def ground(settings: Settings, benchmarks: Benchmarks) -> bytes:
    """What every turn's audit rests on: this program, `[audit]`, others' checks, and the lists of benchmarks."""
    files = {name: inspect.getfile(sys.modules[other.__module__]) for name, other in CHECKS.items()}
    checks = {name: Path(file).read_bytes() for name, file in files.items()}
    told = (standing.program(), settings.audit.model_dump_json(), checks, benchmarks.digests, benchmarks.unchecked)
    return hashlib.blake2b(repr(told).encode("utf-8", "surrogatepass"), digest_size=16).digest()


@dataclass
class AuditTally:
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)  # (what is counted, of which kind)
    leaking: list[dict[str, Any]] = field(default_factory=list)
    reworded: list[str] = field(default_factory=list)
    contaminated: set[str] = field(default_factory=set)
    dropped: list[Mapping[str, Any]] = field(default_factory=list)  # rows for `report/dropped.jsonl`
    damage: dict[str, ItemError] = field(default_factory=dict)  # by stem: what kept an answer from being audited
    turns: list[AuditedTurn] = field(default_factory=list)
    saved: Counter[str] = field(default_factory=Counter)  # by the process that counted

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

    def add(self, other: Self) -> None:
        self.counts += other.counts
        self.contaminated |= other.contaminated
        self.damage |= other.damage
        for name in ("leaking", "reworded", "dropped", "turns"):
            getattr(self, name).extend(getattr(other, name))

    def kinds(self, what: str) -> dict[str, int]:
        return ranked({kind: count for (of, kind), count in self.counts.items() if of == what})


@dataclass(frozen=True)
class Examiner:
    """What every turn is held against."""

    workspace: Workspace
    settings: Settings
    side: Side
    rarity: Rarity
    benchmarks: Benchmarks
    base: bytes  # what all audits rest on; a turn's own texts are added to it

    @classmethod
    def of(cls, workspace: Workspace, settings: Settings, side: Side, benchmarks: Benchmarks) -> Self:
        rarity = Rarity.of_workspace(workspace)
        return cls(workspace, settings, side, rarity, benchmarks, ground(settings, benchmarks) + rarity.digest())

    def audit(self, answer: Answer) -> Audit:
        """All that can be said of one turn by itself; an audit of the very same texts and settings is taken."""
        commit = self.workspace.commit(answer.instance_id)
        reply, before = str(getattr(answer, self.side)), answer.audit(self.side)
        digest = hashlib.blake2b(self.base, digest_size=8)
        digest.update(commit.dump() if commit is not None else b"")
        for text in (reply, *(part for message in answer.messages for part in (message.role, message.content))):
            digest.update(b"\0" + text.encode("utf-8", "surrogatepass"))
        if before is not None and before.rests_on == digest.hexdigest():
            return before.model_copy()
        found = Audit(text=fingerprint(reply))
        if commit is not None:
            found = find_leaks(reply, answer.messages, commit, self.rarity, self.settings.audit.leak_max)
        record = commit or Commit(instance_id=answer.instance_id)
        told = {name: other(reply, answer, commit) for name, other in CHECKS.items()}
        return found.model_copy(
            update={
                "rests_on": digest.hexdigest(),
                "reworded": before is not None and before.reworded,
                "attempts": untrusted.attempts(reply),
                "minded": {name: words for name, words in told.items() if words},
                "protocol": check(reply, answer.messages),
                "secrets": dict(sorted(scrub(reply).counts.items())),
                "contaminated": self.benchmarks.reason(record.instance_id, record.repo, record.commit, record.issue),
                "license": record.license,
                "license_refused": refused(record.license, self.settings) if commit is not None else "",
                "duplicates_of": before.duplicates_of if before is not None else "",
            }
        )

    def audit_rewrite(self, answer: Answer, rewrite: Candidate) -> Audit:
        """The same of a rewrite, which counts into the turn's own group of near-duplicates."""
        group = (answer.audit("challenger") or Audit()).duplicates_of
        return self.audit(answer.with_challenger(rewrite)).model_copy(update={"duplicates_of": group})

    def audit_file(self, path: Path, tally: AuditTally) -> None:
        """Audit one answer in place, unless its side has no reply yet, or it cannot be read."""
        try:
            answer = self.workspace.read(path, Answer)
            reply = getattr(answer, self.side)
            if not reply:
                tally.counts["without", ""] += 1
                return
            found = self.audit(answer)
            rewrites = answer.rewrites() if self.side == "challenger" else []
            audited = [one.model_copy(update={"audit": self.audit_rewrite(answer, one)}) for one in rewrites]
        except ItemError as error:
            tally.damage[path.stem] = error
            return
        if answer.audit(self.side) != found or audited != rewrites:
            answer.examine(self.side, found)
            for rewrite in audited:
                answer.put(rewrite)
            self.workspace.save(path, answer)
        self.count(tally, path, answer)
        tally.turns.append((path, hashed_words(reply), found.duplicates_of))

    def count(self, tally: AuditTally, path: Path, answer: Answer) -> None:
        if found := answer.audit(self.side):
            has_commit = self.workspace.commit_path(answer.instance_id).exists()
            tally.take(path.stem, answer.instance_id, found, self.settings, has_commit)

    def counted_again(self, tally: AuditTally) -> AuditTally:
        """`tally` of the audits as they now lie in the answers that it counted."""
        found = AuditTally(damage=tally.damage)
        found.counts["without", ""] = tally.counts["without", ""]
        for path, answer in self.workspace.answers([]):
            if path.stem not in tally.damage and getattr(answer, self.side):
                self.count(found, path, answer)
        return found


def audit_answers(examiner: Examiner) -> tuple[AuditTally, dict[str, str]]:
    """Audit every answer in place, unless it stands; what was found, and {stem: that of the turn it duplicates}."""
    tally = AuditTally()
    for told in _each_chunk(examiner):
        examiner.workspace.saves.take(told.saved)
        tally.add(told)
    turns = tally.turns
    groups = similar_groups([words for _, words, _ in turns], examiner.settings.audit.near_duplicate)
    duplicates = {turns[i][0].stem: turns[first][0].stem for i, first in sorted(groups.items())}
    for path, _, before in turns:
        group = duplicates.get(path.stem, "")
        if before != group:
            answer = examiner.workspace.read(path, Answer)
            audit = answer.audit(examiner.side) or Audit()
            answer.examine(examiner.side, audit.model_copy(update={"duplicates_of": group}))
            examiner.workspace.save(path, answer)
    return tally, duplicates


def _each_chunk(examiner: Examiner) -> Iterator[AuditTally]:
    paths = examiner.workspace.answer_paths()
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    if len(paths) < FEW:
        return map(partial(_audit_chunk, examiner), chunks)
    return spread(_audit_chunk, chunks, len(chunks), partial(_examiner_apart, examiner, background()))


def _examiner_apart(examiner: Examiner, known: Counter[str]) -> Examiner:
    BACKGROUND.update(known - BACKGROUND)
    return examiner


def _audit_chunk(examiner: Examiner, paths: list[Path]) -> AuditTally:
    tally = AuditTally()
    with examiner.workspace.saves.apart() as tally.saved:
        for path in paths:
            examiner.audit_file(path, tally)
    return tally


def summary(
    tally: AuditTally, settings: Settings, side: Side, benchmarks: Benchmarks, duplicates: Mapping[str, str]
) -> dict[str, Any]:
    """`report/audit.json`. `duplicates` is {file stem of a turn: that of the turn which stands for it}."""
    counts, without, audited = tally.counts, tally.counts["without", ""], tally.counts["audited", ""]
    problems = {rule: count for rule, count in tally.kinds("protocol").items() if rule != "ok"}
    auditor = {kind: counts["auditor", kind] for kind in ("asked", "claiming")}
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
        "auditor": {"model": settings.audit.auditor, **auditor},
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
    rows = [("check", "turns", "what was found"), *_rows(summary)]
    widths = [max(len(str(row[column])) for row in rows) for column in (0, 1)]
    lines = [f"{check:<{widths[0]}}  {turns!s:>{widths[1]}}  {found}".rstrip() for check, turns, found in rows]
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
