"""The spending limit: a call goes out only where its worst case still fits, calls in flight counted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from duel.errors import BudgetSpent

# Bytes a token, on the safe side (see duel.history).
BYTES_PER_TOKEN = 3.0


@dataclass
class Spending:
    """What may still be spent. Dollars; `limit` None is no limit."""

    limit: float | None = None
    spent: float = 0.0
    reserved: float = 0.0
    """Worst case of the calls in flight."""
    out: int = 0
    """Calls in flight. Counted, because the dollars above leave 1e-17 behind when they are taken back one by one."""
    _freed: asyncio.Event = field(default_factory=asyncio.Event)

    async def reserve(self, worst_case: float) -> None:
        """Wait until `worst_case` fits beside what is in flight. Raises BudgetSpent where it never will."""
        while self.limit is not None and self.spent + self.reserved + worst_case > self.limit:
            if not self.out:
                raise BudgetSpent("the budget is spent", value=f"${self.spent:.2f} of ${self.limit:.2f}")
            self._freed.clear()
            await self._freed.wait()
        self.reserved += worst_case
        self.out += 1

    def settle(self, worst_case: float, cost: float | None) -> None:
        """A call came back: it cost `cost`, or nothing."""
        self.out -= 1
        self.reserved = self.reserved - worst_case if self.out else 0.0
        self.spent += cost or 0.0
        self._freed.set()
