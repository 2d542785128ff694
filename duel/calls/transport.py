"""One HTTP exchange with a provider over aiohttp: bounded in time and size, redirects refused, the key kept inside.

Why aiohttp and not the openai SDK: at 128 in flight a 20 KB request costs 0.37 ms here, 2.4-3.3 ms through
`chat.completions.create` (it walks every message) and httpx 0.28 collapses under the connections (34 s for 2,000).
"""

import contextlib
import errno
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from duel.calls.failures import Failure, Meaning, broken_reply, from_status
from duel.calls.rates import Left, limits_left, retry_after
from duel.calls.request import Reply
from duel.calls.route import Provider, proxy_for
from duel.calls.wire import StreamReader, decode, parse_json
from duel.conversation.values import table
from duel.sections import EndpointSection

# A reply of 32,768 tokens with its reasoning is under 1 MB; what exceeds this is no chat completion.
MAX_REPLY_BYTES = 16 * 1024 * 1024
# A refusal may echo the request.
MAX_REFUSAL_BYTES = 1024 * 1024
# Until something has answered, a connection may take so long: two attempts are to fit into five seconds.
FIRST_CONNECT_S = 2.0
# What stands in the key's place wherever an endpoint echoes it. Shorter keys are words ("none", "offline").
REDACTED, SHORTEST_KEY = "[key]", 8
_NO_FILE = (errno.EMFILE, errno.ENFILE)


class HttpTransport:
    def __init__(self, endpoint: EndpointSection) -> None:
        self._endpoint = endpoint
        self._ways: dict[int, dict[str, Any]] = {}
        self._answering: set[int] = set()  # those from which any response has come

    async def __aenter__(self) -> Self:
        # limit=0: the lanes decide how many calls are in flight. No cookie is kept, no .netrc is read.
        connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, keepalive_timeout=60)
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def send(self, provider: Provider, body: bytes) -> tuple[Reply | Failure, dict[str, Left]]:
        """One exchange, and what headers say of limits. Never raises for what the network or the endpoint does."""
        if (way := self._ways.get(id(provider))) is None:
            url, kind = provider.url("/chat/completions"), {"Content-Type": "application/json"}
            way = self._ways[id(provider)] = _way(provider, url, kind)
        if way["proxy"] and not way["proxy"].startswith("http"):
            scheme = urlsplit(way["proxy"]).scheme
            words = f"a proxy that speaks {scheme} is not supported, only http:// and https://"
            return Failure("proxy-scheme", Meaning.RUN, words, unsent=True), {}
        endpoint, started = self._endpoint, False
        most_s = endpoint.connect_timeout_s if id(provider) in self._answering else FIRST_CONNECT_S
        connect_s = min(endpoint.connect_timeout_s, most_s)
        stall_s = endpoint.stall_timeout_s if endpoint.stream else None
        timeout = aiohttp.ClientTimeout(total=endpoint.timeout_s, sock_connect=connect_s, sock_read=stall_s)
        try:
            async with self._session.post(data=body, timeout=timeout, **way) as response:
                started = True
                self._answering.add(id(provider))
                outcome = await _outcome(response, provider.api_key)
                return _without_key(outcome, provider.api_key), limits_left(response.headers, time.time())
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure = failure_of(error, f"no reply within {endpoint.timeout_s:g} s")
            return replace(failure, billed=failure.billed or started), {}

    async def models(self, provider: Provider) -> list[str]:
        """The ids that the endpoint lists, wherever it does; none where it does not."""
        base, mark, query = provider.base_url.partition("?")
        root = "/".join(base.split("/")[:3])
        timeout = aiohttp.ClientTimeout(total=5)
        # The likeliest address first.
        for address in dict.fromkeys(f"{at}/models" for at in (base, f"{root}/v1", root, f"{root}/api/v1")):
            url = f"{address}{mark}{query}"
            with contextlib.suppress(NoAnswer, ValueError):
                told = await whole(received(self._session, provider, "GET", url, MAX_REPLY_BYTES, timeout=timeout))
                listed = parse_json(told)
                rows = (listed.get("data") or listed.get("models")) if isinstance(listed, dict) else listed
                rows = rows if isinstance(rows, list) else []
                ids = [table(row).get("id") or table(row).get("name") or row for row in rows]
                if names := [name for name in ids if isinstance(name, str)]:
                    return names
        return []


