"""HTTP to a provider of batches: bounded in time and size, redirects refused, the key kept inside."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import aiohttp

from duel.calls.failures import Failure, Meaning, broken_reply, from_status
from duel.calls.rates import retry_after
from duel.calls.route import Provider
from duel.calls.transport import MAX_REPLY_BYTES, failure_of, headers_for, proxy_for, without_key
from duel.calls.wire import parse_json

# A batch of 200 MB goes out, and its results come in, within this; between two bytes a minute at most.
WHOLE_S, BETWEEN_BYTES_S = 3600.0, 60.0
# What the results of one batch may take on the disk.
MOST_RESULT_BYTES = 4 << 30
# An id that a provider gives becomes a part of an address.
_ID = re.compile(r"[A-Za-z0-9._:|-]{1,200}")


class LinkFailed(Exception):
    """The provider did not do what it was asked."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.told)
        self.failure = failure


class Link:
    """Exchanges with one provider. Use as an async context manager; every method raises LinkFailed."""

    def __init__(self, provider: Provider, connect_s: float) -> None:
        self.provider = provider
        self.reached = False
        """True once anything came back."""
        self._timeout = aiohttp.ClientTimeout(total=WHOLE_S, sock_connect=connect_s, sock_read=BETWEEN_BYTES_S)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=self._timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ask(self, method: str, path: str, **sent: Any) -> Mapping[str, Any]:
        body = b"".join([chunk async for chunk in self._bytes(method, path, MAX_REPLY_BYTES, **sent)])
        try:
            parsed = parse_json(without_key(body, self.provider.api_key))
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise LinkFailed(broken_reply("malformed", f"{path} does not answer with a JSON object"))
        return parsed

    async def save(self, path: str, into: Path, **sent: Any) -> None:
        """What the route answers with, in a file; as much of it as came where this fails."""
        with into.open("wb") as file:
            async for chunk in self._bytes("GET", path, MOST_RESULT_BYTES, **sent):
                file.write(chunk)

    async def _bytes(self, method: str, path: str, most: int, **sent: Any) -> Any:
        url = self.provider.url(path)
        headers = {**headers_for(self.provider), **sent.pop("headers", {})}
        try:
            async with self._session.request(
                method, url, headers=headers, proxy=proxy_for(url), allow_redirects=False, **sent
            ) as response:
                self.reached = True
                size, refusal = 0, b""
                async for chunk in response.content.iter_any():
                    size += len(chunk)
                    if size > most:
                        raise LinkFailed(too_large(path, most))
                    if response.status < 300:
                        yield chunk
                    else:
                        refusal += chunk if len(refusal) < 65536 else b""
                if response.status >= 300:
                    wait = retry_after(response.headers, time.time())
                    refusal = without_key(refusal, self.provider.api_key)
                    raise LinkFailed(from_status(response.status, refusal, wait))
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            raise LinkFailed(failure_of(error)) from None


def too_large(path: str, most: int) -> Failure:
    return broken_reply("too-large", f"{path} answers with over {most:,} bytes")


def identity(answer: Mapping[str, Any], name: str = "id") -> str:
    found = answer.get(name)
    if not isinstance(found, str) or not _ID.fullmatch(found):
        raise LinkFailed(Failure("malformed", Meaning.FAULT, f"the answer has no usable {name}"))
    return found


def rows_of(page: Mapping[str, Any], name: str = "data") -> list[Mapping[str, Any]]:
    rows = page.get(name)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
