"""The stand-in endpoint on loopback: an OpenAI-compatible server that plays by rules, in a thread or as a program.

Routes, with and without `/v1`: POST `chat/completions`, GET `models`, GET `stats`, POST `reset`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import hashlib
import threading
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from duel.offline import rules
from duel.offline.completion import StandInReply, error_body, stand_in_name, tokens
from duel.offline.loopback_http import Connection, HttpCall

MODELS = tuple(f"offline-stand-in/{name}" for name in "king challenger judge-a judge-b judge-c auditor".split())
DEFAULT_MAX_TOKENS = 4096
# Requests whose particulars are kept for tests to look at; counts are kept of all.
SEEN_AT_MOST = 10_000


@dataclass(frozen=True)
class Options:
    """How an endpoint behaves."""

    latency_s: float = 0.0
    capacity: int = 0  # completions in flight beyond which a request is refused with 429; 0: no limit
    expected_key: str = ""  # the bearer key that is asked for (401 otherwise); "": any, or none
    models: Sequence[str] = ()  # model ids beyond which a request is refused with 404; (): any
    reply: Callable[[Mapping[str, Any]], str] | None = None  # what is said to a request's body; None: the rules


@dataclass(frozen=True)
class SeenRequest:
    """One request to the completions route, as it arrived."""

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
    outcomes: Counter[str] = field(default_factory=Counter)
    by_role: Counter[str] = field(default_factory=Counter)
    by_model: Counter[str] = field(default_factory=Counter)
    authorizations: Counter[str] = field(default_factory=Counter)
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
            **{name: dict(getattr(self, name)) for name in ("by_role", "by_model", "outcomes", "authorizations")},
        }


@dataclass(frozen=True)
class Exchange:
    """One asking of one request."""

    call: HttpCall
    connection: Connection
    body: Mapping[str, Any]
    model: str
    role: str
    key: str
    attempt: int

    @property
    def streams(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def with_usage(self) -> bool:
        return bool((self.body.get("stream_options") or {}).get("include_usage"))


class Server:
    """The routes. Lives on one event loop."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.counts = Counts()

    async def handle(self, call: HttpCall, connection: Connection) -> None:
        path = call.path.split("?")[0].removeprefix("/v1").rstrip("/")
        match call.method, path:
            case "POST", "/chat/completions":
                await self._completions(call, connection)
            case "GET", "/models":
                names = self.options.models or (*MODELS, "*")
                listing = [{"id": name, "object": "model", "created": 0, "owned_by": "offline"} for name in names]
                connection.respond(200, orjson.dumps({"object": "list", "data": listing}))
            case "GET", "/stats":
                connection.respond(200, orjson.dumps(self.counts.stats()))
            case "POST", "/reset":
                self.reset()
                connection.respond(200, b"{}")
            case _:
                connection.respond(404, error_body(404, f"the stand-in has no {call.method} {path[:80]}"))

    def reset(self) -> None:
        """Forget all counts; what is in flight is still counted down."""
        self.counts = Counts(inflight=self.counts.inflight)

    async def _completions(self, call: HttpCall, connection: Connection) -> None:
        counts = self.counts
        try:
            body = orjson.loads(call.body)
            model = str(body["model"])
            role = rules.role(body["messages"], model)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            connection.respond(400, error_body(400, f"not a chat completion request: {type(error).__name__}"))
            return
        # A request is the same whether it is streamed or not.
        said = {name: value for name, value in body.items() if name not in {"stream", "stream_options"}}
        key = hashlib.blake2b(orjson.dumps(said, option=orjson.OPT_SORT_KEYS), digest_size=12).hexdigest()
        asking = Exchange(call, connection, body, model, role, key, counts.asked[key])
        counts.asked[key] += 1
        counts.asked_after_delivery += key in counts.delivered
        counts.by_role[role] += 1
        counts.by_model[model] += 1
        counts.authorizations[call.headers.get("authorization", "")] += 1
        if refusal := self._refusal(asking):
            status, message, code = refusal
            self._note(asking, f"refused-{code}")
            connection.respond(status, error_body(status, message, code))
            return
        counts.inflight += 1
        counts.max_inflight = max(counts.max_inflight, counts.inflight)
        try:
            await self._answer(asking)
        except asyncio.CancelledError:
            counts.client_aborted += 1
            raise
        finally:
            self.counts.inflight -= 1

    def _note(self, asking: Exchange, outcome: str) -> None:
        self.counts.outcomes[outcome] += 1
        told = (asking.key, asking.attempt, asking.role, asking.model, asking.call.headers, asking.streams, outcome)
        self.counts.seen.append(SeenRequest(*told))

    def _refusal(self, asking: Exchange) -> tuple[int, str, str] | None:
        """Status, message and code of a refusal that the endpoint's own state asks for."""
        options = self.options
        if options.expected_key and asking.call.headers.get("authorization") != f"Bearer {options.expected_key}":
            return 401, "incorrect API key provided", "invalid_api_key"
        if options.models and asking.model not in options.models:
            return 404, f"the model `{asking.model[:200]}` does not exist", "model_not_found"
        if options.capacity and self.counts.inflight >= options.capacity:
            return 429, "infrastructure is at maximum capacity, try again later", "capacity"
        return None

    async def _answer(self, asking: Exchange) -> None:
        self._note(asking, "ok")
        await asyncio.sleep(self.options.latency_s)
        await self._send(asking, self._completion(asking))

    def _completion(self, asking: Exchange) -> StandInReply:
        body = asking.body
        prompt = [tokens(_text(message)) for message in body["messages"]]
        whole = StandInReply(
            id=f"chatcmpl-offline-{asking.key[:12]}-{asking.attempt}",
            model=stand_in_name(asking.model),
            content=(self.options.reply or rules.reply)(body),
            prompt_tokens=sum(prompt),
            cached_tokens=prompt[0] if body["messages"][0].get("role") == "system" else 0,
        )
        return whole.within(int(body.get("max_tokens") or body.get("max_completion_tokens") or DEFAULT_MAX_TOKENS))

    async def _send(self, asking: Exchange, completion: StandInReply) -> None:
        """A good reply is counted before its last byte is written: the client may look at the counts right after."""
        connection = asking.connection
        if asking.streams:
            connection.start(200, {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
            for data in completion.events(asking.with_usage):
                connection.chunk(data)
                await connection.drain()
        self.counts.delivered.update([asking.key] * connection.open)
        if asking.streams:
            connection.chunk(b"")
        else:
            connection.respond(200, completion.body())
            await connection.drain()


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(str(part.get("text", "")) for part in content)


class StandIn:
    """A running stand-in, as whoever started it sees it."""

    def __init__(self, server: Server, port: int) -> None:
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
def serving(server: Server, port: int = 0) -> Iterator[StandIn]:
    """`server` on an event loop and in a thread of its own while the body runs; `port` 0 takes a free one.

    Raises OSError where the port cannot be listened to.
    """
    started: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, int]] = concurrent.futures.Future()
    end = asyncio.Event()

    async def serve() -> None:
        async with listening(server, port) as taken:
            started.set_result((asyncio.get_running_loop(), taken))
            await end.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except OSError as error:
            started.set_exception(error)

    thread = threading.Thread(target=run, name="stand-in endpoint", daemon=True)
    thread.start()
    loop, taken = started.result()
    try:
        yield StandIn(server, taken)
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()


@asynccontextmanager
async def listening(server: Server, port: int = 0) -> AsyncIterator[int]:
    """Listen on `port` of 127.0.0.1 while the body runs; yields the port that was taken."""
    connections: set[Connection] = set()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Connection(server.handle, connections), "127.0.0.1", port, backlog=1024)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for connection in list(connections):
            await connection.stop()
        await asyncio.sleep(0)  # transports close their sockets on the loop's next round
