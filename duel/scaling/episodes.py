"""The synthetic source: plans carried out in a sandbox, so that every observation happened, and happens again.

Gates, each a reason that is counted: the tools' schemas, what the answer needs was observed, a second execution from a
fresh checkout gives the same, and without any one call that did not fail the answer cannot be known.
"""

import asyncio
import random
import re
import shlex
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, TypeVar

import pyarrow.parquet as pq

from duel import offline
from duel.bookkeeping import LeftOut
from duel.command import say
from duel.conversation import dialogue
from duel.conversation.model import AgentCall, AgentReply, Entry, Said, calls_made
from duel.errors import ItemError, SettingsError, require
from duel.execution import backends
from duel.execution.executor import Executor, Start, State, closing
from duel.execution.replay import as_done
from duel.records import Message
from duel.scaling.agent_tools import Toolset
from duel.scaling.plans import Ground, Seen, Steps, plans, survey
from duel.scaling.scaled_rows import HowMade, RowSource, ScaledRow
from duel.settings import Settings
from duel.workspace import Workspace

Given = TypeVar("Given")
HISTORY = 2  # commits of a checkout: a long task undoes the last one
SHOWN = 60  # lines of a search that are shown
LONGEST = 20_000
AT_ONCE = 4  # plans that are carried out side by side
LOOKS = ("read", "grep", "glob")  # they change nothing: without one of them all others give what they gave


async def drafts(
    workspace: Workspace,
    settings: Settings,
    places: Sequence[str],
    tries: int,
    seed: int,
    drops: LeftOut,
    tools: Toolset,
    *,
    offline: bool,
) -> list[ScaledRow]:
    """Rows in plain words. Raises SettingsError where no sandbox is set, or a place is no commit."""
    starts = [start_of(place) for place in places] or bundled()
    async with closing(await opened(workspace, settings, offline=offline)) as executor:
        say(f"carrying out {tries:,} plans with {executor.describe()} …")
        return await rows(executor, starts, tries, seed, drops, tools)


async def opened(workspace: Workspace, settings: Settings, *, offline: bool) -> Executor:
    """The sandbox of the settings, with compilers. Raises SettingsError where none is set."""
    backends.needs_backend(settings, "plans", '`backend = "bubblewrap"` on Linux, or "docker"')
    most = backends.limits(settings)
    return await asyncio.to_thread(backends.open_executor, workspace, settings, most, offline=offline)


def bundled() -> list[tuple[Start, str]]:
    columns = ["repo", "base_commit", "license"]
    found = pq.read_table(offline.SAMPLE / "pulls.parquet", columns=columns).to_pylist()
    known = {(row["repo"], row["base_commit"]): row["license"] for row in found}
    return [(Start(*key, history=HISTORY), license) for key, license in sorted(known.items())]


def start_of(place: str) -> tuple[Start, str]:
    found = re.fullmatch(r"([\w.-]+/[\w.-]+)@([0-9a-f]{7,64})(?::([\w.+-]+))?", place)
    if not found:
        hint = "OWNER/NAME@COMMIT or OWNER/NAME@COMMIT:LICENSE; [execute] repositories says where mirrors lie"
        raise SettingsError("not a repository at a commit", value=place, hint=hint)
    return Start(found[1], found[2], history=HISTORY), found[3] or ""


