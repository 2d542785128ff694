"""Drives many jobs through one client, few at a time in memory, none lost; or tells beforehand what that will cost."""

import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol, TypeVar

from duel.calls import prices
from duel.calls.client import Client
from duel.calls.ledger import CUT, Ledger
from duel.calls.prices import Spending
from duel.calls.request import Reply, Request
from duel.calls.route import Route
from duel.calls.run_summary import ModelPlan, Plan, Progress, Summary
from duel.calls.wire import encode
from duel.command import ENDING_SIGNALS
from duel.errors import BudgetSpent, ItemError
from duel.history import BYTES_PER_TOKEN
from duel.settings import Settings
from duel.workspace import Workspace

# Jobs in memory at most, and bytes of what they ask: 1,000 of 15 KB keep three models busy while one is held back, and
# long ones take no more memory than these (six votes on a pair share two texts, and one in flight has a body).
MOST_JOBS, MOST_OPEN_BYTES = 1000, 100_000_000
KEPT_FAILURES = 1000  # named in the last word, or kept at all: memory stays flat where all fail
# Python looks for cyclic garbage after 700 new objects, which took a quarter of the CPU of a reply; it is rare here.
COLLECTING = (20_000, 20, 20)
# How long the run looks away while nothing can be taken up: a model may go out meanwhile.
LOOK_AGAIN_S = 0.5
# Whoever sends SIGTERM sends SIGKILL ten seconds later.
DRAIN_S = 8.0
# Turns of the event loop from the start of a job to its first request in a lane, where it counts as waiting.
TICKS_TO_QUEUE = 3
# Jobs that are taken up between two looks at what came back; each look is a system call and three turns of the loop.
JOBS_A_LOOK = 16
Found = TypeVar("Found")


class Ask(Protocol):
    """What a job is given to ask with. `stopped`: the run is ending, and nothing more is asked."""

    @property
    def stopped(self) -> bool: ...

    async def __call__(self, request: Request) -> Reply:
        """The reply, durable. Raises ItemError where the call fails for good."""
        ...

    def reject(self, reply: Reply, reason: str) -> None: ...


async def readable(ask: Ask, request: Request, read: Callable[[str], Found], retries: int, reminder: str = "") -> Found:
    """What `read` finds in a reply. Raises its last ItemError where `retries` more askings bring nothing readable."""
    for attempt in range(retries + 1):
        reply = await ask(request.again(attempt, reminder if attempt else ""))
        try:
            return read(reply.text)
        except ItemError as error:
            ask.reject(reply, error.reason)
            problem = error
    raise problem


class Pending(BaseException):
    """A reply will come with a later round: neither a failed item nor an error, so that no job takes it for one."""


class Job(Protocol):
    @property
    def item(self) -> str: ...

    def requests(self) -> Sequence[Request]: ...  # those that it will make at least

    async def work(self, ask: Ask) -> bool | None:
        """Ask, then save; False: the item was dropped. Raises ItemError when the item fails."""
        ...


async def unasked(_: Ask) -> bool:
    raise NotImplementedError("this turn is counted by a plan, and never asked")


@dataclass(frozen=True)
class OpenTurn:
    """What is to be asked for one item, as a job. Both functions are called when it is taken up."""

    item: str
    requests: Callable[[], Sequence[Request]]
    work: Callable[[Ask], Coroutine[Any, Any, bool | None]] = unasked


async def drive(
    jobs: Iterable[Job],
    *,
    workspace: Workspace,
    settings: Settings,
    route: Route,
    stage: str,
    contest: str = "",
    total: int | None = None,
    passed: Callable[[], int] = int,
    again: bool = False,
    asker: Callable[[Client], Ask] = lambda client: client,
    summary: Summary | None = None,
) -> Summary:
    """Work through `jobs` and return what became of them.

    `jobs` is consumed as work is needed. Of `total` items `passed()` needed no job so far: progress counts them as
    done. `contest` names the run where several share a stage. `again` asks anew for what the ledger holds. Ctrl-C waits
    for the replies in flight, a second one does not. `asker` makes what jobs ask with; `summary` is one to count on.
    Raises EndpointError and WorkspaceError after the replies in flight are kept.
    """
    from duel.calls.transport import HttpTransport  # aiohttp behind it takes 170 ms

    with Ledger(workspace.ledger) as ledger:
        summary = summary or Summary(stage)
        summary.contest = contest
        if again:
            ledger.begin_again(stage)
        budget = settings.endpoint.budget_usd
        spending = Spending(None if budget is None else budget - ledger.spent())
        client = Client(route, settings, ledger, HttpTransport(route.endpoint), spending, summary)
        before, is_frozen = gc.get_threshold(), gc.get_freeze_count() > 0  # by whoever calls this: then it stays so
        if not is_frozen:
            gc.freeze()
        gc.set_threshold(*COLLECTING)
        try:
            await _Run(client, asker(client)).all(iter(jobs), Progress(summary, client, total, passed))
        finally:
            gc.set_threshold(*before)
            if not is_frozen:
                gc.unfreeze()
        if again and summary.exit_code == 0:
            ledger.finish_again(stage)
    return summary


