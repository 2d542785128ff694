"""How alike rows are: near-duplicates among any number of them, and how unlike each other synthetic requests are.

Near-duplicates are found by MinHash bands on disk, about 1.8 KB a row (for 300 words): memory holds one band at a time.
With 640 hashes in bands of 8 a pair at 0.85 shares no band with a chance of 0.0006; what shares one is decided by
`duplicates.similarity`, which is never wrong. With bands of 6 so many more pairs were compared at 40,000 rows that it
took five times as long.

Names alone fool most figures of diversity, so frames are counted with names masked. Thresholds lie where requests of
real users lie (BFCL v4 live: distinct-2 0.54, self-BLEU-4 0.27, 1.4 % near-duplicates, 99 % distinct frames); string
variation had 0.04, 0.89, 64 % and 21 %.
"""

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import exp, log
from pathlib import Path

import numpy as np

from duel.audit import duplicates
from duel.bookkeeping import LeftOut
from duel.scaling.scaled_rows import ScaledRow

HASHES, ROWS = 640, 8
SAMPLE, COMPARED, NEAR = 500, 200, 0.85
FRAME_SHARE = 0.002  # share of the rows that may be asked in one frame; at least one may
WANTED = {
    "distinct frames": (0.9, 1.0),
    "near-duplicates": (0.0, 0.02),
    "distinct-2": (0.5, 1.0),
    "self-BLEU-4": (0.0, 0.3),
    "with a failed call": (0.15, 0.25),
    "without a call": (0.05, 0.10),
}
"""The least and the most of each figure."""
_NAME = re.compile(r"\b\w*(?:[A-Z_./]\w*)+\b|[\w-]+(?:[./]\w+)+|\b\w*\d\w*\b")


class Bands:
    """The words and bands of every row, in order; `groups` gives what is alike."""

    def __init__(self, folder: Path) -> None:
        self._words = folder / "words"
        self._bands = [folder / f"band-{number}" for number in range(HASHES // ROWS)]
        for path in (self._words, *self._bands):
            path.write_bytes(b"")
        self._starts = array("q", [0])

    def add(self, words: Sequence[duplicates.Hashed], bands: duplicates.BandHashes) -> None:
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
        chosen = np.array(positions, np.int64)
        groups = duplicates.Groups(len(self._starts) - 1)
        with self._words.open("rb") as file:

            def words(i: int) -> duplicates.Hashed:
                """Read, not mapped: a map's pages would count as this process's memory."""
                file.seek(4 * self._starts[i])
                return np.frombuffer(file.read(4 * (self._starts[i + 1] - self._starts[i])), np.uint32)

            for band in self._bands:
                hashes = np.fromfile(band, np.uint64)[chosen]
                duplicates.join_similar(hashes, chosen, words, threshold, groups)
        return groups.repeats(positions)


def varied(rows: Iterable[ScaledRow], drops: LeftOut) -> Iterator[ScaledRow]:
    """Without requests that say the same in nearly the same words, and without more of one frame than its share."""
    rows = list(rows)
    alike = duplicates.similar_groups([duplicates.hashed_words(row.request()) for row in rows], NEAR)
    frames: Counter[str] = Counter()
    most = max(1, int(FRAME_SHARE * len(rows)))
    for place, row in enumerate(rows):
        frame = frame_of(row)
        if place in alike:
            drops.drop(row.id, row.source.name, "request-like-another", rows[alike[place]].id)
        elif frames[frame] >= most:
            drops.drop(row.id, row.source.name, "frame-used-up", frame)
        else:
            frames[frame] += 1
            yield row


def figures(rows: Sequence[ScaledRow]) -> dict[str, float]:
    requests = [row.request() for row in rows]
    words = [re.findall(r"\w+|[^\w\s]", text.lower()) for text in requests]
    pairs = [pair for text in words for pair in pairwise(text)]
    near = duplicates.similar_groups([duplicates.hashed_words(text) for text in requests], NEAR)
    total = len(rows)
    found = {
        "distinct frames": len({frame_of(row) for row in rows}) / total,
        "near-duplicates": len(near) / total,
        "distinct-2": len(set(pairs)) / max(1, len(pairs)),
        "self-BLEU-4": _self_bleu(words[:COMPARED]),
        "with a failed call": sum(bool(row.made.get("failed_calls")) for row in rows) / total,
        "without a call": sum(not row.calls() for row in rows) / total,
    }
    return {name: round(figure, 3) for name, figure in found.items()}


def missed(found: dict[str, float]) -> list[str]:
    told = {name: f"{name} is {found[name]:g}, wanted is {low:g} to {high:g}" for name, (low, high) in WANTED.items()}
    return [told[name] for name, (low, high) in WANTED.items() if not low <= found[name] <= high]


def frame_of(row: ScaledRow) -> str:
    """A request without what is particular to it: the names that its plan put in, and whatever else looks like one."""
    text = row.request()
    for name in sorted(row.made.get("names", ()), key=len, reverse=True):
        text = text.replace(name, "X")
    return _NAME.sub("X", text).replace("`", "").lower()


def _self_bleu(texts: list[list[str]]) -> float:
    """The mean BLEU-4 of each text against all others (Zhu et al., "Texygen", 2018)."""
    grams = [[Counter(zip(*(text[i:] for i in range(n)), strict=False)) for text in texts] for n in (1, 2, 3, 4)]
    scores = []
    for own in range(len(texts)):
        total = 0.0
        for of_length in grams:
            best: Counter[tuple[str, ...]] = Counter()
            for other in (*of_length[:own], *of_length[own + 1 :]):
                best |= other & of_length[own]
            total += log((sum(best.values()) + 1e-9) / max(1, sum(of_length[own].values())))
        scores.append(exp(total / 4))
    return sum(scores) / max(1, len(scores))
