"""What each shard at work may take, in a share file of its own: calls at a time and dollars, divided at every change.

Dollars stand there as what the shard's ledger may come to (`budget_usd`), so a stage that is killed and begun anew has
no second part. A part is never taken back but where the whole is cut: what is in flight may need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from duel.calls.seats import Share
from duel.cluster.shards import Shard

SHARE_FILE = "share.json"
"""In a shard's private folder."""
LEAST_PART = 0.01
"""A shard whose part is spent gets another one while it is so much of the whole larger."""


@dataclass
class Allotment:
    """Divides a budget in dollars, and what a share file allows, among shards."""

    shards: Sequence[Shard]
    budget: float | None = None
    share: Share | None = None
    _at_work: list[Shard] = field(default_factory=list)
    """In the order in which they began."""
    _finished: set[str] = field(default_factory=set)
    _before: dict[str, float] = field(default_factory=dict)
    """Dollars in the ledger of each shard when all began."""
    _paid: dict[str, float] = field(default_factory=dict)
    """… and when its present stage began."""
    _granted: dict[str, float] = field(default_factory=dict)
    """Dollars that the stage at work may add."""
    _unspent: dict[str, float] = field(default_factory=dict)
    """What a shard was left with when its last part did not do."""

    def __post_init__(self) -> None:
        self._most = self.budget
        if self.budget is not None or self.share is not None:
            self._before = {shard.name: shard.spent() for shard in self.shards}
            self._paid = dict(self._before)
            self._cut()

    @property
    def calls(self) -> int | None:
        """Calls at a time over all shards; None: as many as each finds."""
        return None if self.share is None or self.share.calls is None else int(self.share.calls)

    def begin(self, shard: Shard) -> list[str]:
        """`shard` begins a stage; the options that tell it of its part."""
        self._at_work.append(shard)
        if self.budget is None and self.calls is None:
            return []
        self.divide()
        return ["--share", str(_file(shard))]

    def end(self, shard: Shard, *, finished: bool) -> None:
        """A stage of `shard` has ended; what it has not spent is divided anew."""
        self._at_work.remove(shard)
        if finished:
            self._finished.add(shard.name)
        granted = self._granted.pop(shard.name, 0.0)
        if self.budget is not None:
            paid, self._paid[shard.name] = self._paid[shard.name], shard.spent()
            self._unspent[shard.name] = granted - (self._paid[shard.name] - paid)
        self.divide()

    def has_more_for(self, shard: Shard) -> bool:
        """True if a part is left for `shard` that is larger than what its last stage found too little."""
        if self.budget is None:
            return False
        return min(self._fair, self._left) > self._unspent.get(shard.name, 0.0) + LEAST_PART * self.budget

    def follow(self) -> None:
        if self.share is not None and self.share.look():
            self._cut()
            self.divide()

    def divide(self) -> None:
        for number, shard in enumerate(self._at_work):
            part: dict[str, float] = {}
            if self.calls is not None:
                # What cannot be divided goes to those that began first.
                part["calls"] = self.calls // len(self._at_work) + (number < self.calls % len(self._at_work))
            if self.budget is not None:
                had = self._granted.get(shard.name, 0.0)
                self._granted[shard.name] = had + max(0.0, min(self._fair - had, self._left))
                part["budget_usd"] = round(self._paid[shard.name] + self._granted[shard.name], 9)
            if part:
                shard.workspace.save(_file(shard), orjson.dumps(part))

    @property
    def _left(self) -> float:
        """Dollars that no shard has spent and none was granted."""
        spent = sum(self._paid.values()) - sum(self._before.values())
        return (self.budget or 0.0) - spent - sum(self._granted.values())

    @property
    def _fair(self) -> float:
        """Dollars for each shard that is not finished."""
        return (self._left + sum(self._granted.values())) / max(1, len(self.shards) - len(self._finished))

    def _cut(self) -> None:
        """The share says anew how many dollars are left; nobody at work keeps more than its part of them."""
        if self.share is None or self.share.dollars is None:
            return
        now = {**self._paid, **{shard.name: shard.spent() for shard in self._at_work}}
        whole = sum(now.values()) - sum(self._before.values()) + self.share.dollars
        self.budget = whole if self._most is None else min(whole, self._most)
        self._granted = {shard.name: now[shard.name] - self._paid[shard.name] for shard in self._at_work}


def _file(shard: Shard) -> Path:
    return shard.workspace.private / SHARE_FILE
