"""Panel and people side by side, as arrays: which votes count, and what people said of each judged turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from duel.judging.columns import Columns, Floats
from duel.judging.scoring import counted_keys, mean
from duel.records import DIMENSIONS, Score
from duel.records.people import PersonVote
from duel.settings import Settings


@dataclass(frozen=True)
class Labeled:
    """T parsed turns, J judges, R people, five dimensions. Values are from the challenger's side, 0, 0.5 or 1."""

    scores: Sequence[Score]
    clusters: NDArray[np.str_]  # (T,): what each turn is dependent on
    keys: NDArray[np.intp]  # places in DIMENSIONS of those that count towards the score
    panel: Floats  # (T,): the panel's delta
    panel_by_metric: Floats  # (T, 5)
    judges: Sequence[str]
    judged: Floats  # (T, J): each judge's delta, the mean over its orders; NaN where one of them did not parse
    raters: Sequence[str]
    said: Floats  # (T, R, 5), NaN where a person has not voted; repeats are left out
    chance: Floats  # (T,): of being drawn; 1 where nobody voted
    first: Sequence[PersonVote]  # the votes that count
    repeats: Sequence[PersonVote]
    set_aside: Counter[str]
    skips: Sequence[PersonVote]

    @classmethod
    def of(cls, scores: Sequence[Score], votes: Iterable[PersonVote], settings: Settings) -> Labeled:
        """Line up the newest vote of each showing with the turns of `scores`; what does not count is counted by reason.

        A vote counts when it was drawn, has all dimensions, and is on the very texts that the panel judged, under
        whatever name: a new draw may rename a turn.
        """
        parsed = [score for score in scores if score.parsed]
        place = {score.file: row for row, score in enumerate(parsed)}
        texts = {score.file: score.made_with.get("candidates", "") for score in parsed}
        named = {pair: file for file, pair in texts.items() if pair}
        last: dict[tuple[str, str, str, bool], PersonVote] = {}
        for vote in votes:
            same = texts.get(vote.item) in ("", vote.pair)
            item = vote.item if same else named.get(vote.pair, vote.item)
            showing = (vote.judge, item, vote.pair, vote.repeat)
            if showing not in last or vote.at >= last[showing].at:
                last[showing] = vote if same else vote.model_copy(update={"item": item})
        found: dict[str, list[PersonVote]] = {name: [] for name in ("first", "repeats", "skipped")}
        for vote in last.values():
            if vote.skipped or vote.values is None:
                why = "skipped"
            elif vote.drawn is None:
                why = "browsed"
            elif vote.item not in place:
                why = "not-judged"
            elif texts[vote.item] not in ("", vote.pair):
                why = "texts-changed"
            else:
                why = "repeats" if vote.repeat else "first"
            found.setdefault(why, []).append(vote)
        first, repeats = found.pop("first"), found.pop("repeats")
        raters = sorted({vote.rater for vote in first})
        said = np.full((len(parsed), len(raters), len(DIMENSIONS)), np.nan)
        chance = np.zeros(len(parsed))
        for vote in first:
            row = place[vote.item]
            said[row, raters.index(vote.rater)] = vote.values
            # Whoever came later drew from a longer sample: the turn's chance is that of the longest.
            chance[row] = max(chance[row], vote.drawn.probability if vote.drawn else 0.0)
        # Repositories where they are asked for, or where enough of them have a label; else pull requests.
        clusters = np.array([score.instance_id for score in parsed], dtype=np.str_)
        repositories = np.array([name.rsplit("-", 1)[0] for name in clusters], dtype=np.str_)
        enough = len(set(repositories[chance > 0])) >= settings.review.labels_min
        if settings.duel.cluster_by == "repo" or (settings.duel.cluster_by == "auto" and enough):
            clusters = repositories
        metrics = [[score.metrics.get(name) for name in DIMENSIONS] for score in parsed]
        columns, keys = Columns.of(parsed, settings.judge.models), counted_keys(settings)
        cast, values = columns.asked >= 0, columns.values[..., keys]
        judged = mean(values.reshape(*cast.shape[:2], 2 * len(keys)), axis=2) - 0.5
        return cls(
            scores=parsed,
            clusters=clusters,
            keys=keys,
            panel=np.array([score.delta for score in parsed], dtype=np.float64),
            panel_by_metric=np.array(metrics, dtype=np.float64).reshape(-1, len(DIMENSIONS)) / 100,
            judges=columns.judges,
            judged=np.where((cast & np.isnan(values[..., 0])).any(2), np.nan, judged),
            raters=raters,
            said=said,
            chance=np.where(chance == 0, 1.0, chance),
            first=first,
            repeats=repeats,
            set_aside=+Counter({why: len(votes) for why, votes in found.items()}),
            skips=found["skipped"],
        )

    @cached_property
    def place(self) -> dict[str, int]:
        return {score.file: row for row, score in enumerate(self.scores)}

    @cached_property
    def by_person(self) -> Floats:
        """(T, R): each person's delta over the dimensions that count, NaN without a vote."""
        return np.asarray(self.said[:, :, self.keys].mean(2) - 0.5)

    @cached_property
    def people(self) -> Floats:
        """(T,): the mean delta over people, NaN without a vote."""
        return mean(self.by_person, axis=1)
