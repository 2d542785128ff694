"""One turn: replay its history once, fork, run each candidate's command in a fork of its own."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from duel import shell
from duel.execution import harness as harnesses
from duel.execution.executor import ExecutionError, Executor, Found, Start, State
from duel.execution.harness import Harness
from duel.records import Message, Observed
from duel.records.executed import cut

Given = TypeVar("Given")
MIN_FAITHFUL = 0.8
"""Below it a turn has no evidence: of the bundled sample all, of SWE-ZERO 45 of 45 observations come back."""
_MODE = r"[bcdlps-][rwxsStT-]{9}[.+@]?"
_LS_DATE = re.compile(
    rf"^((?:Observation: )?(?:\s*\d+ +)?)({_MODE})\s+(\d+)\s+(\S+)\s+(\S+)\s+(\d+(?:,\s*\d+)?[KMG]?)\s+"
    r"(?:[A-Z][a-z]{2}\s+\d{1,2}\s+(?:\d{2}:\d{2}|\d{4})|\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d\.\d+ [+-]\d{4})?)\s",
    re.MULTILINE,
)
_TOTAL = re.compile(r"^((?:Observation: )?)total \d+\S*$", re.MULTILINE)
_STAMP = re.compile(
    r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?: ?[+-]\d{4}|Z)?\b"  # dates
    r"|\b[A-Z][a-z]{2} [A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d (?:[A-Z]+ )?\d{4}\b"
    r"|\b\d+\.\d+ ?s(?:ec(?:onds?)?)?\b"  # durations
    r"|\b0x[0-9a-f]{6,}\b"  # addresses
)
_CHECKOUT = re.compile(r"/tmp/swe_zero_worktrees/[\w.-]+|(?<![\w.-])/(?:repo|testbed)(?![\w.-])")  # noqa: S108
_SHELL = re.compile(r"^((?:Observation: )?)(?:/usr)?/bin/bash: ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Task:
    """One turn to be executed: where it starts, what was said before it, and each candidate's text by its id."""

    key: str
    start: Start
    messages: Sequence[Message]
    candidates: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EvidenceRules:
    """How tasks are executed: the settings that say what counts as evidence."""

    min_faithful: float = MIN_FAITHFUL
    output_chars: int = 8000
    replay: bool = True


@dataclass(slots=True)
class Replayed:
    alike: list[str] = field(default_factory=list)  # of each step how alike, as `alike` says it
    edit: int | None = None  # the first edit that ended otherwise than recorded

    @property
    def faithful(self) -> float | None:
        return sum(map(bool, self.alike)) / len(self.alike) if self.alike else None

    def check(self, min_faithful: float) -> None:
        """Raise ExecutionError (`edit-differs`, `unfaithful`) where the state cannot be trusted."""
        if self.edit is not None:
            what = f"command {self.edit + 1} of the history changes files and ended otherwise than recorded"
            raise ExecutionError("edit-differs", what)
        if self.faithful is not None and self.faithful < min_faithful:
            came = f"{sum(map(bool, self.alike))} of {len(self.alike)} observations came back"
            raise ExecutionError("unfaithful", came)


async def replay(state: State, steps: Sequence[tuple[str, str]], harness: Harness) -> Replayed:
    """Run the history's commands, `steps` being (command, what was shown) as `harness.steps` gives them."""
    told = Replayed()
    for number, (command, seen) in enumerate(steps):
        shown = harness.show(await state.run(command, merged=harness.merged)) if command else ""
        told.alike.append(alike(shown, seen))
        if told.edit is None and not told.alike[-1] and command and shell.style(command) == "edit":
            told.edit = number
    return told


def normal(text: str) -> str:
    """`text` without what no replay repeats: dates, sizes of folders, block counts, durations, addresses, places."""
    text = _LS_DATE.sub(lambda m: f"{m[1]}{m[2]} {'' if m[2][0] == 'd' else m[6]} <date> ", text)
    text = _STAMP.sub("<time>", _TOTAL.sub(r"\1total <n>", text))
    return _SHELL.sub(r"\1bash: ", _CHECKOUT.sub("<checkout>", text)).rstrip()


