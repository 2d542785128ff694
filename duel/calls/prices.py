"""What a reply costs: the user's `[prices]` first, then a dated table, else unknown and said so."""

from __future__ import annotations

from collections.abc import Mapping

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
    """The price of `model`, or None where nobody knows it; `"*"` is the user's price of every model without its own.

    The stand-in's replies cost nothing.
    """
    known = settings.prices.get(model) or settings.prices.get("*")
    if known is None and offline:
        return Price(input=0, output=0)
    return known or DEFAULT_PRICES.get(model)


def cost(price: Price | None, usage: Mapping[str, int]) -> float | None:
    """Dollars of one reply; None where the price is unknown."""
    if price is None:
        return None
    cached = min(usage.get("cached_tokens", 0), usage.get("prompt_tokens", 0))
    fresh = usage.get("prompt_tokens", 0) - cached
    cached_price = price.input if price.cached_input is None else price.cached_input
    return (fresh * price.input + cached * cached_price + usage.get("completion_tokens", 0) * price.output) / _MILLION
