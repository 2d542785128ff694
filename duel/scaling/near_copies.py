"""Near-duplicates among any number of rows: MinHash bands on disk, the exact rule on candidates.

Signatures come from rensa, one pass over the rows; a row keeps one 64-bit hash for each of its 42 bands (336 bytes, in
a file), so that memory holds one band at a time. With 256 hashes in bands of 6 a pair exactly at 0.85 shares no band
with a chance of 0.0006, and whatever shares one is decided by `duplicates.similarity`, which is never wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from duel.audit import duplicates

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HASHES, ROWS = 256, 6
BANDS = HASHES // ROWS
SEED = 20261126
CACHED = 40_000
"""Texts whose hashed words stay in memory: about 1.3 KB each with 300 words."""
AT_ONCE = 1_000


class Bands:
    """The bands of every row, as they come; `add` takes texts in order, `groups` gives what is alike."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_bytes(b"")
        self._waiting: list[list[str]] = []
        self.rows = 0

    def add(self, text: str) -> None:
        """Take in the next text."""
        self._waiting.append(_words(text))
        self.rows += 1
        if len(self._waiting) >= AT_ONCE:
            self._write()

    def _write(self) -> None:
        import numpy as np
        from rensa import RMinHash

        if not self._waiting:
            return
        found = RMinHash.digest_matrix_from_token_sets(self._waiting, num_perm=HASHES, seed=SEED).to_rows()
        signatures = np.array(found, np.uint64)[:, : BANDS * ROWS].reshape(-1, BANDS, ROWS)
        bands = np.zeros(signatures.shape[:2], np.uint64)
        for row in range(ROWS):
            bands = (bands ^ signatures[:, :, row]) * np.uint64(0x9E3779B97F4A7C15)
            bands ^= bands >> np.uint64(29)
        with self._path.open("ab") as file:
            file.write(bands.tobytes())
        self._waiting = []

    def groups(self, positions: Sequence[int], text: Callable[[int], str], threshold: float) -> dict[int, int]:
        """{position: first position of its group} of each near-duplicate of an earlier one among `positions`.

        `text` gives the text of a position; it is asked for candidates only.
        """
        import numpy as np

        self._write()
        if not positions:
            return {}
        table = np.memmap(self._path, np.uint64, "r", shape=(self.rows, BANDS))
        chosen = np.array(positions)
        groups = duplicates.Groups(self.rows)
        words = _Words(text)
        for band in range(BANDS):
            for bucket in _buckets(table[chosen, band], chosen):
                duplicates.join_similar(bucket, words, threshold, groups)
        return {i: first for i in positions if (first := groups.find(i)) != i}


class _Words:
    """The hashed words of a position, read when they are asked for."""

    def __init__(self, text: Callable[[int], str]) -> None:
        self._of = lru_cache(maxsize=CACHED)(lambda i: duplicates.hashed_words(text(i)))

    def __getitem__(self, i: int, /) -> NDArray[np.uint32]:
        return self._of(i)


def _buckets(hashes: NDArray[np.uint64], positions: NDArray[np.int64]) -> Iterator[list[int]]:
    """The positions that share a hash, in order, two or more at a time."""
    import numpy as np

    order = np.argsort(hashes, kind="stable")
    ends = np.flatnonzero(np.diff(hashes[order])) + 1
    starts = np.concatenate(([0], ends))
    stops = np.concatenate((ends, [len(order)]))
    for start, stop in zip(starts[stops - starts > 1].tolist(), stops[stops - starts > 1].tolist(), strict=True):
        yield positions[order[start:stop]].tolist()


def _words(text: str) -> list[str]:
    """The words of a text; the second "the" differs from the first, as it does for the exact rule."""
    seen: dict[str, int] = {}
    words = []
    for word in text.encode("utf-8", "replace").decode().casefold().split():
        count = seen[word] = seen.get(word, -1) + 1
        words.append(f"{word}\0{count}" if count else word)
    return words
