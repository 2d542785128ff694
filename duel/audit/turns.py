"""Auditing the answers of a workspace: each turn by itself, on all cores, then all of them against each other."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duel import placement, untrusted
from duel.audit import outside_checks, unchanged
from duel.audit.contamination import Benchmarks
from duel.audit.duplicates import hashed_words, similar_groups
from duel.audit.leaks import Leaks, find_leaks
from duel.audit.licenses import refused
from duel.audit.processes import spread
from duel.audit.protocol import check
from duel.audit.rarity import Rarity, background, take_background
from duel.audit.secrets import scrub
from duel.errors import ItemError
from duel.records import Answer, Audit, Commit, Side
from duel.settings import Settings
from duel.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK = 50
"""Answers that one process takes at a time."""
KEPT_COMMITS = 64
FEW = 500
"""Workspaces smaller than this are audited in one process: starting others takes longer (0.7 s)."""


@dataclass(frozen=True)
class Auditor:
    """What every turn is held against."""

    workspace: Workspace
    settings: Settings
    side: Side
    rarity: Rarity
    benchmarks: Benchmarks
    _base: bytes = b""
    """What all audits rest on; a turn's own texts are added to it."""
    _kept: dict[str, Commit | None] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        base = unchanged.ground(self.settings, self.benchmarks) + self.rarity.digest()
        object.__setattr__(self, "_base", base)

    def _commit(self, instance_id: str) -> Commit | None:
        """The pull request of a turn; the last ones are kept, since several turns can share one."""
        if instance_id not in self._kept:
            if len(self._kept) >= KEPT_COMMITS:
                self._kept.clear()
            self._kept[instance_id] = self.workspace.commit(instance_id)
        return self._kept[instance_id]

    def audit(self, answer: Answer) -> Audit:
        """Everything that can be said of the turn of one side by itself: all but `duplicates_of`.

        An audit that rests on the very same texts, settings and lists is taken as it is.
        """
        commit = self._commit(answer.instance_id)
        reply = str(getattr(answer, self.side))
        before = answer.audit(self.side)
        rests_on = unchanged.of_turn(self._base, reply, answer, commit)
        if before is not None and before.rests_on == rests_on:
            return before.model_copy()
        leaks = Leaks()
        if commit is not None:
            leaks = find_leaks(reply, answer.messages, commit, self.rarity, self.settings.audit.leak_max)
        record = commit or Commit(instance_id=answer.instance_id)
        return leaks.audit(reply).model_copy(
            update={
                "rests_on": rests_on,
                "reworded": before is not None and before.reworded,
                "attempts": untrusted.attempts(reply),
                "minded": outside_checks.minded(reply, answer, commit),
                "protocol": check(reply, answer.messages).record(),
                "secrets": dict(sorted(scrub(reply).counts.items())),
                "contaminated": self.benchmarks.reason(record.instance_id, record.repo, record.commit, record.issue),
                "license": record.license,
                "license_refused": refused(record.license, self.settings) if commit is not None else "",
                "duplicates_of": before.duplicates_of if before is not None else "",
            }
        )


@dataclass(frozen=True)
class Findings:
    """What an audit says of a whole workspace."""

    summary: dict[str, Any]
    """`report/audit.json`."""
    dropped: list[Mapping[str, Any]]
    """Rows for `report/dropped.jsonl`: the turns that cannot be kept."""
    damage: list[ItemError] = field(default_factory=list)


def audit_workspace(workspace: Workspace, settings: Settings, side: Side, benchmarks: Benchmarks) -> Findings:
    """Audit one side of every answer, in place. Where nothing has changed since the last audit, nothing is read."""
    base = unchanged.ground(settings, benchmarks).hex() + unchanged.files([workspace.root / "commit"])
    known = unchanged.last(workspace, side, base + unchanged.files(workspace.answer_folders()))
    if known is not None:
        return Findings(known["summary"], known["dropped"])
    auditor = Auditor(workspace, settings, side, Rarity.of_workspace(workspace), benchmarks)
    audited = audit_answers(auditor)
    found = Findings(summarize(audited, auditor), dropped_rows(audited, settings), audited.damage)
    if not audited.damage:
        key = base + unchanged.files(workspace.answer_folders())
        unchanged.remember(workspace, side, key, {"summary": found.summary, "dropped": found.dropped})
    return found


@dataclass
class Turn:
    """What is remembered of one audited turn."""

    path: Path
    instance_id: str
    found: Audit
    words: NDArray[np.uint32]
    has_commit: bool = True
    duplicate_of: str = ""


@dataclass
class Audited:
    """All audited turns of a workspace."""

    turns: list[Turn] = field(default_factory=list)
    without: int = 0
    """Answers that have no reply of this side yet."""
    damage: list[ItemError] = field(default_factory=list)


def audit_answers(auditor: Auditor) -> Audited:
    """Audit every answer and save its `audit`. A file whose audit is what it was keeps its bytes."""
    audited = Audited()
    for result in _each_chunk(auditor):
        for turn in result:
            if isinstance(turn, Turn):
                audited.turns.append(turn)
            elif isinstance(turn, ItemError):
                audited.damage.append(turn)
            else:
                audited.without += 1
    _mark_duplicates(auditor, audited.turns)
    return audited


