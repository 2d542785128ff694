"""Plans carried out: every observation of a row happened, in a sandboxed checkout, and happens again.

Gates, each a reason that is counted: the tools' schemas, what the answer needs was observed, a second execution from a
fresh checkout gives the same, and without any one call that did not fail the answer cannot be known.
"""

import random
import re
import shlex
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson

from duel.errors import ItemError
from duel.execution.executor import Executor, Start, State
from duel.records import Message
from duel.scaling.plans import PLANS, LastWords, Place, PlannedCall, Seen, Steps
from duel.scaling.row_checks import validators
from duel.scaling.scaled_rows import RowSource, ScaledRow

SHOWN = 60
"""Lines of a search that are shown."""
LONGEST = 20_000
_TEXT, _NUMBER = {"type": "string"}, {"type": "integer", "minimum": 1}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": told, "parameters": {
        "type": "object", "properties": properties, "required": required.split(), "additionalProperties": False}}}
    for name, told, required, properties in (
        ("read", "Lines of a file, numbered.", "path", {"path": _TEXT, "offset": _NUMBER, "limit": _NUMBER}),
        ("grep", "Lines that match an extended regular expression.", "pattern", {"pattern": _TEXT, "path": _TEXT}),
        ("glob", "Files by their name.", "pattern", {"pattern": _TEXT}),
        ("edit", "Replace a text that occurs once, or `all`.", "path old new",
         {"path": _TEXT, "old": _TEXT, "new": _TEXT, "all": {"type": "boolean"}}),
        ("bash", "Run a command.", "command", {"command": _TEXT}),
    )
]  # fmt: skip
# What opens a definition, by the files that it stands in. What looks so in C and ends on `;` is a declaration.
_KEYWORDS = (
    r"^\s*(?:export )?(?:async )?(?:pub )?(?:def|class|func|fn|function|interface|struct|trait) +([A-Za-z_]\w{3,})"
)
_DEFINED = {
    "py js ts go rs java": re.compile(_KEYWORDS),
    "js ts": re.compile(r"^(?:export )?const ([A-Za-z_]\w{3,}) = (?:async )?\("),
    "java": re.compile(r"^\s+(?:public|private|protected|static)\b[^=;(]* ([a-z]\w{3,})\([^;]*$"),
    "sh": re.compile(r"^([a-z_]\w{3,})\(\)"),
    "c h": re.compile(r"^[a-z][\w *]* \**([a-z_]\w{3,})\([^;]*$"),
}


async def places_in(state: State) -> list[Place]:
    """The definitions whose name occurs once, in files that are no tests."""
    suffixes = sorted({suffix for known in _DEFINED for suffix in known.split()})
    includes = " ".join(f"--include=*.{suffix}" for suffix in suffixes)
    found = await state.run(f"grep -rnE {includes} '[A-Za-z_]{{4}}' . | sort -t: -k1,1 -k2,2n")
    places = []
    for line in found.stdout.text.splitlines():
        path, number, text = line.removeprefix("./").split(":", 2)
        for known, pattern in _DEFINED.items():
            if (
                "test" not in path.lower()
                and path.rpartition(".")[2] in known.split()
                and (name := pattern.match(text))
            ):
                places.append(Place(name[1], path, int(number), text))
    names = Counter(place.name for place in places)
    return [place for place in places if names[place.name] == 1]


async def carry_out(state: State, call: PlannedCall) -> Seen:
    """One call in a checkout, as its tool words what came of it."""
    asked = call.arguments
    if call.tool == "edit":
        return await _edit(state, asked)
    path = shlex.quote(str(asked.get("path", ".")))
    if call.tool == "read":
        first = asked.get("offset", 1)
        last = first + asked.get("limit", 200) - 1
        show = f"awk 'NR>={first}&&NR<={last}{{printf \"%6d\\t%s\\n\",NR,$0}}' {path}"
        command = f"if [ -f {path} ]; then {show}; else echo {path}: no such file; false; fi"
    elif call.tool == "grep":
        pattern = shlex.quote(asked["pattern"])
        command = f"out=$(grep -rnE --exclude-dir=.git -- {pattern} {path} | sed 's#^\\./##' | sort -t: -k1,1 -k2,2n)"
        command += f'; if [ -n "$out" ]; then echo "$out" | head -{SHOWN}; else echo no matches; false; fi'
    elif call.tool == "glob":
        command = f"find . -path ./.git -prune -o -name {shlex.quote(asked['pattern'])} -print | sort"
    else:
        command = asked["command"]
    done = await state.run(command, merged=True)
    if done.ended_by or done.stdout.total > LONGEST:
        raise ItemError("execution", f"{call.tool}: {done.ended_by or 'a result that is too long'}")
    return Seen(done.stdout.text.rstrip("\n") or "(nothing was printed)", done.exit != 0)


