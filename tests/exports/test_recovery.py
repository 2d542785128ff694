"""An error and a later success on the same target, and nothing that only looks like it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from duel.conversation import shown_output
from duel.exports import loading, recovery
from duel.exports.example import Example
from duel.exports.formats import FORMATS
from duel.records import Message
from tests.conftest import Recorded
from tests.exports.conftest import turn

GOLDEN = Path(__file__).parent / "golden" / "recoveries.json"


def coded(code: int, output: str = "") -> str:
    return f"<returncode>{code}</returncode>\n<output>\n{output}\n</output>"


def run(*steps: tuple[str, str]) -> recovery.Recovery:
    """A trajectory of (command, observation)."""
    messages = [Message(role="user", content="task")]
    for command, seen in steps:
        messages += [Message(role="assistant", content=turn("So.", command)), Message(role="user", content=seen)]
    return recovery.examine(Example(id="x", messages=tuple(messages), recorded=True))


def spans(*steps: tuple[str, str]) -> list[tuple[int, int, str]]:
    return [(span.start, span.end, span.target) for span in run(*steps).spans]


@pytest.mark.parametrize(
    ("command", "observation", "kind"),
    [
        ("python2 x.py", coded(127, "bash: line 1: python2: command not found"), "not-found"),
        ("cat a.py", "Observation: cat: a.py: No such file or directory\n", "missing-file"),
        ("pytest tests/test_a.py", coded(1, "=== 2 failed, 3 passed in 0.1s ==="), "test"),
        ("pytest tests/test_a.py | tail -3", coded(0, "=== 2 failed, 3 passed in 0.1s ==="), "test"),
        ("python x.py", coded(1, 'Traceback (most recent call last):\n  File "x"\nKeyError: 3'), "exception"),
        ("python x.py", "Error: Exit code 1\nTraceback (most recent call last):\nKeyError: 3", "exception"),
        ("go build ./...", "Observation: main.go:3:1: error: expected ';'\n", "exception"),
        ("sed -i s/a/b c.py", "Observation: sed: -e expression #1, char 5: unterminated `s' command\n", "code"),
        ("git apply fix.patch", "Observation: error: patch failed: a.py:3\n", "code"),
        ("pytest -x", "The last command <command>pytest -x</command> timed out and has been killed.", "timeout"),
        ("rg foo", "Observation: bash: rg: command not found\n", "not-found"),
        ("ls --frob", coded(2, "ls: unrecognized option '--frob'"), "usage"),
    ],
)
def test_an_error_is_seen(command: str, observation: str, kind: str) -> None:
    assert shown_output.shown(observation, command).kind == kind


@pytest.mark.parametrize(
    ("command", "observation"),
    [
        ("cat log.py", 'Observation: raise Error("No such file or directory")\n'),
        ("cat trace.txt", "Observation: Traceback (most recent call last):\nKeyError: 3\n"),
        ("grep -rn 'command not found' docs", "Observation: docs/a.md:3: bash: foo: command not found\n"),
        ("grep -n total a.py", coded(1)),
        ("diff a.py b.py", coded(1, "3c3\n< a\n---\n> b")),
        ("git diff --no-index a b", coded(1, "-a\n+b")),
        ("test -f a.py", coded(1)),
        ("pylint a.py", coded(16, "a.py:1:0: C0114: Missing docstring")),
        ("python x.py", coded(0, "Caught expected ValueError: no\nTraceback (most recent call last):")),
        ("pytest tests", coded(0, "=== 365 passed, 71 xfailed in 2s ===")),
        ("grep -rn x . && cat y", coded(1)),
        ("ls", "Observation: errors.py\n"),
    ],
)
def test_what_only_looks_like_an_error_is_none(command: str, observation: str) -> None:
    assert not shown_output.shown(observation, command).failed


def test_a_failed_run_that_later_succeeds_is_one_span_from_its_first_error() -> None:
    steps = [
        ("python check.py", coded(1, "KeyError: 3")),
        ("cat check.py", coded(0, "...")),  # reading the file is no success of running it
        ("python check.py", coded(1, "KeyError: 4")),
        ("sed -i s/3/4/ calc.py", coded(0)),
        ("python3 ./check.py", coded(0, "ok")),
        ("python check.py", coded(0, "ok")),
    ]
    assert spans(*steps) == [(0, 4, "check.py")]


def test_a_second_error_after_a_success_is_a_span_of_its_own() -> None:
    assert spans(
        ("python a.py", coded(1)), ("python a.py", coded(0)), ("python a.py", coded(1)), ("python a.py", coded(0))
    ) == [(0, 1, "a.py"), (2, 3, "a.py")]


def test_a_mistaken_path_is_recovered_where_the_file_is_found() -> None:
    assert spans(
        ("cat app/models.py", "Observation: cat: app/models.py: No such file or directory\n"),
        ("find . -name models.py", "Observation: ./core/models.py\n"),
        ("cat core/models.py", "Observation: class Model:\n"),
    ) == [(0, 2, "app/models.py")]


def test_fewer_tests_are_no_success_after_failed_tests() -> None:
    failed = ("pytest tests/test_a.py", coded(1, "FAILED tests/test_a.py::test_x\n=== 1 failed in 0.1s ==="))
    assert spans(failed, ("pytest tests/test_a.py::test_other", coded(0))) == []
    assert spans(failed, ("pytest tests/test_a.py -k other", coded(0))) == []
    assert spans(failed, ("python -m pytest tests/test_a.py", coded(0))) == [(0, 1, "tests/test_a.py")]


def test_a_bare_command_is_recovered_by_the_very_same_one() -> None:
    failed = ("pytest -q", coded(1, "=== 1 failed in 0.1s ==="))
    assert spans(failed, ("sed -i s/1/2/ a.py", coded(0)), ("pytest -q", coded(0, "3 passed"))) == [(0, 2, "pytest -q")]
    assert spans(failed, ("cd . && python -m pytest -q", coded(0))) == [(0, 1, "pytest -q")]
    assert spans(("make", coded(2)), ("make", coded(0))) == [(0, 1, "make")]
    for other in ("pytest --collect-only", "pytest -q tests/test_a.py", "pytest -q -k other", "npm test"):
        assert spans(failed, (other, coded(0))) == [], other
    assert spans(("python -m pytest", failed[1]), ("python -m pytest tests/test_a.py", coded(0))) == []


def test_of_several_test_files_the_failed_one_must_pass() -> None:
    failed = (
        "pytest tests/test_a.py tests/test_b.py",
        coded(1, "FAILED tests/test_b.py::test_x\n=== 1 failed in 1s ==="),
    )
    assert spans(failed, ("pytest tests/test_a.py", coded(0))) == []
    assert spans(failed, ("pytest tests/test_b.py", coded(0))) == [(0, 1, "tests/test_b.py")]


def test_a_script_that_writes_and_runs_failed_in_what_it_ran() -> None:
    both = "cat <<'EOF' > check.py\nprint(1)\nEOF\npython check.py"
    assert spans((both, coded(1)), ("rm check.py", coded(0))) == []
    assert spans((both, coded(1)), ("python check.py", coded(0))) == [(0, 1, "check.py")]


def test_the_same_search_with_another_tool_recovers_a_missing_tool() -> None:
    assert (
        spans(
            ("rg -n total src", "Observation: bash: rg: command not found\n"),
            ("grep -rn total src", "Observation: src/a.py:1: total\n"),
        )
        != []
    )


def test_another_file_or_another_command_is_no_recovery() -> None:
    assert spans(("python a.py", coded(1)), ("python b.py", coded(0)), ("ls", coded(0))) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"exit_status": "incomplete"}, "failure"),
        (
            {"exit_status": "incomplete", "outcome_guess": "unknown"},
            "unknown",
        ),  # it was left, it did not fail
        ({"exit_status": "Submitted", "outcome_guess": "success"}, "unknown"),  # a guess is no outcome
        ({"exit_status": "Submitted", "outcome": "success"}, "unknown"),  # nor is one of an older mine.py
        ({"exit_status": "Submitted"}, "unknown"),
        ({"resolved": False, "outcome_guess": "success"}, "failure"),
        ({"outcome": "perhaps"}, "unknown"),
    ],
)
def test_the_outcome_of_a_run(fields: dict[str, object], expected: str) -> None:
    row = {
        "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": turn("So.", "ls")}],
        **fields,
    }
    assert recovery.outcome_of(loading.example_of(row, "x"))[0] == expected


def test_a_refused_turn_is_an_error_without_a_target() -> None:
    refused = "Please always provide EXACTLY ONE action in triple backticks, found 2 actions."
    messages = (
        Message(role="user", content="task"),
        Message(role="assistant", content=turn("One.", "ls") + turn("Two.", "ls")),
        Message(role="user", content=refused),
        Message(role="assistant", content=turn("One.", "ls")),
        Message(role="user", content=coded(0)),
    )
    found = recovery.examine(Example(id="x", messages=messages, recorded=True))
    assert [step.shown.kind for step in found.steps] == ["format", ""]
    assert found.spans == []


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"resolved": True}, "success"),
        ({"resolved": False, "exit_status": "Submitted"}, "failure"),
        ({"exit_status": "incomplete"}, "failure"),
        ({"exit_status": "Submitted"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_a_submission_alone_proves_nothing(fields: dict[str, object], outcome: str) -> None:
    example = Example(id="x", messages=(Message(role="user", content="t"),), recorded=True, **fields)
    assert recovery.outcome_of(example)[0] == outcome


def test_real_trajectories_have_the_recoveries_that_a_reader_found(shared: Path) -> None:
    """Thirty of 38 real runs, drawn with a seed, read one by one; the golden file says why each span is one."""
    golden = json.loads(GOLDEN.read_text("utf-8"))
    [loaded] = loading.trajectories("mini_swe_agent/train-00000.parquet", shared)
    assert (loaded.found, len(loaded.examples)) == (38, 38)
    for run_ in golden["runs"]:
        found = recovery.examine(loaded.examples[run_["row"]])
        seen = [[span.start, span.end, span.kind, span.target] for span in found.spans]
        assert seen == [span["span"] for span in run_["spans"]], run_


def test_every_span_of_every_recorded_run_begins_at_an_error_and_ends_at_a_success(recorded: Recorded) -> None:
    [loaded] = loading.trajectories(recorded.runs[0].name, recorded.runs[0].parent)
    rows = [row for example in loaded.examples for row in FORMATS["codeact"].rows(example)]
    assert len(rows) == loaded.found >= 38
    for row in rows:
        for span in row["error_recovery_spans"]:
            first, last = row["steps"][span["start"]], row["steps"][span["end"]]
            assert first["error"] and first["return_code"] != 0
            assert not last["error"] and last["return_code"] == 0
        assert row["has_error_recovery"] == bool(row["error_recovery_spans"])