def _way(provider: Provider, url: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """How every request goes out: with the user's own headers and the key, and to no other host than `url`'s."""
    key = {"Authorization": f"Bearer {provider.api_key}"} if provider.api_key else {}
    told = {"User-Agent": "duel-curation", **provider.headers, **key, **headers}
    return {"url": URL(url), "headers": told, "proxy": proxy_for(url), "allow_redirects": False}


class NoAnswer(Exception):
    """A provider did not do what it was asked."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.told)
        self.failure = failure


async def received(
    session: aiohttp.ClientSession, provider: Provider, method: str, url: str, most: int, **sent: Any
) -> AsyncIterator[bytes]:
    """What `url` answers with, in pieces, at most so many bytes. Raises NoAnswer."""
    size = 0
    try:
        way = _way(provider, url, sent.pop("headers", {}))
        async with session.request(method, **way, **sent) as response:
            if response.status >= 300:
                raise NoAnswer(await _refusal(response, provider.api_key))
            async for chunk in response.content.iter_any():
                size += len(chunk)
                if size > most:
                    raise NoAnswer(broken_reply("too-large", f"{urlsplit(url).path} has over {most:,} bytes"))
                yield chunk
    except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
        raise NoAnswer(failure_of(error)) from None


async def whole(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


def without_key(body: bytes, key: str) -> bytes:
    """`body` without the key that it echoes, before any part of it is cut off for a message."""
    return body.replace(key.encode(), REDACTED.encode()) if len(key) >= SHORTEST_KEY else body


def _without_key(outcome: Reply | Failure, key: str) -> Reply | Failure:
    """A stream may bring the key in pieces."""
    if len(key) < SHORTEST_KEY:
        return outcome
    texts = {name: getattr(outcome, name, "") for name in ("text", "reasoning", "model", "words")}
    echoing = {name: text.replace(key, REDACTED) for name, text in texts.items() if key in text}
    return replace(outcome, **echoing) if echoing else outcome  # type: ignore[arg-type]


async def _outcome(response: aiohttp.ClientResponse, key: str) -> Reply | Failure:
    if response.status != 200:
        return await _refusal(response, key)
    stream = StreamReader() if "event-stream" in response.headers.get("Content-Type", "") else None
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_REPLY_BYTES:  # nothing behind the limit is read
            response.close()
            return broken_reply("too-large", f"the reply exceeds {MAX_REPLY_BYTES:,} bytes")
        if stream is None:
            chunks.append(chunk)
        else:
            stream.feed(chunk)
            if stream.done:
                break
    return decode(without_key(b"".join(chunks), key)) if stream is None else stream.result()


async def _refusal(response: aiohttp.ClientResponse, key: str) -> Failure:
    if 300 <= response.status < 400:
        target = urlsplit(response.headers.get("Location", "")).netloc
        words = f"the address redirects to {target or 'elsewhere'}"
        return Failure(f"http-{response.status}", Meaning.RUN, words, response.status)
    body = b""
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_REFUSAL_BYTES:
            response.close()
            break
    return from_status(response.status, without_key(body, key), retry_after(response.headers, time.time()))


def failure_of(error: Exception, late: str = "no answer in time") -> Failure:
    """What an exchange that ended with `error` comes to; `late` says so of one that took too long as a whole."""
    if getattr(error, "errno", 0) in _NO_FILE:
        return Failure("no-file", Meaning.REFUSED, "too many open files", unsent=True)
    for kinds, kind, meaning, words, happened in _ENDINGS:
        if isinstance(error, kinds):
            status = getattr(error, "status", "")
            # What broke without the address, which stands in the message around it.
            cause = getattr(error, "os_error", None) or error
            reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
            said = words.format(error=error, late=late, status=status, reason=reason)
            return Failure(kind, meaning, said, billed=happened == "billed", unsent=happened == "unsent")
    raise error


# Ways in which an exchange ends without a reply, the first that fits: their kind, their meaning, how to say it, and
# whether the endpoint worked for it or never saw it.
_ENDINGS: Sequence[tuple[type | tuple[type, ...], str, Meaning, str, str]] = (
    (aiohttp.ConnectionTimeoutError, "connection", Meaning.FAULT, "the connection takes too long", "unsent"),
    (aiohttp.SocketTimeoutError, "stalled", Meaning.FAULT, "no byte came for too long", "billed"),
    (TimeoutError, "timeout", Meaning.REFUSED, "{late}", "billed"),
    (
        (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError),
        "tls", Meaning.RUN, "the endpoint's certificate is not trusted: {error}", "unsent",
    ),
    (aiohttp.InvalidURL, "address", Meaning.RUN, "not an address: {error}", "unsent"),
    (aiohttp.ClientHttpProxyError, "proxy", Meaning.FAULT, "the proxy answers {status}", "unsent"),
    (aiohttp.ClientConnectorError, "connection", Meaning.FAULT, "{reason}", "unsent"),
    (aiohttp.ClientPayloadError, "truncated", Meaning.FAULT, "the connection closed before the reply was complete", ""),
    (Exception, "connection", Meaning.FAULT, "{reason}", ""),
)  # fmt: skip