async def _edit(state: State, asked: dict[str, Any]) -> Seen:
    path = shlex.quote(asked["path"])
    before = await state.run(f"cat {path}")
    text = before.stdout.text
    if before.exit or len(text) != before.stdout.total or not text.endswith("\n"):
        return Seen(f"{asked['path']} cannot be edited", True)
    times = text.count(asked["old"])
    if times == 0 or (times > 1 and not asked.get("all")):
        return Seen(f"{times} matches of the text in {asked['path']}; nothing was changed", True)
    after = text.replace(asked["old"], asked["new"])
    if (await state.run(f"cat > {path} <<'DUEL_END_OF_FILE'\n{after}DUEL_END_OF_FILE")).exit:
        raise ItemError("execution", f"{asked['path']} cannot be written")
    return Seen(f"{asked['path']} was changed in {times} place{'s' * (times > 1)}", False)


async def rows(
    executor: Executor, starts: Sequence[tuple[Start, str]], tries: int, seed: int, drops: Counter[str]
) -> AsyncIterator[ScaledRow]:
    """Rows of `tries` plans, drawn in turn over the repositories (each a start and its license)."""
    known: dict[Start, list[Place]] = {}
    asked: set[str] = set()
    weights = [weight for weight, _ in PLANS.values()]
    for number in range(tries):
        start, license = starts[number % len(starts)]
        draw = random.Random(f"{seed}/{number}")
        kind = draw.choices(list(PLANS), weights)[0]
        try:
            if start not in known:
                known[start] = await _in_fresh(executor, start, places_in)
            if len(known[start]) < 2:
                raise ItemError("no-definitions", start.repository)
            (request, names), steps = PLANS[kind][1](known[start], draw)
            if (once := f"{start.repository} {request}") in asked:
                raise ItemError("asked-before", request)
            asked.add(once)
            messages, failed = await _episode(executor, start, request, steps)
        except ItemError as error:
            drops[error.reason] += 1
            continue
        yield ScaledRow(
            id=f"synthetic/{start.repository}@{start.commit[:12]}/{seed}/{number}",
            messages=[Message.model_validate(message) for message in messages],
            tools=TOOLS,
            source=RowSource(
                kind="synthetic", name=start.repository, revision=start.commit, row=number, license=license
            ),
            group=[f"repository {start.repository}", f"commit {start.commit}", f"plan {seed}/{number}"],
            made={"by": "duel scale synthesize", "kind": kind, "names": names, "failed_calls": failed},
        )


async def _in_fresh(executor: Executor, start: Start, work: Any) -> Any:
    state = await executor.state(start)
    try:
        return await work(state)
    finally:
        await state.close()


async def _episode(executor: Executor, start: Start, request: str, steps: Steps) -> tuple[list[dict[str, Any]], int]:
    """(messages, calls that failed) of one plan that passes every gate. Raises ItemError that names the gate."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": request}]
    made: list[tuple[PlannedCall, Seen]] = []

    async def first(state: State) -> tuple[LastWords, str]:
        try:
            thought, calls = next(steps)
            while True:
                seen = [await carry_out(state, _checked(call)) for call in calls]
                _tell(messages, thought, calls, seen, len(made))
                made.extend(zip(calls, seen, strict=True))
                thought, calls = steps.send(seen)
        except StopIteration as end:
            return end.value, await state.changes()

    said, diff = await _in_fresh(executor, start, first)
    calls = [call for call, _ in made]
    if not _known(said, [seen for _, seen in made]):
        raise ItemError("answer-not-observed", said.answer)
    if await again(executor, start, calls) != ([seen for _, seen in made], diff):
        raise ItemError("not-reproduced", request)
    for left, (call, seen) in enumerate(made):
        if not seen.failed:
            without, changed = await again(executor, start, calls[:left] + calls[left + 1 :])
            if _known(said, without) and changed == diff:
                raise ItemError("call-not-needed", call.tool)
    return [*messages, {"role": "assistant", "content": said.answer}], sum(seen.failed for _, seen in made)


async def again(executor: Executor, start: Start, calls: Sequence[PlannedCall]) -> tuple[list[Seen], str]:
    """What the calls give from a fresh checkout, and the diff that they leave."""

    async def work(state: State) -> tuple[list[Seen], str]:
        return [await carry_out(state, call) for call in calls], await state.changes()

    found: tuple[list[Seen], str] = await _in_fresh(executor, start, work)
    return found


def _known(said: LastWords, seen: Sequence[Seen]) -> bool:
    observed = "\n".join(one.text for one in seen)
    return all(need in observed for need in said.needs)


def _checked(call: PlannedCall) -> PlannedCall:
    for error in validators(orjson.dumps(TOOLS))[call.tool].iter_errors(call.arguments):
        raise ItemError("schema", f"{call.tool}: {error.message}")
    return call


def _tell(
    messages: list[dict[str, Any]], thought: str, calls: list[PlannedCall], seen: list[Seen], before: int
) -> None:
    ids = [f"call_{before + order}" for order in range(1, len(calls) + 1)]
    made = [
        {"id": name, "type": "function", "function": {"name": call.tool, "arguments": call.arguments}}
        for name, call in zip(ids, calls, strict=True)
    ]
    messages.append({"role": "assistant", "content": thought, "tool_calls": made})
    for name, call, one in zip(ids, calls, seen, strict=True):
        messages.append({"role": "tool", "tool_call_id": name, "name": call.tool, "content": one.text})
