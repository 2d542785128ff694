"""The stand-in endpoint with faults, and when it produces them.

Whether a request meets a fault depends on the request itself, on how often it was asked before, and on a seed, so that
a run against a faulty endpoint can be repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from aiohttp import web

from duel.errors import SettingsError
from duel.offline.loopback import StandInReply, error_response, event, event_stream
from duel.offline.rules.conversation import fraction
from tests.offline.watched import Exchange, Options, StandIn, WatchedServer, watching

# name -> what the client sees
KINDS: dict[str, str] = {
    "429": "429 with Retry-After in seconds",
    "429-date": "429 with Retry-After as an HTTP date",
    "429-bare": "429 without Retry-After",
    "400": "400, a request the endpoint refuses",
    "401": "401, as with a wrong key",
    "402": "402, as with no money left",
    "403": "403, as with a key that lacks the right",
    "404": "404, as for an unknown model",
    "408": "408, the server's own timeout",
    "409": "409, a conflict",
    "422": "422, a parameter the endpoint refuses",
    "500": "500",
    "502": "502 with a page of HTML",
    "503": "503, no instances available",
    "reset": "the connection is reset before any byte of the response",
    "truncated": "the body ends half-way",
    "malformed": "200 with a body that is not JSON",
    "error-200": "200 with an error object in place of a completion",
    "sse-error": "an error event in the middle of a stream (not streaming: as error-200)",
    "no-finish": "a stream that ends without a finish reason (not streaming: finish_reason is null)",
    "empty": "empty content",
    "length": "content cut in the middle, finish_reason length",
    "reasoning-length": "content null, all tokens spent on reasoning, finish_reason length",
    "think-only": "nothing behind a closing </think>",
    "tool-tokens": "a reply that starts with leaked tool tokens",
    "several-blocks": "a turn with two bash blocks (judge: two verdicts)",
    "no-block": "a turn without a bash block (judge: no verdict)",
    "unparsable": "prose where a verdict or a turn should be",
    "huge": "a reply of `huge_bytes`",
    "redirect": "307 to another host",
    "slow": "the reply comes `slow_s` late",
    "hang": "no byte for `hang_s`, then the connection closes",
    "stall": "half of the reply, then nothing for `hang_s`",
}


@dataclass(frozen=True)
class Faults:
    """How likely each fault is, and its particulars."""

    probabilities: Mapping[str, float] = field(default_factory=dict)
    """Name in KINDS -> probability; together at most 1."""
    seed: int = 0
    most_per_request: int = 0
    """Faults that one request meets at most before it is answered well; 0: no limit."""
    retry_after_s: float = 1.0
    slow_s: float = 2.0
    hang_s: float = 3600.0
    huge_bytes: int = 64_000_000
    redirect_to: str = "http://127.0.0.2:9/v1/chat/completions"

    def __post_init__(self) -> None:
        for name, probability in self.probabilities.items():
            if name not in KINDS:
                raise SettingsError("unknown fault", value=name, hint=f"known: {', '.join(KINDS)}")
            if not 0 <= probability <= 1:
                raise SettingsError(f"the probability of `{name}` must lie between 0 and 1", value=probability)
        if sum(self.probabilities.values()) > 1 + 1e-9:
            raise SettingsError("the faults' probabilities are more than 1 together")

    def meets(self, key: str, attempt: int, faults_before: int = 0) -> str:
        """The fault that the `attempt`-th asking (0 first) of request `key` meets; "" for none."""
        if not self.probabilities or (self.most_per_request and faults_before >= self.most_per_request):
            return ""
        draw = fraction(str(self.seed), key, str(attempt))
        for name, probability in self.probabilities.items():
            draw -= probability
            if draw < 0:
                return name
        return ""


class FaultyServer(WatchedServer):
    """The stand-in endpoint, meeting requests with `faults`."""

    def __init__(self, faults: Faults, options: Options) -> None:
        super().__init__(options)
        self.faults = faults
        self.met: Counter[str] = Counter()

    async def replied(self, asking: Exchange) -> web.StreamResponse:
        faults = self.faults
        fault = faults.meets(asking.key, asking.attempt, self.met[asking.key])
        self.met[asking.key] += bool(fault)
        self.note(asking, fault or "ok")
        await asyncio.sleep(self.options.latency_s + (faults.slow_s if fault == "slow" else 0))
        if (failed := await self._failed(asking, fault)) is not None:
            return failed
        completion = damaged(fault, self.completion(asking.body, asking.attempt), asking.role, faults.huge_bytes)
        if fault in {"", "slow"}:
            return await self.delivered(asking, completion)
        if asking.streams:
            return await self._damaged_events(asking, list(completion.events(asking.body)), fault)
        return await self._damaged_body(asking, completion.body(), fault)

    async def _failed(self, asking: Exchange, fault: str) -> web.Response | None:
        """Act out a fault that leaves no completion; None where there is one."""
        if fault.startswith("429"):
            return error_response(429, "rate limit reached", "rate_limit", self._retry_after(fault))
        if fault == "502":
            return web.Response(status=502, text="<html><h1>502 Bad Gateway</h1></html>", content_type="text/html")
        if fault == "503":
            return error_response(503, "No instances available (yet) for this model")
        if fault == "402":
            return error_response(402, "quota exceeded and account balance is 0, please add funds")
        if fault.isdecimal():
            return error_response(int(fault), f"the stand-in was told to answer {fault}")
        if fault == "redirect":
            return web.Response(status=307, headers={"Location": self.faults.redirect_to})
        if fault == "malformed":
            half = '{"id": "chatcmpl-offline", "choices": [{"message": {"role": "assis'
            return web.Response(text=half, content_type="application/json")
        if fault == "error-200" or (fault == "sse-error" and not asking.streams):
            return web.json_response({"error": FAILED})
        if fault in {"reset", "hang"}:
            await asyncio.sleep(self.faults.hang_s if fault == "hang" else 0)
            abort(asking)
            return web.Response()
        return None

    def _retry_after(self, fault: str) -> dict[str, str]:
        seconds = self.faults.retry_after_s
        if fault == "429-bare":
            return {}
        if fault == "429-date":
            at = datetime.now(UTC) + timedelta(seconds=seconds)
            return {"Retry-After": format_datetime(at, usegmt=True)}
        return {"Retry-After": f"{seconds:g}"}

    async def _damaged_body(self, asking: Exchange, body: bytes, fault: str) -> web.StreamResponse:
        if fault not in {"truncated", "stall"}:
            return web.Response(body=body, content_type="application/json")
        # The head promises all of the body; half of it comes.
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
        await response.prepare(asking.call)
        await response.write(body[: len(body) // 2])
        await asyncio.sleep(self.faults.hang_s if fault == "stall" else 0)
        close(asking)
        return response

    async def _damaged_events(self, asking: Exchange, events: list[bytes], fault: str) -> web.StreamResponse:
        response = await event_stream(asking.call)
        for data in events[: len(events) // 2] if fault in {"truncated", "stall", "sse-error"} else events:
            await response.write(data)
        await asyncio.sleep(self.faults.hang_s if fault == "stall" else 0)
        if fault in {"truncated", "stall"}:
            close(asking)
        elif fault == "sse-error":
            await response.write(event({"error": FAILED}))
        return response


FAILED = {"message": "the model worker has failed", "type": "error", "code": "500"}


def close(asking: Exchange) -> None:
    if asking.call.transport is not None:
        asking.call.transport.close()


def abort(asking: Exchange) -> None:
    """End the connection at once, as a crash does: without lingering the kernel sends RST and not FIN."""
    transport = asking.call.transport
    if isinstance(transport, asyncio.Transport) and not transport.is_closing():
        with contextlib.suppress(OSError):  # the client was faster, and the socket is closed already
            wire = transport.get_extra_info("socket")
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


def endpoint(
    faults: Faults | Mapping[str, float] | None = None, *, port: int = 0, **options: Any
) -> AbstractContextManager[StandIn]:
    """A stand-in endpoint with faults, or with probabilities of faults by name, while the body runs."""
    told = faults if isinstance(faults, Faults) else Faults(faults or {})
    return watching(FaultyServer(told, Options(**options)), port)


def damaged(fault: str, completion: StandInReply, role: str, huge_bytes: int) -> StandInReply:
    """`completion` as a model with `fault` would have written it; unchanged where the fault is none of a model's."""
    text = completion.content or ""
    if fault == "empty":
        return replace(completion, content="")
    if fault == "length":
        return replace(completion, content=text[: len(text) // 2], finish_reason="length")
    if fault == "reasoning-length":
        reasoning = "Let me think about what was observed so far. " * 40
        return replace(completion, content=None, reasoning=reasoning, finish_reason="length")
    if fault == "think-only":
        return replace(completion, content="The conversation shows where to look next.\n</think>\n")
    if fault == "tool-tokens":
        call = '<|tool_call_begin|>functions.bash:0<|tool_call_argument_begin|>{"command": "ls"}<|tool_call_end|>'
        return replace(completion, content=f"<|tool_calls_section_begin|>{call}<|tool_calls_section_end|>")
    if fault == "several-blocks":
        again = text if role == "judge" else "And then:\n\n```bash\ngit status\n```"
        return replace(completion, content=f"{text}\n\n{again}")
    if fault == "no-block":
        return replace(completion, content=text.replace("```", "").replace("{", "(").replace("}", ")"))
    if fault == "unparsable":
        return replace(completion, content="Both are reasonable next steps, it is hard to say which one is better.")
    if fault == "huge":
        return replace(completion, content="x" * huge_bytes)
    if fault == "no-finish":
        return replace(completion, finish_reason=None)
    return completion
