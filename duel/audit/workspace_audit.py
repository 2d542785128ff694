"""Auditing the answers of a workspace: each turn by itself, on all cores, then all of them against each other."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from duel import standing, untrusted
from duel.audit import outside_checks
from duel.audit.audit_summary import AuditTally
from duel.audit.contamination import Benchmarks
from duel.audit.duplicates import hashed_words, similar_groups
from duel.audit.leaks import find_leaks
from duel.audit.licenses import refused
from duel.audit.protocol import check
from duel.audit.rarity import Rarity, background, take_background
from duel.audit.secrets import scrub
from duel.errors import ItemError
from duel.processes import spread
from duel.records import Answer, Audit, Candidate, Commit, Side, fingerprint
from duel.settings import Settings
from duel.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK = 50  # answers that one process takes at a time
FEW = 500  # workspaces smaller than this are audited in one process: starting others takes longer (0.7 s)


def ground(settings: Settings, benchmarks: Benchmarks) -> bytes:
    """What every turn's audit rests on: this program, `[audit]`, and the lists of benchmarks."""
    digest = hashlib.blake2b(standing.program(), digest_size=16)
    digest.update(settings.audit.model_dump_json().encode())
    digest.update(outside_checks.program())
    digest.update(repr((benchmarks.digests, benchmarks.unchecked)).encode())
    return digest.digest()


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
    def of(cls, workspace: Workspace, settings: Settings, side: Side, benchmarks: Benchmarks) -> Examiner:
        rarity = Rarity.of_workspace(workspace)
        base = ground(settings, benchmarks) + rarity.digest()
        return cls(workspace, settings, side, rarity, benchmarks, base)

    def audit(self, answer: Answer) -> Audit:
        """Everything that can be said of the turn of one side by itself: all but `duplicates_of`.

        An audit that rests on the very same texts, settings and lists is taken as it is.
        """
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
        return found.model_copy(
            update={
                "rests_on": digest.hexdigest(),
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
        group = (answer.audit("challenger") or Audit()).duplicates_of
        return self.audit(answer.with_challenger(rewrite)).model_copy(update={"duplicates_of": group})

    def count(self, tally: AuditTally, path: Path, answer: Answer) -> None:
        if found := answer.audit(self.side):
            has_commit = self.workspace.commit_path(answer.instance_id).exists()
            tally.take(path.stem, answer.instance_id, found, self.settings, has_commit)

    def counted_again(self, tally: AuditTally) -> AuditTally:
        """`tally` of the audits as they now lie in the answers that it counted."""
        found = AuditTally(damage=tally.damage, unread=tally.unread)
        found.counts["without", ""] = tally.counts["without", ""]
        for path, answer in self.workspace.answers([]):
            if path.stem not in tally.unread and getattr(answer, self.side):
                self.count(found, path, answer)
        return found


class Comparable(NamedTuple):
    """What is held of an audited turn, so that memory grows little with them: its words and its group so far."""

    words: NDArray[np.uint32]
    duplicates_of: str


def audit_answers(examiner: Examiner) -> tuple[AuditTally, dict[str, str]]:
    """Audit every answer and save its `audit`; returns what was found, and {stem: that of the turn it duplicates}.

    A file whose audit is what it was keeps its bytes.
    """
    tally = AuditTally()
    turns: list[tuple[Path, Comparable]] = []
    for paths, found, told in _each_chunk(examiner):
        tally.add(told)
        turns += [(path, turn) for path, turn in zip(paths, found, strict=True) if turn is not None]
    groups = similar_groups([turn.words for _, turn in turns], examiner.settings.audit.near_duplicate)
    duplicates = {turns[i][0].stem: turns[first][0].stem for i, first in sorted(groups.items())}
    for path, turn in turns:
        group = duplicates.get(path.stem, "")
        if turn.duplicates_of != group:
            answer = examiner.workspace.read(path, Answer)
            audit = answer.audit(examiner.side) or Audit()
            answer.examine(examiner.side, audit.model_copy(update={"duplicates_of": group}))
            examiner.workspace.save(path, answer)
    return tally, duplicates


def _audit_file(examiner: Examiner, path: Path, tally: AuditTally) -> Comparable | None:
    """Audit one answer in place. None where its side has no reply yet, or it cannot be read."""
    try:
        answer = examiner.workspace.read(path, Answer)
        reply = getattr(answer, examiner.side)
        if not reply:
            tally.counts["without", ""] += 1
            return None
        found = examiner.audit(answer)
        rewrites = answer.rewrites() if examiner.side == "challenger" else []
        audits = [(rewrite, examiner.audit_rewrite(answer, rewrite)) for rewrite in rewrites]
    except ItemError as error:
        tally.damage.append(error)
        tally.unread.add(path.stem)
        return None
    changed = [answer.audit(examiner.side) != found, *(rewrite.audit != audit for rewrite, audit in audits)]
    if any(changed):
        answer.examine(examiner.side, found)
        for rewrite, audit in audits:
            answer.put(rewrite.model_copy(update={"audit": audit}))
        examiner.workspace.save(path, answer)
    examiner.count(tally, path, answer)
    return Comparable(hashed_words(reply), found.duplicates_of)


# -- processes -----------------------------------------------------------------------------------------------------

_EXAMINER: list[Examiner] = []


def _each_chunk(examiner: Examiner) -> Iterator[tuple[list[Path], list[Comparable | None], AuditTally]]:
    """The audits of the answers, some at a time; what was saved for them counts as saved by this process."""
    paths = examiner.workspace.answer_paths()
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    processes = min(len(chunks), os.cpu_count() or 1)
    if len(paths) < FEW or processes < 2:
        _EXAMINER[:] = [examiner]
        results: Iterator[tuple[list[Comparable | None], AuditTally, Counter[str]]] = map(_audit_chunk, chunks)
    else:
        results = spread(_audit_chunk, chunks, processes, _prepare, (examiner, background()))
    for chunk, (found, tally, saved) in zip(chunks, results, strict=True):
        examiner.workspace.saves.take(saved)
        yield chunk, found, tally


def _prepare(examiner: Examiner, known: Counter[str]) -> None:
    _EXAMINER[:] = [examiner]
    take_background(known)


def _audit_chunk(paths: list[Path]) -> tuple[list[Comparable | None], AuditTally, Counter[str]]:
    tally = AuditTally()
    with _EXAMINER[0].workspace.saves.apart() as saved:
        return [_audit_file(_EXAMINER[0], path, tally) for path in paths], tally, saved
