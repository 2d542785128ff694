"""Auditing the answers of a workspace: each turn by itself, on all cores, then all of them against each other.

Other packages bring checks of their own; a turn that one of them minds goes into no bucket:

[project.entry-points."duel.audit_check"]
no-sudo = "my_package:no_sudo"          # (reply, answer, commit) -> "", or what is wrong with the reply in words
"""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from duel import standing, untrusted
from duel.audit.audit_summary import AuditTally
from duel.audit.contamination import Benchmarks
from duel.audit.duplicates import Hashed, hashed_words, similar_groups
from duel.audit.leaks import find_leaks
from duel.audit.licenses import refused
from duel.audit.protocol import check
from duel.audit.rarity import Rarity, background, take_background
from duel.audit.secrets import scrub
from duel.errors import ItemError
from duel.processes import spread
from duel.records import Answer, Audit, Candidate, Commit, Side, fingerprint
from duel.registry import Registry
from duel.settings import Settings
from duel.workspace import Workspace

CHECKS: Registry[Callable[[str, Answer, Commit | None], str]] = Registry("audit_check")
CHUNK = 50  # answers that one process takes at a time
FEW = 500  # workspaces smaller than this are audited in one process: starting others takes longer (0.7 s)
# What is held of an audited turn, so that memory grows little with them: its file, its words, its group so far.
AuditedTurn: TypeAlias = tuple[Path, Hashed, str]


def ground(settings: Settings, benchmarks: Benchmarks) -> bytes:
    """What every turn's audit rests on: this program, `[audit]`, others' checks, and the lists of benchmarks."""
    digest = hashlib.blake2b(standing.program(), digest_size=16)
    digest.update(settings.audit.model_dump_json().encode())
    for name, other in CHECKS.items():
        digest.update(name.encode() + Path(inspect.getfile(sys.modules[other.__module__])).read_bytes())
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

    def audit_file(self, path: Path, tally: AuditTally) -> Iterator[AuditedTurn]:
        """Audit one answer in place, unless its side has no reply yet, or it cannot be read."""
        try:
            answer = self.workspace.read(path, Answer)
            reply = getattr(answer, self.side)
            if not reply:
                tally.counts["without", ""] += 1
                return
            found = self.audit(answer)
            rewrites = answer.rewrites() if self.side == "challenger" else []
            audits = [(rewrite, self.audit_rewrite(answer, rewrite)) for rewrite in rewrites]
        except ItemError as error:
            tally.damage[path.stem] = error
            return
        if answer.audit(self.side) != found or any(rewrite.audit != audit for rewrite, audit in audits):
            answer.examine(self.side, found)
            for rewrite, audit in audits:
                answer.put(rewrite.model_copy(update={"audit": audit}))
            self.workspace.save(path, answer)
        self.count(tally, path, answer)
        yield path, hashed_words(reply), found.duplicates_of

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
    turns: list[AuditedTurn] = []
    for found, told, saved in _each_chunk(examiner):
        examiner.workspace.saves.take(saved)
        tally.add(told)
        turns += found
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


# -- processes -----------------------------------------------------------------------------------------------------

_EXAMINER: list[Examiner] = []
# The turns of some answers, what was found in them, and what was saved.
_Chunk: TypeAlias = tuple[list[AuditedTurn], AuditTally, Counter[str]]


def _each_chunk(examiner: Examiner) -> Iterator[_Chunk]:
    paths = examiner.workspace.answer_paths()
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    processes = min(len(chunks), os.cpu_count() or 1)
    if len(paths) < FEW or processes < 2:
        _EXAMINER[:] = [examiner]
        return map(_audit_chunk, chunks)
    return spread(_audit_chunk, chunks, processes, _prepare, (examiner, background()))


def _prepare(examiner: Examiner, known: Counter[str]) -> None:
    _EXAMINER[:] = [examiner]
    take_background(known)


def _audit_chunk(paths: list[Path]) -> _Chunk:
    tally, [examiner] = AuditTally(), _EXAMINER
    with examiner.workspace.saves.apart() as saved:
        return [turn for path in paths for turn in examiner.audit_file(path, tally)], tally, saved
