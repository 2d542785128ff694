"""Children of rows: a request in other words, and of executed rows one change that is executed as well.

Whatever the change, all calls run twice from a fresh checkout: what the parent's answer needs must still be observed,
and the diff must be the parent's.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from duel.bookkeeping import LeftOut
from duel.conversation.model import AgentCall, AgentReply, Entry, calls_made
from duel.errors import ItemError, SourceError, require
from duel.execution.executor import Executor, Start, closing
from duel.scaling import agent_tools, episodes
from duel.scaling.agent_tools import Toolset
from duel.scaling.scaled_rows import Kind, ScaledRow, home, source_files
from duel.settings import Settings
from duel.workspace import Workspace


@dataclass(frozen=True)
class Parent:
    """A row, and those that start at the same commit; one that was executed is read as its beats."""

    row: ScaledRow
    siblings: Sequence[ScaledRow] = ()

    @cached_property
    def tools(self) -> Toolset:
        return Toolset(agent_tools.envelopes(self.row.tools))

    @cached_property
    def beats(self) -> list[Entry]:
        """Raises ItemError where a call is none that its tools know."""
        return episodes.beats_of(self.row, self.tools)

    @property
    def start(self) -> Start:
        return Start(self.row.source.name, self.row.source.revision, history=episodes.HISTORY)

    def drawn(self, draw: random.Random, *tools: str) -> tuple[int, int, AgentCall]:
        """(beat, place in it, call) of one call of these tools. Raises ItemError where there is none."""
        replies = [(at, beat) for at, beat in enumerate(self.beats) if isinstance(beat, AgentReply)]
        fit = [(at, n, call) for at, beat in replies for n, call in enumerate(beat.calls) if call.name in tools]
        require(fit, "change-does-not-apply", f"no call of {', '.join(tools)}")
        return draw.choice(fit)

    def instead(self, at: int, n: int, call: AgentCall) -> list[Entry]:
        calls = calls_made(self.beats[at : at + 1])
        reply = AgentReply(self.beats[at].text, [*calls[:n], call, *calls[n + 1 :]])
        return [*self.beats[:at], reply, *self.beats[at + 1 :]]


Child: TypeAlias = tuple[list[Entry], ScaledRow | None]  # what becomes of a parent, and the row whose task follows
Draw: TypeAlias = tuple[int, Parent, random.Random]  # a child's number, its parent, and what it draws from


def tool_swapped(parent: Parent, draw: random.Random) -> Child:
    at, n, call = parent.drawn(draw, "read", "grep", "glob")
    command = agent_tools.shell_form(call) or ""
    return parent.instead(at, n, AgentCall("", "bash", {"command": command})), None


def failure_inserted(parent: Parent, draw: random.Random) -> Child:
    at, _, call = parent.drawn(draw, "read", "edit")
    folder, _, base = str(call.arguments["path"]).rpartition("/")
    wrong = draw.choice([f"{folder}/src/{base}", f"{folder}/{base}.orig", f"{folder}s/{base}", f"{folder}/_{base}"])
    slip = AgentCall("", call.name, call.arguments | {"path": wrong.lstrip("/")})
    return [*parent.beats[:at], AgentReply("I go there.", [slip]), *parent.beats[at:]], None


def context_added(parent: Parent, draw: random.Random) -> Child:
    """A look around comes first: nothing needs it, and an agent that knows no repository takes it."""
    command = draw.choice(["git ls-files | head -40", "ls -A", "git log --oneline | head -5", "wc -l README*"])
    look = AgentReply("First a look around.", [AgentCall("", "bash", {"command": command})])
    return [parent.beats[0], look, *parent.beats[1:]], None


def context_taken_away(parent: Parent, draw: random.Random) -> Child:
    at, n, call = parent.drawn(draw, "read")
    shown = int(call.arguments.get("limit", 200))
    require(shown != 1, "change-does-not-apply", "one line is read")
    return parent.instead(at, n, AgentCall("", "read", call.arguments | {"limit": shown // 2})), None


def second_task(parent: Parent, draw: random.Random) -> Child:
    others = [row for row in parent.siblings if row.id != parent.row.id]
    require(others, "change-does-not-apply", "no other row starts at this commit")
    other = draw.choice(others)
    return [*parent.beats, *episodes.beats_of(other, parent.tools)], other


CHANGES: dict[str, Callable[[Parent, random.Random], Child]] = {
    change.__name__.replace("_", " "): change
    for change in (tool_swapped, failure_inserted, context_added, context_taken_away, second_task)
}


async def children(
    workspace: Workspace,
    settings: Settings,
    kinds: Sequence[Kind],
    count: int,
    seed: int,
    drops: LeftOut,
    offline: bool,
) -> list[ScaledRow]:
    """A child for each of `count` draws, still in plain words; a change that does not apply is counted.

    Raises SourceError where these sources have no row.
    """
    rows = []
    for kind, path in source_files(workspace):
        for number, line in enumerate(path.read_bytes().splitlines() if kind in kinds else (), 1):
            try:
                rows.append(ScaledRow.parse(line))
            except ItemError as error:
                drops.drop(f"{kind}/{path.name}:{number}", "", error.reason, error.what)
    if not rows:
        hint = "`duel scale synthesize`, `public` or `sessions` make them"
        raise SourceError("there are no rows to make children of", where=home(workspace), hint=hint)
    executed = any(row.is_executed for row in rows)
    executor = await episodes.opened(workspace, settings, offline=offline) if executed else None

    async def made(child: Draw) -> ScaledRow:
        number, parent, _ = child
        return await _child(executor, *child) if executor and parent.row.is_executed else _copy(parent, number)

    asked = [*drawn(rows, count, seed)]
    async with closing(executor) if executor else nullcontext():
        return await episodes.side_by_side(made, asked, lambda child: _copy(child[1], child[0]), drops)


def drawn(rows: Sequence[ScaledRow], count: int, seed: int) -> Iterator[Draw]:
    """`count` parents in turn over a seeded order, each with the draws of its child."""
    order = sorted(rows, key=lambda row: random.Random(f"{seed}/{row.id}").random())
    siblings: defaultdict[tuple[str, str], list[ScaledRow]] = defaultdict(list)
    for row in order:
        if row.is_executed:
            siblings[row.source.name, row.source.revision].append(row)
    for number in range(count if order else 0):
        row = order[number % len(order)]
        near = siblings[row.source.name, row.source.revision]
        yield number, Parent(row, near), random.Random(f"{seed}/{number}/{row.id}")


def _copy(parent: Parent, number: int) -> ScaledRow:
    row = parent.row
    source = row.source.model_copy(update={"kind": "augmented", "row": number})
    made = row.made | {"by": "duel scale augment", "change": "paraphrase"}
    update = {"id": f"augmented/{number}/{row.id}", "parent": row.id, "source": source, "made": made}
    return row.model_copy(update=update)


async def _child(executor: Executor, number: int, parent: Parent, draw: random.Random) -> ScaledRow:
    name = draw.choice([*CHANGES])
    (beats, other), of_parent = CHANGES[name](parent, draw), parent.row.made
    calls = calls_made(beats)
    seen, diff = await episodes.again(executor, parent.start, calls)
    require((seen, diff) == await episodes.again(executor, parent.start, calls), "not-reproduced", name)
    both: list[Mapping[str, Any]] = [of_parent, other.made] if other else [of_parent]
    told = {key: [text for made in both for text in made.get(key, ())] for key in ("needs", "asked", "names")}
    require(episodes.are_observed(told["needs"], seen), "answer-not-observed", name)
    if not other:
        _, of_parents_calls = await episodes.again(executor, parent.start, calls_made(parent.beats))
        require(diff == of_parents_calls, "another-diff", name)
    failed = sum(one.failed for one in seen)
    require(failed > of_parent.get("failed_calls", 0) or name != "failure inserted", "path-exists", name)
    row = _copy(parent, number)
    messages = episodes.messages(beats, seen, parent.tools)
    group = [*row.group, *([f"row {other.id}"] if other else [])]
    made = {**row.made, "change": name, "failed_calls": failed, **told}
    return row.model_copy(update={"messages": messages, "made": made, "group": group})
