"""Figures as people read them: with their unit, with their sign, and "not measured" where there is no data."""

import tomllib
from functools import cache
from typing import Any

from duel.reporting import page_file

NO_DATA = "not measured"


@cache
def known(kind: str) -> dict[str, Any]:
    """What the short names of a kind stand for, as `page/words.toml` has it."""
    words: dict[str, Any] = tomllib.loads(page_file("words.toml"))[kind]
    return words


def count(value: int | float | None) -> str:
    return NO_DATA if value is None else f"{value:,.0f}"


def score(value: float | None) -> str:
    return plain(value, 1)


def points(value: float | None) -> str:
    return NO_DATA if value is None else f"{signed(value, 1)} points"


def size(value: float | None) -> str:
    """A distance in points, without a sign."""
    return NO_DATA if value is None else f"{abs(value):.1f} points"


def delta_points(delta: float | None) -> str:
    """A delta (-0.5 to 0.5) as the margin it means, in points."""
    return points(None if delta is None else 200 * delta)


def share(value: float | None) -> str:
    return NO_DATA if value is None else f"{100 * value:.1f} %"


def signed(value: float | None, decimals: int = 2) -> str:
    return NO_DATA if value is None else f"{value:+.{decimals}f}".replace("-", "−")


def plain(value: float | None, decimals: int = 2) -> str:
    return NO_DATA if value is None else f"{value:.{decimals}f}"


def dollars(value: float | None) -> str:
    if value is None:
        return "price unknown"
    return f"${value:,.2f}" if value >= 0.1 or value == 0 else f"${value:.2g}"
