"""The stand-in endpoint's routes, refusals and counts: an OpenAI-compatible server that plays by rules.

Routes, with and without `/v1`: POST `chat/completions`, GET `models`, GET `stats`, POST `reset`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import orjson

from duel.offline import rules
from duel.offline.completion import (
    Completion,
    PrefixCache,
    completion_id,
    damaged,
    error_body,
    event,
    stand_in_name,
    tokens,
)
from duel.offline.faults import Faults
from duel.offline.wire import Call, Connection

MODELS = tuple(f"offline-stand-in/{name}" for name in ("king", "challenger", "judge-a", "judge-b", "judge-c"))
DEFAULT_MAX_TOKENS = 4096
# Requests whose particulars are kept for tests to look at; counts are kept of all.
SEEN_AT_MOST = 10_000

Reply = Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True)
class Options:
    """How an endpoint behaves."""

    faults: Faults = field(default_factory=Faults)
    latency_s: float = 0.0
    capacity: int = 0
    """Completions in flight beyond which a request is refused with 429; 0: no limit."""
    expected_key: str = ""
    """The bearer key that is asked for (401 otherwise); "": any, or none."""
    models: Sequence[str] = ()
    """Model ids beyond which a request is refused with 404; (): any."""
    response_format: bool = True
    """False: `response_format` is refused with 400."""
    prefix_cache: bool = False
    """Count cached tokens from what was asked before. Off: the system prompt counts as cached, so that the figures of
    two runs are the same however their requests were interleaved."""
    reply: Reply | None = None
    """What is said to a request's body; None: the rules."""


@dataclass(frozen=True)
class Seen:
    """One request to the completions route, as it arrived."""

    key: str
    attempt: int
    role: str
    model: str
    headers: Mapping[str, str]
    stream: bool
    outcome: str


