"""The verdict in a few lines for the person who watches."""

from pathlib import Path

from duel.command import say as tell
from duel.errors import printable
from duel.records import Verdict
from duel.reporting import wording
from duel.reporting.report_sections import gates, units


def say(verdict: Verdict, path: Path) -> None:
    tell(f"\n{'OFFLINE, stand-in judges: ' if verdict.offline else ''}{verdict.decision.upper()}")
    for name, *figures in gates(verdict).rows:
        tell(f"  {printable(name):<48} {figures[0]:>12}  {figures[1]:>10}  {figures[2]}")
    for sentence in verdict.why:
        tell(f"  {sentence}")
    tell(
        f"  {verdict.parsed:,} of {verdict.turns:,} turns parsed, {verdict.clusters:,} {units(verdict)};"
        f" by score final {verdict.buckets['final']:,}, refined {verdict.buckets['refined']:,},"
        f" defeat {verdict.buckets['defeat']:,}"
    )
    if verdict.minimum_detectable_margin is not None:
        tell(
            f"  the smallest margin that this many turns can tell: {verdict.minimum_detectable_margin:.1f} points"
            f" (power {verdict.power:g})"
        )
    if verdict.noise_floor:
        tell(f"  noise alone: {wording.points(verdict.noise_floor.margin)}; real: {wording.points(verdict.margin)}")
    repeats = verdict.repeats
    if repeats and repeats.final and repeats.again_same is not None:
        tell(
            f"  of {repeats.final:,} final turns the same panel would make {repeats.again_same:.0%} final again:"
            f" mean {repeats.final_mean:.1f}, expected {repeats.expected_same:.1f}"
        )
    for judge in verdict.canary.judges if verdict.canary else ():
        moved = f"moved by {wording.points(judge.margin)}, {judge.moved} of {judge.turns} turns"
        tell(f"  canary, {printable(judge.judge)}: {moved}")
    looks = verdict.looks
    if looks and (looks.total or 0) > 1:
        tell(f"  look {looks.total} in this workspace: chance of a false accept by now {looks.false_accept_chance:.0%}")
    if verdict.missing_votes:
        tell(f"  {verdict.missing_votes:,} votes are missing; run the same command again to ask for them")
    tell(f"  all of it: {path}")
