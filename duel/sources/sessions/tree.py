"""Session trees: entries that name their parent, the active branch, and the branches that were left."""

from collections.abc import Callable, Iterable, Iterator, Mapping


def path(parents: Mapping[str, str | None], leaf: str) -> list[str]:
    """The ids from the root to `leaf`. A parent that is not there ends the walk, and so does a circle."""
    walked: dict[str, None] = {}
    at: str | None = leaf
    while at is not None and at in parents and at not in walked:
        walked[at] = None
        at = parents[at]
    return list(walked)[::-1]


def branches(
    parents: Mapping[str, str | None],
    leaf: str,
    all_branches: bool,
    widened: Callable[[list[str]], Iterable[str]] = list,
) -> Iterator[tuple[str, list[str]]]:
    """(name, ids) of the branch that ends on `leaf`, named "", then on request of each that tells something new.

    `widened` adds to a path what belongs to it.
    """
    told: set[str] = set()
    inner = {parent for parent in parents.values() if parent is not None}
    others = [entry for entry in parents if entry not in inner] if all_branches else []
    for number, end in enumerate([leaf, *others]):
        if number and end.startswith("hole"):  # nothing can be read behind it
            continue
        ids = list(widened(path(parents, end)))
        if not number or set(ids) - told:
            told |= set(ids)
            yield f"branch-{number}" if number else "", ids
