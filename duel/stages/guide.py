"""Let an agent act under an overseer that approves, rejects or writes each action; pairs and a rate come of it.

    duel guide --agent mine/ckpt-2     the next round: the same tasks with another checkpoint
    duel guide --report                interventions a step over rounds: report/guide.md and guide.svg

reads   commit/ (issue, base commit, tests), prompt/ (instructions), the repositories of [execute]
writes  guided/<task>.json; guided/round_<k>.parquet in the dataset's columns, for `duel export --from`

Held-out tasks measure: the agent also acts alone on them, and no row is made of them.
"""

import asyncio
import hashlib
from argparse import Namespace
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain
from typing import Any

from duel import calls, fence, prompts
from duel.bookkeeping import Result
from duel.command import say
from duel.errors import EXIT_FINISHED, SettingsError, UserError
from duel.execution import backends, harness
from duel.execution.executor import Executor, closing
from duel.execution.verification import Verifier
from duel.guiding import rounds
from duel.guiding import supervised_loop as loop
from duel.records import Commit, Guided, Message, Ran
from duel.registry import OFFLINE
from duel.sources.sampling import chance, shuffled
from duel.stages import asking, execute, opening, verify

RUNS_AT_A_TIME = 32  # sandboxed states that are open at a time; each waits for models most of the time
TEST_SECONDS = 600.0  # what an issue's own tests may take, as OpenRewardEnv gives them
TYPICAL_TURN, TYPICAL_OUTPUT = "x" * 850, "x" * 2000  # what a plan assumes of both: the means of 1,250 real turns


