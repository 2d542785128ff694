"""What every stage that asks models shares: the run around its turns, their drive through the endpoint, the plan.

The two that write candidates share more: which are missing, and how they are written and kept.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain, count
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from duel import calls, candidates, standing
from duel.bookkeeping import Result, Stage
from duel.calls.ledger import spent
from duel.calls.route import ModelRole
from duel.candidates import FormKept, Question, Refused
from duel.command import say
from duel.errors import EXIT_FINISHED, EXIT_OPEN, ItemError
from duel.offline import endpoint_url
from duel.records import Answer, Candidate, Commit, Side
from duel.settings import Settings
from duel.synchronous import synchronous
from duel.workspace import SHARDS_FOLDER, Workspace

Found = TypeVar("Found")
Questions = dict[str, Question]


@dataclass
class AskingStage(Stage):
    """A stage that saves what models answer. A subclass says which turns are open; the run around them is one."""

    NAME: ClassVar[str]  # in the ledger, and in report/dropped.jsonl
    COMMAND: ClassVar[str]
    LOCK: ClassVar[str] = "answer"
    ROLE: ClassVar[ModelRole] = "writer"
    planned: bool = False  # nothing is asked, and nothing written
    total: int | None = None  # turns, finished ones included, where there are not as many as answers
    found: Any = None  # what the stage found out, for its `Result`
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    def open_turns(self) -> Iterator[calls.OpenTurn]:
        raise NotImplementedError

    async def driven(self, jobs: Iterable[calls.Job]) -> calls.Summary:
        """Answer `jobs`, of which there is one at least; a subclass makes ready for them, and clears up behind them."""
        return await drive(jobs, self, role=self.ROLE, total=self.total)

    @cached_property
    def secret(self) -> bytes:
        return self.workspace.secret(keep=not self.planned)

    async def beside(self, work: Callable[..., Found], *given: Any) -> Found:
        """`work(*given)` in a thread, one at a time: while the event loop stands still, replies are taken for late."""
        async with self.one_at_a_time:
            return await asyncio.to_thread(work, *given)


async def in_rounds(run: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """`run`, once more as long as requests went out in batches: each round takes in what the last one asked for."""
    while (found := await run()).calls is not None and found.calls.waiting:
        pass
    return found


def limited(workspace: Workspace, settings: Settings, budget: float | None) -> Settings:
    """`settings` under which the workspace pays at most `budget` more dollars, whatever is done with them."""
    if budget is None:
        return settings
    most, named = spent(workspace.ledger) + budget, settings.endpoint.budget_usd
    return settings.with_keys(endpoint={"budget_usd": most if named is None else min(named, most)})


async def run_async(
    kind: type[AskingStage],
    workspace: Workspace,
    settings: Settings,
    *,
    again: bool = False,
    budget: float | None = None,
    offline: bool = False,
) -> Result:
    """Ask for whatever is missing. `budget` is in dollars; `offline` asks the stand-in endpoint."""
    settings = limited(workspace, settings, budget)

    async def round_of_calls() -> Result:
        stage, summary = kind(kind.NAME, workspace, settings, again, offline), calls.Summary(kind.NAME)
        with workspace.lock(kind.LOCK, kind.COMMAND):
            jobs = stage.open_turns()
            if (first := next(jobs, None)) is not None:
                summary = await stage.driven(chain([first], jobs))
            return stage.finish(summary, stage.found)

    return await in_rounds(round_of_calls)


def plan(
    kind: type[AskingStage], workspace: Workspace, settings: Settings, *, again: bool = False, offline: bool = False
) -> calls.Plan:
    """What `run` would ask, and at most cost. No call is made, nothing is written."""
    stage = kind(kind.NAME, workspace, settings, again, offline, planned=True)
    return planned(stage.open_turns(), stage)


def planned(jobs: Iterable[calls.Job], stage: Stage, name: str = "") -> calls.Plan:
    """What `drive` would ask for `jobs` of `stage`, which the ledger knows by `name` (default: its own)."""
    asked: dict[str, Any] = {"workspace": stage.workspace, "settings": stage.settings, "again": stage.again}
    return calls.plan(jobs, stage=name or stage.name, offline=stage.offline, **asked)


def faces(
    kind: type[AskingStage],
) -> tuple[Callable[..., Coroutine[Any, Any, Result]], Callable[..., Result], Callable[..., calls.Plan]]:
    """`run_async`, `run` and `plan` of a stage, as its module offers them."""
    awaited = partial(run_async, kind)
    return awaited, synchronous(awaited), partial(plan, kind)


async def drive(
    jobs: Iterable[calls.Job],
    stage: Stage,
    *,
    role: ModelRole = "writer",
    name: str = "",
    total: int | None = None,
    outdated: Path | None = None,
) -> calls.Summary:
    """Have the models of `role` answer `jobs`. If there are none, no key and no endpoint is needed.

    `name` is the stage's name in the ledger (default: its own), `total` how many turns there are (default: as many as
    answers), `outdated` a file that goes before the first new reply comes.
    """
    jobs, name = iter(jobs), name or stage.name
    contest = stage.name if stage.name not in (name, "validate") else ""
    if (first := next(jobs, None)) is None:
        return calls.Summary(name, contest)
    if (stage.workspace.root / SHARDS_FOLDER).is_dir():
        say("this workspace is split: what its shards have paid for is known here after `duel shard merge`")
    from duel.calls.batches import prefill

    with endpoint_url(stage.offline) as url:
        route = calls.route_for(stage.settings, stage.workspace, role, url)
        if outdated is not None:
            outdated.unlink(missing_ok=True)  # noqa: ASYNC240 (one file, before the first call)
        jobs, total = chain([first], jobs), len(stage.workspace.answer_paths()) if total is None else total
        options: dict[str, Any] = {
            "workspace": stage.workspace, "settings": stage.settings, "route": route, "stage": name, "contest": contest,
            "total": total, "passed": lambda: stage.finished + len(stage.dropped), "again": stage.again,
        }  # fmt: skip
        if stage.settings.batch.provider != "off" and role != "guide":  # an agent waits for each of its steps
            by_batch = prefill.Prefill(stage.workspace, stage.settings, route, role, name)
            return await by_batch.drive(jobs, **options)
        return await calls.drive(jobs, asker=prefill.unless_out, **options)


@dataclass
class WritingStage(AskingStage):
    """A stage that writes the candidates of one side, after which it is named; its replies must be well-formed."""

    SIDE: ClassVar[Side]
    BEFORE: ClassVar[tuple[str, ...]] = ()  # the stages whose work this one leaves as it is
    forms: defaultdict[str, FormKept] = field(default_factory=lambda: defaultdict(FormKept))  # by model
    files: standing.Snapshot | None = None  # as they were before; None where nothing was looked at

    def recalled(self) -> bool:
        """True where an earlier run has found nothing open, and nothing has changed since."""
        files, on = standing.Snapshot.take(self.workspace, "prompt", "commit", "answer"), standing.ground(self.settings)
        if self.again or (known := standing.recall(self.workspace, self.SIDE, on, files)) is None:
            self.files = files
            return False
        self.finished, self.dropped = known["finished"], known["dropped"]
        return True

    def finish(self, summary: calls.Summary, found: Any = None) -> Result:
        """As every stage; if no reply could be used for any turn, items are open, whatever became of them."""
        result, asked = super().finish(summary, found), any(form.replies for form in self.forms.values())
        if asked and not summary.done and not self.finished:
            result = replace(result, exit_code=result.exit_code or EXIT_OPEN)
        if self.files is not None:
            standing.carry(self.workspace, self.BEFORE, self.files)
            if result.exit_code == EXIT_FINISHED and not summary.waiting:
                said = {"finished": self.finished + summary.done, "dropped": self.dropped}
                standing.keep(self.workspace, self.SIDE, standing.ground(self.settings), self.files, said)
        return result

    def opened(
        self, path: Path, fresh: Answer, before: Answer, questions: Sequence[Question], commit: Commit | None = None
    ) -> Iterator[calls.OpenTurn]:
        """A turn with those of today's `questions` that have no candidate in `before`; nothing for a finished one.

        A chosen text from elsewhere is taken as it is. A refined one stays as long as what it was made of.
        """
        chosen, text = before.chosen(self.SIDE), bool(getattr(before, self.SIDE))
        wanted = {question.plan: question for question in questions}
        made = [one for one in before.of_side(self.SIDE) if one.made and not self.again]
        there = {one.made.plan for one in made if one.made and one.made.plan in wanted}
        keep = [one.id for one in made if there and one.made and (one.made.plan in there or one.made.refine)]
        names = (name for number in count(1) if (name := f"{self.SIDE}-{number}") not in keep)
        asked = {next(names): question for plan, question in wanted.items() if plan not in there}
        by_hand = text and (chosen is None or chosen.made is None) and not self.again
        if by_hand or (not asked and chosen is not None and chosen.id in keep):
            self.finished += 1
            return
        self.stale += text and not self.again and not keep
        written = partial(self.written, path, before if keep else fresh, commit, keep, asked)
        yield calls.OpenTurn(path.stem, lambda: [question.request for question in asked.values()], written)

    async def written(
        self, path: Path, answer: Answer, commit: Commit | None, keep: list[str], asked: Questions, ask: calls.Ask
    ) -> bool:
        """Ask until each reply is one well-formed turn, then save the answer; one candidate is enough for a turn.

        What is `asked` stands by the id of the candidate that it is to bring; of the others those in `keep` stay.
        """

        async def tried(name: str, question: Question) -> Candidate | ItemError:
            try:
                return await self.write(ask, name, question, answer, commit)
            except ItemError as error:
                return error

        side, had = self.SIDE, bool(getattr(answer, self.SIDE))
        tries = await asyncio.gather(*(tried(*one) for one in asked.items()))
        answer.remove(side, keep)
        for one in tries:
            if isinstance(one, Candidate):
                answer.put(one)
        errors, there = [one for one in tries if isinstance(one, ItemError)], answer.of_side(side)
        refused = [error for error in errors if isinstance(error, Refused)]
        failed = next((error for error in errors if error not in refused), None)
        alone = not there and failed is None
        for refusal in refused[:1] if alone else refused:
            what = side if alone else f"one-{side}-of-several"
            self.drop(path.stem, answer.instance_id, f"{what}-format: {refusal.reason}")
        if there and answer.chosen(side) is None:
            answer.choose(there[0], there[0].text)
        if there or (alone and had and side == "challenger"):  # what others made must not stand in for what is refused
            self.workspace.save(path, answer)
        elif alone and side == "king":
            path.unlink(missing_ok=True)  # noqa: ASYNC240 (one file)
        if failed is not None:
            raise failed
        return bool(there)

    async def write(
        self, ask: calls.Ask, name: str, question: Question, answer: Answer, commit: Commit | None
    ) -> Candidate:
        """One well-formed candidate. Raises Refused where no reply is one, another ItemError where the call fails."""
        reply, made = await candidates.ask_for_turn(ask, question, self.forms[question.request.model])
        return Candidate(id=name, side=self.SIDE, text=reply.text, made=made)
