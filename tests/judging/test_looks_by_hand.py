"""What looks cost, against a published table and by hand."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest

from duel.errors import UserError
from duel.judging import looks
from duel.workspace import Workspace
from tests.judging.few_turns import NO, decided, look, score, won


def test_five_planned_looks_use_the_published_boundary() -> None:
    """The one-sided bounds of Lan-DeMets spending of O'Brien-Fleming type at 0.025 in five equal steps."""
    taken: list[dict[str, Any]] = []
    for number in range(1, 6):
        taken.append(look(clusters=100 * number, alpha=looks.level(taken, 100 * number, 0.025, 5)))
    bounds_used = [NormalDist().inv_cdf(1 - one["alpha"]) for one in taken]
    assert bounds_used == pytest.approx([4.8769, 3.3570, 2.6803, 2.2898, 2.0310], abs=2e-4)
    assert looks.level(taken, 600, 0.025, 5) == 0.0


def test_without_a_plan_each_look_has_the_whole_level_unless_the_statistic_was_shopped_for() -> None:
    before = look(parsed=100, statistic="then")
    assert looks.level([look()], 100, 0.05, 1) == 0.05
    assert looks.level([before], 100, 0.05, 1, "now", 100) == 0.0
    assert looks.level([before], 100, 0.05, 1, "then", 100) == 0.05
    assert looks.level([before], 100, 0.05, 1, "now", 101) == 0.05  # one in a hundred more is more
    assert looks.level([before], 100, 0.05, 1, "now") == looks.level([before], 100, 0.05, 1, "", 100) == 0.05
    assert looks.level([look(statistic="then")], 100, 0.05, 1, "now", 100) == 0.05  # how much it saw is not known


def test_a_look_at_hardly_more_turns_is_paid_for_without_a_correlation() -> None:
    share = looks._spent(2 / 3, 0.05) - looks._spent(1 / 3, 0.05)
    first = look(clusters=100, alpha=looks.level([], 100, 0.05, 3))
    assert looks.level([first], 100, 0.05, 3) == share
    assert looks.level([first], 101, 0.05, 3) > share  # from one in a hundred more on the walk is followed
    second = look(clusters=100, alpha=share)
    assert looks.level([first, second], 300, 0.05, 3) == looks._spent(1.0, 0.05) - looks._spent(2 / 3, 0.05)
    assert looks._spent(0.0, 0.05) == 0.0 and looks._spent(1.0, 0.05) == pytest.approx(0.05)


def test_what_the_looks_have_cost_is_a_bound_and_a_chance() -> None:
    assert looks.chances([]) == (0.0, 0.0)
    assert looks.chances([look()]) == (pytest.approx(0.05), pytest.approx(0.05))
    assert looks.chances([look()] * 3)[0] == pytest.approx(0.15)
    assert looks.chances([look()] * 3)[1] == pytest.approx(0.15)  # no new turns: each in full
    assert looks.chances([look(alpha=0.6), look(alpha=0.6)]) == (1.0, 1.0)
    assert looks.chances([look(alpha=0.0), look(clusters=200)])[1] == pytest.approx(0.05, abs=1e-4)
    assert looks.chances([look(clusters=0), look(clusters=100)])[1] == pytest.approx(0.05)
    grown = looks.chances([look(clusters=100), look(clusters=101)])
    assert 0.05 < grown[1] < grown[0] == pytest.approx(0.1)


def test_a_look_comes_before_another_in_the_order_in_which_they_were_taken() -> None:
    one, two, three = look(statistic="s"), look(clusters=200, statistic="s"), look(clusters=200, statistic="t")
    other = look("d")
    history = [one, other, two, three]
    assert looks.before(history, "c", "200", "s") == [one]
    assert looks.before(history, "c", "200", "t") == [one, two]
    assert looks.before(history, "c", "300", "s") == [one, two, three]
    assert looks.before(history, "d", "100") == []
    assert looks.joined(history, two) == history
    assert looks.joined(history, {**two, "statistic": "u"}) == [*history, {**two, "statistic": "u"}]
    assert looks.joined(history, look("e")) == [*history, look("e")]


def test_the_summary_counts_the_looks_of_this_challenger_and_of_all() -> None:
    found = looks.summary([look(), look("d"), look(clusters=300)], 1, "c")
    assert (found.planned, found.challenger, found.challengers, found.total, found.this) == (1, "c", 2, 3, 2)
    assert found.alpha_spent == pytest.approx(0.1) and found.false_accept_bound == pytest.approx(0.15)
    assert found.false_accept_chance is not None and 0.1 < found.false_accept_chance < 0.15
    assert found.method == looks.UNPLANNED and found.history == [look(), look("d"), look(clusters=300)]
    assert looks.summary([look()], 2, "c").method == looks.METHOD


def test_a_look_keeps_what_the_next_ones_must_know() -> None:
    scores = [one.model_copy(update={"writers": {"challenger": "w"}}) for one in won()]
    found = decided([*scores, score(30, (NO, NO))])
    assert found.looks is not None
    [kept] = found.looks.history
    assert kept == {
        "challenger": found.looks.challenger,
        "writers": ["", "w"],
        "mode": 2,
        "turns": 13,
        "parsed": 12,
        "clusters": 12,
        "alpha": 0.05,
        "margin": found.margin,
        "lcb": found.lcb,
        "decision": found.decision,
        "votes": found.made_with["votes"],
        "statistic": found.made_with["statistic"],
    }
    assert (found.looks.planned, found.looks.total, found.looks.this) == (1, 1, 1)


@pytest.mark.parametrize("damaged", [b"", b"[]", b'{"looks": 3}', b'{"looks": [3]}', b"{}"])
def test_a_history_of_looks_is_kept_as_it_is_and_read_back_or_named_as_damaged(damaged: bytes, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert looks.read(workspace) == []
    looks.save(workspace, [look()])
    data = (workspace.root / "score" / looks.FILE).read_bytes()
    assert data.startswith(b'{\n  "format": "duel-looks/1",\n  "looks": [') and data.endswith(b"}\n")
    assert looks.read(workspace) == [look()]
    looks.save(workspace, [])
    assert looks.read(workspace) == []
    workspace.save((workspace.root / "score" / looks.FILE), damaged)
    with pytest.raises(UserError, match="cannot be read") as caught:
        looks.read(workspace)
    assert str(workspace.root / "score" / looks.FILE) in str(caught.value) and "restore it" in str(caught.value)
