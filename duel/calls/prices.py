"""Money: what a reply costs (`[prices]` first, then a dated table, else unknown and said so), and what may be spent."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from duel.errors import BudgetSpent
from duel.sections import Price
from duel.settings import Settings

# Dollars a million tokens at Chutes, read on this date. Prices change: `[prices]` in chain.toml takes precedence.
PRICES_READ_ON = "2026-09-28"
DEFAULT_PRICES: Mapping[str, Price] = {
    "moonshotai/Kimi-K2.6-TEE": Price(input=0.50, output=2.85),
    "deepseek-ai/DeepSeek-V3.2-TEE": Price(input=1.0, output=1.0),
    "Qwen/Qwen3-235B-A22B-Thinking-2507-TEE": Price(input=0.30, output=1.20),
}
_MILLION = 1_000_000


def price_of(model: str, settings: Settings, *, offline: bool = False) -> Price | None:
    """The price of `model`, or None where nobody knows it; `"*"` is the user's price of every model without its own."""
    known = settings.prices.get(model) or settings.prices.get("*")
    if known is None and offline:  # the stand-in's replies cost nothing
        return Price(input=0, output=0)
    return known or DEFAULT_PRICES.get(model)


def cost(price: Price | None, usage: Mapping[str, int], *, batch: bool = False) -> float | None:
    """Dollars of one reply, of a `batch` if it came with one; None where the price is unknown."""
    if price is None:
        return None
    cached = min(usage.get("cached_tokens", 0), usage.get("prompt_tokens", 0))
    fresh = usage.get("prompt_tokens", 0) - cached
    cached_price = price.input if price.cached_input is None else price.cached_input
    paid = fresh * price.input + cached * cached_price + usage.get("completion_tokens", 0) * price.output
    return paid / _MILLION * (price.batch if batch else 1)


@dataclass
class Spending:
    limit: float | None = None
    spent: float = 0.0
    reserved: float = 0.0  # worst case of the calls in flight
    committed: float = 0.0  # … and of what goes out in batches, which nobody waits for
    out: int = 0  # calls in flight: dollars that are taken back one by one leave 1e-17 behind
    _freed: asyncio.Event = field(default_factory=asyncio.Event)

    def has_room(self, worst_case: float) -> bool:
        return self.limit is None or self.spent + self.committed + self.reserved + worst_case <= self.limit

    async def reserve(self, worst_case: float) -> None:
        """Wait until `worst_case` fits beside what is in flight. Raises BudgetSpent where it never will."""
        while not self.has_room(worst_case):
            if not self.out:
                raise BudgetSpent("the budget is spent", value=f"${self.spent:.2f} of ${self.limit:.2f}")
            self._freed.clear()
            await self._freed.wait()
        self.reserved += worst_case
        self.out += 1

    def allow(self, limit: float) -> None:
        self.limit = limit
        self._freed.set()

    def settle(self, worst_case: float, cost: float | None) -> None:
        """A call came back: it cost `cost`, or nothing."""
        self.out -= 1
        self.reserved = self.reserved - worst_case if self.out else 0.0
        self.spent += cost or 0.0
        self._freed.set()
