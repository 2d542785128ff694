"""Panel and people side by side, as arrays: which votes count, and what people said of each judged turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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
        for vote in newest(_under_present_names(votes, parsed)):
            if vote.skipped or vote.values is None:
                skips.append(vote)
            elif vote.drawn is None:
                aside["browsed"] += 1
            elif vote.item not in place:
                aside["not-judged"] += 1
            elif parsed[place[vote.item]].made_with.get("candidates") not in {None, "", vote.pair}:
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
        metrics = [[score.metrics.get(name) for name in DIMENSIONS] for score in parsed]
        return cls(
            turns=[score.file for score in parsed],
            clusters=_clusters(parsed, chance > 0, settings),
            keys=np.array([DIMENSIONS.index(name) for name in settings.judge.metric_keys]),
            panel=np.array([score.delta for score in parsed], dtype=np.float64),
            panel_by_metric=np.array(metrics, dtype=np.float64).reshape(-1, len(DIMENSIONS)) / 100,
            judges=settings.judge.models,
            judged=np.array([_judged(score, settings) for score in parsed]).reshape(-1, len(settings.judge.models)),
            reasons=[_reason(score) for score in parsed],
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
        """The row of each turn."""
        return {turn: row for row, turn in enumerate(self.turns)}

    @cached_property
    def by_person(self) -> Floats:
        """(T, R): each person's delta over the dimensions that count, NaN without a vote."""
        return np.asarray(self.said[:, :, self.keys].mean(2) - 0.5)

    @cached_property
    def people(self) -> Floats:
        """(T,): the mean delta over people, NaN without a vote."""
        return mean(self.by_person, axis=1)


def newest(votes: Iterable[PersonVote]) -> list[PersonVote]:
    """The last word on each showing, in the order in which they were first voted on."""
    last: dict[tuple[str, str, str, bool], PersonVote] = {}
    for vote in votes:
        showing = (vote.judge, vote.item, vote.pair, vote.repeat)
        if showing not in last or vote.at >= last[showing].at:
            last[showing] = vote
    return list(last.values())


def _under_present_names(votes: Iterable[PersonVote], parsed: Sequence[Score]) -> Iterator[PersonVote]:
    """The votes, each with the name that the turn of its texts has now."""
    texts = {score.file: score.made_with.get("candidates", "") for score in parsed}
    named = {pair: file for file, pair in texts.items() if pair}
    for vote in votes:
        same = texts.get(vote.item) in ("", vote.pair)
        yield vote if same else vote.model_copy(update={"item": named.get(vote.pair, vote.item)})


def _judged(score: Score, settings: Settings) -> list[float]:
    """One delta a judge: the mean over its orders and the dimensions that count."""
    deltas = []
    for judge in settings.judge.models:
        votes = [vote for vote in score.votes if vote.judge == judge]
        values = [getattr(vote, name) for vote in votes for name in settings.judge.metric_keys]
        deltas.append(np.mean(values) - 0.5 if values and None not in values else np.nan)
    return deltas


def _reason(score: Score) -> str:
    first = {vote.judge: vote.reason for vote in reversed(score.votes) if vote.reason}
    return "\n".join(f"{judge}: {reason}" for judge, reason in reversed(first.items()))


def _clusters(scores: Sequence[Score], drawn: NDArray[np.bool_], settings: Settings) -> NDArray[np.str_]:
    """Repositories where they are asked for, or where enough of them have a label; else pull requests."""
    pulls = np.array([score.instance_id for score in scores], dtype=np.str_)
    repositories = np.array([score.instance_id.rsplit("-", 1)[0] for score in scores], dtype=np.str_)
    by = str(settings.duel.cluster_by)
    enough = len(set(repositories[drawn])) >= settings.review.labels_min
    return repositories if by == "repo" or (by == "auto" and enough) else pulls
