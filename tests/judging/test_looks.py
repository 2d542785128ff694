"""Repeated looks: written down once, counted, and paid for."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from duel.errors import UserError
from duel.judging import gate, looks
from duel.settings import Settings
from duel.workspace import Workspace
from tests.judging.panels import HEAVY_TIES, case_of, scores_of, simulate

Z = NormalDist().inv_cdf(0.95)


def test_the_first_bound_above_zero_in_twenty_looks_accepts_a_fifth_of_true_nulls() -> None:
    _, chance = looks.chances([{"challenger": "c", "clusters": n, "alpha": 0.05} for n in range(1, 21)])
    walks = np.cumsum(np.random.default_rng(1).normal(size=(40_000, 20)), axis=1) / np.sqrt(np.arange(1, 21))
    assert chance == pytest.approx(float((walks > Z).any(1).mean()), abs=0.006)
    assert chance == pytest.approx(0.2145, abs=0.0005)


@pytest.mark.parametrize("planned", [2, 5, 10])
def test_spending_keeps_the_chance_of_a_false_accept_at_its_level(planned: int) -> None:
    taken: list[dict[str, object]] = []
    for look in range(planned):
        level = looks.level(taken, 40 * (look + 1) + 7 * look**2, 0.05, planned)
        taken.append({"challenger": "a", "clusters": 40 * (look + 1) + 7 * look**2, "alpha": level})
    steps = np.diff([0, *(look["clusters"] for look in taken)])
    walks = np.cumsum(np.random.default_rng(planned).normal(size=(40_000, planned)) * np.sqrt(steps), axis=1)
    bounds = [NormalDist().inv_cdf(1 - float(look["alpha"])) if look["alpha"] else 9.0 for look in taken]
    accepted = (walks / np.sqrt(np.cumsum(steps)) > bounds).any(1).mean()
    assert 0.045 <= accepted <= 0.054
    assert [look["alpha"] for look in taken] == sorted(float(look["alpha"]) for look in taken)
    assert looks.level(taken, 10_000, 0.05, planned) == 0.0
    assert looks.chances(taken)[1] == pytest.approx(0.05, abs=0.001)


def test_a_look_without_new_turns_spends_its_own_share() -> None:
    first = {"challenger": "a", "clusters": 50, "alpha": looks.level([], 50, 0.05, 2)}
    second = looks.level([first], 50, 0.05, 2)
    assert 0 < second < 0.05
    assert first["alpha"] + second == pytest.approx(0.05, abs=1e-6)


def test_challengers_add_up_and_the_bound_never_falls_below_the_chance() -> None:
    taken = [{"challenger": name, "clusters": 100, "alpha": 0.05} for name in "abcd"]
    bound, chance = looks.chances(taken)
    assert bound == pytest.approx(0.2)
    assert chance == pytest.approx(1 - 0.95**4, abs=1e-6)


def test_a_regate_is_no_new_look_and_the_history_keeps_its_bytes(tmp_path: Path) -> None:
    votes, labels = simulate(HEAVY_TIES, 40, np.random.default_rng(2))
    settings, workspace = Settings(), Workspace(tmp_path)
    scores = scores_of(votes, labels, settings)

    def verdict(part: list, chosen: Settings) -> dict:
        found = gate.decide(case_of(part, chosen, earlier=looks.read(workspace))).looks
        assert found is not None
        looks.save(workspace, found.history)
        return found.model_dump()

    assert verdict(scores[:90], settings)["total"] == 1
    kept = (workspace.root / "score" / looks.FILE).read_bytes()
    strict = Settings.model_validate({"duel": {"win_margin": 30.0}})
    assert verdict(scores[:90], strict)["total"] == 1
    assert (workspace.root / "score" / looks.FILE).read_bytes() == kept
    grown = verdict(scores, settings)
    assert (grown["total"], grown["this"], grown["challengers"]) == (2, 2, 1)
    assert 0.05 < grown["false_accept_chance"] < grown["false_accept_bound"] == pytest.approx(0.1)
    other = [score.model_copy(update={"made_with": {"challenger": "another"}}) for score in scores]
    assert verdict(other, settings)["challengers"] == 2


def test_beyond_the_plan_nothing_is_accepted() -> None:
    votes, labels = simulate(HEAVY_TIES, 60, np.random.default_rng(2))
    settings = Settings.model_validate({"duel": {"looks": 2}})
    scores = scores_of(np.ones_like(votes), labels, settings)
    own = gate.decide(case_of(scores, settings)).looks.challenger
    earlier = [{"challenger": own, "clusters": n, "alpha": 0.02, "votes": str(n)} for n in (10, 20)]
    assert gate.decide(case_of(scores, settings, earlier=earlier[:1])).accepted is True
    late = gate.decide(case_of(scores, settings, earlier=earlier))
    assert late.accepted is False and late.alpha_used == 0.0 and late.lcb is None


@pytest.mark.parametrize(
    "damaged",
    [
        '{"looks": [',
        '{"looks": [{"challenger": "a", "votes": "b", "clusters": 3}]}',
        '{"looks": [{"challenger": "a", "votes": "b", "clusters": 3, "alpha": 2}]}',
        '{"looks": [{"challenger": "a", "votes": "b", "clusters": null, "alpha": 0.05}]}',
    ],
)
def test_a_damaged_history_is_said_and_not_forgotten(damaged: str, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.save((workspace.root / "score" / looks.FILE), damaged.encode())
    with pytest.raises(UserError, match="history of looks"):
        looks.read(workspace)
