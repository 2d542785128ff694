"""Whatever an endpoint does, and in whatever order: no request waits for ever. Time is virtual: nothing waits."""

from __future__ import annotations

import asyncio
import functools
import random
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from duel import settings as settings_module
from duel.calls import Provider, Reply, Request, Summary
from duel.calls.client import Client
from duel.calls.failures import Failure, Meaning
from duel.calls.prices import Spending
from duel.calls.rates import Left, limits_left
from duel.calls.seats import Seats
from duel.errors import ItemError
from tests.calls.jobs import a_route
from tests.calls.virtual import World, run

MODELS = ("judge/a", "judge/b", "judge/c")
USAGE = {"prompt_tokens": 100, "completion_tokens": 10}
ENDLESS = Left(1.0, 0.0, 1e6)
COSTS = {"requests": 1.0, "tokens": 110.0}  # what a call takes of a limit
# What an endpoint does in place of a reply, and after how many seconds at most.
TROUBLE: dict[str, tuple[float, Failure]] = {
    "429": (0.1, Failure("http-429", Meaning.REFUSED, "slow down", 429)),
    "429 after 2 s": (0.1, Failure("http-429", Meaning.REFUSED, "slow down", 429, 2.0)),
    "429 per minute": (0.1, Failure("http-429", Meaning.REFUSED, "60 requests per minute", 429, per_time=True)),
    "429, nothing left": (0.1, Failure("http-429", Meaning.REFUSED, "nothing left", 429)),
    "503": (0.1, Failure("http-503", Meaning.REFUSED, "busy", 503)),
    "502": (0.1, Failure("http-502", Meaning.FAULT, "bad gateway", 502)),
    "reset": (1.0, Failure("connection", Meaning.FAULT, "reset")),
    "closed port": (0.0, Failure("connection", Meaning.FAULT, "refused", unsent=True)),
    "no file": (0.0, Failure("no-file", Meaning.REFUSED, "too many open files", unsent=True)),
    "empty": (2.0, Failure("empty", Meaning.FAULT, "", 200, billed=True)),
    "one prompt": (0.1, Failure("http-400", Meaning.ITEM, "no", 400)),
    "wrong key": (0.1, Failure("http-401", Meaning.RUN, "no", 401)),
    "silence": (60.0, Failure("timeout", Meaning.REFUSED, "no reply within 60 s", billed=True)),
}


@dataclass
class InMemory:
    """A ledger that forgets."""

    commit_s: float = 0.0

    def find(self, request: Request) -> None:
        return None

    async def put(self, request: Request, reply: Reply) -> None:
        await asyncio.sleep(self.commit_s)

    def reject(self, key: str, reason: str) -> None: ...

    def count_fault(self, *told: Any) -> None: ...

    def keep_room(self, calls: int) -> None: ...


@dataclass
class Weather:
    """An endpoint that goes wrong at random until it is well."""

    seed: int
    share: float
    """Of the calls that go wrong."""
    kinds: list[str]
    well_at: float
    latency_s: float
    sick: tuple[str, ...] = MODELS
    ill_from: float = 0.0
    sent: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    async def send(self, provider: Provider, body: bytes) -> tuple[Reply | Failure, dict[str, Left]]:
        self.sent += 1
        asked = orjson.loads(body)
        now = asyncio.get_running_loop().time()
        ill = self.ill_from <= now < self.well_at and asked["model"] in self.sick
        if ill and self._random.random() < self.share:
            longest_s, failure = TROUBLE[self._random.choice(self.kinds)]
            await asyncio.sleep(longest_s * self._random.random() if longest_s < 60 else longest_s)
            return failure, dict.fromkeys(("requests", "tokens"), ENDLESS) if failure.words == "nothing left" else {}
        await asyncio.sleep(self.latency_s * (0.5 + self._random.random()))
        return Reply("yes", "", "stop", asked["model"], USAGE), {}

    async def models(self, provider: Provider) -> list[str]:
        return []


@dataclass
class InStep(Weather):
    """Replies and faults take 0.2 s each, so that whole waves go out at once; refusals come back in 2 ms."""

    async def send(self, provider: Provider, body: bytes) -> tuple[Reply | Failure, dict[str, Left]]:
        self.sent += 1
        (kind,) = self._random.choices(["429", "500", "reset", "good"], [0.10, 0.03, 0.02, 0.85])
        if kind == "429":
            await asyncio.sleep(0.002)
            return Failure("http-429", Meaning.REFUSED, "rate limit reached", 429, 1.0), {}
        await asyncio.sleep(0.2)
        if kind == "good":
            return Reply("yes", "", "stop", orjson.loads(body)["model"], USAGE), {}
        return Failure(kind, Meaning.FAULT, "the server had an error", 500 if kind == "500" else 0), {}


