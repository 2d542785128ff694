"""Session trees: entries that name their parent, the active branch, and the branches that were left."""

from __future__ import annotations

from collections.abc import Mapping


def path(parents: Mapping[str, str | None], leaf: str) -> list[str]:
    """The ids from the root to `leaf`. A parent that is not there ends the walk, and so does a circle."""
    walked: list[str] = []
    seen: set[str] = set()
    at: str | None = leaf
    while at is not None and at in parents and at not in seen:
        seen.add(at)
        walked.append(at)
        at = parents[at]
    return walked[::-1]


def leaves(parents: Mapping[str, str | None]) -> list[str]:
    """The ids that are nobody's parent, in the order in which they were written."""
    inner = {parent for parent in parents.values() if parent is not None}
    return [entry for entry in parents if entry not in inner]
