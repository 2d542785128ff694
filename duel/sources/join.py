"""Whether a rollout and a pull request belong together: the free check of the join."""

from __future__ import annotations

import re

_BASE_COMMIT = re.compile(r"^\s*[-*]\s*Base commit:\s*`?([0-9a-fA-F]{7,64})`?\s*$", re.MULTILINE)


def mismatch(task: str, base_commit: str, problem_statement: str) -> str:
    """Why the rollout's task (its first user message) is not the pull request's, as a slug; "" where it is.

    The base commit is compared where the task names one (mini-swe-agent's own template does not), the issue text
    wherever the pull request has one, with all white space alike, since templates indent and wrap.
    """
    named = [commit.lower() for commit in _BASE_COMMIT.findall(task)]
    if named and base_commit and not any(_same(commit, base_commit.lower()) for commit in named):
        return "base-commit-differs"
    if problem_statement and _flat(problem_statement) not in _flat(task):
        return "issue-differs"
    return ""


def _same(one: str, other: str) -> bool:
    """True for equal hashes, one of which may be abbreviated."""
    return one.startswith(other) or other.startswith(one)


def _flat(text: str) -> str:
    return " ".join(text.split())
