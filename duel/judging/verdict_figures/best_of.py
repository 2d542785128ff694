"""Figures of the verdict: who chose among several candidates, and by how much that may make the score too high.

Whoever chose a challenger for what it liked about it likes the same in the duel. Simulated with three judges whose
errors correlate as measured (0.35), the choosers' own score of the chosen is too high by 3.5 points of 100 at n = 4 and
by 4.9 at n = 8, about log2(n) times 1.7; that of other judges is not.
"""

import math
from typing import Any

from duel.judging.evidence import FIGURES, Evidence
from duel.settings import Settings

POINTS_A_DOUBLING = 1.7


@FIGURES.register("best-of-n")
def figures(evidence: Evidence) -> dict[str, Any]:
    """What the report says of the choice; nothing where nothing was chosen."""
    settings = evidence.settings
    count = settings.most_candidates
    if count == 1:
        return {}
    rows = [_row("candidates of a side", f"{count}", f"the best by {settings.generate.select} is in the duel")]
    if settings.choosers:
        both = [model for model in settings.choosers if model in settings.judge.models]
        meaning = "judged the duel too: no other judge was left" if both else "judged no duel"
        rows.append(_row("chosen by", ", ".join(settings.choosers), meaning))
        told = "by so much the score may be too high" if both else "the duel was judged by others"
        rows.append(_row("winner's curse", f"{too_high(settings):.1f} points", told))
    return {"figures": {"best of n": rows}}


def too_high(settings: Settings) -> float:
    """Points of 100 by which the score may be too high: as much of the full lead as the panel holds choosers."""
    models, count = settings.judge.models, len(settings.writers("challenger"))
    share = sum(model in settings.choosers for model in models) / len(models)
    return POINTS_A_DOUBLING * math.log2(count) * share


def _row(what: str, figure: str, meaning: str) -> dict[str, str]:
    return {"what": what, "figure": figure, "meaning": meaning}
