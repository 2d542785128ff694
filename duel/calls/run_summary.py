"""What a run says: its plan beforehand, a live line on a terminal, a plain one elsewhere, and its last word."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from duel import command, errors
from duel.calls.prices import PRICES_READ_ON
from duel.errors import printable

if TYPE_CHECKING:
    from duel.calls.client import Client

PLAIN_EVERY_S, LIVE_EVERY_S = 5.0, 0.5
SHOWN_FAILURES = 3
BAR = 24
# A call in flight is said to hang from so many times what the slowest of the last replies took.
SLOW = 4.0
ON = "Run the same command again to go on."


@dataclass
class ModelPlan:
    calls: int = 0
    tokens_in: int = 0  # estimated on the safe side, at three bytes a token
    tokens_out: int = 0  # at most: the whole budget of every reply
    cost: float | None = 0.0  # dollars at most; None where the price is unknown
    batch: float = 1.0  # what a batch costs, as a share of that


@dataclass
class Plan:
    """Calls, where every first reply is taken, tokens and dollars by model."""

    stage: str
    items: int = 0
    from_ledger: int = 0
    models: dict[str, ModelPlan] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)  # of the items
    batch_h: float = 0.0  # hours that one round waits at most where the stage goes by batches; 0: it does not

    @property
    def calls(self) -> int:
        return sum(model.calls for model in self.models.values())

    @property
    def cost(self) -> float | None:
        costs = [model.cost for model in self.models.values()]
        return None if None in costs else sum(filter(None, costs))

    @property
    def batch_cost(self) -> float:
        return sum((model.cost or 0.0) * model.batch for model in self.models.values())

    def times(self, weight: float) -> "Plan":
        """The plan of a run of which this one is a sample: each item stands for `weight` of them."""
        models = {}
        for name, one in self.models.items():
            calls, told, said = (round(count * weight) for count in (one.calls, one.tokens_in, one.tokens_out))
            models[name] = ModelPlan(calls, told, said, None if one.cost is None else one.cost * weight, one.batch)
        counts = round(self.items * weight), round(self.from_ledger * weight)
        return Plan(self.stage, *counts, models, self.names, self.batch_h)

    def __add__(self, other: "Plan") -> "Plan":
        """Both together, under this one's name."""
        models = dict(self.models)
        for name, one in other.models.items():
            mine = models.get(name, ModelPlan(batch=one.batch))
            cost = None if mine.cost is None or one.cost is None else mine.cost + one.cost
            tokens = mine.tokens_in + one.tokens_in, mine.tokens_out + one.tokens_out
            models[name] = ModelPlan(mine.calls + one.calls, *tokens, cost, one.batch)
        counts = self.items + other.items, self.from_ledger + other.from_ledger
        return Plan(self.stage, *counts, models, self.names | other.names, self.batch_h or other.batch_h)

    def say(self) -> None:
        print(f"{self.stage}: {self.items:,} items, {self.calls:,} calls, {self.from_ledger:,} replies from the ledger")
        for name, model in self.models.items():
            unknown = "unknown price (give it in chain.toml [prices])"
            price = unknown if model.cost is None else f"at most ${model.cost:,.2f}"
            tokens = f"about {model.tokens_in:,} tokens in, at most {model.tokens_out:,} out"
            print(f"  {printable(name)}: {model.calls:,} calls, {tokens}, {price}")
        total = "unknown" if self.cost is None else f"at most ${self.cost:,.2f}"
        print(f"  cost: {total}, plus what is asked again; prices of {PRICES_READ_ON} or [prices], they change")
        if self.batch_h and self.cost is not None:
            print(f"  by batch: at most ${self.batch_cost:,.2f}; the longest wait is {self.batch_h:g} h a round")


