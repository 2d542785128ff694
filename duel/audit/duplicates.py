"""Near-duplicates: turns that say the same in nearly the same words, found by MinHash and confirmed exactly.

Broder, "On the resemblance and containment of documents", 1997; Leskovec et al., "Mining of Massive Datasets", ch. 3.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from duel.workspace import natural_order

Hashed: TypeAlias = NDArray[np.uint32]

HASHES = 64  # hash functions of a signature: 256 bytes a turn, 0.1 ms for 300 words
MISSED = 0.006  # largest chance that a pair exactly at the threshold shares no band; above it the chance is smaller
COMPARED = 16  # groups of a bucket that a turn is compared with; there are more only where turns are alike anyway
_SEED = 20261121


def near_duplicates(items: Iterable[tuple[str, str]], threshold: float) -> dict[str, str]:
    """For each near-duplicate its representative: {key: representative's key}, only for those that are duplicates.

    `items` are (key, text) in any order; the result does not depend on it. Two texts are near-duplicates when at least
    `threshold` of their words are common to both (`similarity`), directly or through others; the representative is the
    first key of its group in natural order.
    """
    hashed = sorted(((key, hashed_words(text)) for key, text in items), key=lambda item: natural_order(item[0]))
    found = similar_groups([words for _, words in hashed], threshold)
    return {hashed[i][0]: hashed[first][0] for i, first in found.items()}


def similar_groups(words: list[Hashed], threshold: float) -> dict[int, int]:
    """{position: the first position of its group} for every text that is a near-duplicate of an earlier one."""
    # MinHash estimates the Jaccard similarity j; with s = 2j / (1 + j), a bound on one is a bound on the other.
    jaccard = threshold / (2 - threshold)
    # The most rows a band may have, so that a pair of this similarity is missed with a chance of `MISSED` at most.
    rows = next(n for n in range(16, 0, -1) if n == 1 or (1 - jaccard**n) ** (HASHES // n) <= MISSED)
    groups, signatures = Groups(len(words)), _signatures(words)
    for start in range(0, HASHES - rows + 1, rows):
        buckets: defaultdict[bytes, list[int]] = defaultdict(list)
        for i, band in enumerate(np.ascontiguousarray(signatures[:, start : start + rows])):
            buckets[band.tobytes()].append(i)
        for bucket in buckets.values():
            join_similar(bucket, words.__getitem__, threshold, groups)
    return {i: first for i in range(len(words)) if (first := groups.find(i)) != i}


def hashed_words(text: str) -> Hashed:
    """A text as the sorted 32-bit hashes of its words, casefolded; the second "the" differs from the first."""
    folded = text.casefold()
    # bytes are split as text is where all are ASCII, and need not be encoded one by one
    words = folded.encode().split() if text.isascii() else [word.encode("utf-8", "replace") for word in folded.split()]
    counts = Counter(words)
    hashes = set(map(zlib.crc32, counts))
    hashes.update(zlib.crc32(word, again) for word, count in counts.items() for again in range(1, count))
    return np.sort(np.fromiter(hashes, dtype=np.uint32, count=len(hashes)))


def similarity(first: Hashed, second: Hashed) -> float:
    """The share of words that two texts have in common (Sørensen-Dice); 1.0 for two empty ones.

    It falls by one part in a hundred for each word in a hundred that is changed, however short the text. The Jaccard
    similarity falls twice as fast: half of 1,250 real turns have fewer than 37 words, and with 5 % of the words changed
    it missed one copy in five at 0.85.
    """
    both = len(first) + len(second)
    return 2 * len(np.intersect1d(first, second, assume_unique=True)) / both if both else 1.0


def _signatures(words: list[Hashed]) -> Hashed:
    """MinHash signatures, shape (turns, HASHES): the least multiply-shift hash over a turn's words, per function."""
    random = np.random.default_rng(_SEED)
    factors = random.integers(1, 1 << 63, size=(HASHES, 1), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    offsets = random.integers(0, 1 << 63, size=(HASHES, 1), dtype=np.uint64)
    signatures = np.full((len(words), HASHES), 0xFFFFFFFF, dtype=np.uint32)
    with np.errstate(over="ignore"):
        for i, hashes in enumerate(words):
            for start in range(0, len(hashes), 4096):
                part = hashes[start : start + 4096].astype(np.uint64)
                least = ((factors * part + offsets) >> np.uint64(32)).min(axis=1).astype(np.uint32)
                np.minimum(signatures[i], least, out=signatures[i])
    return signatures


def join_similar(bucket: list[int], words: Callable[[int], Hashed], threshold: float, groups: Groups) -> None:
    """`words` gives the hashed words of the text at a position."""
    members: dict[int, int] = {}
    for i in bucket:
        for other in islice(members.values(), COMPARED):
            if groups.find(i) == groups.find(other):
                break
            if similarity(words(i), words(other)) >= threshold:
                groups.join(i, other)
                break
        members.setdefault(groups.find(i), i)


class Groups:
    """Disjoint sets of positions; the smallest position stands for its set."""

    def __init__(self, size: int) -> None:
        self._parents = list(range(size))

    def find(self, i: int) -> int:
        while self._parents[i] != i:
            self._parents[i] = self._parents[self._parents[i]]
            i = self._parents[i]
        return i

    def join(self, first: int, second: int) -> None:
        low, high = sorted((self.find(first), self.find(second)))
        self._parents[high] = low
