"""The verdict in a few lines for the person who watches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from duel.command import say as tell


def say(verdict: Mapping[str, Any], path: Path) -> None:
    """Print the verdict, the four conditions with their figures, and what else decides how far to trust it."""
    tell(f"\n{'OFFLINE, stand-in judges: ' if verdict['offline'] else ''}{verdict['decision'].upper()}")
    for gate in verdict["gates"]:
        sign = "holds" if gate["held"] else "fails"
        tell(f"  {gate['name']:<16} {_figure(gate['value']):>9}  threshold {_figure(gate['threshold']):>7}  {sign}")
    tell(
        f"  {verdict['parsed']:,} of {verdict['turns']:,} turns parsed, {verdict['clusters']:,} pull requests;"
        f" by score final {verdict['buckets']['final']:,}, refined {verdict['buckets']['refined']:,},"
        f" defeat {verdict['buckets']['defeat']:,}"
    )
    detectable = verdict["minimum_detectable_margin"]
    if detectable is not None:
        tell(
            f"  the smallest margin that this many turns can tell: {detectable:.1f} points (power {verdict['power']:g})"
        )
    if verdict["noise_floor"]:
        tell(f"  noise alone: {_figure(verdict['noise_floor']['margin'])} points; real: {_figure(verdict['margin'])}")
    looks = verdict["looks"]
    if looks["total"] > 1:
        chance = looks["false_accept_chance"]
        tell(f"  look {looks['total']} in this workspace: chance of a false accept by now {chance:.0%}")
    if verdict["missing_votes"]:
        tell(f"  {verdict['missing_votes']:,} votes are missing; run the same command again to ask for them")
    tell(f"  all of it: {path}")


def _figure(value: float | None) -> str:
    return "no data" if value is None else f"{value:.4g}"
