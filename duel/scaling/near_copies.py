"""Near-duplicates among any number of rows: MinHash bands on disk, the exact rule on candidates.

About 1.8 KB a row lie on disk (for 300 words): memory holds one band at a time. With 640 hashes in bands of 8 a pair at
0.85 shares no band with a chance of 0.0006; what shares one is decided by `duplicates.similarity`, which is never
wrong. With bands of 6 so many more pairs were compared at 40,000 rows that it took five times as long.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from duel.audit import duplicates

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HASHES, ROWS = 640, 8
BANDS = HASHES // ROWS
SEED = 20261126
_ODD = 0x9E3779B97F4A7C15


def bands_of(texts: Sequence[NDArray[np.uint32]]) -> NDArray[np.uint64]:
    """One hash for each band of each text's signature, shape (texts, BANDS); a text is the hashes of its words."""
    import numpy as np
    from rensa import RMinHash

    if not texts:
        return np.zeros((0, BANDS), np.uint64)
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.uint64)
    # rensa's permutations want 64 mixed bits, and a checksum has 32
    tokens = np.concatenate(texts).astype(np.uint64) * np.uint64(_ODD)
    found = RMinHash.digest_matrix_from_flat_token_hashes(tokens, offsets, num_perm=HASHES, seed=SEED).to_rows()
    signatures = np.array(found, np.uint64)[:, : BANDS * ROWS].reshape(-1, BANDS, ROWS)
    bands = np.zeros(signatures.shape[:2], np.uint64)
    for row in range(ROWS):
        bands = (bands ^ signatures[:, :, row]) * np.uint64(_ODD)
        bands ^= bands >> np.uint64(29)
    return bands


class Bands:
    """The words and bands of every row, in order; `groups` gives what is alike."""

    def __init__(self, folder: Path) -> None:
        self._words = folder / "words"
        self._bands = [folder / f"band-{number}" for number in range(BANDS)]
        for path in (self._words, *self._bands):
            path.write_bytes(b"")
        self._starts = array("q", [0])

    def add(self, words: Sequence[NDArray[np.uint32]], bands: NDArray[np.uint64]) -> None:
        """Further rows; `bands` has a row for each of `words`."""
        for part in words:
            self._starts.append(self._starts[-1] + len(part))
        with self._words.open("ab") as file:
            file.writelines(part.tobytes() for part in words)
        for path, column in zip(self._bands, bands.T, strict=True):
            with path.open("ab") as file:
                file.write(column.tobytes())

    def groups(self, positions: Sequence[int], threshold: float) -> dict[int, int]:
        """{position: first position of its group} of each near-duplicate of an earlier one among `positions`."""
        import numpy as np

        if not positions:
            return {}
        chosen = np.array(positions)
        groups = duplicates.Groups(len(self._starts) - 1)
        with self._words.open("rb") as file:

            def words(i: int) -> NDArray[np.uint32]:
                """Read, not mapped: a map's pages would count as this process's memory."""
                file.seek(4 * self._starts[i])
                return np.frombuffer(file.read(4 * (self._starts[i + 1] - self._starts[i])), np.uint32)

            for band in self._bands:
                hashes = np.fromfile(band, np.uint64)[chosen]
                order = np.argsort(hashes, kind="stable")
                ends = np.flatnonzero(np.diff(hashes[order])) + 1
                starts, stops = np.concatenate(([0], ends)), np.concatenate((ends, [len(order)]))
                shared = stops - starts > 1
                for start, stop in zip(starts[shared].tolist(), stops[shared].tolist(), strict=True):
                    duplicates.join_similar(chosen[order[start:stop]].tolist(), words, threshold, groups)
        return {i: first for i in positions if (first := groups.find(i)) != i}
