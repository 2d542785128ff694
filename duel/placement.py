"""Which bucket a turn goes to, and why: the one place that decides, for audit, panel, report, export and the page."""

from dataclasses import dataclass

from duel.records import Audit, Bucket
from duel.settings import Settings


@dataclass(frozen=True)
class Placement:
    """Where a turn goes. `bucket` is None where it goes nowhere; then `slug` names the reason for dropped.jsonl."""

    bucket: Bucket | None
    reason: str
    slug: str = ""


def obstacle(audit: Audit | None, settings: Settings) -> Placement | None:
    """What keeps a turn out of every bucket, whatever its score; None for a turn that could be kept.

    A turn that was not audited has no obstacle. `[audit] enforce = false` lets leaks, attempts to sway a judge and
    broken rules pass; contamination and refused licenses never do.
    """
    if audit is None:
        return None
    if audit.contaminated:
        return Placement(None, f"contaminated: {audit.contaminated}", "contaminated")
    if audit.license_refused:
        return Placement(None, f"license: {audit.license_refused}", "license")
    if not settings.audit.enforce:
        return None
    if audit.leaking:
        told = ", ".join(leak.value[:60] for leak in audit.leaks[:3])
        return Placement(None, f"the challenger leaks the pull request: {told}", "leak")
    if audit.attempts:
        return Placement(None, f"the challenger tries to sway the judges: {', '.join(audit.attempts)}", "attempt")
    for name, words in audit.minded.items():
        return Placement(None, f"{name}: {words}", name)
    if audit.protocol is not None and not audit.protocol.ok:
        rules = ", ".join(dict.fromkeys(problem.rule for problem in audit.protocol.problems))
        return Placement(None, f"the challenger breaks the protocol: {rules}", "protocol")
    return None


def place(score: float | None, audit: Audit | None, settings: Settings, confirmed: float | None = None) -> Placement:
    """Where a turn with `score` (0-100, None where it is not parsed) and the challenger's `audit` goes.

    `confirmed` is what a second, independent look gave, if there was one: it must reach `final_min` too.
    """
    final_min, defeat_min = settings.report.final_min, settings.report.defeat_min
    if kept_out := obstacle(audit, settings):
        return kept_out
    if score is None:
        return Placement(None, "not parsed: too few judges gave a verdict", "unparsed")
    if score < defeat_min:
        return Placement("defeat", f"score {score:.1f} is under {defeat_min:g}")
    if score < final_min:
        return Placement("refined", f"score {score:.1f} is at least {defeat_min:g} and under {final_min:g}")
    if confirmed is not None and confirmed < final_min:
        return Placement("refined", f"not confirmed: a second look gave {confirmed:.1f}")
    return Placement("final", f"score {score:.1f} is at least {final_min:g}")


class Representatives(dict[str, str]):
    """Inside `final/` one turn stands for its near-duplicates: the first to come, so hand them in best first."""

    def place(self, stem: str, placement: Placement, duplicates_of: str) -> Placement:
        """`placement`, or none where a near-duplicate of the turn `stem` is in `final/` already."""
        other = self.setdefault(duplicates_of or stem, stem) if placement.bucket == "final" else stem
        if other == stem:
            return placement
        return Placement(None, f"near-duplicate of {other}, which is in final", "near-duplicate")
