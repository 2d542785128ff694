"""Auditing the answers of a workspace: each turn by itself, on all cores, then all of them against each other."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duel.audit.contamination import Benchmarks
from duel.audit.duplicates import hashed_words, similar_groups
from duel.audit.leaks import find_leaks
from duel.audit.licenses import refused
from duel.audit.protocol import check
from duel.audit.rarity import Rarity, background
from duel.audit.secrets import scrub
from duel.errors import ItemError
from duel.records import Answer, Commit, Side
from duel.settings import Settings
from duel.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK = 50
"""Answers that one process takes at a time."""
KEPT_COMMITS = 64
FEW = 300
"""Workspaces smaller than this are audited in one process: starting others takes longer (0.2 s)."""


@dataclass(frozen=True)
class Auditor:
    """What every turn is held against."""

    workspace: Workspace
    settings: Settings
    side: Side
    rarity: Rarity
    benchmarks: Benchmarks
    _kept: dict[str, Commit | None] = field(default_factory=dict, repr=False)

    def _commit(self, instance_id: str) -> Commit | None:
        """The pull request of a turn; the last ones are kept, since several turns can share one."""
        if instance_id not in self._kept:
            if len(self._kept) >= KEPT_COMMITS:
                self._kept.clear()
            self._kept[instance_id] = self.workspace.commit(instance_id)
        return self._kept[instance_id]

    def audit(self, answer: Answer) -> dict[str, Any]:
        """Everything that can be said of one turn by itself: the `audit` of its side, but for `duplicates_of`."""
        commit = self._commit(answer.instance_id)
        reply = getattr(answer, self.side)
        found: dict[str, Any] = {"side": self.side, "leaks": [], "leak_score": 0.0, "leaking": False}
        if commit is not None:
            leak_max = self.settings.audit.leak_max
            found |= find_leaks(reply, answer.messages, commit, self.rarity, leak_max).fields()
        record = commit or Commit(instance_id=answer.instance_id)
        return found | {
            "protocol": check(reply, answer.messages).fields(),
            "secrets": dict(sorted(scrub(reply).counts.items())),
            "contaminated": self.benchmarks.reason(record.instance_id, record.repo, record.commit, record.issue),
            "license": record.license,
            "license_refused": refused(record.license, self.settings) if commit is not None else "",
        }


@dataclass
class Turn:
    """What is remembered of one audited turn."""

    path: Path
    instance_id: str
    found: dict[str, Any]
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
    before = audit_of(answer, auditor.side)
    found["duplicates_of"] = before.get("duplicates_of", "")
    if before != found:
        _save(auditor, path, answer, found)
    summary = found | {"leaks": [(leak["kind"], leak["value"]) for leak in found["leaks"]]}
    has_commit = auditor.workspace.commit_path(answer.instance_id).exists()
    return Turn(path, answer.instance_id, summary, hashed_words(reply), has_commit)


def audit_of(answer: Answer, side: Side) -> dict[str, Any]:
    """What an answer's `audit` holds of one side: the top level is the challenger's, or the only one's there is."""
    if side == "challenger" or not answer.challenger:
        own = {key: value for key, value in answer.audit.items() if key not in ("king", "assistant")}
        return own if own.get("side", side) == side else {}
    kept = answer.audit.get(side)
    return dict(kept) if isinstance(kept, Mapping) else {}


def _save(auditor: Auditor, path: Path, answer: Answer, found: dict[str, Any]) -> None:
    if auditor.side == "challenger" or not answer.challenger:
        others = {key: answer.audit[key] for key in ("king", "assistant") if key in answer.audit}
        answer.audit = found | others
    else:
        answer.audit = answer.audit | {auditor.side: found}
    auditor.workspace.save(path, answer)


def _mark_duplicates(auditor: Auditor, turns: list[Turn]) -> None:
    """Write `duplicates_of` where it is not yet what it should be."""
    found = similar_groups([turn.words for turn in turns], auditor.settings.audit.near_duplicate)
    for i, turn in enumerate(turns):
        turn.duplicate_of = turns[found[i]].path.stem if i in found else ""
        if turn.found["duplicates_of"] != turn.duplicate_of:
            answer = auditor.workspace.read(turn.path, Answer)
            _save(auditor, turn.path, answer, audit_of(answer, auditor.side) | {"duplicates_of": turn.duplicate_of})


# -- processes -----------------------------------------------------------------------------------------------------

