"""Which answers can be judged, and which scores can be counted together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from duel.bookkeeping import Stage
from duel.judging.scoring import settle
from duel.records import Answer, Score

if TYPE_CHECKING:
    from duel.judging.panel import Panel


def judgeable(stage: Stage) -> Iterator[tuple[Path, Answer]]:
    """Every answer with both sides; what lacks one, or is excluded, is dropped with its reason."""
    for path, answer in stage.workspace.answers(stage.damage):
        if reason := why_not(answer, stage):
            stage.drop(path.stem, answer.instance_id, reason)
        else:
            yield path, answer


def why_not(answer: Answer, stage: Stage) -> str:
    """Why `answer` is not judged; "" where it is."""
    if answer.instance_id in stage.settings.generate.exclude_ids:
        return "excluded"
    if not answer.challenger:
        return "no-challenger"
    if stage.settings.duel.mode == 1 and not answer.assistant:
        return "no-reference"
    return "" if stage.settings.duel.mode == 1 or answer.king else "no-king"


def scores_of(panel: Panel) -> tuple[list[Score], Counter[str]]:
    """The scores that count together, settled under the present settings, and how many do not, by reason.

    A score counts when it was made with this mode, rubric and panel and on the candidates that `panel` has just seen.
    Where a workspace holds scores and no answer at all, they stand as they are. A score that other settings make
    different (another quorum, other dimensions) is saved anew.
    """
    stage, scores = panel.stage, []
    dropped = {row["file"] for row in stage.dropped}
    for path, score in panel.scores():
        if path.stem in dropped:
            continue
        if reason := panel.unlike(score, path.stem, bool(panel.candidates or dropped)):
            stage.drop(path.stem, score.instance_id, reason)
            continue
        settled = settle(score, stage.settings)
        if settled != score:
            stage.workspace.save(path, settled)
        scores.append(settled)
    left_out = Counter(str(row["reason"]) for row in stage.dropped)
    left_out["damaged"] = len(stage.damage)
    seen = {score.file for score in scores} | {str(row["file"]) for row in stage.dropped}
    left_out["not-judged"] = len(panel.candidates.keys() - seen)
    return scores, +left_out
