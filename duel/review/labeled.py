"""Panel and people side by side, as arrays: which votes count, and what people said of each judged turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from duel.judging.scoring import mean
from duel.records import DIMENSIONS, Score
from duel.records.people import PersonVote
from duel.settings import Settings

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Labeled:
    """T parsed turns, J judges, R people, five dimensions. Values are from the challenger's side, 0, 0.5 or 1."""

    turns: Sequence[str]
    clusters: NDArray[np.str_]  # (T,): what each turn is dependent on
    keys: NDArray[np.intp]  # places in DIMENSIONS of those that count towards the score
    panel: Floats  # (T,): the panel's delta
    panel_by_metric: Floats  # (T, 5)
    judges: Sequence[str]
    judged: Floats  # (T, J): each judge's delta, the mean over its orders; NaN where one of them did not parse
    reasons: Sequence[str]  # (T,): one of each judge
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
        first, repeats, skips = list[PersonVote](), list[PersonVote](), list[PersonVote]()
        aside = Counter[str]()
        texts = {score.file: score.made_with.get("candidates", "") for score in parsed}
        named = {pair: file for file, pair in texts.items() if pair}
        last: dict[tuple[str, str, str, bool], PersonVote] = {}
        for vote in votes:
            same = texts.get(vote.item) in ("", vote.pair)
            item = vote.item if same else named.get(vote.pair, vote.item)
            showing = (vote.judge, item, vote.pair, vote.repeat)
            if showing not in last or vote.at >= last[showing].at:
                last[showing] = vote if same else vote.model_copy(update={"item": item})
        for vote in last.values():
            if vote.skipped or vote.values is None:
                skips.append(vote)
            elif vote.drawn is None:
                aside["browsed"] += 1
            elif vote.item not in place:
                aside["not-judged"] += 1
            elif texts[vote.item] not in ("", vote.pair):
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
        judges = settings.judge.models
        judged, reasons = np.full((len(parsed), len(judges)), np.nan), []
        for row, score in enumerate(parsed):
            told: dict[str, str] = {}
            for cast in score.votes:
                if cast.reason:
                    told.setdefault(cast.judge, cast.reason)
            reasons.append("\n".join(f"{judge}: {reason}" for judge, reason in told.items()))
            for at, judge in enumerate(judges):
                own = [cast for cast in score.votes if cast.judge == judge]
                values = [getattr(cast, name) for cast in own for name in settings.judge.metric_keys]
                if values and None not in values:
                    judged[row, at] = np.mean(values) - 0.5
        metrics = [[score.metrics.get(name) for name in DIMENSIONS] for score in parsed]
        return cls(
            turns=[score.file for score in parsed],
            clusters=_clusters(parsed, chance > 0, settings),
            keys=np.array([DIMENSIONS.index(name) for name in settings.judge.metric_keys]),
            panel=np.array([score.delta for score in parsed], dtype=np.float64),
            panel_by_metric=np.array(metrics, dtype=np.float64).reshape(-1, len(DIMENSIONS)) / 100,
            judges=judges,
            judged=judged,
            reasons=reasons,
            raters=raters,
            said=said,
            chance=np.where(chance == 0, 1.0, chance),
            first=first,
            repeats=repeats,
            set_aside=+aside,
            skips=skips,
        )

    @cached_property
    def place(self) -> dict[str, int]:
        return {turn: row for row, turn in enumerate(self.turns)}

    @cached_property
    def by_person(self) -> Floats:
        """(T, R): each person's delta over the dimensions that count, NaN without a vote."""
        return np.asarray(self.said[:, :, self.keys].mean(2) - 0.5)

    @cached_property
    def people(self) -> Floats:
        """(T,): the mean delta over people, NaN without a vote."""
        return mean(self.by_person, axis=1)


def _clusters(scores: Sequence[Score], drawn: NDArray[np.bool_], settings: Settings) -> NDArray[np.str_]:
    """Repositories where they are asked for, or where enough of them have a label; else pull requests."""
    pulls = np.array([score.instance_id for score in scores], dtype=np.str_)
    repositories = np.array([score.instance_id.rsplit("-", 1)[0] for score in scores], dtype=np.str_)
    by = str(settings.duel.cluster_by)
    enough = len(set(repositories[drawn])) >= settings.review.labels_min
    return repositories if by == "repo" or (by == "auto" and enough) else pulls
