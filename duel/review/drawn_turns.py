"""Which turns people are asked about: a seeded order in which every prefix is a probability sample.

First one turn of each pull request, pull requests in random order; once all have one, a second turn of each, and so on.
A larger sample contains every smaller one, so raters may stop early and further raters may go on where others end.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping


def sequence(turns: Mapping[str, str], seed: int) -> list[str]:
    """The names of `turns` {name: pull request} in the order in which they are drawn."""
    pulls: dict[str, list[str]] = {}
    for name in sorted(turns, key=lambda name: _place(seed, "turn", name)):
        pulls.setdefault(turns[name], []).append(name)
    ranked = [
        (rank, _place(seed, "pull", pull), name) for pull, names in pulls.items() for rank, name in enumerate(names)
    ]
    return [name for _, _, name in sorted(ranked)]


def chances(turns: Mapping[str, str], count: int) -> dict[str, float]:
    """The chance of each turn to be among the first `count` of the sequence, over all seeds; exact."""
    size = Counter(turns.values())
    whole, rest = 0, 0.0
    left = min(count, len(turns))
    while left > 0:
        open_pulls = sum(1 for turns_of_pull in size.values() if turns_of_pull > whole)
        if left < open_pulls:
            rest = left / open_pulls
            break
        whole, left = whole + 1, left - open_pulls
    of_size = {n: (min(n, whole) + rest * (n > whole)) / n for n in set(size.values())}
    return {name: of_size[size[pull]] for name, pull in turns.items()}


def _place(seed: int, kind: str, name: str) -> bytes:
    return hashlib.sha256(f"duel-review:{seed}:{kind}:{name}".encode("utf-8", "surrogatepass")).digest()
