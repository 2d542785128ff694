"""Which answers can be judged, which scores can be counted together, and the case that is brought before the gate."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from duel import placement
from duel.bookkeeping import Stage
from duel.errors import ItemError, UserError
from duel.judging.contests import CANARY, CONFIRM, NOISE, Contest
from duel.records import Answer, Score

if TYPE_CHECKING:
    from duel.judging.evidence import Case
    from duel.judging.panel import Panel


@dataclass
class Survey:
    """The answers of a workspace as they come by: those that cannot be judged, or could not be kept, are noted."""

    stage: Stage
    kept_out: dict[str, str] = field(default_factory=dict)
    """File -> slug of what keeps the turn out of every bucket, whatever its score."""

    def judgeable(self) -> Iterator[tuple[Path, Answer]]:
        """Every answer with both sides that could be kept; the others are dropped with their reason.

        With `[judge] ineligible` what cannot be kept is judged as well, and only noted.
        """
        stage = self.stage
        for path, answer in stage.workspace.answers(stage.damage):
            if reason := why_not(answer, stage):
                stage.drop(path.stem, answer.instance_id, reason)
                continue
            obstacle = placement.obstacle(answer.audit("challenger"), stage.settings)
            if obstacle is not None:
                self.kept_out[path.stem] = obstacle.slug
                if not stage.settings.judge.ineligible:
                    stage.drop(path.stem, answer.instance_id, obstacle.slug, obstacle.reason)
                    continue
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
    from duel.judging.scoring import settle

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


def beside(panel: Panel) -> list[Score]:
    """The scores of a further contest that stand under the present settings, settled."""
    from duel.judging.scoring import settle

    workspace, folders = panel.workspace, panel.workspace.answer_folders()
    answers = []
    for path in panel.contest.paths(workspace):
        found = workspace.find_answer(path.stem, folders)
        with contextlib.suppress(ItemError):
            if found is not None:
                answers.append((found, workspace.read(found, Answer)))
    for _ in panel.open_turns(answers):
        pass
    standing = [score for path, score in panel.scores() if not panel.unlike(score, path.stem)]
    return [settle(score, panel.settings) for score in standing]


def of_contest(panel: Panel, contest: Contest) -> Panel:
    """The same judges before another contest; a confirmation may have judges of its own."""
    from duel.judging.panel import Panel as Judges

    settings = panel.settings
    if contest is CONFIRM and settings.judge.confirm_models:
        judge = settings.judge.model_copy(update={"models": settings.judge.confirm_models})
        settings = settings.model_copy(update={"judge": judge})
    return Judges(Stage(contest.name, panel.workspace, settings, again=panel.stage.again), contest)


def case_of(panel: Panel, survey: Survey) -> Case:
    """Everything that the gate looks at. Raises UserError where nothing was judged."""
    from duel.judging import looks
    from duel.judging.columns import Columns
    from duel.judging.evidence import Case

    stage, judges = panel.stage, panel.settings.judge.models
    scores, left_out = scores_of(panel)
    if not scores and not survey.kept_out:
        raise UserError(
            "there is nothing to decide on",
            where=panel.workspace.root / "score",
            value=", ".join(f"{count:,} {reason}" for reason, count in left_out.items()) or None,
            hint="run king.py and ch.py first, then validate.py without --regate",
        )
    for score in scores:
        if not score.parsed:
            stage.drop(score.file, score.instance_id, "stopped" if score.stopped else "unparsed", score.reason)
    counted = [score for score in scores if score.file not in survey.kept_out]
    others = [score for score in scores if score.file in survey.kept_out]
    noise, canary = (beside(of_contest(panel, contest)) for contest in (NOISE, CANARY))
    return Case(
        columns=Columns.of(counted, judges),
        settings=panel.settings,
        mode=panel.mode,
        made_with=panel.made_with,
        noise=Columns.of(noise, judges) if noise else None,
        canary=Columns.of(canary, judges) if canary else None,
        attacks=[score.pair.challenger.removeprefix("rule:") for score in canary],
        ineligible=Columns.of(others, judges) if others else None,
        kept_out=survey.kept_out,
        confirmed=confirm(panel, scores),
        left_out=left_out,
        earlier=looks.read(panel.workspace),
    )


def confirm(panel: Panel, scores: Sequence[Score]) -> dict[str, float]:
    """Write into each score what the second look at its pair gave; returns those figures by file."""
    fresh = {score.file: score.score for score in beside(of_contest(panel, CONFIRM)) if score.score is not None}
    for score in scores:
        if score.confirmed != fresh.get(score.file):
            score.confirmed = fresh.get(score.file)
            panel.workspace.save(panel.contest.path(panel.workspace, score.file), score)
    return fresh
