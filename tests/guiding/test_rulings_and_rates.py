"""Reading what an overseer wrote, and the statistics of its interventions."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duel.errors import ItemError
from duel.guiding.rounds import InterventionRates, fall, save_page, tasks_needed
from duel.guiding.supervised_loop import MOST_REASON, problem, read_ruling
from duel.records import Guided, GuidedRun, GuidedStep, Ran
from duel.workspace import Workspace
from tests.guiding.conftest import block, ruling


def run(*marks: bool, round: int = 1, solo: str = "") -> GuidedRun:
    """A run whose actions came with an intervention where a mark is true."""
    steps = []
    for touched in marks:
        if touched:
            steps.append(GuidedStep(proposal="bad", ruling="reject", kind="loop", reason="r"))
        steps.append(GuidedStep(proposal="good", action="good", outcome=Ran(exit=0)))
    return GuidedRun(round=round, steps=steps, outcome="submitted", solo_outcome=solo)


def test_a_ruling_is_read_whatever_stands_around_it() -> None:
    assert read_ruling(f"Let me see. ```json\n{ruling('reject', 'why')}\n```", "rule").reason == "why"
    assert read_ruling(f"{ruling('approve')} or rather {ruling('reject', 'no')}", "rule").ruling == "reject"
    assert read_ruling('{"ruling": "approve"}', "rule").kind == ""
    assert read_ruling(ruling("reject", kind="bored"), "rule").kind == "other"
    assert read_ruling(ruling("replace", turn=block("ls {a,b}")), "rule").action == block("ls {a,b}")


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("", "rule"),
        ("Approve.", "rule"),
        ('{"ruling": "maybe"}', "rule"),
        (ruling("reject", ""), "rule"),
        (ruling("replace"), "rule"),
        (ruling("replace", turn="ls"), "rule"),
        (ruling("replace", turn=block("ls", "The overseer said so.")), "rule"),
        (ruling("approve"), "write"),
        (ruling("reject"), "write"),
        (ruling("approve"), "suggest"),
        ('{"ruling": ' * 5000, "rule"),
    ],
)
def test_what_is_no_ruling_is_never_taken_for_one(text: str, task: str) -> None:
    with pytest.raises(ItemError) as raised:
        read_ruling(text, task)
    assert raised.value.reason == "unparsable"


@given(st.text(max_size=400))
def test_no_text_breaks_the_reader(text: str) -> None:
    for task in ("rule", "write", "suggest"):
        try:
            found = read_ruling(text + ruling("approve") + text, task)
        except ItemError:
            continue
        assert found.ruling in ("approve", "reject", "replace")
        assert len(found.reason) <= MOST_REASON and len(found.suggestion) <= MOST_REASON


@pytest.mark.parametrize("word", json.loads('["ruling", "kind", "reason"]'))
def test_a_ruling_of_other_kinds_of_values_is_no_crash(word: str) -> None:
    told = {"ruling": "reject", "kind": "loop", "reason": "r"} | {word: [1, {"a": None}]}
    try:
        assert read_ruling(json.dumps(told), "rule").ruling == "reject"
    except ItemError as error:
        assert error.reason == "unparsable"


def test_honest_thoughts_are_not_taken_for_answers() -> None:
    for thought in (
        "The reviewer class is in `src/review.py`.",
        "The issue says that the connection was refused.",
        "As the listing shows, the file is there.",
        "The right thing to do is to read it.",
    ):
        assert problem(block("ls", thought)) == ""


def test_a_claimed_fall_needs_as_many_tasks_as_the_trial_found() -> None:
    assert tasks_needed(0.30, 0.25) == 187
    assert tasks_needed(0.30, 0.25, steps=10, correlation=0.0) == 99
    assert tasks_needed(0.50, 0.15) < 10


def test_a_round_without_an_action_has_no_rate_and_is_left_out(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for number, rounds in enumerate(([run()], [run(), run(True, False, round=2)])):
        task = Guided(task=f"t-{number}", held_out=True, rounds=rounds)
        workspace.save(workspace.guided_path(task.task), task)
    rows = [line.split("|") for line in save_page(workspace)[0].read_text().splitlines() if line.startswith("| ")]
    assert [row[1].strip() for row in rows] == ["round", "2"]


def test_the_rate_is_the_share_of_touched_actions_with_an_error_by_task() -> None:
    runs = [run(True, True, False, False), run(False), run(True, False, False), run(False, False)]
    rates = InterventionRates(runs)
    assert (rates.tasks, rates.steps) == (4, 10)
    assert rates.rate == pytest.approx(0.3)
    # By hand: residuals 2 - 1.2, 0 - 0.3, 1 - 0.9, 0 - 0.6; G / (G - 1) = 4 / 3; t(0.975, 3) = 3.1824.
    error = math.sqrt(4 / 3 * (0.8**2 + 0.3**2 + 0.1**2 + 0.6**2)) / 10
    assert rates.high == pytest.approx(0.3 + 3.1824463 * error)
    assert rates.low == 0.0
    assert rates.refused == pytest.approx(3 / 13)


def test_agreement_of_all_tasks_is_not_certainty() -> None:
    rates = InterventionRates([run(False, False) for _ in range(10)])
    assert (rates.rate, rates.low) == (0, 0)
    assert rates.high == pytest.approx(1 - 0.05**0.1)
    assert InterventionRates([run(True)]).low == 0.0  # one task says nothing of others


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=12), min_size=2, max_size=12))
def test_intervals_are_intervals(marks: list[list[bool]]) -> None:
    runs = [run(*one) for one in marks]
    rates = InterventionRates(runs)
    assert 0 <= rates.low <= rates.rate <= rates.high <= 1
    assert rates.rate == pytest.approx(sum(map(sum, marks)) / sum(map(len, marks)))
    fell, bound = fall(runs, runs)
    assert fell == 0 and bound == pytest.approx(0)  # the same runs: every task cancels


def test_a_fall_on_the_same_tasks_is_seen_with_few_of_them() -> None:
    before = [run(True, True, number % 2 == 0, False) for number in range(8)]
    after = [run(True, False, False, False) for _ in range(8)]
    fell, bound = fall(before, after)
    assert fell == pytest.approx(0.375)
    assert 0.2 < bound < fell