def alike(ours: str, recorded: str) -> str:
    """How alike two observations are: "exact", "normal" (dates and the like apart), "order" (of lines), or ""."""
    if ours == recorded:
        return "exact"
    mine, theirs = normal(ours), normal(recorded)
    if mine == theirs:
        return "normal"
    mine, theirs = (text.removeprefix("Observation:").strip() for text in (mine, theirs))
    return "order" if sorted(mine.splitlines()) == sorted(theirs.splitlines()) else ""


async def observe(executor: Executor, task: Task, rules: EvidenceRules = EvidenceRules()) -> dict[str, Observed]:
    """What each candidate's command did. One turn's trouble is told in its records and never raised.

    Of many tasks those of one start should come in a row: its checkout is laid out once and then removed.
    """
    harness = harnesses.of(task.messages, rules.output_chars)
    found: dict[str, Observed] = {}
    runs: list[tuple[Observed, str]] = []
    for name, text in task.candidates.items():
        about = plan(executor, task, text, rules)
        found[name] = Observed(executor=executor.describe(), base=task.start.commit, plan=about)
        try:
            runs.append((found[name], harness.command(text)))
        except ExecutionError as error:
            found[name].why_not = f"{error.reason}: {error.what}"
    try:
        if runs:
            await _run(executor, task, harness, rules, runs)
    except ExecutionError as error:
        for one in (one for one, _ in runs if not one.ran):
            one.why_not = one.why_not or f"{error.reason}: {error.what}"
    return found


async def _run(
    executor: Executor, task: Task, harness: Harness, rules: EvidenceRules, runs: Sequence[tuple[Observed, str]]
) -> None:
    """Run each command in a state of its own behind the history, and tell it in the record beside it."""
    steps = harnesses.steps(task.messages, harness)
    if steps and not rules.replay:
        raise ExecutionError("no-replay", "the history's commands are not replayed ([execute] replay)")
    async with AsyncExitStack() as stack:
        state = await executor.state(task.start)
        stack.push_async_callback(state.close)
        told = await replay(state, steps, harness)
        for one, _ in runs:
            one.replayed, one.faithful = len(steps), told.faithful
            one.differs = [number for number, likeness in enumerate(told.alike) if not likeness]
        told.check(rules.min_faithful)
        history = await state.changes() if steps else ""
        states = [state]
        # A fork freezes what the history wrote, so that a candidate's own layer holds what its command wrote.
        while len(states) < max(len(runs), 2 if steps else 1):
            states.append(await state.fork())
            stack.push_async_callback(states[-1].close)
        for side, (one, command) in zip(states, runs, strict=False):
            try:
                outcome = await side.run(command, merged=harness.merged)
                changed = await side.changes()
            except ExecutionError as error:
                one.why_not = f"{error.reason}: {error.what}"
                continue
            one.ran, one.exit, one.ended_by = True, outcome.exit, outcome.ended_by
            one.submits, one.printed = harnesses.submits(outcome), harness.show(outcome)
            one.changed = cut(history + changed if one.submits else changed, rules.output_chars)


def plan(executor: Executor, task: Task, text: str, rules: EvidenceRules) -> str:
    """Fingerprint of what decides on a candidate's record: unchanged, it need not be run again."""
    start = task.start
    parts = [
        *(executor.describe(), repr(getattr(executor, "limits", None)), repr(rules)),
        *(start.repository, start.commit, start.test_patch, text),
        *(part for message in task.messages for part in (message.role, message.content)),
    ]
    told = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:16]


async def as_done(
    work: Callable[[Given], Coroutine[Any, Any, Found]], items: Iterable[Given], width: int
) -> AsyncIterator[tuple[Given, Found]]:
    """`work` on each item, `width` at a time; items are taken only when there is room, so memory does not grow."""
    todo = iter(items)
    running: dict[asyncio.Task[Found], Given] = {}
    try:
        while True:
            for item in islice(todo, width - len(running)):
                running[asyncio.create_task(work(item))] = item
            if not running:
                return
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                yield running.pop(one), one.result()
    finally:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)