async def carry_out(state: State, call: AgentCall) -> Seen:
    """One call in a checkout, as its tool words what came of it."""
    asked = call.arguments
    path = shlex.quote(str(asked.get("path", ".")))
    if call.name == "edit":
        return await _edit(state, asked, path)
    if call.name == "read":
        first = asked.get("offset", 1)
        last = first + asked.get("limit", 200) - 1
        show = f"awk 'NR>={first}&&NR<={last}{{printf \"%6d\\t%s\\n\",NR,$0}}' {path}"
        command = f"if [ -f {path} ]; then {show}; else echo {path}: no such file; false; fi"
    elif call.name == "grep":
        pattern = shlex.quote(asked["pattern"])
        command = f"out=$(grep -rnE --exclude-dir=.git -- {pattern} {path} | sed 's#^\\./##' | sort -t: -k1,1 -k2,2n)"
        command += f'; if [ -n "$out" ]; then echo "$out" | head -{SHOWN}; else echo no matches; false; fi'
    elif call.name == "glob":
        command = f"find . -path ./.git -prune -o -name {shlex.quote(asked['pattern'])} -print | sort"
    else:
        command = asked["command"]
    done = await state.run(command, merged=True)
    ended_by = done.ended_by or ("a result that is too long" if done.stdout.total > LONGEST else "")
    require(not ended_by, "execution", f"{call.name}: {ended_by}")
    return Seen(done.stdout.text.rstrip("\n") or "(nothing was printed)", done.exit != 0)


async def _edit(state: State, asked: dict[str, Any], path: str) -> Seen:
    before = await state.run(f"cat {path}")
    text = before.stdout.text
    if before.exit or len(text) != before.stdout.total or not text.endswith("\n"):
        return Seen(f"{asked['path']} cannot be edited", True)
    times = text.count(asked["old"])
    if times == 0 or (times > 1 and not asked.get("all")):
        return Seen(f"{times} matches of the text in {asked['path']}; nothing was changed", True)
    after = text.replace(asked["old"], asked["new"])
    done = await state.run(f"cat > {path} <<'DUEL_END_OF_FILE'\n{after}DUEL_END_OF_FILE")
    require(done.exit == 0, "execution", f"{asked['path']} cannot be written")
    return Seen(f"{asked['path']} was changed in {times} place{'s' * (times > 1)}", False)


async def rows(
    executor: Executor, starts: Sequence[tuple[Start, str]], tries: int, seed: int, drops: LeftOut, tools: Toolset
) -> list[ScaledRow]:
    """The rows of as many plans as pass every gate, in the order in which they were drawn."""
    drawn = await _drawn(executor, starts, tries, seed, drops)
    return await side_by_side(lambda plan: _episode(executor, *plan, tools), drawn, lambda plan: plan[1], drops)


async def side_by_side(
    work: Callable[[Given], Awaitable[ScaledRow]],
    items: Sequence[Given],
    draft: Callable[[Given], ScaledRow],
    drops: LeftOut,
) -> list[ScaledRow]:
    """The row of each item, AT_ONCE at a time, in the items' order; of one that is refused its `draft` is dropped."""

    async def one(place: int) -> ScaledRow | ItemError:
        try:
            return await work(items[place])
        except ItemError as error:
            return error

    done = {place: found async for place, found in as_done(one, range(len(items)), AT_ONCE)}
    for place in sorted(done):
        if isinstance(error := done[place], ItemError):
            left = draft(items[place])
            drops.drop(left.id, left.source.name, error.reason, error.what)
    return [row for place in sorted(done) if isinstance(row := done[place], ScaledRow)]


async def _drawn(
    executor: Executor, starts: Sequence[tuple[Start, str]], tries: int, seed: int, drops: LeftOut
) -> list[tuple[Start, ScaledRow, Steps]]:
    """Rows without messages, and the plans that will fill them; each was asked what it asks."""
    known: dict[Start, Ground] = {}
    drawn: dict[str, tuple[Start, ScaledRow, Steps]] = {}
    weights = [weight for weight, _ in plans().values()]
    for number in range(tries):
        start, license = starts[number % len(starts)]
        name, commit = start.repository, start.commit
        identity = f"synthetic/{name}@{commit[:12]}/{seed}/{number}"
        draw = random.Random(f"{seed}/{number}")
        kind = draw.choices([*plans()], weights)[0]
        try:
            if start not in known:
                async with closing(await executor.state(start)) as state:
                    known[start] = await survey(state)
            require(len(known[start].places) >= 2, "no-definitions", name)
            steps = plans()[kind][1](known[start], draw)
            request, names = next(steps)
            require((once := f"{name} {request}") not in drawn, "asked-before", request)
        except ItemError as error:
            drops.drop(identity, name, error.reason, f"{kind}: {error.what}")
            continue
        source = RowSource(kind="synthetic", name=name, revision=commit, row=number, license=license)
        group = [f"repository {name}", f"commit {commit}", f"plan {seed}/{number}"]
        made: HowMade = {"by": "duel scale synthesize", "kind": kind, "asked": [request], "names": names}
        draft = ScaledRow(id=identity, messages=[], tools=[], source=source, group=group, made=made)
        drawn[once] = start, draft, steps
    return [*drawn.values()]


