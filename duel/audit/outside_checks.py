"""Checks of an audit that other packages bring: a turn that one of them minds goes into no bucket.

[project.entry-points."duel.audit_check"]
no-sudo = "my_package:no_sudo"          # (reply, answer, commit) -> "", or what is wrong with the reply in words
"""

import inspect
from collections.abc import Callable
from pathlib import Path

from duel.records import Answer, Commit
from duel.registry import Registry

AuditCheck = Callable[[str, Answer, Commit | None], str]
CHECKS: Registry[AuditCheck] = Registry("audit_check")


def minded(reply: str, answer: Answer, commit: Commit | None) -> dict[str, str]:
    told = {name: check(reply, answer, commit) for name, check in CHECKS.items()}
    return {name: words for name, words in told.items() if words}


def program() -> bytes:
    """Names and sources of the checks: where one changes, turns are audited anew."""
    return b"".join(name.encode() + Path(inspect.getfile(check)).read_bytes() for name, check in CHECKS.items())