@dataclass
class Summary:
    """What a run did. It is counted up while the run goes, so that progress and the last word are one."""

    stage: str
    contest: str = ""  # of several under one name, which
    done: int = 0  # items that are complete
    finished_before: int = 0  # items that an earlier run had finished
    left_out: int = 0  # items whose replies could not be used; the stage counts them by reason
    failed: Counter[str] = field(default_factory=Counter)  # items that failed, by reason
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    """(item, reason, what happened) of the failed items, the first 1,000: memory stays flat where all of them fail."""
    calls: int = 0  # calls that went out, refusals and faults included
    faults: Counter[str] = field(default_factory=Counter)  # calls that brought no reply, by kind; most were retried
    last_fault: str = ""  # what the last of them said
    replies: int = 0  # replies that were paid for
    from_ledger: int = 0  # requests answered without a call
    batched: int = 0  # replies that came with batches
    pending: int = 0  # items that wait for replies out of batches
    waiting: int = 0  # requests that go out in batches; once they are back the stage runs once more
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0  # dollars, of the replies whose price is known
    unknown_price: set[str] = field(default_factory=set)  # models whose price is unknown
    unsure_cost: float = 0.0  # dollars of that which are the worst case of failed calls that told nothing
    down: dict[str, str] = field(default_factory=dict)  # models that were given up, and why: what they owe stays open
    adapted: list[str] = field(default_factory=list)  # parameters that models refuse: left out or renamed for them
    dropped: int = 0  # calls in flight that were not waited for
    interrupted: bool = False
    budget_spent: bool = False
    stopped: str = ""  # why the run ended early where no exception says so

    def count(self, usage: Mapping[str, Any], cost: float | None, model: str, fault: str = "") -> None:
        """Count a reply, or a call that brought none for a `fault`, with what it took and cost."""
        if not fault:
            self.replies += 1
        else:
            self.faults[fault] += 1
            self.unsure_cost += (cost or 0.0) if usage.get("estimated") else 0.0
            if not usage:
                return
        self.tokens_in += int(usage.get("prompt_tokens") or 0)
        self.tokens_out += int(usage.get("completion_tokens") or 0)
        if cost is None:
            self.unknown_price.add(model)
        else:
            self.cost += cost

    @property
    def title(self) -> str:
        return f"{self.stage}, {self.contest}" if self.contest else self.stage

    @property
    def exit_code(self) -> int:
        if self.interrupted:
            return errors.EXIT_INTERRUPTED
        if self.budget_spent:
            return errors.EXIT_BUDGET
        return errors.EXIT_OPEN if self.failed or self.stopped or self.down or self.pending else errors.EXIT_FINISHED

    @property
    def spent(self) -> str:
        known = f"${self.cost:.4f}" if 0 < self.cost < 0.1 else f"${self.cost:.2f}"
        return f"{known} + unknown price" if self.unknown_price else known

    def say(self) -> None:
        """The last word, on standard error: what was done, what it cost, what failed, how to go on."""
        before = f", {self.finished_before:,} finished before" if self.finished_before else ""
        said = f"{self.done:,} done, {self.failed.total():,} failed"
        said += f", {self.left_out:,} dropped" if self.left_out else ""
        said += f", {self.pending:,} wait for batches" if self.pending else ""
        items = self.done + self.failed.total() + self.left_out + self.pending
        if not items and self.exit_code == errors.EXIT_FINISHED:
            said = "nothing to do"
        paid = f"; {self.calls:,} calls, {self.from_ledger:,} replies from the ledger"
        paid += f", {self.batched:,} from batches" if self.batched else ""
        paid += f", {self.tokens_in:,} tokens in, {self.tokens_out:,} out, {self.spent}"
        command.say(f"{self.title}: {said}{before}{paid if self.calls or self.batched or self.from_ledger else ''}")
        for line in filter(None, self._further()):
            command.say(line)

    def _further(self) -> Iterator[str]:
        if self.unknown_price:
            names = ", ".join(printable(name) for name in sorted(self.unknown_price))
            yield f"  unknown price: {names}; give it in chain.toml [prices]"
        if self.unsure_cost:
            yield f"  of that at most ${self.unsure_cost:.4f} for failed calls whose usage nobody told"
        yield from (f"  adapted to {printable(change)}" for change in self.adapted)
        if self.faults:
            yield f"  calls without a reply: {listed(self.faults)}"
        for reason, count in self.failed.most_common():
            yield f"  failed, {reason}: {count:,}"
            shown = [row for row in self.failures if row[1] == reason][:SHOWN_FAILURES]
            yield from (f"    {printable(item)}: {printable(what, 200)}" for item, _, what in shown)
        for model, why in self.down.items():
            yield f"  {printable(model)} was given up: {printable(why, 200)}; what it owes is open"
        if self.interrupted and self.dropped:
            lost = f"{self.dropped:,} calls in flight were not waited for, and what they cost is not known."
            yield f"interrupted; {lost} {ON}"
        elif self.interrupted:
            yield f"interrupted; the replies that were in flight are kept. {ON}"
        elif self.budget_spent:
            yield "the budget is spent; what was paid for is kept. Raise it and run the same command again to go on."
        elif self.waiting:
            yield f"{self.waiting:,} requests go out in batches; the next round follows once they are back"
        elif self.stopped:
            yield f"stopped early: {self.stopped}. {ON}"
        elif self.failed or self.down:
            yield ON


