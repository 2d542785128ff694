"""Panel and people side by side, as arrays: which votes count, and what people said of each judged turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from duel.judging.bounds import choose
from duel.judging.columns import Columns
from duel.judging.table import Table, mean
from duel.records import DIMENSIONS, Score
from duel.review.people import PersonVote
from duel.settings import Settings

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Labeled:
    """T parsed turns, R people, five dimensions. Values are from the challenger's side, 0, 0.5 or 1."""

    scores: Sequence[Score]
    table: Table
    raters: Sequence[str]
    said: Floats
    """(T, R, 5), NaN where a person has not voted; repeats are left out."""
    chance: Floats
    """(T,): of being drawn; 1 where nobody voted."""
    first: Sequence[PersonVote]
    """The votes that count."""
    repeats: Sequence[PersonVote]
    set_aside: Counter[str]
    skips: Sequence[PersonVote]
    settings: Settings

    @classmethod
    def of(cls, scores: Sequence[Score], votes: Iterable[PersonVote], settings: Settings) -> Labeled:
        """Line up the newest vote of each showing with the turns of `scores`; what does not count is counted by reason.

        A vote counts when it was drawn, has all dimensions, and is on the very texts that the panel judged.
        """
        parsed = [score for score in scores if score.parsed]
        place = {score.file: row for row, score in enumerate(parsed)}
        first: list[PersonVote] = []
        repeats: list[PersonVote] = []
        skips: list[PersonVote] = []
        aside: Counter[str] = Counter()
        for vote in newest(votes):
            if vote.skipped or vote.values is None:
                skips.append(vote)
            elif vote.drawn is None:
                aside["browsed"] += 1
            elif vote.item not in place:
                aside["not-judged"] += 1
            elif vote.pair != pair_of_score(parsed[place[vote.item]], vote.pair):
                aside["texts-changed"] += 1
            else:
                (repeats if vote.repeat else first).append(vote)
        aside["skipped"] = len(skips)
        raters = sorted({vote.rater for vote in first})
        said = np.full((len(parsed), len(raters), len(DIMENSIONS)), np.nan)
        chance = np.zeros(len(parsed))
        for vote in first:
            row = place[vote.item]
            said[row, raters.index(vote.rater)] = vote.values
            # Whoever came later drew from a longer sample: the turn's chance is that of the longest.
            chance[row] = max(chance[row], vote.drawn.probability if vote.drawn else 0.0)
        chance[chance == 0] = 1.0
        table = Table.of(Columns.of(parsed, settings.judge.models), settings)
        return cls(parsed, table, raters, said, chance, first, repeats, +aside, skips, settings)

    @cached_property
    def clusters(self) -> NDArray[np.intp]:
        """(T,): the gate's independent unit of each turn."""
        return choose(self.table.columns, self.table.parsed, self.settings)[0].codes

    @cached_property
    def place(self) -> dict[str, int]:
        """The row of each turn."""
        return {score.file: row for row, score in enumerate(self.scores)}

    @cached_property
    def people_by_metric(self) -> Floats:
        """(T, 5): the mean over people, NaN without a vote."""
        return mean(self.said, axis=1)

    @cached_property
    def by_person(self) -> Floats:
        """(T, R): each person's delta over the dimensions that count, NaN without a vote."""
        return np.asarray(self.said[:, :, self.table.keys].mean(2) - 0.5)

    @cached_property
    def people(self) -> Floats:
        """(T,): the mean delta over people, NaN without a vote."""
        return mean(self.by_person, axis=1)

    @cached_property
    def panel_by_metric(self) -> Floats:
        """(T, 5): the mean over the judges that count."""
        return mean(self.table.values, axis=1)

    @property
    def panel(self) -> Floats:
        """(T,): the panel's delta."""
        return self.table.deltas


def newest(votes: Iterable[PersonVote]) -> list[PersonVote]:
    """The last word on each showing, in the order in which they were first voted on."""
    last: dict[str, PersonVote] = {}
    for vote in votes:
        if vote.key not in last or vote.at >= last[vote.key].at:
            last[vote.key] = vote
    return list(last.values())


def pair_of_score(score: Score, otherwise: str) -> str:
    """The fingerprint of the two texts that the panel judged; `otherwise` for a score that carries none."""
    return score.made_with.get("candidates", "") or otherwise
