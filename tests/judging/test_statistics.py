"""Bounds that hold: coverage on simulated panels with a known truth, and the properties that bounds must have."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from duel.judging import statistics
from duel.judging.statistics import Clusters, percentile_lower, studentized, t_lower
from tests.judging.panels import DISASTERS, HEAVY_TIES, World, simulate

RESAMPLES = 199  # of which 0.05 cuts off a whole number
SEED = 5


def deltas(world: World, clusters: int, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    votes, labels = simulate(world, clusters, draw)
    return votes.mean((1, 2, 3)) - 0.5, labels


def coverage(world: World, clusters: int, runs: int) -> tuple[float, float]:
    """How often (the gate's bound, the percentile over turns) lies under the true mean."""
    draw = np.random.default_rng(SEED)
    held = np.zeros(2)
    for run in range(runs):
        values, labels = deltas(world, clusters, draw)
        lower = studentized(Clusters.of(values, labels), RESAMPLES, run).lower(0.05)[0]
        held += [lower <= world.truth, percentile_lower(values, 0.05, RESAMPLES, run) <= world.truth]
    return float(held[0] / runs), float(held[1] / runs)


@pytest.mark.parametrize(
    ("world", "clusters", "runs"),
    [(HEAVY_TIES, 67, 250), (HEAVY_TIES, 445, 250), (DISASTERS, 67, 250), (DISASTERS, 445, 150)],
    ids=["ties-300", "ties-2000", "disasters-300", "disasters-2000"],
)
def test_the_bound_covers_what_it_promises_and_the_plain_percentile_does_not(
    world: World, clusters: int, runs: int
) -> None:
    gate, plain = coverage(world, clusters, runs)
    assert 0.93 <= gate <= 0.97
    assert 0.78 <= plain <= 0.88


def test_a_challenger_that_is_no_better_is_rarely_accepted() -> None:
    null = World(center=0.0)
    draw = np.random.default_rng(7)
    runs = 600
    accepted = 0
    for run in range(runs):
        values, labels = deltas(null, 67, draw)
        accepted += bool(studentized(Clusters.of(values, labels), RESAMPLES, run).lower(0.05)[0] > 0)
    assert accepted / runs <= 0.06


def test_the_cluster_error_is_that_of_a_ratio_of_sums() -> None:
    clusters = Clusters.of([0.5, 0.5, -0.5, 0.1], ["a", "a", "b", "c"])
    mean = 0.6 / 4
    residuals = np.array([1.0 - 2 * mean, -0.5 - mean, 0.1 - mean])
    assert clusters.means()[0] == pytest.approx(mean)
    assert clusters.errors()[0] == pytest.approx(math.sqrt(3 / 2 * (residuals**2).sum()) / 4)


def test_a_resample_is_studentized_as_its_definition_says() -> None:
    draw = np.random.default_rng(3)
    values, labels = draw.choice([-0.5, -0.1, 0.2, 0.5], 120), draw.integers(0, 40, 120)
    clusters = Clusters.of(values, labels)
    count = clusters.count
    found = studentized(clusters, 200, seed=5, guard=False)
    weights = np.random.default_rng(5)
    pivots = []
    for start in range(0, 200, statistics.BLOCK // count):
        rows = min(statistics.BLOCK // count, 200 - start)
        for picks in weights.integers(0, count, size=(rows, count), dtype=np.int32):
            drawn = Clusters(clusters.sums[picks], clusters.sizes[picks])
            pivots.append(float((drawn.means()[0] - clusters.means()[0]) / drawn.errors()[0]))
    assert found.pivots[:, 0] == pytest.approx(np.sort(pivots))


def test_the_guard_makes_small_samples_more_careful_and_leaves_large_ones_alone() -> None:
    small = Clusters.of(np.full(60, 0.2) + np.linspace(0, 0.1, 60), np.arange(60))
    assert studentized(small, 999, 0).lower(0.05)[0] < studentized(small, 999, 0, guard=False).lower(0.05)[0]
    large = Clusters.of(np.linspace(-0.1, 0.3, 400), np.arange(400))
    assert studentized(large, 99, 0).lower(0.05)[0] == studentized(large, 99, 0, guard=False).lower(0.05)[0]


def test_the_same_seed_gives_the_same_bound_and_a_stricter_level_a_lower_one() -> None:
    values, labels = deltas(HEAVY_TIES, 100, np.random.default_rng(1))
    clusters = Clusters.of(values, labels)
    first, again = (studentized(clusters, 2000, 4) for _ in range(2))
    assert np.array_equal(first.pivots, again.pivots)
    bounds = [first.lower(alpha)[0] for alpha in (0.2, 0.05, 0.01, 0.001)]
    assert bounds == sorted(bounds, reverse=True)


@given(
    values=some.lists(some.sampled_from([-0.5, -0.25, 0.0, 0.25, 0.5]), min_size=2, max_size=60),
    groups=some.integers(2, 12),
    seed=some.integers(0, 1000),
)
@settings(deadline=None)
def test_bounds_of_any_sample_are_finite_and_never_above_the_mean(values: list[float], groups: int, seed: int) -> None:
    clusters = Clusters.of(values, np.arange(len(values)) % groups)
    if clusters.count < 2:
        return
    lower = studentized(clusters, 200, seed).lower(0.05)[0]
    mean = float(np.mean(values))
    assert not np.isnan(lower)
    assert lower <= mean + 1e-9
    assert t_lower(clusters, 0.05)[0] <= mean + 1e-9
    assert min(values) - 1e-9 <= percentile_lower(values, 0.05, 200, seed) <= mean + 1e-9 or len(values) < 5


@pytest.mark.parametrize(
    ("freedom", "level", "quantile"),
    [(1, 0.95, 6.313752), (5, 0.95, 2.015048), (29, 0.95, 1.699127), (66, 0.95, 1.668271), (444, 0.975, 1.965321)],
)
def test_quantiles_of_students_t(freedom: int, level: float, quantile: float) -> None:
    assert statistics.student_quantile(level, freedom) == pytest.approx(quantile, abs=1e-6)


def test_the_detectable_margin_is_detected_as_often_as_it_says() -> None:
    error, quantile = 0.01, 1.645
    least = statistics.detectable(error, quantile, 0.0)
    draw = np.random.default_rng(0).normal(least, error, 40_000)
    assert (draw - quantile * error > 0).mean() == pytest.approx(0.8, abs=0.01)
    assert statistics.detectable(error, quantile, 0.05) == pytest.approx(0.05 + 0.8416 * error, abs=1e-4)


def test_turns_needed_shrink_with_the_square_of_the_margin() -> None:
    one = statistics.turns_needed(500, 0.01, 0.01, 1.645)
    two = statistics.turns_needed(500, 0.02, 0.01, 1.645)
    assert one is not None and two is not None
    assert one / two == pytest.approx(4, abs=0.01)
    assert statistics.turns_needed(500, -0.01, 0.01, 1.645) is None


def test_a_margin_of_next_to_nothing_asks_for_no_number_of_turns() -> None:
    assert statistics.turns_needed(4, 1e-17, 0.2, 1.6) is None
    assert statistics.turns_needed(4, 0.1, 0.2, 1.6) is not None


@pytest.mark.parametrize("freedom", [1, 2, 5, 29, 200, 5000])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.999])
def test_students_quantile_is_the_librarys(level: float, freedom: int) -> None:
    from scipy.special import stdtrit

    assert statistics.student_quantile(level, freedom) == pytest.approx(float(stdtrit(freedom, level)), abs=1e-8)
