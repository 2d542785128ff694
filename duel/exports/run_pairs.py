"""Pairs of trajectories: a run that resolved its pull request against one that failed it, nearest in length first."""

from dataclasses import replace

from duel.errors import ItemError
from duel.exports.example import Dropped, Example, text_only
from duel.records import Message

PAIR_FORMATS = frozenset({"dpo", "kto", "reward"})


class RunPairs:
    """A step: each resolved run takes the nearest failed run of its pull request; no run is used twice.

    `limit` bounds the pairs of one pull request; 0: none. A failed run that stands in a pair is counted as `paired`.
    """

    def __init__(self, limit: int = 0) -> None:
        self.limit = limit

    def step(self, examples: list[Example]) -> tuple[list[Example], list[Dropped]]:
        """The pairs, and why the other runs are in none."""
        kept, dropped = [], []
        groups: dict[str, list[Example]] = {}
        for example in examples:
            try:
                [whole] = text_only(example)
            except ItemError as error:
                dropped.append(Dropped(example.id, example.instance_id, error.reason, error.what))
            else:
                groups.setdefault(example.instance_id, []).append(whole)
        for group in groups.values():
            pairs = self._pairs(group)
            used = {one.id for both in pairs for one in both}
            for won, lost in pairs:
                opening = len(_opening(won))
                rest = lost.messages[opening:]
                kept.append(replace(won, opening=opening, lost=rest, rejected=rest[-1].content))
                dropped.append(Dropped(lost.id, lost.instance_id, "paired", f"the failed side of {won.id}"))
            dropped += [_left_over(one, group) for one in group if one.id not in used]
        return kept, dropped

    def _pairs(self, group: list[Example]) -> list[tuple[Example, Example]]:
        won, lost = ([one for one in group if one.resolved is wanted] for wanted in (True, False))
        near = sorted(
            (abs(one.tokens - other.tokens), one.id, other.id, one, other)
            for one in won
            for other in lost
            if _opening(one) == _opening(other)
        )
        pairs: list[tuple[Example, Example]] = []
        used: set[str] = set()
        for _, _, _, one, other in near:
            if not used & {one.id, other.id} and not 0 < self.limit <= len(pairs):
                pairs.append((one, other))
                used |= {one.id, other.id}
        return pairs


def _opening(example: Example) -> tuple[Message, ...]:
    """What stands before the first turn: instructions and task."""
    first = next(place for place, message in enumerate(example.messages) if message.role == "assistant")
    return example.messages[:first]


def _left_over(example: Example, group: list[Example]) -> Dropped:
    if example.resolved is None:
        reason = "outcome-unknown"
    elif not any(one.resolved is not example.resolved and one.resolved is not None for one in group):
        reason = "no-failed-run" if example.resolved else "no-resolved-run"
    else:
        reason = "no-partner"
    return Dropped(example.id, example.instance_id, reason)
