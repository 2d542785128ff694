"""What a whole run will ask for, before any of it is asked: one job a turn for each of the three paying stages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from duel import candidates, fence
from duel.audit import auditor
from duel.bookkeeping import Stage
from duel.calls import Request
from duel.judging import rubric
from duel.records import Answer, Commit, Message
from duel.settings import Settings
from duel.stages import suspects
from duel.workspace import Workspace

# What is assumed of a turn that is not drawn yet, in bytes. The dataset's 12.29 million rollouts hold about 112 billion
# tokens, 9,100 each; a turn is drawn from anywhere in one, so that half of it stands before the turn. At 3.8 bytes a
# token (the median of 41 real rollouts) that is 17 KB. A pull request's record took 5.2 KB in the mean of 39 real bug
# fixes; the dataset also holds features, so twice that and more.
HISTORY_BYTES = 17_000
PULL_BYTES = 12_000
# A candidate as the judges see it, in bytes: the mean of 1,250 real turns.
REPLY_BYTES = 850


@dataclass(frozen=True)
class Expected:
    """One turn of one stage: the requests that it will make at least."""

    item: str
    asked: list[Request]

    def requests(self) -> list[Request]:
        """What `duel.calls.plan` counts."""
        return self.asked

    async def work(self, ask: object) -> None:
        """Nothing: an estimate is counted, never asked."""


@dataclass(frozen=True)
class Turn:
    """A turn as far as it is known: its history and the pull request behind it."""

    item: str
    instance_id: str
    history: list[Message]
    commit: Commit | None


def turns(workspace: Workspace, settings: Settings) -> Iterator[Turn]:
    """The prompts that are there; where none are drawn yet, as many typical ones as are asked for."""
    if not workspace.prompt_files():
        yield from typical(settings)
        return
    stage = Stage("plan", workspace, settings)
    for stem, _, prompt in workspace.prompts(stage.damage):
        commit = stage.pull_request(prompt.instance_id)
        if stage.is_left_out(stem, prompt.instance_id, commit):
            continue
        history = candidates.fitted_history(prompt.messages, settings, commit)
        yield Turn(stem, prompt.instance_id, history, commit)


def typical(settings: Settings) -> Iterator[Turn]:
    """Turns of the dataset's average length."""
    history = [Message(role="system", content="rules"), Message(role="user", content="x" * HISTORY_BYTES)]
    for number in range(settings.sample.n):
        commit = Commit(instance_id=str(number), patch="x" * PULL_BYTES)
        yield Turn(f"turn {number}", str(number), history, commit)


def kings(workspace: Workspace, settings: Settings) -> Iterator[Expected]:
    """What king.py will ask."""
    numbered = candidates.Numbered(settings)
    for turn in turns(workspace, settings):
        yield Expected(turn.item, [numbered.king(turn.item, turn.history).request])


def challengers(workspace: Workspace, settings: Settings) -> Iterator[Expected]:
    """What ch.py will ask."""
    numbered = candidates.Numbered(settings)
    for turn in turns(workspace, settings):
        if turn.commit is not None:
            mark = fence.nonce(b"", turn.item)  # a plan writes nothing, and an unmade secret would have to be written
            question = numbered.challenger(turn.item, turn.history, turn.commit, mark)
            yield Expected(turn.item, [question.request])


def audits(workspace: Workspace, settings: Settings) -> Iterator[Expected]:
    """What `duel audit` will ask the auditor, if nothing keeps a turn out: every fifth of the turns."""
    known = ((turn, turn.commit) for turn in turns(workspace, settings) if turn.commit is not None)
    for turn, commit in islice(known, 0, None, round(1 / auditor.SHARE)):
        answer = Answer(instance_id=turn.instance_id, king="", challenger="x" * REPLY_BYTES, messages=turn.history)
        asked = suspects.request(settings, turn.item, answer, commit, fence.nonce(b"", turn.item))
        yield Expected(turn.item, [asked])


def judges(workspace: Workspace, settings: Settings) -> Iterator[Expected]:
    """What validate.py will ask of the panel, with candidates of typical length where none are written."""
    reply = "x" * REPLY_BYTES
    for turn in turns(workspace, settings):
        answer = Answer(instance_id=turn.instance_id, king=reply, challenger=reply + ".", messages=turn.history)
        pair = rubric.pair_of(turn.item, answer, settings.duel.mode)
        yield Expected(turn.item, list(rubric.requests(pair, settings, b"").values()))