_AUDITOR: list[Auditor] = []


def _each_chunk(auditor: Auditor) -> Iterator[list[Turn | ItemError | None]]:
    """The results of all answers in their natural order."""
    paths = auditor.workspace.answer_paths()
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    processes = min(len(chunks), os.cpu_count() or 1)
    if len(paths) < FEW or processes < 2:
        _start(auditor)
        yield from map(_audit_chunk, chunks)
        return
    background()  # read once, before the processes part
    with ProcessPoolExecutor(processes, initializer=_start, initargs=(auditor, True)) as pool:
        try:
            yield from pool.map(_audit_chunk, chunks)
        except KeyboardInterrupt:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _start(auditor: Auditor, alone: bool = False) -> None:
    """Give a process what it needs. Ctrl-C is the parent's to handle: a chunk in work is finished."""
    if alone:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    _AUDITOR[:] = [auditor]


def _audit_chunk(paths: list[Path]) -> list[Turn | ItemError | None]:
    return [audit_file(_AUDITOR[0], path) for path in paths]


def summarize(audited: Audited, auditor: Auditor) -> dict[str, Any]:
    """`report/audit.json`: the same of every turn, counted."""
    turns = audited.turns
    scores = sorted(turn.found["leak_score"] for turn in turns)
    leaking = [turn for turn in turns if turn.found["leaking"]]
    duplicates = {turn.path.stem: turn.duplicate_of for turn in turns if turn.duplicate_of}
    contaminated = sorted({turn.instance_id for turn in turns if turn.found["contaminated"]})
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
        "leaks_by_kind": _counted(kind for turn in turns for kind in {kind for kind, _ in turn.found["leaks"]}),
        "leak_score_quantiles": {
            str(q): scores[min(len(scores) - 1, int(q * len(scores)))] for q in (0.5, 0.9, 0.99, 1.0) if scores
        },
        "leaking_turns": [
            {
                "file": turn.path.stem,
                "instance_id": turn.instance_id,
                "score": turn.found["leak_score"],
                "findings": [f"{kind} {value[:120]}" for kind, value in turn.found["leaks"][:5]],
            }
            for turn in sorted(leaking, key=lambda turn: -turn.found["leak_score"])[:200]
        ],
        "protocol": {
            "ok": sum(turn.found["protocol"]["ok"] for turn in turns),
            "problems": _counted(
                rule for turn in turns for rule in {problem["rule"] for problem in turn.found["protocol"]["problems"]}
            ),
        },
        "styles": _counted(turn.found["protocol"]["style"] for turn in turns),
        "duplicates": {
            "threshold": auditor.settings.audit.near_duplicate,
            "groups": len(set(duplicates.values())),
            "duplicates": len(duplicates),
            "of": duplicates,
        },
        "secrets": {
            "turns": sum(bool(turn.found["secrets"]) for turn in turns),
            **_counted(kind for turn in turns for kind, n in turn.found["secrets"].items() for _ in range(n)),
        },
        "contamination": {
            "by": benchmarks.by,
            "checked": benchmarks.checked,
            "unchecked": benchmarks.unchecked,
            "contaminated": sum(bool(turn.found["contaminated"]) for turn in turns),
            "instances": contaminated,
        },
        "licenses": _counted(turn.found["license"] or "unknown" for turn in turns),
        "license_refused": _counted(turn.found["license_refused"] for turn in turns if turn.found["license_refused"]),
    }


def dropped_rows(audited: Audited, settings: Settings) -> list[Mapping[str, Any]]:
    """The turns that cannot enter `final/`, each with its reasons, for report/dropped.jsonl."""
    rows: list[Mapping[str, Any]] = []
    for turn in audited.turns:
        found = turn.found
        reasons = [
            (
                "leak",
                found["leaking"] and settings.audit.enforce,
                ", ".join(value[:60] for _, value in found["leaks"][:3]),
            ),
            ("near-duplicate", turn.duplicate_of, f"of {turn.duplicate_of}"),
            ("contaminated", found["contaminated"], found["contaminated"]),
            ("licence", found["license_refused"], found["license_refused"]),
        ]
        rows += [
            {"file": turn.path.stem, "instance_id": turn.instance_id, "reason": reason, "detail": detail}
            for reason, holds, detail in reasons
            if holds
        ]
    return rows


def _counted(values: Any) -> dict[str, int]:
    """{value: how often}, the most frequent first."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
