"""What each shard at work may take, in a share file of its own: calls at a time and dollars, divided at every change.

Dollars stand there as what the shard's ledger may come to (`budget_usd`), so a stage that is killed and begun anew has
no second part. A part is never taken back but where the whole is cut: what is in flight may need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from duel.calls.seats import Share
from duel.cluster.shards import Shard

# A shard whose part is spent gets another one while it is so much of the whole larger.
LEAST_PART = 0.01


@dataclass
class Allotment:
    """Divides a budget in dollars, and what a share file allows, among shards."""

    shards: Sequence[Shard]
    budget: float | None = None
    share: Share | None = None
    _whole: float = 0.0  # dollars that all ledgers together may come to
    _paid: dict[str, float] = field(default_factory=dict)
    """Dollars in the ledger of each shard when its present stage began."""
    _ceilings: dict[str, float] = field(default_factory=dict)
    """What the ledger of each shard at work may come to, in the order in which they began."""
    _unspent: dict[str, float] = field(default_factory=dict)  # what a shard was left with when its last part did not do
    _finished: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._by_name = {shard.name: shard for shard in self.shards}
        if self.budget is not None or self.share is not None:
            self._paid = {shard.name: shard.spent() for shard in self.shards}
        self._most = float("inf") if self.budget is None else sum(self._paid.values()) + self.budget
        self._whole = self._most
        self._cut()

    @property
    def calls(self) -> int | None:
        """Calls at a time over all shards; None: as many as each finds."""
        return None if self.share is None or self.share.calls is None else int(self.share.calls)

    def begin(self, shard: Shard) -> list[str]:
        """`shard` begins a stage; the options that tell it of its part."""
        self._ceilings[shard.name] = self._paid.get(shard.name, 0.0)
        if self.budget is None and self.calls is None:
            return []
        self.divide()
        return ["--share", str(shard.workspace.private / "share.json")]

    def end(self, shard: Shard, *, finished: bool) -> None:
        """A stage of `shard` has ended; what it has not spent is divided anew."""
        ceiling = self._ceilings.pop(shard.name)
        if finished:
            self._finished.add(shard.name)
        if self.budget is not None:
            self._paid[shard.name] = shard.spent()
            self._unspent[shard.name] = ceiling - self._paid[shard.name]
        self.divide()

    def has_more_for(self, shard: Shard) -> bool:
        """True if a part is left for `shard` that is larger than what its last stage found too little."""
        if self.budget is None:
            return False
        return min(self._parts()) > self._unspent.get(shard.name, 0.0) + LEAST_PART * self.budget

    def follow(self) -> None:
        if self.share is not None and self.share.look():
            self._cut()
            self.divide()

    def divide(self) -> None:
        for number, name in enumerate(self._ceilings):
            part: dict[str, float] = {}
            if self.calls is not None:
                # What cannot be divided goes to those that began first.
                part["calls"] = self.calls // len(self._ceilings) + (number < self.calls % len(self._ceilings))
            if self.budget is not None:
                left, fair = self._parts()
                self._ceilings[name] += max(0.0, min(fair - (self._ceilings[name] - self._paid[name]), left))
                part["budget_usd"] = round(self._ceilings[name], 9)
            if part:
                workspace = self._by_name[name].workspace
                workspace.save(workspace.private / "share.json", orjson.dumps(part))

    def _parts(self) -> tuple[float, float]:
        """Dollars that no shard has spent and none may take, and those for each that is not finished."""
        granted = sum(ceiling - self._paid[name] for name, ceiling in self._ceilings.items())
        left = self._whole - sum(self._paid.values()) - granted
        return left, (left + granted) / max(1, len(self.shards) - len(self._finished))

    def _cut(self) -> None:
        """The share says anew how many dollars are left; nobody at work keeps more than its part of them."""
        if self.share is None or self.share.dollars is None:
            return
        self._ceilings = {name: self._by_name[name].spent() for name in self._ceilings}
        spent = sum({**self._paid, **self._ceilings}.values())
        self._whole = min(spent + self.share.dollars, self._most)
        self.budget = self._whole - sum(self._paid.values())
