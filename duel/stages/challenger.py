"""Write the challenger of every answer: the same turn by a model that has the pull request in hand.

    ch.py                    go on where the last run stopped
    ch.py --plan             calls, tokens and cost, before a cent is spent
    ch.py --offline          with the stand-in endpoint: no key, no network

reads   answer_*/, commit/
writes  the `challenger` field of each answer, in place, and what the blind-agent audit found in it

The challenger is bound to act as if the pull request were not there. A reply that tells what the agent cannot know is
asked again once, with the findings named; the better of the two is kept. In mode 1 a turn without a pull request gets a
second blind writer.
"""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from duel import calls, candidates, fence
from duel.audit.leaks import Leaks, find_leaks
from duel.audit.rarity import Rarity, background
from duel.bookkeeping import Result
from duel.command import Parser
from duel.errors import UserError
from duel.offline import endpoint_url
from duel.records import Answer, Candidate, Commit, Made
from duel.settings import Settings
from duel.stages import asking
from duel.synchronous import synchronous
from duel.workspace import Workspace

Value = TypeVar("Value")


async def run_async(
    workspace: Workspace,
    settings: Settings,
    *,
    again: bool = False,
    budget: float | None = None,
    offline: bool = False,
) -> Result:
    """Write every challenger that is missing. `budget` is in dollars; `offline` asks the stand-in endpoint."""
    stage = Challengers("challenger", workspace, settings, again=again)
    with workspace.lock("answer", "ch.py"), endpoint_url(offline) as url, stage.auditing:
        total, turns = len(workspace.answer_paths()), open_turns(stage)
        first = next(turns, None)
        if first is not None:
            await stage.off_the_loop(stage.prepare)
            turns = chain([first], turns)
        return stage.finish(await asking.drive(turns, stage, total=total, budget=budget, url=url))


run = synchronous(run_async)


def plan(workspace: Workspace, settings: Settings, *, offline: bool = False) -> calls.Plan:
    """What `run` would ask, and at most cost. No call is made, nothing is written."""
    turns = open_turns(Challengers("challenger", workspace, settings))
    return calls.plan(turns, workspace=workspace, settings=settings, stage="challenger", offline=offline)


def add_arguments(parser: Parser) -> None:
    parser.with_offline().with_spending()


def main(arguments: Namespace) -> int:
    return asking.main(arguments, run, plan)


@dataclass
class Challengers(asking.WritingStage):
    """The stage, with what it must know of all pull requests to tell a rare name from a common one.

    Names are counted before the first call, and replies are audited in a thread: while the event loop stands still,
    replies that have come are taken for late ones (100,000 pull requests take 88 s to count).
    """

    rarity: Rarity = field(default_factory=Rarity)
    auditing: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "audit"))
    """One thread: more would only wait for the interpreter."""

    def prepare(self) -> None:
        """Count how rare each name is in this workspace and in common source code."""
        self.rarity = Rarity.of_workspace(self.workspace)
        background()

    async def off_the_loop(self, work: Callable[..., Value], *given: Any) -> Value:
        """`work(*given)` in the audit's thread."""
        return await asyncio.get_running_loop().run_in_executor(self.auditing, work, *given)


def open_turns(stage: Challengers) -> Iterator[ChallengerTurn]:
    """Every answer whose challenger is not yet what the settings ask for, in the order of the answer files."""
    workspace = stage.workspace
    if not workspace.answer_folders():
        raise UserError("there are no answers", where=workspace.root / "answer_0", hint="run king.py first")
    numbered = candidates.Numbered(stage.settings)
    secret = workspace.secret()
    for path, answer in workspace.answers(stage.damage):
        commit = stage.pull_request(answer.instance_id)
        if stage.is_left_out(path.stem, answer.instance_id, commit):
            continue
        if commit is not None:
            mark = fence.nonce(secret, f"challenger {answer.instance_id}")
            question = numbered.challenger(path.stem, answer.messages, commit, mark)
        elif stage.settings.duel.mode == 1:
            question = numbered.second_writer(path.stem, answer.messages)
        else:
            stage.drop(path.stem, answer.instance_id, "no-pull-request")
            continue
        if not stage.again and is_finished(answer, question):
            stage.finished += 1
            continue
        stage.stale += bool(answer.challenger) and not stage.again
        yield ChallengerTurn(stage, path.stem, path, answer, commit, question)


def is_finished(answer: Answer, question: candidates.Question) -> bool:
    """True when the challenger is there and was made by this very question; one from elsewhere is taken as it is."""
    made = answer.made("challenger")
    return bool(answer.challenger) and (made is None or made.plan == question.plan)


@dataclass
class ChallengerTurn:
    """One turn that waits for its challenger."""

    stage: Challengers
    item: str
    path: Path
    answer: Answer
    commit: Commit | None
    question: candidates.Question

    def requests(self) -> list[calls.Request]:
        """The one question that is asked for sure."""
        return [self.question.request]

    async def work(self, ask: calls.Ask) -> bool:
        """Ask until the reply is one well-formed turn, ask once more where it leaks, then fill in the answer."""
        try:
            challenger, made, leaks = await self.blind_turn(ask)
        except candidates.Refused as refused:
            self.stage.drop(self.item, self.answer.instance_id, f"challenger-format: {refused.reason}")
            if self.answer.challenger:  # one of other settings must not stand in for this one
                self.answer.remove("challenger")
                self.stage.workspace.save(self.path, self.answer)
            return False
        self.answer.remove("challenger")
        audit = leaks.audit(challenger)
        self.answer.choose(Candidate(id="challenger-1", side="challenger", made=made, audit=audit), challenger)
        self.stage.workspace.save(self.path, self.answer)
        return True

    async def blind_turn(self, ask: calls.Ask) -> tuple[str, Made, Leaks]:
        """The better of at most two well-formed replies, with what the audit found in it."""
        retries = self.stage.settings.generate.format_retries
        reply, made = await candidates.ask_for_turn(ask, self.question, retries, self.stage.form)
        leaks = await self.stage.off_the_loop(self.leaks, reply.text)
        if not leaks.leaking:
            return reply.text, made, leaks
        ask.reject(reply, "leak")
        followup = candidates.asked_again(self.question, reply, [finding.sentence() for finding in leaks.findings])
        try:
            second, second_made = await candidates.ask_for_turn(ask, followup, retries)
        except candidates.Refused:
            return reply.text, made, leaks
        second_leaks = await self.stage.off_the_loop(self.leaks, second.text)
        if second_leaks.score >= leaks.score:
            return reply.text, made, leaks
        second_made.plan = made.plan
        return second.text, second_made, replace(second_leaks, reworded=True)

    def leaks(self, reply: str) -> Leaks:
        """What the reply tells that stands in the pull request and nowhere in what the agent has seen."""
        if self.commit is None:
            return Leaks()
        leak_max = self.stage.settings.audit.leak_max
        return find_leaks(reply, self.answer.messages, self.commit, self.stage.rarity, leak_max=leak_max)
