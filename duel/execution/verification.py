"""Whether a rollout resolved its issue, by the issue's own tests: what the agent did to tests does not count.

Its change is taken as a diff, put on a fresh checkout without the test files in it, the pull request's tests go on top,
and the test command decides. The same tests first run without any change and with the pull request's own: where they
pass then, or fail then (a dependency that is not to be had), they can tell nothing.
"""

import asyncio
import base64
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import Field

from duel import wordlists
from duel.execution import harness as harnesses
from duel.execution.executor import ExecutionError, Executor, Outcome, Start, State, closing
from duel.execution.replay import MIN_FAITHFUL, replay
from duel.records import Message
from duel.records.record import Part

TEST_SECONDS = 1800.0  # OpenRewardEnv gives tests 600 s, verifiers 900, SWE-bench's client 1,800
_DIFF = "git -c core.fsmonitor=false add -A && git diff --cached --binary --no-color --no-ext-diff --no-textconv "
_TEST_FILES = ("test/*", "tests/*", "*/test/*", "*/tests/*", "test_*", "*/test_*", "*_test.*", "*.test.*", "*.spec.*")
_CHUNK = 60_000
_PATCH_FILE = ".duel-patch"
_TOUCHED = re.compile(r"^(?:\+\+\+ b/|--- a/|rename (?:from|to) )(.+?)\t?$", re.MULTILINE)
_GOOD = frozenset({"PASSED", "XFAIL", "ok", "PASS", "✓", "✔", "√", "Passed"})
_PARTS = re.compile(r"::|[./]")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One rollout that is to be verified: `key` is the instance, or `instance#row` where it has several."""

    key: str
    start: Start
    messages: Sequence[Message]
    test_command: str
    fail_to_pass: Sequence[str] = ()
    pass_to_pass: Sequence[str] = ()
    fix: str = ""  # The pull request's own change, with which its tests must pass; "" where it is not known


class Verified(Part):
    """What its tests say of a rollout; `resolved` is None where they say nothing, and `why_not` says why."""

    resolved: bool | None = None
    failed: list[str] = Field(default_factory=list)
    passed: list[str] = Field(default_factory=list)
    executor: str = ""
    seconds: float = 0.0
    why_not: str = ""

    @property
    def reason(self) -> str:
        """The reason of `why_not` without its detail, for counting."""
        return self.why_not.partition(":")[0]


class Verifier:
    """Verifies rollouts. Tests run in `executor`, which has compilers and interpreters; histories are replayed in
    `replayer`, which has what the agents had. What an instance's tests can tell is found out once.
    """

    def __init__(self, executor: Executor, replayer: Executor | None = None, seconds: float = TEST_SECONDS) -> None:
        self.executor, self.replayer, self.seconds = executor, replayer or executor, seconds
        self._problems: dict[tuple[Start, str], asyncio.Task[tuple[str, str] | None]] = {}

    async def verify(self, attempt: Attempt) -> Verified:
        """What the tests say of one rollout. What goes wrong with it is told, never raised."""
        found = Verified(executor=self.executor.describe())
        try:
            if not attempt.test_command:
                raise ExecutionError("no-tests", "the pull request names no test command")
            diff = await self.change(attempt)
            if (key := (attempt.start, attempt.test_command)) not in self._problems:
                self._problems[key] = asyncio.ensure_future(self._problem_of_tests(attempt))
            if problem := await self._problems[key]:
                raise ExecutionError(*problem)
            outcome = await self._tested(attempt, diff)
            found.seconds = round(outcome.seconds, 3)
            found.passed, found.failed, found.resolved = decide(attempt, outcome)
        except ExecutionError as error:
            found.why_not = f"{error.reason}: {error.what}"
        return found

    async def close(self) -> None:
        await self.executor.close()
        if self.replayer is not self.executor:
            await self.replayer.close()

    async def change(self, attempt: Attempt) -> str:
        """What the rollout changed: the diff that it submitted, else what its replayed commands left."""
        last = attempt.messages[-1].content if attempt.messages else ""
        if last.lstrip().startswith("diff --git "):
            return last
        harness = harnesses.of(attempt.messages)
        async with closing(await self.replayer.state(attempt.start)) as state:
            (await replay(state, harnesses.steps(attempt.messages, harness), harness)).check(MIN_FAITHFUL)
            outcome = await state.run(_DIFF + attempt.start.commit)
        if outcome.exit or outcome.stdout.total > len(outcome.stdout.text):
            raise ExecutionError("no-diff", f"the change cannot be read: {outcome.stderr.text.strip()[:200]}")
        return outcome.stdout.text

    async def _problem_of_tests(self, attempt: Attempt) -> tuple[str, str] | None:
        """(reason, detail) why the tests of an instance can tell nothing, without any change and with the right one."""
        outcome = await self._tested(attempt, "")
        said = outcome.stderr.text.strip()[-200:]
        if outcome.ended_by == "time":
            return "tests-hang", f"longer than {self.seconds:g} s without any change"
        if outcome.exit == 127 or "command not found" in said:
            return "no-toolchain", said
        if decide(attempt, outcome)[2]:
            return "tests-cannot-tell", "they pass without any change"
        if attempt.fix:
            outcome = await self._tested(attempt, attempt.fix)
            if not decide(attempt, outcome)[2]:
                last = (outcome.stderr.text.strip() or outcome.stdout.text.strip())[-200:]
                return "tests-cannot-tell", f"they fail with the pull request's own change: {last}"
        return None

    async def _tested(self, attempt: Attempt, diff: str) -> Outcome:
        async with closing(await self.executor.state(replace(attempt.start, test_patch=""))) as state:
            tests = [file for file in _TOUCHED.findall(attempt.start.test_patch) if file != "/dev/null"]
            await apply(state, diff, without=[*tests, *_TEST_FILES], what="the rollout's change")
            await apply(state, attempt.start.test_patch, what="the test patch")
            return await state.run(attempt.test_command, seconds=self.seconds)


async def apply(state: State, patch: str, *, without: Sequence[str] = (), what: str = "a patch") -> None:
    """Apply a patch in a state, leaving out files that match `without`. Raises ExecutionError (`no-patch`)."""
    if not patch.strip():
        return
    excluded = " ".join(shlex.quote(f"--exclude={pattern}") for pattern in without)
    apply = f"git apply --allow-empty --whitespace=nowarn {excluded} -"
    packed = base64.b64encode(patch.encode("utf-8", "replace")).decode()
    *first, last = (f"printf %s {packed[at : at + _CHUNK]}" for at in range(0, len(packed), _CHUNK))
    for chunk in first:
        await state.run(f"{chunk} >> {_PATCH_FILE}")
    begun = f"cat {_PATCH_FILE}; rm {_PATCH_FILE};" if first else ""
    done = await state.run(f"set -o pipefail; {{ {begun} {last}; }} | base64 -d | {apply}")
    if done.exit:
        raise ExecutionError("no-patch", f"{what} does not apply: {done.stderr.text.strip()[:200]}")


def decide(attempt: Attempt, outcome: Outcome) -> tuple[list[str], list[str], bool]:
    """(tests that passed, tests that failed, resolved). A test that the output does not name has passed if all did.

    The name of an asked test may be the last part of the printed one. Without lists of tests, the exit code decides.
    """
    patterns = [re.compile(pattern) for (pattern,) in wordlists.rows("duel.execution", "test_lines.txt")]
    found: dict[str, bool] = {}
    for line in _ESCAPES.sub("", f"{outcome.stdout.text}\n{outcome.stderr.text}").splitlines():
        if match := next(filter(None, (pattern.match(line) for pattern in patterns)), None):
            name = match["name"].strip()
            found[name] = found.get(name, True) and match["state"] in _GOOD
    whole = outcome.exit == 0 and not outcome.ended_by
    told: dict[bool, list[str]] = {True: [], False: []}
    for name in dict.fromkeys([*attempt.fail_to_pass, *attempt.pass_to_pass]):
        good = found.get(name)
        if good is None:
            ends = [one for full, one in found.items() if full.endswith(f" {name}") or _PARTS.split(full)[-1] == name]
            good = all(ends) if ends else whole
        told[good].append(name)
    return told[True], told[False], not told[False] and (whole or bool(told[True]))
