"""The noise floor: the king against a second blind answer of its own, judged by the same panel.

Both sides are the same model with the same question, so the true margin is 0; what comes out is what sampling and
judging alone produce. The second answers lie in `score/_noise/answer_0/`, their scores in `score/_noise/score/`.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duel.bookkeeping import Stage
from duel.calls.request import Request
from duel.candidates import Question, Refused, ask_for_turn, writer_request
from duel.errors import ItemError
from duel.judging import agreement, statistics
from duel.judging.panel import Panel
from duel.judging.statistics import Clusters, finite
from duel.judging.survey import scores_of, why_not
from duel.judging.table import Table
from duel.records import Answer, Candidate, Score
from duel.settings import Settings
from duel.workspace import Workspace

if TYPE_CHECKING:
    from duel.calls import Ask

# The second blind answer asks the king's very question; this occurrence sets it apart from the first in the ledger.
SECOND = 1_000_000


def folder(workspace: Workspace) -> Workspace:
    """Where second answers and their scores lie, laid out as a workspace of its own."""
    return Workspace(workspace.root / "score" / "_noise")


def drawn(stage: Stage, count: int) -> list[tuple[Path, Answer]]:
    """`count` of the answers that can be judged, drawn by a keyed hash: a larger count keeps those of a smaller one."""
    seed = stage.settings.duel.seed

    def rank(path: Path) -> bytes:
        return hashlib.sha256(f"{seed}:{path.stem}".encode()).digest()

    paths = sorted(stage.workspace.answer_paths(), key=rank)
    found: list[tuple[Path, Answer]] = []
    for path in paths:
        if len(found) == count:
            break
        with contextlib.suppress(ItemError):  # the stage itself has named what is damaged
            answer = stage.workspace.read(path, Answer)
            if not why_not(answer, stage):
                found.append((path, answer))
    return found


def open_answers(answers: Iterable[tuple[Path, Answer]], stage: Stage) -> Iterator[SecondAnswer]:
    """A job for every turn that has no second answer to the question of today."""
    for path, answer in answers:
        job = SecondAnswer(stage.workspace, stage.settings, path.stem, answer)
        if stage.again or not job.is_there():
            yield job


def pairs(workspace: Workspace) -> Iterator[tuple[Path, Answer]]:
    """Every king with its second answer, as long as the king is still the one that was asked twice."""
    folders = workspace.answer_folders()
    for path, second in folder(workspace).answers([]):
        first = workspace.find_answer(path.stem, folders)
        with contextlib.suppress(ItemError):
            if first is not None and workspace.read(first, Answer).king == second.king:
                yield path, second


def panel(workspace: Workspace, settings: Settings, again: bool = False) -> Panel:
    """The same judges, with the scores of the noise floor apart from the others. Always king against king."""
    return Panel(Stage("noise", workspace, settings, again=again), folder(workspace), mode=2)


def scores(workspace: Workspace, settings: Settings) -> list[Score]:
    """The scores of the noise floor that stand under the present settings."""
    apart = panel(workspace, settings)
    for _ in apart.open_turns(pairs(workspace)):
        pass
    return scores_of(apart)[0] if apart.candidates else []


@dataclass
class SecondAnswer:
    """One turn whose king is asked for once more."""

    workspace: Workspace
    settings: Settings
    item: str
    answer: Answer

    @property
    def path(self) -> Path:
        """Where the second answer is kept."""
        return folder(self.workspace).new_answer_path(self.item, 0, 1)

    @property
    def request(self) -> Request:
        """The king's own question once more."""
        model = self.settings.king_model
        return writer_request(self.settings, "noise", self.item, model, self.answer.messages, occurrence=SECOND)

    def is_there(self) -> bool:
        """True when the second answer lies there and was asked with the question of today."""
        try:
            kept = self.workspace.read(self.path, Answer)
        except ItemError:
            return False
        return kept.king == self.answer.king and getattr(kept.made("challenger"), "plan", "") == self.request.key

    def requests(self) -> list[Request]:
        """The one question that is asked for sure."""
        return [self.request]

    async def work(self, ask: Ask) -> None:
        """Ask until the reply is one well-formed turn, then keep it as the challenger of its own king."""
        question = Question(self.request, self.request.key)
        try:
            reply, made = await ask_for_turn(ask, question, self.settings.generate.format_retries)
        except Refused as refused:
            raise ItemError(refused.reason, "no well-formed second answer") from None
        own = self.answer.of_side("king")
        second = self.answer.model_copy(update={"challenger": "", "candidates": [c.model_copy() for c in own]})
        second.choose(Candidate(id="challenger-1", side="challenger", made=made), reply.text)
        self.workspace.save(self.path, second)


def figures(noise: Sequence[Score], scores: Sequence[Score], settings: Settings) -> dict[str, Any] | None:
    """The margin of the noise in points, with a 95 % interval, beside the real one on the same turns."""
    if not noise:
        return None
    table = Table.of(noise, settings)
    same = {score.file for score in noise}
    real = Table.of([score for score in scores if score.file in same], settings)
    parsed = table.parsed
    clusters = Clusters.of(table.deltas[parsed], table.clusters[parsed])
    points = finite(table.challenger_score()) if parsed.any() else None
    error = finite(200 * clusters.errors()[0]) if clusters.count > 1 else None
    margin = None if points is None else 2 * points - 100
    reach = None if error is None else statistics.student_quantile(0.975, clusters.count - 1) * error
    _, flip_rates = agreement.flips(table)
    return {
        "turns": len(noise),
        "parsed": int(parsed.sum()),
        "clusters": clusters.count,
        "score": points,
        "margin": margin,
        "se": error,
        "low": None if margin is None or reach is None else margin - reach,
        "high": None if margin is None or reach is None else margin + reach,
        "real_margin": finite(2 * real.challenger_score() - 100) if real.parsed.any() else None,
        "flip_rate": {judge: finite(rate) for judge, rate in zip(table.judges, flip_rates, strict=True)},
    }
