"""`duel verify`: the issue's own tests decide, whatever the agent did to them."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bench import verification
from duel.execution.bubblewrap import Bubblewrap
from duel.execution.checkouts import Sources
from duel.execution.executor import Limits, Outcome, Printed, Start
from duel.execution.verification import Attempt, Verified, Verifier, decide
from duel.records import Message
from duel.stages.verify import verified
from duel.workspace import Workspace
from tests.execution.conftest import make_repository
from tools.recording import sample_repositories

TEST = "test -f tests/t.sh && sh tests/t.sh"
TEST_PATCH = (
    (
        "diff --git a/tests/t.sh b/tests/t.sh\n--- a/tests/t.sh\n+++ b/tests/t.sh\n@@ -1 +1,2 @@\n exit 0\n"
        '+[ "$(cat value)" = good ] && echo "ok test_value" || { echo "FAIL test_value"; exit 1; }\n'
    )
    .replace(" exit 0\n+", "-exit 0\n+")
    .replace("@@ -1 +1,2 @@", "@@ -1 +1 @@")
)


def attempt(start: Start, *commands: str, submitted: str = "", test: str = TEST) -> Attempt:
    messages = [Message(role="system", content="s"), Message(role="user", content="u")]
    for command in commands:
        messages += [
            Message(role="assistant", content=f"```bash\n{command}\n```"),
            Message(role="user", content="Observation: "),
        ]
    if submitted:
        messages.append(Message(role="user", content=submitted))
    return Attempt("k", start, messages, test, ["test_value"])


def verify(mirrors: Path, *attempts: Attempt) -> list[Verified]:
    async def whole() -> list[Verified]:
        sources = Sources(mirrors.parent / "cache", str(mirrors), offline=True)
        tester = Bubblewrap(sources, Limits(keep=1 << 20), whole_machine=True)
        replayer = Bubblewrap(sources)
        verifier = Verifier(tester, replayer, seconds=20)
        try:
            return [await verifier.verify(one) for one in attempts]
        finally:
            await verifier.close()

    return asyncio.run(whole())


@pytest.fixture
def start(mirrors: Path) -> Start:
    made = make_repository(mirrors, "some/one", {"value": "bad\n", "tests/t.sh": "exit 0\n"})
    return Start(made.repository, made.commit, TEST_PATCH)


def test_a_change_is_judged_by_the_issues_tests_and_not_by_the_agents(mirrors: Path, start: Start) -> None:
    diff = "diff --git a/value b/value\n--- a/value\n+++ b/value\n@@ -1 +1 @@\n-bad\n+good\n"
    right, wrong, weakened, submitted, nothing = verify(
        mirrors,
        attempt(start, "echo good > value"),
        attempt(start, "echo worse > value"),
        attempt(start, "echo 'echo ok test_value' > tests/t.sh", "rm value; echo x > value"),
        attempt(start, submitted=diff),
        attempt(start),
    )
    assert (right.resolved, right.passed, right.failed) == (True, ["test_value"], [])
    assert (wrong.resolved, wrong.failed) == (False, ["test_value"])
    assert weakened.resolved is False, "the agent's own tests counted"
    assert submitted.resolved is True
    assert nothing.resolved is False


def test_tests_that_fail_with_the_pull_requests_own_change_tell_nothing(mirrors: Path, start: Start) -> None:
    """As where a dependency is not to be had: no rollout is called unresolved for it."""
    fix = "diff --git a/value b/value\n--- a/value\n+++ b/value\n@@ -1 +1 @@\n-bad\n+good\n"
    needs_more = f"{{ test -e /no/such/dependency || {{ echo cannot find it >&2; false; }}; }} && {TEST}"
    whole, lacking = (replace(attempt(start, "echo worse > value", test=test), fix=fix) for test in (TEST, needs_more))
    judged_by_all, judged_by_none = verify(mirrors, whole, lacking)
    assert judged_by_all.resolved is False
    assert judged_by_none.resolved is None
    assert judged_by_none.why_not == ("tests-cannot-tell: they fail with the pull request's own change: cannot find it")


def test_what_cannot_be_verified_says_why(mirrors: Path, start: Start) -> None:
    no_command, cannot_tell, no_tool, unfaithful, no_patch = verify(
        mirrors,
        attempt(start, test=""),
        attempt(start, test="true"),
        attempt(start, test="no-such-program --run"),
        attempt(start, "echo noise"),
        attempt(start, submitted="diff --git a/none b/none\n--- a/none\n+++ b/none\n@@ -1 +1 @@\n-a\n+b\n"),
    )
    assert no_command.why_not.startswith("no-tests")
    assert cannot_tell.why_not.startswith("tests-cannot-tell")
    assert no_tool.why_not.startswith("no-toolchain")
    assert unfaithful.why_not.startswith("unfaithful")
    assert no_patch.why_not.startswith("no-patch")
    assert {one.resolved for one in (no_command, cannot_tell, no_tool, unfaithful, no_patch)} == {None}


def test_outcomes_that_cannot_be_read_are_kept_beside_and_what_another_run_may_mend_is_verified_again(
    tmp_path: Path,
) -> None:
    workspace, path = Workspace(tmp_path), tmp_path / "outcomes.json"
    assert verified(workspace) == {}
    path.write_text('{"a": {"resolved": true, "by": "hand"}, "b": {"why_not": "sandbox: no room"}}')
    known = verified(workspace)
    assert known["a"].model_dump()["by"] == "hand"
    assert known.keys() == {"a"}
    path.write_text('{"a": {"resolved": [1]}}')
    assert verified(workspace) == {}
    assert not path.exists()
    assert (tmp_path / "outcomes.json.damaged").read_text() == '{"a": {"resolved": [1]}}'


# Three runs of a shell repository, whose tests every machine can run, and of one in C where there is a compiler.
# All that a machine can run: `python -m bench.verification`.
RUNNABLE = [("backhaul", "-2", 3), *([("bitjar", "-3", 3)] if shutil.which("gcc") and shutil.which("make") else [])]


@pytest.mark.parametrize(("name", "ending", "count"), RUNNABLE)
def test_the_verdict_agrees_with_what_the_recorder_knows(name: str, ending: str, count: int) -> None:
    """Resolved where the fix's files are as fixed."""
    (repository,) = sample_repositories.load(name)
    found = asyncio.run(verification.verified(repository, ending))
    assert len(found) >= count
    told = [(one.verified.resolved, one.fixed) for one in found if one.verified.resolved is not None]
    assert len(told) >= 3 * count // 4
    assert [resolved for resolved, _ in told] == [fixed for _, fixed in told], found
    assert {True, False} == {resolved for resolved, _ in told}


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (
            "PASSED tests/a.py::test_x[1 2]\nFAILED tests/a.py::test_y - assert 1",
            {"test_x[1 2]": True, "test_y": False},
        ),
        ("tests/a.py::T::test_x PASSED   [ 50%]\ntests/a.py::test_y ERROR", {"test_x": True, "test_y": False}),
        ("test_x (m.T) ... ok\ntest_y (m.T) ... FAIL", {"test_x": True, "test_y": False}),
        ("--- PASS: TestX (0.00s)\n    --- FAIL: TestX/sub (0.00s)", {"TestX": True, "TestX/sub": False}),
        ("test m::x ... ok\ntest m::y ... FAILED", {"x": True, "y": False}),
        ("ok 1 - a plain title\nnot ok 2 - another # time", {"a plain title": True, "another": False}),
        ("  ✓ works well (3 ms)\n  ✗ fails", {"works well": True, "fails": False}),
    ],
)
def test_the_frameworks_lines_are_read(printed: str, expected: dict[str, bool]) -> None:
    asked = Attempt("x", Start("a/b", "c"), [], "make test", fail_to_pass=[*expected])
    (passed, failed, _) = decide(asked, Outcome(Printed(printed, len(printed))))
    assert dict.fromkeys(passed, True) | dict.fromkeys(failed, False) == expected


def test_a_test_that_is_asked_for_twice_is_told_once() -> None:
    asked = Attempt("x", Start("a/b", "c"), [], "make test", ["a", "b"], ["a", "b"])
    printed = "PASSED m::a\nFAILED b"
    assert decide(asked, Outcome(Printed(printed, len(printed)))) == (["a"], ["b"], False)
    assert decide(asked, Outcome(exit=1)) == ([], ["a", "b"], False)
