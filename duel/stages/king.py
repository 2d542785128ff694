"""Write the king of every prompt: the answer of a model that sees the history and nothing else.

    king.py                  go on where the last run stopped
    king.py --plan           calls, tokens and cost, before a cent is spent
    king.py --offline        with the stand-in endpoint: no key, no network

reads   prompt/*.json (and the size of each pull request, so that all sides are given the same history)
writes  answer_<k>/<prompt file>_<order>.json with an empty challenger
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from duel import calls, candidates
from duel.bookkeeping import Result
from duel.command import Parser
from duel.errors import ItemError, UserError
from duel.offline import endpoint_url
from duel.records import Answer, Candidate, Made, Message, Prompt
from duel.settings import Settings
from duel.stages import asking
from duel.synchronous import synchronous
from duel.workspace import Workspace


async def run_async(
    workspace: Workspace,
    settings: Settings,
    *,
    again: bool = False,
    budget: float | None = None,
    offline: bool = False,
) -> Result:
    """Write every king that is missing. `budget` is in dollars; `offline` asks the stand-in endpoint."""
    stage = asking.WritingStage("king", workspace, settings, again=again)
    with workspace.lock("answer", "king.py"), endpoint_url(offline) as url:
        total = workspace.count_prompts()
        return stage.finish(await asking.drive(open_turns(stage), stage, total=total, budget=budget, url=url))


run = synchronous(run_async)


def plan(workspace: Workspace, settings: Settings, *, offline: bool = False) -> calls.Plan:
    """What `run` would ask, and at most cost. No call is made, nothing is written."""
    turns = open_turns(asking.WritingStage("king", workspace, settings))
    return calls.plan(turns, workspace=workspace, settings=settings, stage="king", offline=offline)


def add_arguments(parser: Parser) -> None:
    parser.with_offline().with_spending()


def main(arguments: Namespace) -> int:
    return asking.main(arguments, run, plan)


def open_turns(stage: asking.WritingStage) -> Iterator[KingTurn]:
    """Every prompt whose king is not yet what the settings ask for, in the order of the prompt files."""
    workspace = stage.workspace
    if not workspace.prompt_files():
        raise UserError("there are no prompts", where=workspace.root / "prompt", hint="run prompt.py first")
    numbered = candidates.Numbered(stage.settings)
    folders = workspace.answer_folders()
    for stem, position, prompt in workspace.prompts(stage.damage):
        commit = stage.pull_request(prompt.instance_id)
        if stage.is_left_out(stem, prompt.instance_id, commit):
            continue
        history = candidates.fitted_history(prompt.messages, stage.settings, commit)
        question = numbered.king(stem, history)
        path = workspace.find_answer(stem, folders)
        before = existing_answer(stage, path)
        if before is not None and not stage.again and is_finished(before, prompt, question):
            stage.finished += 1
            continue
        stage.stale += before is not None and not stage.again
        path = path or workspace.new_answer_path(stem, position, stage.settings.store.answers_per_dir)
        yield KingTurn(stage, stem, path, prompt, history, question, before)


def existing_answer(stage: asking.WritingStage, path: Path | None) -> Answer | None:
    """What an earlier run saved. A file that cannot be read is noted and written again."""
    try:
        return stage.workspace.read(path, Answer) if path is not None else None
    except ItemError as error:
        stage.redone.append(error)
        return None


def is_finished(before: Answer, prompt: Prompt, question: candidates.Question) -> bool:
    """True when the king is there and was made by this very question; a king from elsewhere is taken as it is."""
    made = before.made("king")
    if not before.king or before.instance_id != prompt.instance_id:
        return False
    return made is None or made.plan == question.plan


@dataclass
class KingTurn:
    """One turn that waits for its king."""

    stage: asking.WritingStage
    item: str
    path: Path
    prompt: Prompt
    history: list[Message]
    question: candidates.Question
    before: Answer | None

    def requests(self) -> list[calls.Request]:
        """The one question that is asked for sure."""
        return [self.question.request]

    async def work(self, ask: calls.Ask) -> bool:
        """Ask until the reply is one well-formed turn, then save the answer."""
        try:
            retries = self.stage.settings.generate.format_retries
            reply, made = await candidates.ask_for_turn(ask, self.question, retries, self.stage.form)
        except candidates.Refused as refused:
            self.stage.drop(self.item, self.prompt.instance_id, f"king-format: {refused.reason}")
            self.path.unlink(missing_ok=True)  # an answer of other settings must not stand in for this one
            return False
        self.stage.workspace.save(self.path, self.answer(reply.text, made))
        return True

    def answer(self, king: str, made: Made) -> Answer:
        """The record to save; a challenger that answered the same history stays."""
        answer = Answer(
            instance_id=self.prompt.instance_id,
            king="",
            assistant=self.prompt.assistant,
            messages=self.history,
            repo=self.prompt.repo,
            turn=self.prompt.turn,
            source=self.prompt.source,
        )
        answer.choose(Candidate(id="king-1", side="king", made=made), king)
        if self.before is not None and self.before.challenger and self.before.messages == self.history:
            answer.challenger = self.before.challenger
            answer.candidates += self.before.of_side("challenger")
        return answer
