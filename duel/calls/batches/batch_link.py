"""A provider of batches, as it is asked: bounded in time and size, redirects refused, the key kept inside."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import aiohttp

from duel.calls.failures import Failure, Meaning, broken_reply
from duel.calls.route import Provider
from duel.calls.transport import MAX_REPLY_BYTES, NoAnswer, received, whole, without_key
from duel.calls.wire import parse_json

# A batch of 200 MB goes out, and its results come in, within this; between two bytes a minute at most.
WHOLE_S, BETWEEN_BYTES_S = 3600.0, 60.0
# What the results of one batch may take on the disk.
MOST_RESULT_BYTES = 4 << 30
# An id that a provider gives becomes a part of an address.
_ID = re.compile(r"[A-Za-z0-9._:|-]{1,200}")


class Link:
    """Exchanges with one provider. Use as an async context manager; every method raises NoAnswer."""

    def __init__(self, provider: Provider, connect_s: float) -> None:
        self.provider = provider
        self._timeout = aiohttp.ClientTimeout(total=WHOLE_S, sock_connect=connect_s, sock_read=BETWEEN_BYTES_S)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=self._timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ask(self, method: str, path: str, **sent: Any) -> Mapping[str, Any]:
        pieces = received(self._session, self.provider, method, self.provider.url(path), MAX_REPLY_BYTES, **sent)
        try:
            parsed = parse_json(without_key(await whole(pieces), self.provider.api_key))
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise NoAnswer(broken_reply("malformed", f"{path} does not answer with a JSON object"))
        return parsed

    async def save(self, path: str, into: Path, **sent: Any) -> None:
        """What the route answers with, in a file; as much of it as came where this fails."""
        url = self.provider.url(path)
        with into.open("wb") as file:
            async for chunk in received(self._session, self.provider, "GET", url, MOST_RESULT_BYTES, **sent):
                file.write(chunk)


def identity(answer: Mapping[str, Any], name: str = "id") -> str:
    found = answer.get(name)
    if not isinstance(found, str) or not _ID.fullmatch(found):
        raise NoAnswer(Failure("malformed", Meaning.FAULT, f"the answer has no usable {name}"))
    return found


def rows_of(page: Mapping[str, Any], name: str = "data") -> list[Mapping[str, Any]]:
    rows = page.get(name)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