class Counts:
    """What the endpoint has counted since it started or was reset."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        """Requests by key, refused and faulty ones included."""
        self.delivered: Counter[str] = Counter()
        """Replies by key that were written in full."""
        self.faults_met: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.by_role: Counter[str] = Counter()
        self.by_model: Counter[str] = Counter()
        self.authorizations: Counter[str] = Counter()
        self.seen: deque[Seen] = deque(maxlen=SEEN_AT_MOST)
        self.asked_after_delivery = 0
        self.client_aborted = 0
        self.inflight = 0
        self.max_inflight = 0

    def stats(self) -> dict[str, Any]:
        """The figures as one JSON object."""
        return {
            "requests": self.asked.total(),
            "unique": len(self.asked),
            "unique_ok": len(self.delivered),
            "extra_ok": self.delivered.total() - len(self.delivered),
            "requests_after_ok": self.asked_after_delivery,
            "client_aborted": self.client_aborted,
            "inflight": self.inflight,
            "max_inflight": self.max_inflight,
            "by_role": dict(self.by_role),
            "by_model": dict(self.by_model),
            "outcomes": dict(self.outcomes),
            "by_key": dict(self.asked),
            "authorizations": dict(self.authorizations),
        }


class Server:
    """The routes. Lives on one event loop."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.counts = Counts()
        self._cache = PrefixCache()

    async def handle(self, call: Call, connection: Connection) -> None:
        """Answer one HTTP request."""
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
        fresh = Counts()
        fresh.inflight = self.counts.inflight
        self.counts = fresh

    async def _completions(self, call: Call, connection: Connection) -> None:
        try:
            body = orjson.loads(call.body)
            messages, model = body["messages"], str(body["model"])
            role = rules.role(messages)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            connection.respond(400, error_body(400, f"not a chat completion request: {type(error).__name__}"))
            return
        key = request_key(body)
        asking = Asking(call, connection, body, messages, model, role, key, self.counts.asked[key])
        self._count(asking)
        refusal = self._refusal(asking)
        if refusal:
            self._refuse(asking, *refusal)
            return
        counts = self.counts
        self.counts.inflight += 1
        self.counts.max_inflight = max(self.counts.max_inflight, self.counts.inflight)
        try:
            await self._answer(asking)
        except asyncio.CancelledError:
            counts.client_aborted += 1
            raise
        finally:
            self.counts.inflight -= 1

    def _count(self, asking: Asking) -> None:
        counts = self.counts
        counts.asked[asking.key] += 1
        counts.asked_after_delivery += asking.key in counts.delivered
        counts.by_role[asking.role] += 1
        counts.by_model[asking.model] += 1
        counts.authorizations[asking.call.headers.get("authorization", "")] += 1

    def _note(self, asking: Asking, outcome: str) -> None:
        self.counts.outcomes[outcome] += 1
        headers, stream = asking.call.headers, bool(asking.body.get("stream"))
        self.counts.seen.append(Seen(asking.key, asking.attempt, asking.role, asking.model, headers, stream, outcome))

    def _refusal(self, asking: Asking) -> tuple[int, str, str] | None:
        """Status, message and code of a refusal that the endpoint's own state asks for."""
        options = self.options
        if options.expected_key and asking.call.headers.get("authorization") != f"Bearer {options.expected_key}":
            return 401, "incorrect API key provided", "invalid_api_key"
        if options.models and asking.model not in options.models:
            return 404, f"the model `{asking.model[:200]}` does not exist", "model_not_found"
        if not options.response_format and "response_format" in asking.body:
            return 400, "response_format is not supported by this model", "unsupported_parameter"
        if options.capacity and self.counts.inflight >= options.capacity:
            return 429, "infrastructure is at maximum capacity, try again later", "capacity"
        return None

    def _refuse(self, asking: Asking, status: int, message: str, code: str) -> None:
        self._note(asking, f"refused-{code}")
        asking.connection.respond(status, error_body(status, message, code))

    async def _answer(self, asking: Asking) -> None:
        faults = self.options.faults
        fault = faults.meets(asking.key, asking.attempt, self.counts.faults_met[asking.key])
        self.counts.faults_met[asking.key] += bool(fault)
        self._note(asking, fault or "ok")
        await asyncio.sleep(self.options.latency_s + (faults.slow_s if fault == "slow" else 0))
        if await self._fails(asking, fault):
            return
        completion = damaged(fault, self._completion(asking), asking.role, faults.huge_bytes)
        await self._send(asking, completion, fault)

    async def _fails(self, asking: Asking, fault: str) -> bool:
        """Act out a fault that leaves no completion; False where there is one."""
        connection, faults = asking.connection, self.options.faults
        if fault.startswith("429"):
            connection.respond(429, error_body(429, "rate limit reached", "rate_limit"), self._retry_after(fault))
        elif fault == "502":
            connection.respond(502, b"<html><h1>502 Bad Gateway</h1></html>", {"Content-Type": "text/html"})
        elif fault == "503":
            connection.respond(503, error_body(503, "No instances available (yet) for this model"))
        elif fault == "402":
            connection.respond(402, error_body(402, "quota exceeded and account balance is 0, please add funds"))
        elif fault.isdecimal():
            connection.respond(int(fault), error_body(int(fault), f"the stand-in was told to answer {fault}"))
        elif fault == "redirect":
            connection.respond(307, b"", {"Location": faults.redirect_to})
        elif fault == "reset":
            connection.abort()
        elif fault == "malformed":
            connection.respond(200, b'{"id": "chatcmpl-offline", "choices": [{"message": {"role": "assis')
        elif fault == "error-200" or (fault == "sse-error" and not asking.streams):
            connection.respond(200, error_body(500, "the model worker has failed"))
        elif fault == "hang":
            await asyncio.sleep(faults.hang_s)
            connection.abort()
        else:
            return False
        return True

    def _retry_after(self, fault: str) -> dict[str, str]:
        seconds = self.options.faults.retry_after_s
        if fault == "429-bare":
            return {}
        if fault == "429-date":
            at = datetime.now(UTC) + timedelta(seconds=seconds)
            return {"Retry-After": format_datetime(at, usegmt=True)}
        return {"Retry-After": f"{seconds:g}"}

    def _completion(self, asking: Asking) -> Completion:
        body = asking.body
        content = (self.options.reply or rules.reply)(body)
        prompt = [_text(message) for message in asking.messages]
        system = next(iter(prompt), "") if asking.messages[0].get("role") == "system" else ""
        cached = (
            self._cache.cached_tokens(asking.model, "\0".join(prompt)) if self.options.prefix_cache else tokens(system)
        )
        whole = Completion(
            id=completion_id(asking.key, asking.attempt),
            model=stand_in_name(asking.model),
            content=content,
            prompt_tokens=sum(tokens(text) for text in prompt),
            cached_tokens=cached,
        )
        return whole.within(int(body.get("max_tokens") or body.get("max_completion_tokens") or DEFAULT_MAX_TOKENS))

    async def _send(self, asking: Asking, completion: Completion, fault: str) -> None:
        """Write the completion as it was asked for, as far as the fault lets it."""
        if not asking.streams:
            await self._send_body(asking, completion.body(), fault)
            return
        with_usage = bool((asking.body.get("stream_options") or {}).get("include_usage"))
        await self._send_events(asking, list(completion.events(with_usage)), fault)

    async def _send_body(self, asking: Asking, body: bytes, fault: str) -> None:
        connection = asking.connection
        if fault not in {"truncated", "stall"}:
            self._delivered(asking, fault)
            connection.respond(200, body)
            await connection.drain()
            return
        # The head promises all of the body; half of it comes.
        connection.respond(200, body[: len(body) // 2], {"Content-Length": str(len(body))})
        if fault == "stall":
            await asyncio.sleep(self.options.faults.hang_s)
        connection.close()

    async def _send_events(self, asking: Asking, events: list[bytes], fault: str) -> None:
        connection = asking.connection
        connection.start(200, {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        for data in events[: len(events) // 2] if fault in {"truncated", "stall", "sse-error"} else events:
            connection.chunk(data)
            await connection.drain()
        if fault == "stall":
            await asyncio.sleep(self.options.faults.hang_s)
        if fault in {"truncated", "stall"}:
            connection.close()
            return
        if fault == "sse-error":
            connection.chunk(event(orjson.loads(error_body(500, "the model worker has failed"))))
        self._delivered(asking, fault)
        connection.chunk(b"")

    def _delivered(self, asking: Asking, fault: str) -> None:
        """Count a good reply. Called before its last byte is written: the client may look at the counts right after."""
        if fault in {"", "slow"} and asking.connection.open:
            self.counts.delivered[asking.key] += 1


@dataclass(frozen=True)
class Asking:
    """One asking of one request."""

    call: Call
    connection: Connection
    body: Mapping[str, Any]
    messages: Sequence[Mapping[str, Any]]
    model: str
    role: str
    key: str
    attempt: int

    @property
    def streams(self) -> bool:
        """True where server-sent events are asked for."""
        return bool(self.body.get("stream"))


def request_key(body: Mapping[str, Any]) -> str:
    """What identifies a request: everything it says but whether it is streamed."""
    said = {name: value for name, value in body.items() if name not in {"stream", "stream_options"}}
    return hashlib.blake2b(orjson.dumps(said, option=orjson.OPT_SORT_KEYS), digest_size=12).hexdigest()


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(str(part.get("text", "")) for part in content)
