"""Which answers can be judged, which scores can be counted together, and the case that is brought before the gate."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from duel import placement
from duel.bookkeeping import Stage
from duel.errors import UserError
from duel.judging import looks
from duel.judging.contests import CANARY, CONFIRM, NOISE, Contest
from duel.judging.gate import Case
from duel.judging.panel import Panel
from duel.judging.scoring import Columns, settle
from duel.records import Answer, Score


@dataclass
class Survey:
    """The answers of a workspace as they come by: those that cannot be judged, or could not be kept, are noted."""

    stage: Stage
    kept_out: dict[str, str] = field(default_factory=dict)  # file -> slug of what keeps it out of every bucket
    not_chosen: Collection[str] = ()  # files of which no candidate could be chosen yet
    rewritten: dict[Path, int] = field(default_factory=dict)  # answers with rewrites (`duel refine`), how many each

    def judgeable(self) -> Iterator[tuple[Path, Answer]]:
        """Every answer with both sides that could be kept; the others are dropped with their reason.

        With `[judge] ineligible` what cannot be kept is judged as well, and only noted.
        """
        stage = self.stage
        for path, answer in stage.workspace.answers(stage.damage):
            if reason := "not-chosen" if path.stem in self.not_chosen else why_not(answer, stage):
                stage.drop(path.stem, answer.instance_id, reason)
                continue
            obstacle = placement.obstacle(answer.audit("challenger"), stage.settings)
            if obstacle is not None:
                self.kept_out[path.stem] = obstacle.slug
                if not stage.settings.judge.ineligible:
                    stage.drop(path.stem, answer.instance_id, obstacle.slug, obstacle.reason)
                    continue
            if rewrites := answer.rewrites():
                self.rewritten[path] = len(rewrites)
            yield path, answer


def why_not(answer: Answer, stage: Stage) -> str:
    """Why `answer` is not judged; "" where it is."""
    if answer.instance_id in stage.settings.generate.exclude_ids:
        return "excluded"
    first = stage.settings.duel.mode == 1
    missing = "" if (answer.assistant if first else answer.king) else "no-reference" if first else "no-king"
    return missing if answer.challenger else "no-challenger"


def drawn(stage: Stage, count: int) -> list[tuple[Path, Answer]]:
    """`count` of the answers that can be judged, drawn by a keyed hash: a larger count keeps those of a smaller one."""

    def rank(path: Path) -> bytes:
        return hashlib.sha256(f"{stage.settings.duel.seed}:{path.stem}".encode()).digest()

    found: list[tuple[Path, Answer]] = []
    # What is damaged the stage itself has named.
    for path, answer in stage.workspace.read_all(sorted(stage.workspace.answer_paths(), key=rank), Answer, []):
        if len(found) == count:
            break
        if answer.king and not why_not(answer, stage):
            found.append((path, answer))
    return found


def scores_of(panel: Panel) -> Iterator[Score]:
    """The scores that count together, settled under the present settings; the others are dropped with their reason.

    A score counts when it was made with this mode, rubric and panel and on the candidates that `panel` has just seen.
    Where a workspace holds scores and no answer at all, they stand as they are. A score that other settings make
    different (another quorum, other dimensions), or that a second look has confirmed or not, is saved anew.
    """
    stage = panel.stage
    dropped = {row["file"] for row in stage.dropped}
    seen = bool(panel.candidates or dropped)
    confirmed = {score.file: score.score for score in beside(of_contest(panel, CONFIRM))}
    for path, score in panel.scores():
        if path.stem in dropped:
            continue
        if reason := panel.unlike(score, path.stem, seen):
            stage.drop(path.stem, score.instance_id, reason)
            continue
        settled = settle(score, stage.settings).model_copy(update={"confirmed": confirmed.get(score.file)})
        if settled != score:
            stage.workspace.save(path, settled)
        yield settled


def left_out(panel: Panel, counted: Collection[str]) -> Counter[str]:
    """How many turns the verdict does not speak of, by reason."""
    dropped = panel.stage.dropped
    found = Counter(str(row["reason"]) for row in dropped)
    found["damaged"] = len(panel.stage.damage)
    found["not-judged"] = len(panel.candidates.keys() - {*counted, *(str(row["file"]) for row in dropped)})
    return +found


def beside(panel: Panel) -> list[Score]:
    """The scores of a further contest that stand under the present settings, settled."""
    stems = (path.stem for path in panel.contest.paths(panel.workspace))
    for _ in panel.open_turns(panel.workspace.answers_of(stems, [])):
        pass
    standing = [score for path, score in panel.scores() if not panel.unlike(score, path.stem)]
    return [settle(score, panel.settings) for score in standing]


def of_contest(panel: Panel, contest: Contest) -> Panel:
    """The same judges before another contest; a confirmation may have judges of its own."""
    settings = panel.settings
    if contest is CONFIRM and settings.judge.confirm_models:
        settings = settings.with_keys(judge={"models": settings.judge.confirm_models})
    return Panel(Stage(contest.name, panel.workspace, settings, panel.stage.again, panel.stage.offline), contest)


def case_of(panel: Panel, survey: Survey) -> Case:
    """Everything that the gate looks at, in columns. Raises UserError where nothing was judged."""
    stage, settings = panel.stage, panel.settings
    confirmed: dict[str, float] = {}
    halted: list[Score] = []

    def noted() -> Iterator[Score]:
        for score in scores_of(panel):
            if score.confirmed is not None:
                confirmed[score.file] = score.confirmed
            if not score.parsed:
                halted.append(score.model_copy(update={"votes": []}))
            yield score

    every = Columns.by_panel(noted(), settings)
    out = np.array([file in survey.kept_out for file in every.files], dtype=bool)
    reasons = left_out(panel, every.files)
    if not len(every) and (reasons or not survey.kept_out):
        raise UserError(
            "there is nothing to decide on",
            where=panel.workspace.root / "score",
            value=", ".join(f"{count:,} {reason}" for reason, count in reasons.items()) or None,
            hint="they were made with other settings, or with --offline: go back to those, or ask anew without --regate"
            if any(reason.startswith("other-") for reason in reasons)
            else "run king.py and ch.py first, then validate.py",
        )
    for score in halted:
        stage.drop(score.file, score.instance_id, "stopped" if score.stopped else "unparsed", score.reason)
    noise, canary = (beside(of_contest(panel, contest)) for contest in (NOISE, CANARY))
    return Case(
        columns=every.where(~out) if out.any() else every,
        settings=settings,
        mode=panel.mode,
        made_with=panel.made_with,
        noise=Columns.by_panel(noise, settings) if noise else None,
        canary=Columns.by_panel(canary, settings) if canary else None,
        attacks=[score.pair.challenger.removeprefix("rule:") for score in canary],
        ineligible=every.where(out) if out.any() else None,
        kept_out=survey.kept_out,
        confirmed=confirmed,
        left_out=reasons,
        earlier=looks.read(panel.workspace),
    )