@dataclass
class Guiding(asking.AskingStage):
    """One run of one round; `executor` and `verifier` are there while tasks are at work."""

    NAME, COMMAND, LOCK, ROLE = "guide", "duel guide", "guided", "guide"
    round: int = 1
    executor: Executor = field(init=False)
    verifier: Verifier | None = None
    states: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(RUNS_AT_A_TIME))
    commands: asyncio.Semaphore = field(init=False)

    @cached_property
    def made(self) -> dict[str, str]:
        """What a round is made with. The series is a fingerprint of all that makes rounds comparable."""
        guide, settings = self.settings.guide, self.settings
        parts = (
            *(settings.overseer_model, loop.prompt_hash(), loop.MOST_REJECTIONS, settings.sample.seed),
            *(guide.tasks, guide.held_out, guide.max_steps, guide.max_interventions, settings.generate.temperature),
        )
        series = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
        return {"agent_model": settings.agent_model, "overseer_model": settings.overseer_model, "series": series}

    async def driven(self, jobs: Iterable[calls.Job]) -> calls.Summary:
        """With what runs commands and tests. Raises UserError that says how to get them."""
        settings, workspace = self.settings, self.workspace
        hint = '`backend = "bubblewrap"` on Linux (`apt-get install bubblewrap`), or "docker"; `--backend` for once'
        backends.needs_backend(settings, "commands", hint)
        if settings.guide.verify:
            self.verifier = backends.open_verifier(workspace, settings, TEST_SECONDS, offline=self.offline)
        replayer = self.verifier and self.verifier.replayer
        self.executor = replayer or backends.open_executor(workspace, settings, offline=self.offline)
        self.commands = asyncio.Semaphore(backends.workers(settings))
        say(f"round {self.round}: {settings.agent_model} in {self.executor.describe()} …")
        async with closing(self.verifier or self.executor):
            return await super().driven(jobs)

    def open_turns(self) -> Iterator[calls.OpenTurn]:
        """Every drawn task that is not at its end; another agent or series begins the next round."""
        workspace, settings = self.workspace, self.settings
        issues = [commit.instance_id for _, commit in workspace.commits(self.damage) if commit.issue.strip()]
        if not issues:
            hint = "run prompt.py first: it mirrors the pull requests whose issues are the tasks"
            raise UserError("there are no tasks", where=workspace.root / "commit", hint=hint)
        if not settings.overseer_model:
            raise SettingsError("no model oversees", where="[guide] overseer_model", hint="every judge is a function")
        made: dict[str, tuple[int, bool]] = {}  # by task: the newest round, and whether it is of this agent and series
        for _, known in workspace.guided(self.redone):
            same = all(getattr(known, name) == value for name, value in self.made.items())
            made[known.task] = (known.round, same)
        newest = max((number for number, _ in made.values()), default=0)
        goes_on = newest and all(same for number, same in made.values() if number == newest)
        self.round = newest if goes_on else newest + 1
        names = shuffled(settings.sample.seed, "guide", issues)[: settings.guide.tasks or None]
        self.total, wanted = len(names), frozenset(names)
        prompts_of_them = (prompt for _, _, prompt in workspace.prompts([]) if prompt.instance_id in wanted)
        openings = {prompt.instance_id: prompt.messages[:2] for prompt in prompts_of_them}
        for name in names:
            commit = self.pull_request(name)
            if commit is None or self.is_left_out(name, name, commit):
                continue
            record = workspace.read(workspace.guided_path(name), Guided) if name in made else None
            if record is None or self.again or made[name] != (self.round, True):
                told = {"task": name, "repo": commit.repo, "base_commit": commit.commit, "license": commit.license}
                record = Guided(
                    **self.made,
                    **told,
                    round=self.round,
                    held_out=chance(settings.sample.seed, "held out", name) < settings.guide.held_out,
                    opening=first_messages(commit, openings.get(name, ())),
                    rounds=[run for run in (record.every_round() if record else ()) if run.round < self.round],
                )
            if record.is_done:
                self.finished += 1
                continue
            path = workspace.guided_path(name)
            if name not in made and path.exists() and not self.planned:  # one that cannot be read stays, for a person
                path.replace(path.with_name(f"{path.name}.damaged"))
            mark = fence.nonce(self.secret, f"guide {name}")
            requests, work = partial(self.requests, record, mark), partial(self.guided, commit, record, mark)
            yield calls.OpenTurn(name, requests, work)

    def finish(self, summary: calls.Summary, found: Any = None) -> Result:
        """Write the round's rows and say its figures: of held-out tasks and of the others."""
        records = (record.model_copy(update={"rounds": []}) for _, record in self.workspace.guided([]))
        done = [record for record in records if record.is_done and record.round == self.round]
        rows = [record for record in done if not record.held_out]
        path = self.workspace.root / "guided" / f"round_{self.round}.parquet"
        found = {"round": self.round, "rows": rounds.save_rows(path, rows)}
        for name, runs in {"held-out": [record for record in done if record.held_out], "training": rows}.items():
            if runs:
                found[name] = rates = rounds.InterventionRates(runs)
                spread = f"{rates.rate:.3f} ({rates.low:.3f} to {rates.high:.3f})"
                say(f"round {self.round}, {rates.tasks:,} {name} tasks: {spread} interventions a step")
        return super().finish(summary, found)

    def requests(self, record: Guided, mark: str) -> list[calls.Request]:
        """What is asked if every run takes all its steps and every proposal is approved."""
        settings, found = self.settings, []
        runs = {"rule": record.steps} | ({"": record.solo_steps} if record.held_out else {})
        for task, steps in runs.items():
            ran = [loop.said(step.action, step.outcome) for step in steps if step.outcome]
            shown = [*record.opening, *chain.from_iterable(ran)]
            for _ in range(len(ran), settings.guide.max_steps):
                found.append(loop.question(settings, record, shown))
                if task:
                    found.append(loop.overseer_question(settings, record.task, mark, task, shown, [TYPICAL_TURN]))
                shown += loop.said(TYPICAL_TURN, Ran(shown=TYPICAL_OUTPUT))
        return found

    async def guided(self, commit: Commit, record: Guided, mark: str, ask: calls.Ask) -> None:
        """Both runs to their ends; the agent alone comes first, where it is to be measured."""

        def keep() -> None:
            self.workspace.save(self.workspace.guided_path(record.task), record)

        supervision = loop.Supervision(record, self.settings, mark, ask, keep)
        alone, overseen = (partial(supervision.run, with_overseer) for with_overseer in (False, True))
        async with self.states:
            if record.held_out and not record.solo_outcome:
                record.solo_outcome, record.solo_resolved = await self.ran(commit, record, ask, alone)
            record.outcome, record.resolved = await self.ran(commit, record, ask, overseen)
            keep()

    async def ran(
        self, commit: Commit, record: Guided, ask: calls.Ask, run: Callable[[loop.Episode], Awaitable[str]]
    ) -> tuple[str, bool | None]:
        """How a run in a fresh sandbox ended, and whether the issue's own tests pass: None where they say nothing."""
        if ask.stopped:  # before a checkout is laid out for nothing
            raise asyncio.CancelledError
        messages = list(record.opening)
        known = harness.of(messages, self.settings.execute.output_chars)
        async with closing(await self.executor.state(execute.start_of(commit, messages))) as state:
            outcome = await run(loop.Episode(state, known, messages, self.commands))
        if self.verifier is None:
            return outcome, None
        found = await self.verifier.verify(verify.attempt_of(record.task, commit, messages))
        return outcome, None if found.resolved is None else found.resolved and outcome == "submitted"


def first_messages(commit: Commit, told: Sequence[Message]) -> list[Message]:
    """Instructions and issue: `told` by the dataset where a prompt of the pull request was drawn, else our own."""
    if [message.role for message in told] == ["system", "user"]:
        return list(told)
    task = prompts.load("session_task").render(task=commit.issue.strip(), repo=commit.repo, commit=commit.commit)
    texts = {"system": prompts.load("session_system").text, "user": task}
    return [Message.model_validate({"role": role, "content": text.rstrip("\n")}) for role, text in texts.items()]


run_async, run, plan = asking.faces(Guiding)


def main(arguments: Namespace) -> int:
    workspace, settings = opening.opened(arguments)
    offline, agent = arguments.offline, arguments.agent
    if agent and offline and not agent.startswith(f"{OFFLINE}agent-"):
        hint = f"{OFFLINE}agent-30 proposes 30 % bad actions"
        raise SettingsError("offline the stand-in is the agent", where="--agent", value=agent, hint=hint)
    settings = settings.with_keys(guide={"agent_model": agent or settings.guide.agent_model})
    if arguments.report:
        print("\n".join(map(str, rounds.save_page(workspace))))
    elif arguments.plan:
        plan(workspace, settings, again=arguments.again, offline=offline).say()
    else:
        return run(workspace, settings, again=arguments.again, budget=arguments.budget, offline=offline).exit_code
    return EXIT_FINISHED
