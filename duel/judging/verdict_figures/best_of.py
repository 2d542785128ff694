"""Figures of the verdict: who chose among several candidates, and by how much that may make the score too high.

Whoever chose a challenger for what it liked about it likes the same in the duel. Simulated with three judges whose
errors correlate as measured (0.35), the choosers' own score of the chosen is too high by 3.5 points of 100 at n = 4 and
by 4.9 at n = 8, about log2(n) times 1.7; that of other judges is not. A single judge's is too high by two to four times
that (`bench/selection.py`).
"""

import math
from typing import Any

from duel.judging.evidence import FIGURES, Evidence

POINTS_A_DOUBLING = 1.7


@FIGURES.register("best-of-n")
def figures(evidence: Evidence) -> dict[str, Any]:
    """What the report says of the choice; nothing where nothing was chosen."""
    settings, judges = evidence.settings, evidence.settings.judge.models
    if settings.most_candidates == 1:
        return {}
    rows = [("candidates of a side", str(settings.most_candidates), f"chosen by {settings.generate.select}")]
    if settings.choosers:
        both = sum(model in settings.choosers for model in judges)
        lead = POINTS_A_DOUBLING * math.log2(len(settings.writers("challenger"))) * both / len(judges)
        alone = ", a single judge's by two to four times that" if len(judges) == 1 else ""
        told = f"so much too high may the score be{alone}: no other judge was left"
        meaning = told if both else "others judged the duel"
        rows += [("choosers", ", ".join(settings.choosers), "the judges that chose")]
        rows += [("winner's curse", f"{lead:.1f} points", meaning)]
    return {"figures": {"best of n": [dict(zip(("what", "figure", "meaning"), row, strict=True)) for row in rows]}}
