"""What an audit rests on, as fingerprints: where none has changed, its findings stand."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from duel import standing
from duel.audit import outside_checks
from duel.records import Answer, Commit
from duel.settings import Settings

if TYPE_CHECKING:
    from duel.audit.contamination import Benchmarks


def ground(settings: Settings, benchmarks: Benchmarks) -> bytes:
    """What every turn's audit rests on: this program, `[audit]`, and the lists of benchmarks."""
    digest = hashlib.blake2b(standing.program(), digest_size=16)
    digest.update(settings.audit.model_dump_json().encode())
    digest.update(outside_checks.program())
    digest.update(repr((benchmarks.digests, benchmarks.unchecked)).encode())
    return digest.digest()


def of_turn(base: bytes, reply: str, answer: Answer, commit: Commit | None) -> str:
    """What the audit of one reply rests on: `base`, the reply, its history and its pull request."""
    digest = hashlib.blake2b(base, digest_size=8)
    digest.update(commit.dump() if commit is not None else b"")
    for text in (reply, *(part for message in answer.messages for part in (message.role, message.content))):
        digest.update(b"\0" + text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