async def _episode(executor: Executor, start: Start, draft: ScaledRow, steps: Steps, tools: Toolset) -> ScaledRow:
    """The row of a plan that was carried out. Raises ItemError where a gate is not passed."""
    [request] = draft.made["asked"]
    beats, made = list[Entry]([Said(request)]), list[Seen]()
    async with closing(await executor.state(start)) as state:
        try:
            thought, planned = next(steps)
            while True:
                calls = [tools.adapted(call) for call in planned]
                seen = [await carry_out(state, call) for call in calls]
                beats.append(AgentReply(thought, calls))
                made.extend(seen)
                thought, planned = steps.send(seen)
        except StopIteration as end:
            (answer, needs), diff = end.value, await state.changes()
    calls = calls_made(beats)
    require(are_observed(needs, made), "answer-not-observed", answer)
    require(await again(executor, start, calls) == (made, diff), "not-reproduced", request)
    for left, one in enumerate(made):
        if not one.failed:
            without, changed = made[:left] + made[left + 1 :], diff
            if calls[left].name not in LOOKS:
                without, changed = await again(executor, start, calls[:left] + calls[left + 1 :])
            needed = not are_observed(needs, without) or changed != diff
            require(needed, "call-not-needed", calls[left].name)
    told = messages([*beats, AgentReply(answer)], made, tools)
    known = draft.made | {"needs": needs, "failed_calls": sum(one.failed for one in made)}
    return draft.model_copy(update={"messages": told, "tools": tools.declared, "made": known})


async def again(executor: Executor, start: Start, calls: Sequence[AgentCall]) -> tuple[list[Seen], str]:
    """What these calls give in a fresh checkout, and how they change it."""
    async with closing(await executor.state(start)) as state:
        return [await carry_out(state, call) for call in calls], await state.changes()


def are_observed(needs: Sequence[str], seen: Sequence[Seen]) -> bool:
    observed = "\n".join(one.text for one in seen)
    return all(need in observed for need in needs)


def messages(beats: Sequence[Entry], seen: Sequence[Seen], tools: Toolset) -> list[Message]:
    """A row's messages: each call in the words of its tools, with what it gave."""
    told: list[Entry] = []
    results, number = iter(seen), count(1)
    for beat in beats:
        if isinstance(beat, AgentReply):
            gave = [(tools.spoken(call), next(results).text) for call in beat.calls]
            beat = AgentReply(beat.text, [replace(c, id=f"call_{next(number)}", result=text) for c, text in gave])
        told.append(beat)
    return dialogue.to_messages(told)


def beats_of(row: ScaledRow, tools: Toolset) -> list[Entry]:
    """A row's messages without its observations, requests in plain words.

    Raises ItemError (`no-tool`, `bad-arguments`, `orphan-tool-result`).
    """
    beats, asked = dialogue.parse(row.messages), iter(row.made.get("asked", ()))
    for beat in beats:
        if isinstance(beat, AgentReply):
            beat.calls = [tools.meant(call.name, call.arguments) for call in beat.calls]
        elif beat.role == "user":
            beat.text = next(asked, beat.text)
    return beats
