"""The level is found without settings, whatever the endpoint is like. Time is virtual: nothing waits."""

from __future__ import annotations

import functools

import pytest

from tests.calls.virtual import World


@pytest.mark.parametrize("capacity", [5, 13, 40, 200])
@pytest.mark.parametrize("latency_s", [0.2, 10.0])
def test_a_capacity_is_found_and_kept(capacity: int, latency_s: float) -> None:
    """The capacity row of the design: 30 calls a slot, 85 % of the throughput, 5 % refused at most."""
    world = World(30 * capacity, capacity=lambda now: capacity, latency_s=latency_s, spread=0.02).run()
    assert 30 * latency_s / world.seconds >= 0.85
    assert world.share_refused <= 0.05


def test_refusals_that_come_late_are_understood_as_well() -> None:
    world = World(1200, capacity=lambda now: 40, refusal_s=0.5).run()
    assert 30 / world.seconds >= 0.85 and world.share_refused <= 0.05


@pytest.mark.parametrize("seed", range(4))
def test_refusals_by_chance_do_not_collapse_the_level(seed: int) -> None:
    """10 % of 2,000 calls refused, 128 at a time: within twice the 16 rounds that it takes without."""
    world = World(2000, latency_s=0.2, noise=0.1, cap=128, start=128, seed=seed).run()
    assert world.seconds < 2 * 16 * 0.2 * 1.1
    assert world.lane.level.share > 100


def test_a_capacity_that_changes_is_followed() -> None:
    world = World(6000, capacity=lambda now: 50 if now < 50 else 10 if now < 150 else 100).run()
    assert world.lane.level.share > 80
    assert world.share_refused < 0.05


def test_an_outage_costs_little_more_than_its_length() -> None:
    world = World(4000, capacity=lambda now: 0 if 20 <= now < 120 else 100, retry_after_s=None).run()
    without = World(4000, capacity=lambda now: 100).run()
    assert world.gone == 0
    assert world.seconds < without.seconds + 100 + 75  # the last wait is 60 s


def test_a_model_that_never_answers_is_given_up_after_few_calls() -> None:
    world = World(100, capacity=lambda now: 0, retry_after_s=None).run()
    assert world.gone == 100
    assert world.sent < 30


@pytest.mark.parametrize("says_so", [True, False])
@pytest.mark.parametrize("retry_after_s", [1.0, None])
@pytest.mark.parametrize(
    ("per_minute", "latency_s", "calls"),
    [(20, 1.0, 60), (60, 0.2, 120), (60, 2.0, 240), (120, 2.0, 240), (180, 8.0, 900), (600, 2.0, 1200)],
)
def test_nine_tenths_of_a_limit_per_minute_are_used_however_slow_the_calls(
    per_minute: float, latency_s: float, calls: int, retry_after_s: float | None, says_so: bool
) -> None:
    """Also where no header and no word tells that the limit is one of time."""
    world = World(calls, per_minute=per_minute, latency_s=latency_s, retry_after_s=retry_after_s, says_so=says_so).run()
    assert 60 * calls / (world.seconds - latency_s) >= 0.9 * per_minute
    assert world.share_refused < 0.3 and world.gone == 0
    assert world.most_tries <= 6  # `max_429_retries` is 8


def test_a_cap_is_never_exceeded() -> None:
    world = World(200, cap=3).run()
    assert world.lane.level.share == 3
    assert 200 / 3 * 0.95 < world.seconds < 200 / 3 * 1.3


@functools.cache
def seconds_without_an_outage() -> float:
    return World(800, cap=64).run().seconds


@pytest.mark.parametrize("shape", ["refused", "broken", "silent"])
@pytest.mark.parametrize("seconds", [10.0, 60.0])
def test_an_outage_of_any_shape_and_length_is_waited_through_with_few_calls(shape: str, seconds: float) -> None:
    """After good replies: one call at a time tries it, at least every 5 s."""
    world = World(800, cap=64, outage=(6.0, 6.0 + seconds), shape=shape).run()
    assert world.gone == 0
    assert world.seconds < seconds_without_an_outage() + seconds + 20
    assert world.sent < 800 + 5 * 64 + seconds


def test_what_waits_for_a_slow_disk_counts_as_in_flight() -> None:
    """A kill loses it as well: never more than the level allows."""
    world = World(400, cap=8, latency_s=0.2, commit_s=0.3).run()
    assert world.most_undurable <= 8
    assert world.seconds > 400 / 8 * (0.2 * 0.8 + 0.3)
