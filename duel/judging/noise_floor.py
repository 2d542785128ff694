"""The noise floor's second kings: which turns get one, and the job that asks for it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from duel.bookkeeping import Stage
from duel.calls.request import Request
from duel.candidates import Question, Refused, ask_for_turn, writer_request
from duel.errors import ItemError
from duel.judging.contests import SECOND, second_king
from duel.judging.survey import why_not
from duel.records import Answer, Candidate

if TYPE_CHECKING:
    from duel.calls import Ask


def drawn(stage: Stage, count: int, fits: Callable[[Answer], bool] = lambda _: True) -> list[tuple[Path, Answer]]:
    """`count` of the answers that can be judged, drawn by a keyed hash: a larger count keeps those of a smaller one."""
    seed = stage.settings.duel.seed

    def rank(path: Path) -> bytes:
        return hashlib.sha256(f"{seed}:{path.stem}".encode()).digest()

    found: list[tuple[Path, Answer]] = []
    for path in sorted(stage.workspace.answer_paths(), key=rank):
        if len(found) == count:
            break
        with contextlib.suppress(ItemError):  # the stage itself has named what is damaged
            answer = stage.workspace.read(path, Answer)
            if answer.king and not why_not(answer, stage) and fits(answer):
                found.append((path, answer))
    return found


def open_answers(answers: Iterable[tuple[Path, Answer]], stage: Stage) -> Iterator[SecondAnswer]:
    for path, answer in answers:
        if stage.again or second_king(path.stem, answer, stage.settings) is None:
            yield SecondAnswer(stage, path, answer)


@dataclass
class SecondAnswer:
    """One turn whose king is asked for once more: a further candidate, never chosen."""

    stage: Stage
    path: Path
    answer: Answer

    @property
    def item(self) -> str:
        return self.path.stem

    def requests(self) -> list[Request]:
        settings, messages = self.stage.settings, self.answer.messages
        return [writer_request(settings, "noise", self.item, settings.king_model, messages, occurrence=SECOND)]

    async def work(self, ask: Ask) -> None:
        """Ask until the reply is one well-formed turn, then keep it in the answer as a further king."""
        [request] = self.requests()
        try:
            reply, made = await ask_for_turn(
                ask, Question(request, request.key), self.stage.settings.generate.format_retries
            )
        except Refused as refused:
            raise ItemError(refused.reason, "no well-formed second answer") from None
        answer = self.answer
        kings = answer.of_side("king")
        before = next((c for c in kings if c.made and is_second(c.made.plan) and not c.chosen), None)
        number = 1 + max((int(c.id.rpartition("-")[2]) for c in kings if c.id[-1].isdigit()), default=1)
        answer.put(Candidate(id=before.id if before else f"king-{number}", side="king", text=reply.text, made=made))
        self.stage.workspace.save(self.path, answer)


def is_second(plan: str) -> bool:
    return plan.endswith(f"-{SECOND}")
