"""Chance that depends on nothing but its inputs, and the draw of files."""

import hashlib
from collections import deque
from collections.abc import Callable, Sequence


def chance(*parts: object) -> float:
    """A number in [0, 1) made of `parts` alone: the same on every machine and in whatever order the work is done."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return (int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 11) / 2**53


def shuffled(seed: int, what: str, names: Sequence[str]) -> list[str]:
    """`names` in a random order of their own: a name keeps its place among the others when more are added."""
    return sorted(names, key=lambda name: (chance(seed, what, name), name))


def draw_files(
    names: Sequence[str], wanted: int, seed: int, rows: Callable[[str], int], reading: Callable[[str], None]
) -> list[str]:
    """Draw `wanted` files without replacement, each draw in proportion to the rows of the files that are left.

    `rows(name)` may cost a download, so it is asked of few files only: candidates come in a random order, and one is
    accepted with probability rows / most rows seen, else it goes back to the end. Where nearly all files are equally
    long, as in the dataset, that looks at little more than `wanted` files and is exactly the draw by rows; the first
    `wanted` candidates are looked at before any is decided on, so that a short one does not pass for a long one.
    Files without rows are never drawn. `reading(name)` is told of each draw.
    """
    queue = deque(shuffled(seed, "file", names))
    most = max((rows(name) for name in list(queue)[:wanted]), default=0) if len(queue) > wanted else 0
    drawn: list[str] = []
    attempt = 0
    while queue and len(drawn) < wanted:
        attempt += 1
        name = queue.popleft()
        count = rows(name)
        most = max(most, count)
        if not count:
            continue
        if len(queue) + len(drawn) < wanted or chance(seed, "accept", name, attempt) * most < count:
            drawn.append(name)
            reading(name)
        else:
            queue.append(name)
    return drawn
