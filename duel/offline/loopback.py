"""The stand-in endpoint on loopback: an OpenAI-compatible server that plays by rules, in a thread or as a program.

Routes, with and without `/v1`: POST `chat/completions` and GET `models`.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
from aiohttp import web

from duel.offline import rules
from duel.registry import OFFLINE

MODELS = (*(OFFLINE + name for name in "king challenger judge-a judge-b judge-c auditor".split()), "*")
DEFAULT_MAX_TOKENS = 4096
MAX_BODY_BYTES = 64 * 1024 * 1024
# Characters a token of English prose and code, roughly: enough for figures that are marked as rule-made anyway.
CHARACTERS_PER_TOKEN = 4
EVENT_CHARACTERS = 400


@dataclass(frozen=True)
class StandInReply:
    """What the stand-in says to one request, before it is put into bytes."""

    id: str
    model: str
    content: str | None
    finish_reason: str | None = "stop"
    reasoning: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0

    def usage(self) -> dict[str, Any]:
        completion = tokens(self.content or "") + tokens(self.reasoning)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": tokens(self.reasoning)},
        }

    def within(self, max_tokens: int) -> "StandInReply":
        if self.content is None or self.usage()["completion_tokens"] <= max_tokens:
            return self
        return replace(self, content=self.content[: max_tokens * CHARACTERS_PER_TOKEN], finish_reason="length")

    def body(self) -> bytes:
        message = {"role": "assistant", "content": self.content}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        return orjson.dumps(self._told("chat.completion", [choice], usage=self.usage()))

    def events(self, body: Mapping[str, Any]) -> Iterator[bytes]:
        """The same as the events of a stream, as the request's body asks for it."""
        deltas: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": ""}, None)]
        for name, text in (("reasoning_content", self.reasoning), ("content", self.content or "")):
            starts = range(0, len(text), EVENT_CHARACTERS)
            deltas += [({name: text[start : start + EVENT_CHARACTERS]}, None) for start in starts]
        deltas += [({}, self.finish_reason)] if self.finish_reason is not None else []
        for delta, finish_reason in deltas:
            choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
            yield event(self._told("chat.completion.chunk", [choice]))
        if (body.get("stream_options") or {}).get("include_usage"):
            yield event(self._told("chat.completion.chunk", [], usage=self.usage()))
        yield b"data: [DONE]\n\n"

    def _told(self, kind: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": 0, "model": self.model, "choices": choices, **more}


class Server:
    """The routes. `reply` says what is said to a request's body."""

    def __init__(self, latency_s: float = 0.0, reply: Callable[[Mapping[str, Any]], str] = rules.reply) -> None:
        self.latency_s, self.reply, self.models = latency_s, reply, MODELS

    def application(self) -> web.Application:
        async def models(_: web.Request) -> web.Response:
            listing = [{"id": name, "object": "model", "created": 0, "owned_by": "offline"} for name in self.models]
            return web.json_response({"object": "list", "data": listing})

        application = web.Application(client_max_size=MAX_BODY_BYTES)
        for prefix in ("", "/v1"):
            application.router.add_post(f"{prefix}/chat/completions", self._completions)
            application.router.add_get(f"{prefix}/models", models)
        return application

    async def _completions(self, call: web.Request) -> web.StreamResponse:
        try:
            body = orjson.loads(await call.read())
            rules.role(body["messages"], str(body["model"]))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            return error_response(400, f"not a chat completion request: {type(error).__name__}")
        try:
            return await self.answer(call, body)
        except Exception as error:  # a rule's mistake is the client's 500
            return error_response(500, f"{type(error).__name__} in the stand-in")

    async def answer(self, call: web.Request, body: Mapping[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(self.latency_s)
        return await sent(call, body, self.completion(body))

    def completion(self, body: Mapping[str, Any], attempt: int = 0) -> StandInReply:
        contents = [message.get("content") or "" for message in body["messages"]]
        prompt = [
            tokens(said if isinstance(said, str) else "".join(str(part.get("text", "")) for part in said))
            for said in contents
        ]
        whole = StandInReply(
            id=f"chatcmpl-offline-{key_of(body)[:12]}-{attempt}",
            # never as the model that was asked for
            model=OFFLINE + str(body["model"]).removeprefix(OFFLINE),
            content=self.reply(body),
            prompt_tokens=sum(prompt),
            cached_tokens=prompt[0] if body["messages"][0].get("role") == "system" else 0,
        )
        return whole.within(int(body.get("max_tokens") or body.get("max_completion_tokens") or DEFAULT_MAX_TOKENS))


async def sent(
    call: web.Request, body: Mapping[str, Any], completion: StandInReply, last: Callable[[], None] = lambda: None
) -> web.StreamResponse:
    """The response; `last` is called before its last byte is written."""
    if not body.get("stream"):
        last()
        return web.Response(body=completion.body(), content_type="application/json")
    response = await event_stream(call)
    for data in completion.events(body):
        await response.write(data)
    last()
    return response


async def event_stream(call: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(call)
    return response


def key_of(body: Mapping[str, Any]) -> str:
    """What tells a request, whether it is streamed or not."""
    said = {name: value for name, value in body.items() if name not in {"stream", "stream_options"}}
    return hashlib.blake2b(orjson.dumps(said, option=orjson.OPT_SORT_KEYS), digest_size=12).hexdigest()


def tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def event(fields: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(fields) + b"\n\n"


def error_response(status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None) -> web.Response:
    error = {"message": message, "type": "error", "code": code or str(status)}
    return web.json_response({"error": error}, status=status, headers=headers)