class Progress:
    """Says how far a run is, on standard error. Use as a context manager inside the event loop."""

    def __init__(self, summary: Summary, client: "Client", total: int | None, passed: Callable[[], int] = int) -> None:
        self._summary, self._client, self._total, self._passed = summary, client, total, passed
        self._began = time.monotonic()
        self._live: Any = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        self._again()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._live is not None:
            self._live.stop()

    def _figures(self) -> Iterator[str]:
        summary, seconds, total = self._summary, max(time.monotonic() - self._began, 1e-9), self._total
        at = self._passed() + summary.done + summary.failed.total()  # those that earlier runs have dealt with included
        at = min(at, total) if total else at
        bar = f"{'#' * round(at / total * BAR):-<{BAR}} " if total and self._live else ""
        yield f"{bar}{summary.title}: {at:,}" + (f" of {total:,} ({100 * at // total}%)" if total else "")
        finished = summary.done + summary.left_out + summary.failed.total()
        yield f"{60 * finished / seconds:,.0f} a minute"
        yield f"{self._client.seats.taken:,} in flight"
        yield f"{summary.tokens_in + summary.tokens_out:,} tokens"
        yield summary.spent
        if total and finished:
            yield f"{timedelta(seconds=round(seconds / finished * (total - at)))} left"

    def _troubles(self) -> Iterator[str]:
        summary = self._summary
        now, flying = asyncio.get_running_loop().time(), [call for call in self._client.calls.values() if call.limit]
        taken = [(now - call.sent_at, call.line.slowest_s) for call in flying]
        if hanging := sum(slowest_s > 0 and taken_s > max(1.0, SLOW * slowest_s) for taken_s, slowest_s in taken):
            yield f"{hanging:,} hang"
        if self._client.share is not None and (told := self._client.share.told):
            yield told
        for line in self._client.lines.values():
            if line.down is None and line.out:
                seconds, kind = line.silent_s, line.last_failure.kind
                yield f"{line.model} is out for {seconds:.0f} s ({kind}), one call at a time tries it"
            elif line.down is None and line.held_s:
                yield f"{line.model} is held back for {line.held_s:.0f} s ({line.last_failure.kind})"
        yield from (f"{model} is given up" for model in summary.down)
        if summary.left_out:
            yield f"{summary.left_out:,} dropped"
        if summary.failed:
            yield f"failed {listed(summary.failed)}"
        if summary.faults:
            yield f"retried {listed(summary.faults)}"
        if self._client.stopped:
            yield "stopping: waiting for the replies in flight (Ctrl-C again: at once)"

    def _again(self) -> None:
        """One line; on a terminal a bar, and what goes wrong in lines of its own with the last failure's words."""
        if self._live is not None:
            from rich.text import Text

            last = [f"last failure: {self._summary.last_fault}"] if self._summary.last_fault else []
            troubles = [f"  {trouble}" for trouble in [*self._troubles(), *last]]
            lines = [printable(line, 300) for line in (" | ".join(self._figures()), *troubles)]
            self._live.update(Text("\n".join(lines)), refresh=True)
        elif time.monotonic() - self._began > 1:
            command.say(printable(" | ".join([*self._figures(), *self._troubles()]), 2000))
        every_s = PLAIN_EVERY_S if self._live is None else LIVE_EVERY_S
        self._timer = asyncio.get_running_loop().call_later(every_s, self._again)


def listed(counts: Counter[str]) -> str:
    return ", ".join(f"{kind} ×{count:,}" for kind, count in counts.most_common())
