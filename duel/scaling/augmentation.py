"""Children of rows: a request in other words, and of executed rows one change that is executed as well.

A tool is swapped for its equivalent in the shell, a call that fails and its recovery come in, context is added or taken
away, a second task follows. Whatever the change, all calls run twice from a fresh checkout: what the parent's answer
needs must still be observed, and the diff must be the parent's.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from duel.bookkeeping import LeftOut
from duel.errors import ItemError, SourceError
from duel.execution.executor import Executor, Start
from duel.scaling import agent_tools, episodes
from duel.scaling.agent_tools import PlannedCall, Toolset
from duel.scaling.episodes import Beat
from duel.scaling.scaled_rows import Kind, ScaledRow, home, source_files
from duel.scaling.synthesis import HISTORY, opened
from duel.settings import Settings
from duel.workspace import Workspace

LISTED = 40
"""Files of the listing that a request may carry."""


@dataclass(frozen=True)
class Parent:
    """A row that was executed, as its beats, and those it may be joined with."""

    row: ScaledRow
    tools: Toolset
    beats: list[Beat]
    siblings: Sequence[ScaledRow] = ()

    @property
    def start(self) -> Start:
        return Start(self.row.source.name, self.row.source.revision, history=HISTORY)


@dataclass(frozen=True)
class Child:
    """What becomes of a parent: its beats, and what else must be observed or is asked."""

    beats: list[Beat]
    needs: Sequence[str] = ()
    asked: Sequence[str] = ()
    names: Sequence[str] = ()
    other: str = ""
    """The id of the row whose task follows."""


Change = Callable[[Parent, random.Random], Child]


def _calls(beats: Sequence[Beat], *tools: str) -> list[tuple[int, int]]:
    """(beat, call) of every call of one of these tools. Raises ItemError where there is none."""
    found = [
        (at, n) for at, beat in enumerate(beats) for n, call in enumerate(beat.calls) if not tools or call.tool in tools
    ]
    if not found:
        raise ItemError("change-does-not-apply", f"no call of {', '.join(tools) or 'any tool'}")
    return found


def _with(beats: Sequence[Beat], at: int, n: int, call: PlannedCall) -> list[Beat]:
    calls = tuple(call if number == n else one for number, one in enumerate(beats[at].calls))
    return [replace(beat, calls=calls) if number == at else beat for number, beat in enumerate(beats)]


def tool_swapped(parent: Parent, draw: random.Random) -> Child:
    at, n = draw.choice(_calls(parent.beats, "read", "grep", "glob"))
    command = agent_tools.shell_form(parent.beats[at].calls[n]) or ""
    return Child(_with(parent.beats, at, n, PlannedCall("bash", {"command": command})))


def failure_inserted(parent: Parent, draw: random.Random) -> Child:
    """The same call on a path that is not there comes first."""
    at, n = draw.choice(_calls(parent.beats, "read", "edit"))
    call = parent.beats[at].calls[n]
    folder, _, base = str(call.arguments["path"]).rpartition("/")
    wrong = draw.choice([f"{folder}/src/{base}", f"{folder}/{base}.orig", f"{folder}s/{base}", f"{folder}/_{base}"])
    slip = PlannedCall(call.tool, call.arguments | {"path": wrong.lstrip("/")})
    return Child([*parent.beats[:at], Beat("assistant", "I go there.", (slip,)), *parent.beats[at:]])


def context_added(parent: Parent, draw: random.Random) -> Child:
    """A look around comes first: nothing needs it, and an agent that knows no repository takes it."""
    command = draw.choice([f"git ls-files | head -{LISTED}", "ls -A", "git log --oneline | head -5", "wc -l README*"])
    look = Beat("assistant", "First a look around.", (PlannedCall("bash", {"command": command}),))
    return Child([parent.beats[0], look, *parent.beats[1:]])


def context_taken_away(parent: Parent, draw: random.Random) -> Child:
    """A read shows as little as the answer needs."""
    at, n = draw.choice(_calls(parent.beats, "read"))
    call = parent.beats[at].calls[n]
    least = max(1, int(call.arguments.get("limit", 200)) // 2)
    if least >= call.arguments.get("limit", 200):
        raise ItemError("change-does-not-apply", "one line is read")
    return Child(_with(parent.beats, at, n, PlannedCall("read", call.arguments | {"limit": least})))


def second_task(parent: Parent, draw: random.Random) -> Child:
    others = [row for row in parent.siblings if row.id != parent.row.id]
    if not others:
        raise ItemError("change-does-not-apply", "no other row starts at this commit")
    other = draw.choice(others)
    made = other.made
    beats = [*parent.beats, *episodes.beats_of(other, parent.tools)]
    return Child(beats, made["needs"], made["asked"], made["names"], other.id)


CHANGES: dict[str, Change] = {
    "tool swapped": tool_swapped,
    "failure inserted": failure_inserted,
    "context added": context_added,
    "context taken away": context_taken_away,
    "second task": second_task,
}


def parents(workspace: Workspace, kinds: Sequence[Kind], drops: LeftOut) -> list[ScaledRow]:
    """Every row of these sources. Raises SourceError where there is none."""
    found = []
    for kind, path in source_files(workspace):
        for number, line in enumerate(path.read_bytes().splitlines() if kind in kinds else (), 1):
            try:
                found.append(ScaledRow.of_line(line))
            except ItemError as error:
                drops.drop(f"{kind}/{path.name}:{number}", "", error.reason, error.what)
    if not found:
        hint = "`duel scale synthesize`, `public` or `sessions` make them"
        raise SourceError("there are no rows to make children of", where=home(workspace), hint=hint)
    return found


def drawn(rows: Sequence[ScaledRow], count: int, seed: int) -> Iterator[tuple[int, Parent, random.Random]]:
    """`count` parents in turn over a seeded order, each with the draws of its child."""
    order = sorted(rows, key=lambda row: random.Random(f"{seed}/{row.id}").random())
    siblings: defaultdict[tuple[str, str], list[ScaledRow]] = defaultdict(list)
    for row in order:
        if "needs" in row.made:
            siblings[row.source.name, row.source.revision].append(row)
    for number in range(count if order else 0):
        row = order[number % len(order)]
        tools = agent_tools.of_declared(row.tools) if row.tools != agent_tools.ours() else Toolset()
        beats = episodes.beats_of(row, tools) if "needs" in row.made else []
        near = siblings[row.source.name, row.source.revision]
        yield number, Parent(row, tools, beats, near), random.Random(f"{seed}/{number}/{row.id}")


async def children(
    workspace: Workspace,
    settings: Settings,
    kinds: Sequence[Kind],
    count: int,
    seed: int,
    drops: LeftOut,
    *,
    offline: bool,
) -> list[ScaledRow]:
    """A child for each of `count` draws, still in plain words; a change that does not apply is counted."""
    rows = parents(workspace, kinds, drops)
    executor = await opened(workspace, settings, offline=offline) if any("needs" in row.made for row in rows) else None
    made = []
    try:
        for number, parent, draw in drawn(rows, count, seed):
            try:
                if executor and parent.beats:
                    made.append(await _child(executor, parent, number, draw))
                else:
                    made.append(_copy(parent, number))
            except ItemError as error:
                drops.drop(_id(parent, number), parent.row.source.name, error.reason, error.what)
    finally:
        if executor:
            await executor.close()
    return made


def _id(parent: Parent, number: int) -> str:
    return f"augmented/{number}/{parent.row.id}"


def _copy(parent: Parent, number: int) -> ScaledRow:
    """The parent itself, whose request only is put in other words."""
    row = parent.row
    source = row.source.model_copy(update={"kind": "augmented", "row": number})
    made = row.made | {"by": "duel scale augment", "change": "paraphrase"}
    update = {"id": _id(parent, number), "parent": row.id, "source": source, "made": made}
    return row.model_copy(update=update)


async def _child(executor: Executor, parent: Parent, number: int, draw: random.Random) -> ScaledRow:
    name = draw.choice([*CHANGES])
    child = CHANGES[name](parent, draw)
    before = [call for beat in parent.beats for call in beat.calls]
    calls = [call for beat in child.beats for call in beat.calls]
    seen, diff = await episodes.again(executor, parent.start, calls)
    if (seen, diff) != await episodes.again(executor, parent.start, calls):
        raise ItemError("not-reproduced", name)
    needs = [*parent.row.made["needs"], *child.needs]
    if not episodes.are_observed(needs, seen):
        raise ItemError("answer-not-observed", name)
    if not child.other and diff != (await episodes.again(executor, parent.start, before))[1]:
        raise ItemError("another-diff", name)
    if name == "failure inserted" and sum(one.failed for one in seen) <= parent.row.made["failed_calls"]:
        raise ItemError("path-exists", name)
    row = _copy(parent, number)
    made = row.made | {"change": name, "needs": needs, "failed_calls": sum(one.failed for one in seen)}
    made |= {key: [*row.made[key], *getattr(child, key)] for key in ("asked", "names")}
    messages = episodes.messages(child.beats, seen, parent.tools)
    group = [*row.group, *([f"row {child.other}"] if child.other else [])]
    return row.model_copy(update={"messages": messages, "made": made, "group": group})