@dataclass
class Refilled(Weather):
    """A limit as providers have it: so much at once, refilled evenly a second, told in headers."""

    kind: str = "requests"
    refused: int = 0
    _left: dict[str, float] = field(default_factory=dict)
    _at: dict[str, float] = field(default_factory=dict)

    async def send(self, provider: Provider, body: bytes) -> tuple[Reply | Failure, dict[str, Left]]:
        model, now, cost = orjson.loads(body)["model"], asyncio.get_running_loop().time(), COSTS[self.kind]
        size, rate = 20 * cost, 50 * cost
        left = min(size, self._left.get(model, size) + (now - self._at.get(model, now)) * rate)
        fits = left >= cost
        self._left[model], self._at[model] = left - cost * fits, now
        self.refused += not fits
        told = {
            "limit": size,
            "remaining": int(self._left[model]),
            "reset": f"{(size - left + cost * fits) / rate:.3f}s",
        }
        headers = {f"x-ratelimit-{name}-{self.kind}": str(value) for name, value in told.items()}
        await asyncio.sleep(self.latency_s if fits else 0.002)
        reply = Reply("yes", "", "stop", model, USAGE)
        return reply if fits else Failure("http-429", Meaning.REFUSED, "slow down", 429), limits_left(headers, 0)


@dataclass
class Many:
    """Requests of three judges through one client, until all of them have ended."""

    weather: Weather
    client: Client
    failed: list[ItemError] = field(default_factory=list)
    replies: int = 0
    seconds: float = 0.0
    left: int = 0

    def run(self, calls: int, limit_s: float) -> Many:
        run(self._all(calls, limit_s))
        return self

    async def _all(self, calls: int, limit_s: float) -> None:
        asked = [
            Request("judge", f"item {n}", MODELS[n % 3], [{"role": "user", "content": str(n)}], 50)
            for n in range(calls)
        ]
        tasks = [asyncio.create_task(self._one(request)) for request in asked]
        _, pending = await asyncio.wait(tasks, timeout=limit_s)
        self.left, self.seconds = len(pending), asyncio.get_running_loop().time()
        self.client.stop(at_once=True)
        await self.client.drain()

    async def _one(self, request: Request) -> None:
        try:
            await self.client(request)
            self.replies += 1
        except ItemError as error:
            self.failed.append(error)
        except asyncio.CancelledError:
            if not self.client.error:
                raise


def many(weather: Weather, root: Path, *, files: int = 1000, commit_s: float = 0.0, **changes: Any) -> Many:
    given = {"models": MODELS, "needed": 2, "timeout_s": 60.0, "retry_max": 30, "max_429_retries": 30, **changes}
    route = a_route(Provider("http://127.0.0.1:9/v1"), **given)
    parts: Any = (InMemory(commit_s), weather, Spending(changes.get("budget")), Summary("judge"))
    ledger, transport, spending, summary = parts
    client = Client(route, settings_module.load(root), ledger, transport, spending, summary)
    client.seats = Seats(files)
    return Many(weather, client)


@hypothesis_settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    share=st.sampled_from([0.1, 0.3, 0.6, 0.9, 1.0]),
    kinds=st.lists(st.sampled_from(sorted(TROUBLE)), min_size=1, max_size=6, unique=True),
    well_at=st.sampled_from([5.0, 60.0, 200.0]),
    sick=st.integers(1, 3),
    files=st.sampled_from([4, 7, 1000]),
    commit_s=st.sampled_from([0.0, 0.3]),
    concurrency=st.sampled_from([0, 1, 5]),
)
def test_every_request_ends_soon_after_the_endpoint_is_well(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    share: float,
    kinds: list[str],
    well_at: float,
    sick: int,
    files: int,
    commit_s: float,
    concurrency: int,
) -> None:
    weather = Weather(seed, share, kinds, well_at, 0.5, MODELS[:sick])
    root = tmp_path_factory.getbasetemp()
    ended = many(weather, root, files=files, commit_s=commit_s, concurrency=concurrency).run(90, well_at + 1000)
    assert not ended.left, f"{ended.left} of 90 wait"
    assert ended.client.error or ended.replies + len(ended.failed) == 90
    lanes = [*ended.client.lines.values()]
    assert not any(lane.level.in_flight or lane.level.unsaved for lane in lanes)
    assert ended.client.error or not any(lane.queued for lane in lanes)
    assert ended.client.seats.taken == ended.client.spending.out == 0


