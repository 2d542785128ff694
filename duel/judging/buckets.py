"""Which bucket a turn belongs to, and why."""

from __future__ import annotations

from duel.records import Bucket
from duel.settings import Settings


def bucket_of(score: float | None, settings: Settings, leaking: bool = False) -> tuple[Bucket | None, str]:
    """The bucket of a turn with `score` (0-100, None where it is not parsed) and the reason in words.

    A turn that is not parsed has no bucket. A leaking turn cannot be final while `[audit] enforce` stands.
    """
    final_min, defeat_min = settings.report.final_min, settings.report.defeat_min
    if score is None:
        return None, "not parsed: too few judges gave a verdict"
    if score < defeat_min:
        return "defeat", f"score {score:.1f} is under {defeat_min:g}"
    if score < final_min:
        return "refined", f"score {score:.1f} is at least {defeat_min:g} and under {final_min:g}"
    if leaking and settings.audit.enforce:
        return (
            "refined",
            f"score {score:.1f} is at least {final_min:g}, but the turn leaks the pull request",
        )
    return "final", f"score {score:.1f} is at least {final_min:g}"
