"""Near-duplicates: turns that say the same in nearly the same words, found by MinHash and confirmed exactly.

Broder, "On the resemblance and containment of documents", 1997; Leskovec et al., "Mining of Massive Datasets", ch. 3.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from duel.workspace import natural_order

Hashed: TypeAlias = NDArray[np.uint32]
BandHashes: TypeAlias = NDArray[np.uint64]

HASHES = 64  # hash functions of a signature: 6 µs for 300 words
MISSED = 0.006  # largest chance that a pair exactly at the threshold shares no band; above it the chance is smaller
COMPARED = 16  # groups of a bucket that a turn is compared with; there are more only where turns are alike anyway
CHUNK = 2000  # texts whose signatures are made at a time
SEED = 20261126
_ODD = 0x9E3779B97F4A7C15


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

    def repeats(self, positions: Iterable[int]) -> dict[int, int]:
        """{position: the first of its group} for each of `positions` that is not the first itself."""
        return {i: first for i in positions if (first := self.find(i)) != i}


def near_duplicates(items: Iterable[tuple[str, str]], threshold: float) -> dict[str, str]:
    """{key of each near-duplicate: the first key of its group in natural order} of (key, text) in any order.

    Texts are near-duplicates when their `similarity` is at least `threshold`, directly or through others.
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
    groups, positions = Groups(len(words)), np.arange(len(words))
    parts = [bands_of(words[start : start + CHUNK], HASHES, rows) for start in range(0, len(words), CHUNK)]
    for band in np.concatenate(parts).T if parts else ():
        join_similar(band, positions, words.__getitem__, threshold, groups)
    return groups.repeats(positions.tolist())


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

    Jaccard falls twice as fast: with 5 % of the words of 1,250 real turns changed it missed one copy in five at 0.85.
    """
    both = len(first) + len(second)
    return 2 * len(np.intersect1d(first, second, assume_unique=True)) / both if both else 1.0


def bands_of(texts: Sequence[Hashed], hashes: int, rows: int) -> BandHashes:
    """One hash for each band of `rows` rows of each text's MinHash signature of `hashes`, shape (texts, bands)."""
    from rensa import RMinHash

    bands = hashes // rows
    if not texts:
        return np.zeros((0, bands), np.uint64)
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.uint64)
    # rensa's permutations want 64 mixed bits, and a checksum has 32
    tokens = np.concatenate(texts).astype(np.uint64) * np.uint64(_ODD)
    found = RMinHash.digest_matrix_from_flat_token_hashes(tokens, offsets, num_perm=hashes, seed=SEED).to_rows()
    signatures = np.array(found, np.uint64)[:, : bands * rows].reshape(-1, bands, rows)
    mixed = np.zeros(signatures.shape[:2], np.uint64)
    for row in range(rows):
        mixed = (mixed ^ signatures[:, :, row]) * np.uint64(_ODD)
        mixed ^= mixed >> np.uint64(29)
    return mixed


def join_similar(
    band: BandHashes, positions: NDArray[np.int64], words: Callable[[int], Hashed], threshold: float, groups: Groups
) -> None:
    """Join what is alike of the texts at `positions` that share their hash in `band`; `words` gives one's words."""
    order = np.argsort(band, kind="stable")
    ends = np.flatnonzero(np.diff(band[order])) + 1
    starts, stops = np.concatenate(([0], ends)), np.concatenate((ends, [len(order)]))
    shared = stops - starts > 1
    for start, stop in zip(starts[shared].tolist(), stops[shared].tolist(), strict=True):
        members: dict[int, int] = {}
        for i in positions[order[start:stop]].tolist():
            for other in islice(members.values(), COMPARED):
                if groups.find(i) == groups.find(other):
                    break
                if similarity(words(i), words(other)) >= threshold:
                    groups.join(i, other)
                    break
            members.setdefault(groups.find(i), i)
