"""The leak score: every finding adds to it, noise does not, and lines that an honest fix may hold are capped."""

from __future__ import annotations

import pytest

from duel.audit import leak_findings
from duel.audit.leak_findings import LeakFinding, distinct
from duel.audit.leaks import find_leaks
from duel.audit.rarity import Rarity
from tests.audit.test_leaks import COMMIT, HISTORY


def finding(
    start: int, weight: float, value: str = "twelve chars", kind: str = "path", code: bool = False
) -> LeakFinding:
    return LeakFinding(kind, value, start, {"line": 1}, {}, 1.0, 0, weight, code)


def test_the_score_is_the_sum_of_all_weights() -> None:
    told = "We need resolve_loyalty_discount in shop/basket.py, as test_discount_never_exceeds_sum says."
    found = find_leaks(told, HISTORY, COMMIT, Rarity.from_commits([COMMIT]))
    assert len(found.findings) > 1
    assert found.score == pytest.approx(sum(one.weight for one in found.findings), abs=0.001)
    assert found.score > max(one.weight for one in found.findings)


def test_what_is_lighter_than_noise_is_left_out() -> None:
    assert [one.weight for one in distinct([finding(0, 0.25), finding(50, 0.24)])] == [0.25]


def test_of_findings_that_overlap_the_longest_stays_if_it_leaks_alone_else_the_heaviest() -> None:
    whole, part = finding(0, 1.1, "shop/basket.py"), finding(5, 1.5, "basket.py")
    assert distinct([part, whole]) == [whole]
    light, heavy = finding(0, 0.5, "shop/basket.py"), finding(5, 0.9, "basket.py")
    assert distinct([light, heavy]) == [heavy]
    assert len(distinct([finding(0, 0.9), finding(12, 0.9)])) == 2  # one ends where the other begins


def test_lines_that_do_not_leak_alone_weigh_together_less_than_a_leak() -> None:
    lines = [finding(100 * n, 0.6, kind="line") for n in range(5)]
    assert sum(one.weight for one in distinct(lines)) == pytest.approx(leak_findings.WEAK_LINES_MOST)
    in_code = [finding(100 * n, 1.3, kind="line", code=True) for n in range(3)]
    assert sum(one.weight for one in distinct(in_code)) < 1.0
    stated = [finding(100 * n, 1.3, kind="line") for n in range(2)]
    assert sum(one.weight for one in distinct(stated)) == pytest.approx(2.6)
