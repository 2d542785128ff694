"""The stand-in endpoint on loopback: an OpenAI-compatible server that plays by rules, in a thread or as a program.

Routes, with and without `/v1`: POST `chat/completions`, GET `models`, GET `stats`, POST `reset`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import hashlib
import threading
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from duel.offline import rules
from duel.offline.completion import OWN_PREFIX, StandInReply, tokens

MODELS = tuple(OWN_PREFIX + name for name in "king challenger judge-a judge-b judge-c auditor".split())
DEFAULT_MAX_TOKENS = 4096
MAX_BODY_BYTES = 64 * 1024 * 1024
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
    model: str
    role: str
    key: str
    attempt: int

    @property
    def streams(self) -> bool:
        return bool(self.body.get("stream"))

    def events(self, completion: StandInReply) -> Iterator[bytes]:
        return completion.events(bool((self.body.get("stream_options") or {}).get("include_usage")))


class Server:
    """The routes. Lives on one event loop."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.counts = Counts()

    def application(self) -> web.Application:
        async def models(_: web.Request) -> web.Response:
            names = self.options.models or (*MODELS, "*")
            listing = [{"id": name, "object": "model", "created": 0, "owned_by": "offline"} for name in names]
            return web.json_response({"object": "list", "data": listing})

        async def stats(_: web.Request) -> web.Response:
            return web.json_response(self.counts.stats())

        async def reset(_: web.Request) -> web.Response:
            self.reset()
            return web.json_response({})

        application = web.Application(client_max_size=MAX_BODY_BYTES)
        for prefix in ("", "/v1"):
            application.router.add_post(f"{prefix}/chat/completions", self._completions)
            application.router.add_get(f"{prefix}/models", models)
            application.router.add_get(f"{prefix}/stats", stats)
            application.router.add_post(f"{prefix}/reset", reset)
        return application

    def reset(self) -> None:
        """Forget all counts; what is in flight is still counted down."""
        self.counts = Counts(inflight=self.counts.inflight)

    async def _completions(self, call: web.Request) -> web.StreamResponse:
        try:
            body = orjson.loads(await call.read())
            model = str(body["model"])
            role = rules.role(body["messages"], model)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            return error_response(400, f"not a chat completion request: {type(error).__name__}")
        # A request is the same whether it is streamed or not.
        said = {name: value for name, value in body.items() if name not in {"stream", "stream_options"}}
        key = hashlib.blake2b(orjson.dumps(said, option=orjson.OPT_SORT_KEYS), digest_size=12).hexdigest()
        counts = self.counts
        asking = Exchange(call, body, model, role, key, counts.asked[key])
        counts.asked[key] += 1
        counts.asked_after_delivery += key in counts.delivered
        counts.by["by_role"][role] += 1
        counts.by["by_model"][model] += 1
        counts.by["authorizations"][call.headers.get("Authorization", "")] += 1
        if refusal := self._refusal(asking):
            status, message, code = refusal
            self._note(asking, f"refused-{code}")
            return error_response(status, message, code)
        counts.inflight += 1
        counts.max_inflight = max(counts.max_inflight, counts.inflight)
        try:
            return await self._answer(asking)
        except asyncio.CancelledError:
            counts.client_aborted += 1
            raise
        except Exception as error:  # a rule's mistake is the client's 500
            return error_response(500, f"{type(error).__name__} in the stand-in")
        finally:
            self.counts.inflight -= 1

    def _note(self, asking: Exchange, outcome: str) -> None:
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

    async def _answer(self, asking: Exchange) -> web.StreamResponse:
        self._note(asking, "ok")
        await asyncio.sleep(self.options.latency_s)
        return await self._sent(asking, self._completion(asking))

    def _completion(self, asking: Exchange) -> StandInReply:
        body = asking.body
        prompt = [tokens(_text(message)) for message in body["messages"]]
        whole = StandInReply(
            id=f"chatcmpl-offline-{asking.key[:12]}-{asking.attempt}",
            # never as the model that was asked for
            model=OWN_PREFIX + asking.model.removeprefix(OWN_PREFIX),
            content=(self.options.reply or rules.reply)(body),
            prompt_tokens=sum(prompt),
            cached_tokens=prompt[0] if body["messages"][0].get("role") == "system" else 0,
        )
        return whole.within(int(body.get("max_tokens") or body.get("max_completion_tokens") or DEFAULT_MAX_TOKENS))

    async def _sent(self, asking: Exchange, completion: StandInReply) -> web.StreamResponse:
        """A good reply is counted before its last byte is written: the client may look at the counts right after."""
        if not asking.streams:
            self.counts.delivered[asking.key] += 1
            return web.Response(body=completion.body(), content_type="application/json")
        response = await event_stream(asking)
        for data in asking.events(completion):
            await response.write(data)
        self.counts.delivered[asking.key] += 1
        return response


async def event_stream(asking: Exchange) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(asking.call)
    return response


def error_response(status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None) -> web.Response:
    error = {"message": message, "type": "error", "code": code or str(status)}
    return web.json_response({"error": error}, status=status, headers=headers)


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
    # A client that goes away ends its request; the end of the body ends all of them.
    runner = web.AppRunner(server.application(), handler_cancellation=True, access_log=None, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
