"""The stand-in endpoint, counting what it is asked, with limits of its own: what tests and benches talk to."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from duel.local_server import serving
from duel.offline import rules
from duel.offline.loopback import MODELS, Server, StandInReply, error_response, key_of, sent

# Requests whose particulars are kept to look at; counts are kept of all.
SEEN_AT_MOST = 10_000


@dataclass(frozen=True)
class SeenRequest:
    """One request to the completions route, as it arrived, and what became of it."""

    key: str
    attempt: int
    role: str
    model: str
    headers: Mapping[str, str]
    stream: bool
    outcome: str


@dataclass
class Counts:
    """What the endpoint has counted since it started or was reset."""

    asked: Counter[str] = field(default_factory=Counter)  # requests by key, refused and faulty ones included
    delivered: Counter[str] = field(default_factory=Counter)  # replies by key that were written in full
    by: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    seen: deque[SeenRequest] = field(default_factory=lambda: deque(maxlen=SEEN_AT_MOST))
    asked_after_delivery: int = 0
    client_aborted: int = 0
    inflight: int = 0
    max_inflight: int = 0

    def stats(self) -> dict[str, Any]:
        return {
            "requests": self.asked.total(),
            "unique": len(self.asked),
            "unique_ok": len(self.delivered),
            "extra_ok": self.delivered.total() - len(self.delivered),
            "requests_after_ok": self.asked_after_delivery,
            "by_key": dict(self.asked),
            **{name: getattr(self, name) for name in ("client_aborted", "inflight", "max_inflight")},
            **{name: dict(self.by[name]) for name in ("by_role", "by_model", "outcomes", "authorizations")},
        }


@dataclass(frozen=True)
class Exchange:
    """One asking of one request."""

    call: web.Request
    body: Mapping[str, Any]
    key: str
    role: str
    attempt: int

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @property
    def streams(self) -> bool:
        return bool(self.body.get("stream"))


@dataclass(frozen=True)
class Options:
    """How an endpoint behaves."""

    latency_s: float = 0.0
    capacity: int = 0  # completions in flight beyond which a request is refused with 429; 0: no limit
    expected_key: str = ""  # the bearer key that is asked for (401 otherwise); "": any, or none
    models: Sequence[str] = ()  # model ids beyond which a request is refused with 404; (): any
    reply: Callable[[Mapping[str, Any]], str] = rules.reply  # what is said to a request's body


class WatchedServer(Server):
    """The stand-in endpoint that counts and refuses."""

    def __init__(self, options: Options) -> None:
        super().__init__(options.latency_s, options.reply)
        self.options, self.counts = options, Counts()
        self.models = tuple(options.models) or MODELS

    def reset(self) -> None:
        """Forget all counts; what is in flight is still counted down."""
        self.counts = Counts(inflight=self.counts.inflight)

    async def answer(self, call: web.Request, body: Mapping[str, Any]) -> web.StreamResponse:
        counts, key = self.counts, key_of(body)
        role = rules.role(body["messages"], str(body["model"]))
        asking = Exchange(call, body, key, role, counts.asked[key])
        counts.asked[key] += 1
        counts.asked_after_delivery += key in counts.delivered
        counts.by["by_role"][asking.role] += 1
        counts.by["by_model"][asking.model] += 1
        counts.by["authorizations"][asking.call.headers.get("Authorization", "")] += 1
        if refusal := self._refusal(asking):
            status, message, code = refusal
            self.note(asking, f"refused-{code}")
            return error_response(status, message, code)
        counts.inflight += 1
        counts.max_inflight = max(counts.max_inflight, counts.inflight)
        try:
            return await self.replied(asking)
        except asyncio.CancelledError:
            counts.client_aborted += 1
            raise
        finally:
            self.counts.inflight -= 1

    async def replied(self, asking: Exchange) -> web.StreamResponse:
        self.note(asking, "ok")
        await asyncio.sleep(self.latency_s)
        return await self.delivered(asking, self.completion(asking.body, asking.attempt))

    async def delivered(self, asking: Exchange, completion: StandInReply) -> web.StreamResponse:
        """A good reply is counted before its last byte is written: the client may look at the counts right after."""
        return await sent(asking.call, asking.body, completion, lambda: self.counts.delivered.update([asking.key]))

    def note(self, asking: Exchange, outcome: str) -> None:
        self.counts.by["outcomes"][outcome] += 1
        told = (asking.key, asking.attempt, asking.role, asking.model, asking.call.headers, asking.streams, outcome)
        self.counts.seen.append(SeenRequest(*told))

    def _refusal(self, asking: Exchange) -> tuple[int, str, str] | None:
        """Status, message and code of a refusal that the endpoint's own state asks for."""
        options = self.options
        if options.expected_key and asking.call.headers.get("Authorization") != f"Bearer {options.expected_key}":
            return 401, "incorrect API key provided", "invalid_api_key"
        if options.models and asking.model not in options.models:
            return 404, f"the model `{asking.model[:200]}` does not exist", "model_not_found"
        if options.capacity and self.counts.inflight >= options.capacity:
            return 429, "infrastructure is at maximum capacity, try again later", "capacity"
        return None


class StandIn:
    """A running stand-in, as whoever started it sees it."""

    def __init__(self, server: WatchedServer, port: int) -> None:
        self._server = server
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.base_url = f"{self.url}/v1"
        self.reset = server.reset

    def stats(self) -> dict[str, Any]:
        return self._server.counts.stats()

    @property
    def seen(self) -> list[SeenRequest]:
        """The latest requests to the completions route, in the order in which they arrived."""
        return list(self._server.counts.seen)


@contextmanager
def watching(server: WatchedServer, port: int = 0) -> Iterator[StandIn]:
    with serving(server.application(), port) as taken:
        yield StandIn(server, taken)


@contextmanager
def endpoint(port: int = 0, **options: Any) -> Iterator[StandIn]:
    """A stand-in endpoint while the body runs, with these `Options`."""
    with watching(WatchedServer(Options(**options)), port) as running:
        yield running
