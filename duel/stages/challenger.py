"""Write the challenger of every answer: the same turn by a model that has the pull request in hand.

    ch.py                    go on where the last run stopped
    ch.py --plan             calls, tokens and cost, before a cent is spent
    ch.py --offline          with the stand-in endpoint: no key, no network

reads   answer_*/, commit/
writes  the `challenger` field of each answer, in place, and what the blind-agent audit found in it

The challenger is bound to act as if the pull request were not there. A reply that tells what the agent cannot know is
asked again once, with the findings named; the better of the two is kept. In mode 1 a turn without a pull request gets a
second blind writer. `[generate] challengers` and `challenger_models` ask for several candidates.
"""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from duel import calls, candidates, fence
from duel.audit.leaks import Leaks, find_leaks
from duel.audit.rarity import Rarity, background
from duel.bookkeeping import Result
from duel.command import Parser
from duel.errors import UserError
from duel.settings import Settings
from duel.stages import asking, writing
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
    stage = Challengers("challenger", workspace, settings, again=again, side="challenger")
    with stage.auditing:
        return await stage.run("ch.py", len(workspace.answer_paths()), budget=budget, offline=offline)


run = synchronous(run_async)


def plan(workspace: Workspace, settings: Settings, *, offline: bool = False) -> calls.Plan:
    return Challengers("challenger", workspace, settings, side="challenger").plan(offline=offline)


def add_arguments(parser: Parser) -> None:
    parser.with_offline().with_spending()


def main(arguments: Namespace) -> int:
    return asking.main(arguments, run, plan)


@dataclass
class Challengers(writing.WritingStage):
    """The stage, with what it must know of all pull requests to tell a rare name from a common one.

    Names are counted before the first call, and replies are audited in a thread: while the event loop stands still,
    replies that have come are taken for late ones (100,000 pull requests take 88 s to count).
    """

    rarity: Rarity = field(default_factory=Rarity)
    auditing: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "audit"))
    """One thread: more would only wait for the interpreter."""

    def open_turns(self) -> Iterator[writing.OpenTurn]:
        workspace = self.workspace
        if not workspace.answer_folders():
            raise UserError("there are no answers", where=workspace.root / "answer_0", hint="run king.py first")
        numbered, secret = candidates.Numbered(self.settings), workspace.secret()
        for path, answer in workspace.answers(self.damage):
            commit = self.pull_request(answer.instance_id)
            if self.is_left_out(path.stem, answer.instance_id, commit):
                continue
            if commit is None and self.settings.duel.mode != 1:
                self.drop(path.stem, answer.instance_id, "no-pull-request")
                continue
            mark = fence.nonce(secret, f"challenger {answer.instance_id}")
            missing = self.missing(answer, numbered.of("challenger", path.stem, answer.messages, commit, mark))
            if not missing.of(answer, "challenger"):
                self.finished += 1
                continue
            self.stale += bool(answer.challenger) and not self.again and not missing.keep
            yield writing.OpenTurn(self, path.stem, path, answer, missing, commit)

    async def prepare(self) -> None:
        """Count how rare each name is in this workspace and in common source code."""

        def count() -> None:
            self.rarity = Rarity.of_workspace(self.workspace)
            background()

        await self.off_the_loop(count)

    async def off_the_loop(self, work: Callable[..., Value], *given: Any) -> Value:
        """`work(*given)` in the audit's thread."""
        return await asyncio.get_running_loop().run_in_executor(self.auditing, work, *given)

    async def write(self, ask: calls.Ask, turn: writing.OpenTurn, question: candidates.Question) -> writing.Written:
        """The better of at most two well-formed replies, with what the audit found in it."""
        first = await self.well_formed(ask, question)
        leaks = await self.off_the_loop(self.leaks, first.reply.text, turn)
        kept = replace(first, audit=leaks.audit(first.reply.text))
        if not leaks.leaking:
            return kept
        ask.reject(first.reply, "leak")
        followup = candidates.asked_again(question, first.reply, [finding.sentence() for finding in leaks.findings])
        try:
            second, made = await candidates.ask_for_turn(ask, followup, self.settings.generate.format_retries)
        except candidates.Refused:
            return kept
        second_leaks = await self.off_the_loop(self.leaks, second.text, turn)
        if second_leaks.score >= leaks.score:
            return kept
        made.plan = first.made.plan
        return writing.Written(second, made, replace(second_leaks, reworded=True).audit(second.text))

    def leaks(self, reply: str, turn: writing.OpenTurn) -> Leaks:
        """What the reply tells that stands in the pull request and nowhere in what the agent has seen."""
        if turn.commit is None:
            return Leaks()
        leak_max = self.settings.audit.leak_max
        return find_leaks(reply, turn.answer.messages, turn.commit, self.rarity, leak_max=leak_max)

    def discard(self, turn: writing.OpenTurn, had: bool) -> None:
        if had:
            self.workspace.save(turn.path, turn.answer)