def audit_file(auditor: Auditor, path: Path) -> Turn | ItemError | None:
    """Audit one answer in place. None where its side has no reply yet; an ItemError where it cannot be read."""
    try:
        answer = auditor.workspace.read(path, Answer)
        reply = getattr(answer, auditor.side)
        if not reply:
            return None
        found = auditor.audit(answer)
    except ItemError as error:
        return error
    if answer.audit(auditor.side) != found:
        answer.examine(auditor.side, found)
        auditor.workspace.save(path, answer)
    has_commit = auditor.workspace.commit_path(answer.instance_id).exists()
    return Turn(path, answer.instance_id, found, hashed_words(reply), has_commit)


def _mark_duplicates(auditor: Auditor, turns: list[Turn]) -> None:
    """Write `duplicates_of` where it is not yet what it should be."""
    found = similar_groups([turn.words for turn in turns], auditor.settings.audit.near_duplicate)
    for i, turn in enumerate(turns):
        turn.duplicate_of = turns[found[i]].path.stem if i in found else ""
        if turn.found.duplicates_of != turn.duplicate_of:
            turn.found.duplicates_of = turn.duplicate_of
            answer = auditor.workspace.read(turn.path, Answer)
            answer.examine(auditor.side, turn.found)
            auditor.workspace.save(turn.path, answer)


# -- processes -----------------------------------------------------------------------------------------------------

_AUDITOR: list[Auditor] = []


def _each_chunk(auditor: Auditor) -> Iterator[list[Turn | ItemError | None]]:
    """The results of all answers in their natural order."""
    paths = auditor.workspace.answer_paths()
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    processes = min(len(chunks), os.cpu_count() or 1)
    if len(paths) < FEW or processes < 2:
        _AUDITOR[:] = [auditor]
        return map(_audit_chunk, chunks)
    return spread(_audit_chunk, chunks, processes, _prepare, (auditor, background()))


def _prepare(auditor: Auditor, known: Counter[str]) -> None:
    _AUDITOR[:] = [auditor]
    take_background(known)


def _audit_chunk(paths: list[Path]) -> list[Turn | ItemError | None]:
    return [audit_file(_AUDITOR[0], path) for path in paths]


def summarize(audited: Audited, auditor: Auditor) -> dict[str, Any]:
    """`report/audit.json`: the same of every turn, counted."""
    turns = audited.turns
    scores = sorted(turn.found.leak_score for turn in turns)
    leaking = [turn for turn in turns if turn.found.leaking]
    duplicates = {turn.path.stem: turn.duplicate_of for turn in turns if turn.duplicate_of}
    contaminated = sorted({turn.instance_id for turn in turns if turn.found.contaminated})
    benchmarks = auditor.benchmarks
    return {
        "format": "duel-audit/1",
        "side": auditor.side,
        "turns": len(turns) + audited.without + len(audited.damage),
        "audited": len(turns),
        "without": audited.without,
        "without_commit": sum(not turn.has_commit for turn in turns),
        "damaged": [str(error) for error in audited.damage],
        "leak_max": auditor.settings.audit.leak_max,
        "leaking": len(leaking),
        "leaking_fraction": round(len(leaking) / len(turns), 6) if turns else None,
        "reworded_turns": [turn.path.stem for turn in turns if turn.found.reworded],
        "leaks_by_kind": _counted(kind for turn in turns for kind in {leak.kind for leak in turn.found.leaks}),
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
            "ok": sum(not broken_rules(turn) for turn in turns),
            "problems": _counted(rule for turn in turns for rule in broken_rules(turn)),
        },
        "styles": _counted(turn.found.protocol.style for turn in turns if turn.found.protocol),
        "duplicates": {
            "threshold": auditor.settings.audit.near_duplicate,
            "groups": len(set(duplicates.values())),
            "duplicates": len(duplicates),
            "of": duplicates,
        },
        "secrets": {
            "turns": sum(bool(turn.found.secrets) for turn in turns),
            **_counted(kind for turn in turns for kind, n in turn.found.secrets.items() for _ in range(n)),
        },
        "contamination": {
            "by": benchmarks.by,
            "checked": benchmarks.checked,
            "unchecked": benchmarks.unchecked,
            "contaminated": sum(bool(turn.found.contaminated) for turn in turns),
            "instances": contaminated,
        },
        "licenses": _counted(turn.found.license or "unknown" for turn in turns),
        "license_refused": _counted(turn.found.license_refused for turn in turns if turn.found.license_refused),
    }


def dropped_rows(audited: Audited, settings: Settings) -> list[Mapping[str, Any]]:
    """The turns that cannot be kept, each with its reason, for report/dropped.jsonl."""
    found = [(turn, placement.obstacle(turn.found, settings)) for turn in audited.turns]
    return [
        {"file": turn.path.stem, "instance_id": turn.instance_id, "reason": why.slug, "detail": why.reason}
        for turn, why in found
        if why is not None
    ]


def broken_rules(turn: Turn) -> set[str]:
    """The names of the rules that a turn breaks."""
    return {problem.rule for problem in turn.found.protocol.problems} if turn.found.protocol else set()


def _counted(values: Any) -> dict[str, int]:
    """{value: how often}, the most frequent first."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
