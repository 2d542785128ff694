"""Auditing the answers of a workspace: each turn by itself, on all cores, then all of them against each other."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from duel import standing, untrusted
from duel.audit import outside_checks
from duel.audit.contamination import Benchmarks
from duel.audit.duplicates import hashed_words, similar_groups
from duel.audit.leaks import Leaks, find_leaks
from duel.audit.licenses import refused
from duel.audit.processes import spread
from duel.audit.protocol import check
from duel.audit.rarity import Rarity, background, take_background
from duel.audit.secrets import scrub
from duel.errors import ItemError
from duel.records import Answer, Audit, Candidate, Commit, Side
from duel.settings import Settings
from duel.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK = 50  # answers that one process takes at a time
KEPT_COMMITS = 64
FEW = 500  # workspaces smaller than this are audited in one process: starting others takes longer (0.7 s)


def ground(settings: Settings, benchmarks: Benchmarks) -> bytes:
    """What every turn's audit rests on: this program, `[audit]`, and the lists of benchmarks."""
    digest = hashlib.blake2b(standing.program(), digest_size=16)
    digest.update(settings.audit.model_dump_json().encode())
    digest.update(outside_checks.program())
    digest.update(repr((benchmarks.digests, benchmarks.unchecked)).encode())
    return digest.digest()


def _rests_on(base: bytes, reply: str, answer: Answer, commit: Commit | None) -> str:
    """What the audit of one reply rests on: `base`, the reply, its history and its pull request."""
    digest = hashlib.blake2b(base, digest_size=8)
    digest.update(commit.dump() if commit is not None else b"")
    for text in (reply, *(part for message in answer.messages for part in (message.role, message.content))):
        digest.update(b"\0" + text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


@dataclass(frozen=True)
class Examiner:
    """What every turn is held against."""

    workspace: Workspace
    settings: Settings
    side: Side
    rarity: Rarity
    benchmarks: Benchmarks
    base: bytes  # what all audits rest on; a turn's own texts are added to it
    _kept: dict[str, Commit | None] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, workspace: Workspace, settings: Settings, side: Side, benchmarks: Benchmarks) -> Examiner:
        rarity = Rarity.of_workspace(workspace)
        base = ground(settings, benchmarks) + rarity.digest()
        return cls(workspace, settings, side, rarity, benchmarks, base)

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
        rests_on = _rests_on(self.base, reply, answer, commit)
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
        turn = answer.audit("challenger")
        group = turn.duplicates_of if turn is not None else ""
        return self.audit(answer.with_challenger(rewrite)).model_copy(update={"duplicates_of": group})


@dataclass
class AuditedTurn:
    path: Path
    instance_id: str
    found: Audit
    words: NDArray[np.uint32]
    has_commit: bool = True
    duplicate_of: str = ""


@dataclass
class Audited:
    turns: list[AuditedTurn] = field(default_factory=list)
    without: int = 0  # answers that have no reply of this side yet
    damage: list[ItemError] = field(default_factory=list)


def audit_answers(examiner: Examiner) -> Audited:
    """Audit every answer and save its `audit`. A file whose audit is what it was keeps its bytes."""
    audited = Audited()
    for result in _each_chunk(examiner):
        for turn in result:
            if isinstance(turn, AuditedTurn):
                audited.turns.append(turn)
            elif isinstance(turn, ItemError):
                audited.damage.append(turn)
            else:
                audited.without += 1
    _mark_duplicates(examiner, audited.turns)
    return audited


def audit_file(examiner: Examiner, path: Path) -> AuditedTurn | ItemError | None:
    """Audit one answer in place. None where its side has no reply yet; an ItemError where it cannot be read."""
    try:
        answer = examiner.workspace.read(path, Answer)
        reply = getattr(answer, examiner.side)
        if not reply:
            return None
        found = examiner.audit(answer)
        rewrites = answer.rewrites() if examiner.side == "challenger" else []
        audits = [(rewrite, examiner.audit_rewrite(answer, rewrite)) for rewrite in rewrites]
    except ItemError as error:
        return error
    changed = [answer.audit(examiner.side) != found, *(rewrite.audit != audit for rewrite, audit in audits)]
    if any(changed):
        answer.examine(examiner.side, found)
        for rewrite, audit in audits:
            answer.put(rewrite.model_copy(update={"audit": audit}))
        examiner.workspace.save(path, answer)
    has_commit = examiner.workspace.commit_path(answer.instance_id).exists()
    return AuditedTurn(path, answer.instance_id, found, hashed_words(reply), has_commit)


def _mark_duplicates(examiner: Examiner, turns: list[AuditedTurn]) -> None:
    """Write `duplicates_of` where it is not yet what it should be."""
    found = similar_groups([turn.words for turn in turns], examiner.settings.audit.near_duplicate)
    for i, turn in enumerate(turns):
        turn.duplicate_of = turns[found[i]].path.stem if i in found else ""
        if turn.found.duplicates_of != turn.duplicate_of:
            turn.found.duplicates_of = turn.duplicate_of
            answer = examiner.workspace.read(turn.path, Answer)
            answer.examine(examiner.side, turn.found)
            examiner.workspace.save(turn.path, answer)


# -- processes -----------------------------------------------------------------------------------------------------

_EXAMINER: list[Examiner] = []


def _each_chunk(examiner: Examiner) -> Iterator[list[AuditedTurn | ItemError | None]]:
    """The audits of the answers, some at a time; what was saved for them counts as saved by this process."""
    paths = examiner.workspace.answer_paths()
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    processes = min(len(chunks), os.cpu_count() or 1)
    if len(paths) < FEW or processes < 2:
        _EXAMINER[:] = [examiner]
        results: Iterator[tuple[list[AuditedTurn | ItemError | None], Counter[str]]] = map(_audit_chunk, chunks)
    else:
        results = spread(_audit_chunk, chunks, processes, _prepare, (examiner, background()))
    for found, saved in results:
        examiner.workspace.saves.take(saved)
        yield found


def _prepare(examiner: Examiner, known: Counter[str]) -> None:
    _EXAMINER[:] = [examiner]
    take_background(known)


def _audit_chunk(paths: list[Path]) -> tuple[list[AuditedTurn | ItemError | None], Counter[str]]:
    """The audits, and what saving them added to the sums of the files."""
    with _EXAMINER[0].workspace.saves.apart() as saved:
        return [audit_file(_EXAMINER[0], path) for path in paths], saved
