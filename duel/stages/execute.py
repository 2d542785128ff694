"""Run both commands of each turn in a sandboxed checkout, so that nobody has to guess whether they work. No call.

reads   answer_<k>/, commit/ (the base commit and its tests), the repositories that [execute] repositories names
writes  `observed` of each candidate, in place; report/execute.json; turns without evidence in report/dropped.jsonl

Each history is replayed before the candidates' commands run, and what they print and change is noted. [execute] backend
says where: "bubblewrap" on Linux, "docker" or "podman"; "off" runs nothing.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from duel.bookkeeping import Result, Stage
from duel.command import say, say_error
from duel.errors import EXIT_FINISHED, EXIT_OPEN, ItemError, UserError, WorkspaceError, printable
from duel.execution import backends, harness
from duel.execution.executor import Executor, Start, closing
from duel.execution.replay import EvidenceRules, Task, as_done, observe, plan
from duel.records import Answer, Commit, Message, Observed
from duel.records.executed import same
from duel.settings import Settings
from duel.synchronous import synchronous
from duel.workspace import Workspace

FIGURES = "execute.json"
OPEN = frozenset({"no-repository", "no-image", "sandbox"})  # another run may mend these; others are facts of the turn


async def run_async(
    workspace: Workspace,
    settings: Settings,
    *,
    again: bool = False,
    offline: bool = False,
    only: Collection[Path] = (),
) -> Result:
    """Execute every answer's candidates in place, or those of `only`; `found` is what report/execute.json holds."""
    backends.needs_backend(settings, "commands", '`backend = "bubblewrap"` on Linux, or "docker"')
    if not workspace.answer_folders():
        raise WorkspaceError("there are no answers to execute", where=workspace.root, hint="run king.py first")
    with workspace.lock("answer", "duel execute"):
        async with closing(backends.open_executor(workspace, settings, offline=offline)) as executor:
            rules, workers = backends.rules(settings), backends.workers(settings)
            work = Work("execute", workspace, settings, again, executor=executor, rules=rules, only=only)
            say(f"executing with {executor.describe()} …")
            async for task, found in as_done(partial(observe, executor, rules=rules), work.tasks(), workers):
                path, answer = Path(task.key), workspace.read(Path(task.key), Answer)
                for one in list(answer.candidates):
                    if one.id in found:
                        answer.put(one.model_copy(update={"observed": found[one.id]}))
                workspace.save(path, answer)
                work.count(path, answer)
    return work.result()


run = synchronous(run_async)


def where_possible(workspace: Workspace, settings: Settings, *, offline: bool, only: Collection[Path] = ()) -> Result:
    """The executed turns; where this machine can run nothing, the other stages go on without."""
    try:
        return run(workspace, settings, offline=offline, only=only)
    except UserError as error:
        say_error(error)
        say("going on without execution: judges see no output")
        workspace.save_page(workspace.report / FIGURES, {"turns": 0, "why_not": printable(error.what, 200)})
        return Result("execute", dropped={"no-executor": 1})


@dataclass
class Work(Stage):
    """The stage: the tasks that are to be done, and what came of all."""

    executor: Executor = field(kw_only=True)
    rules: EvidenceRules = field(kw_only=True)
    only: Collection[Path] = ()  # answers whose candidates are executed, () for all; others are counted as they are
    reasons: Counter[str] = field(default_factory=Counter)
    turns: int = 0
    evidence: int = 0  # turns of which the chosen candidates of both sides ran
    alike: int = 0  # turns of which both sides did the same: a draw in correctness by rule

    def tasks(self) -> Iterator[Task]:
        """What is to be executed, ordered by checkout; one answer in memory at a time."""
        by_pull_request = sorted((answer.instance_id, path) for path, answer in self.workspace.answers(self.damage))
        for _, path in by_pull_request:
            try:
                answer = self.workspace.read(path, Answer)
                commit = self.workspace.commit(answer.instance_id)
            except ItemError as error:
                self.damage.append(error)
                continue
            start = start_of(commit or Commit(instance_id=answer.instance_id, repo=answer.repo), answer.messages)
            texts = {one.id: text for one in answer.candidates if (text := answer.text_of(one))}
            task = Task(str(path), start, answer.messages, texts)
            wanted = not self.only or path in self.only
            seen = {one.id: one.observed for one in answer.candidates}
            # Only what does not stand: run again, a command may print another time, and its votes would be asked anew.
            owed = {name: text for name, text in texts.items() if self.again or not self.stands(seen[name], task, text)}
            if wanted and owed:
                yield replace(task, candidates=owed)
            else:
                self.finished += wanted
                self.count(path, answer)

    def stands(self, seen: Observed | None, task: Task, text: str) -> bool:
        """True where what was seen of a command is what running it again would show."""
        return seen is not None and seen.reason not in OPEN and seen.plan == plan(self.executor, task, text, self.rules)

    def count(self, path: Path, answer: Answer) -> None:
        self.turns += 1
        sides = [one.observed for side in ("king", "challenger") if (one := answer.chosen(side)) and one.observed]
        self.evidence += len(sides) == 2 and all(one.ran for one in sides)
        self.alike += len(sides) == 2 and same(*sides)
        if why_not := next((one.why_not for one in sides if one.why_not), ""):
            reason, _, detail = why_not.partition(": ")
            self.reasons[reason] += 1
            self.drop(path.name, answer.instance_id, reason, detail)

    def result(self) -> Result:
        counts = {"turns": self.turns, "evidence": self.evidence, "alike": self.alike}
        found = {"executor": self.executor.describe(), **counts, "without": dict(sorted(self.reasons.items()))}
        self.workspace.save_page(self.workspace.report / FIGURES, found)
        self.workspace.save_dropped("execute", self.dropped)
        if self.finished:
            say(f"{self.finished:,} were executed before")
        say(f"{self.evidence:,} of {self.turns:,} turns have evidence; in {self.alike:,} both sides did the same")
        for reason, count in sorted(self.reasons.items()):
            say(f"{count:,} without: {reason}")
        for problem in self.damage:
            say_error(problem)
        still_open = bool(self.damage) or bool(OPEN & self.reasons.keys())
        return Result("execute", EXIT_OPEN if still_open else EXIT_FINISHED, found, dropped=self.reasons)


def start_of(commit: Commit, messages: Sequence[Message]) -> Start:
    """Where the history of a pull request's turn starts; its further columns may name an image."""
    columns = {"instance_id": commit.instance_id, "repo": commit.repo, **(commit.model_extra or {})}
    place = harness.place(messages, harness.of(messages))
    return Start(commit.repo, commit.commit, commit.test_patch, place, instance=columns)
