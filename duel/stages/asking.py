"""What every stage that asks models shares: the run around its turns, their drive through the endpoint, the plan."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from duel import calls
from duel.bookkeeping import Result, Stage
from duel.calls.ledger import spent
from duel.command import say
from duel.offline import endpoint_url
from duel.settings import Settings
from duel.synchronous import synchronous
from duel.workspace import SHARDS_FOLDER, Workspace

Asked = Literal["writer", "judge", "guide"]
Found = TypeVar("Found")


async def unasked(_: calls.Ask) -> bool:
    raise NotImplementedError("this turn is counted by a plan, and never asked")


@dataclass(frozen=True)
class OpenTurn:
    """What is to be asked for one item, a job of `duel.calls`. Both functions are called when it is taken up."""

    item: str
    requests: Callable[[], Sequence[calls.Request]]
    work: Callable[[calls.Ask], Coroutine[Any, Any, bool | None]] = unasked


@dataclass
class AskingStage(Stage):
    """A stage that saves what models answer. A subclass says which turns are open; the run around them is one."""

    NAME: ClassVar[str]  # in the ledger, and in report/dropped.jsonl
    COMMAND: ClassVar[str]
    LOCK: ClassVar[str] = "answer"
    ROLE: ClassVar[Asked] = "writer"
    offline: bool = False  # the stand-in is asked
    planned: bool = False  # nothing is asked, and nothing written
    total: int | None = None  # turns, finished ones included, where there are not as many as answers
    found: Any = None  # what the stage found out, for its `Result`
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    def open_turns(self) -> Iterator[OpenTurn]:
        raise NotImplementedError

    def recalled(self) -> bool:
        """True where an earlier run has found nothing open, and nothing has changed since."""
        return False

    def remember(self, result: Result) -> None:
        """Keep what `recalled` looks at."""

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """What must be ready before the first call, and is closed after the last one."""
        yield

    async def driven(self, jobs: Iterable[calls.Job]) -> calls.Summary:
        total = len(self.workspace.answer_paths()) if self.total is None else self.total
        with endpoint_url(self.offline) as url:
            return await drive(jobs, self, role=self.ROLE, total=total, url=url)

    @cached_property
    def secret(self) -> bytes:
        return self.workspace.secret(keep=not self.planned)

    async def beside(self, work: Callable[..., Found], *given: Any) -> Found:
        """`work(*given)` in a thread, one at a time: more would only wait for the interpreter.

        While the event loop stands still, replies that have come are taken for late ones.
        """
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
        stage, summary = kind(kind.NAME, workspace, settings, again, offline=offline), calls.Summary(kind.NAME)
        with workspace.lock(kind.LOCK, kind.COMMAND):
            if stage.recalled():
                return stage.finish(summary, stage.found)
            jobs = stage.open_turns()
            if (first := next(jobs, None)) is not None:
                async with stage.at_work():
                    summary = await stage.driven(chain([first], jobs))
            result = stage.finish(summary, stage.found)
            stage.remember(result)
            return result

    return await in_rounds(round_of_calls)


def plan(
    kind: type[AskingStage], workspace: Workspace, settings: Settings, *, again: bool = False, offline: bool = False
) -> calls.Plan:
    """What `run` would ask, and at most cost. No call is made, nothing is written."""
    jobs = kind(kind.NAME, workspace, settings, again=again, planned=True).open_turns()
    return calls.plan(jobs, workspace=workspace, settings=settings, stage=kind.NAME, again=again, offline=offline)


Faces = tuple[Callable[..., Coroutine[Any, Any, Result]], Callable[..., Result], Callable[..., calls.Plan]]


def faces(kind: type[AskingStage]) -> Faces:
    """`run_async`, `run` and `plan` of a stage, as its module offers them."""
    awaited = partial(run_async, kind)
    return awaited, synchronous(awaited), partial(plan, kind)


async def drive(
    jobs: Iterable[calls.Job],
    stage: Stage,
    *,
    role: Asked = "writer",
    name: str = "",
    total: int | None = None,
    url: str = "",
    outdated: Path | None = None,
) -> calls.Summary:
    """Have the models of `role` answer `jobs`. If there are none, no key and no endpoint is needed.

    `name` is the stage's name in the ledger (default: its own), `url` the stand-in's address, `outdated` a file that
    goes before the first new reply comes.
    """
    jobs, name = iter(jobs), name or stage.name
    contest = stage.name if stage.name not in (name, "validate") else ""
    if (first := next(jobs, None)) is None:
        return calls.Summary(name, contest)
    if (stage.workspace.root / SHARDS_FOLDER).is_dir():
        say("this workspace is split: what its shards have paid for is known here after `duel shard merge`")
    from duel.calls.batches import prefill

    route = calls.route_for(stage.settings, stage.workspace, role, url)
    if outdated is not None:
        outdated.unlink(missing_ok=True)  # noqa: ASYNC240 (one file, before the first call)
    jobs = chain([first], jobs)
    options: dict[str, Any] = {
        "workspace": stage.workspace, "settings": stage.settings, "route": route, "stage": name, "contest": contest,
        "total": total, "passed": lambda: stage.finished + len(stage.dropped), "again": stage.again,
    }  # fmt: skip
    if stage.settings.batch.provider != "off" and role != "guide":  # an agent waits for each of its steps
        return await prefill.drive_by_batch(jobs, role=role, **options)
    return await calls.drive_async(jobs, asker=prefill.unless_out, **options)