def plan(
    jobs: Iterable[Job],
    *,
    workspace: Workspace,
    settings: Settings,
    stage: str,
    again: bool = False,
    offline: bool = False,
) -> Plan:
    """What `drive` would do with these jobs; no call is made, nothing is written, no key is needed."""
    by_batch = settings.batch.provider not in ("off", "file")
    made = Plan(stage, batch_h=settings.batch.deadline_h if by_batch else 0.0)
    with Ledger(workspace.ledger) if workspace.ledger.exists() else contextlib.nullcontext() as ledger:
        for job in jobs:
            made.items += 1
            made.names.add(job.item)
            for request in job.requests():
                known = ledger.find(request) if ledger is not None and not again else None
                if known is not None and known.rejected != CUT:
                    made.from_ledger += 1
                    continue
                model = made.models.setdefault(request.model, ModelPlan())
                tokens_in = int(len(encode(request, request.model, request.max_tokens)) / BYTES_PER_TOKEN)
                model.calls += 1
                model.tokens_in += tokens_in
                model.tokens_out += request.max_tokens
                price = prices.price_of(request.model, settings, offline=offline)
                model.batch = price.batch if price else 1.0
                cost = prices.cost(price, {"prompt_tokens": tokens_in, "completion_tokens": request.max_tokens})
                model.cost = None if cost is None or model.cost is None else model.cost + cost
    return made


@dataclass
class _Run:
    client: Client
    ask: Ask
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _room: asyncio.Event = field(default_factory=asyncio.Event)

    async def all(self, jobs: Iterator[Job], progress: Progress) -> None:
        """Run every job, then raise what ended the run, if anything did."""
        client, summary = self.client, self.client.summary
        async with client.transport:
            with self._interrupts(), progress:
                try:
                    await self._admit(jobs)
                    if self._tasks:
                        await asyncio.wait(self._tasks)
                except BaseException:  # the source of jobs breaks, or nobody awaits them any more
                    client.stop()
                    raise
                finally:
                    await client.drain()
                    await asyncio.gather(*self._tasks, return_exceptions=True)  # whose replies came save them
        if isinstance(client.error, BudgetSpent):
            summary.budget_spent = True
        elif client.error is not None:
            raise client.error
        elif not summary.interrupted and (verdict := client.aftermath.verdict()) is not None:
            raise verdict

    async def _admit(self, jobs: Iterator[Job]) -> None:
        """Take up jobs as long as some model has room for more work."""
        while not self.client.stopped:
            hunger = self.client.hunger
            left = MOST_JOBS - len(self._tasks) if self.client.open_bytes < MOST_OPEN_BYTES else 0
            if hunger and not left:  # what could go on never waits for a sick model
                for line in self.client.lines.values():
                    if line.out:
                        line.send_away()
            room = min(hunger, left, JOBS_A_LOOK) if self._tasks else 1
            if not room:
                self._room.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._room.wait(), LOOK_AGAIN_S)
                continue
            taken_up = list(islice(jobs, room))
            for job in taken_up:
                task = asyncio.create_task(self._work(job))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                task.add_done_callback(lambda _: self._room.set())
            if len(taken_up) < room:
                return
            for _ in range(TICKS_TO_QUEUE):
                await asyncio.sleep(0)

    async def _work(self, job: Job) -> None:
        summary = self.client.summary
        try:
            dropped = await job.work(self.ask) is False
            summary.left_out += dropped
            summary.done += not dropped
        except Pending:
            summary.pending += 1
        except ItemError as error:
            summary.failed[error.reason] += 1
            if len(summary.failures) < KEPT_FAILURES:
                summary.failures.append((job.item, error.reason, error.what))
        except asyncio.CancelledError:
            if not self.client.stopped:
                raise
        except Exception as error:  # a full disk, or a mistake of this program: end the run, keep what is in flight
            self.client.stop(error)

    @contextlib.contextmanager
    def _interrupts(self) -> Iterator[None]:
        """Ctrl-C waits for the replies in flight, a second one does not; SIGTERM and SIGHUP wait for a few seconds."""
        loop = asyncio.get_running_loop()

        def interrupt(drain_s: float | None) -> None:
            summary = self.client.summary
            at_once, summary.interrupted = summary.interrupted, True
            self.client.stop(at_once=at_once)
            if drain_s is not None:
                loop.call_later(drain_s, lambda: self.client.stop(at_once=True))

        with contextlib.ExitStack() as after:
            # Not the main thread, or no signals here.
            with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
                for number in ENDING_SIGNALS:
                    before = signal.getsignal(number)
                    if before is signal.SIG_IGN and number != signal.SIGINT:  # nohup; in a script's background SIGINT
                        continue
                    loop.add_signal_handler(number, interrupt, None if number == signal.SIGINT else DRAIN_S)
                    after.callback(signal.signal, number, before)
                    after.callback(loop.remove_signal_handler, number)
            yield