@functools.cache
def seconds_without_trouble(**options: Any) -> float:
    """How long the same 450 requests take where nothing goes wrong."""
    with tempfile.TemporaryDirectory() as folder:
        return many(Weather(1, 0.0, ["429"], 0.0, 0.5), Path(folder), **options).run(450, 2000).seconds


@pytest.mark.parametrize("seconds", [10.0, 60.0])
@pytest.mark.parametrize("kind", ["429", "503", "502", "reset", "closed port", "empty", "silence"])
def test_an_outage_of_any_shape_is_waited_through_by_a_whole_panel(kind: str, seconds: float, tmp_path: Path) -> None:
    """450 requests of three judges, all of them out at once after 5 s; one call at a time tries each."""
    weather = Weather(1, 1.0, [kind], 5.0 + seconds, 0.5, ill_from=5.0)
    defaults = {"retry_max": 3, "max_429_retries": 8, "timeout_s": 300.0, "concurrency": 10}
    ended = many(weather, tmp_path, **defaults).run(450, 2000)
    assert (ended.replies, ended.failed, ended.client.error) == (450, [], None)
    assert (
        ended.seconds < seconds_without_trouble(**defaults) + seconds + 35
    )  # a silence is noticed after 15 s, and again at its end
    assert weather.sent < 450 + 3 * (4 * 10 + 2 * seconds)


@pytest.mark.parametrize("seed", range(6))
def test_refusals_that_overtake_the_replies_of_their_wave_are_no_outage(seed: int, tmp_path: Path) -> None:
    """A tenth of 128 calls is refused before the others have answered; one fault after them held the model back."""
    weather = InStep(seed, 0.0, [], 0.0, 0.2)
    ended = many(weather, tmp_path, retry_max=3, max_429_retries=8, concurrency=128).run(2000, 2000)
    assert (ended.replies, ended.client.error) == (2000 - len(ended.failed), None)
    assert ended.seconds < 9  # 3.1 s of work, then the last of them meets a few faults in a row; it was 19 s


@pytest.mark.parametrize("seed", range(8))
def test_a_third_of_the_calls_may_hang_and_the_run_goes_on(seed: int, tmp_path: Path) -> None:
    """120 calls took more than 590 s in three of eight runs, each call waiting for the last."""
    weather = Weather(seed, 0.3, ["silence"], float("inf"), 0.5)
    ended = many(weather, tmp_path, timeout_s=300.0, retry_max=3, max_429_retries=8).run(120, 3000)
    assert (ended.replies, ended.failed, ended.client.error) == (120, [], None)
    assert ended.seconds < 350  # one item may meet ten of them in a row, 15 s and then 30 s each


@pytest.mark.parametrize("says_so", [True, False])
@pytest.mark.parametrize("noise", [0.15, 0.25, 0.35])
@pytest.mark.parametrize("seed", range(3))
def test_refusals_by_chance_teach_no_pace_that_grows_without_end(noise: float, says_so: bool, seed: int) -> None:
    """1,000 calls of 20 ms. A run of 500 once stood still here, its next call minutes away."""
    world = World(1000, latency_s=0.02, refusal_s=0.002, noise=noise, seed=seed, retry_after_s=0.02, says_so=says_so)
    assert world.run().seconds < 400


@pytest.mark.parametrize(("latency_s", "refused"), [(0.005, 0), (0.5, 45)])
@pytest.mark.parametrize("kind", ["requests", "tokens"])
def test_limits_that_headers_tell_of_are_kept(kind: str, latency_s: float, refused: int, tmp_path: Path) -> None:
    """50 calls (or 5,500 tokens) a second, refilled evenly: only what was out before the headers told is refused.

    Where no header is read it is 312, and 96 of calls of half a second.
    """
    weather = Refilled(1, 0.0, [], 0.0, latency_s, kind=kind)
    ended = many(weather, tmp_path).run(300, 2000)
    assert (ended.replies, ended.failed) == (300, [])
    assert weather.refused <= refused
