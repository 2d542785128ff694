"""What other clients do with the same work, for comparison: each runs in a process of its own.

    python -m bench.clients aiohttp|openai BASE_URL COUNT IN_FLIGHT BYTES

Prints JSON: replies that came, and CPU seconds spent on the calls, imports excluded.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

Ask = Callable[[dict[str, Any]], Awaitable[bool]]


def body(number: int, size: int) -> dict[str, Any]:
    """One request of about `size` bytes."""
    task = f"REQID={number} Fix the parser.\n" + "Observation: a line of what a command printed\n" * (size // 46)
    messages = [{"role": "system", "content": "One bash block."}, {"role": "user", "content": task}]
    return {"model": "bench/model", "messages": messages, "max_tokens": 1024, "temperature": 1.0}


async def all_of(ask: Ask, count: int, in_flight: int, size: int) -> int:
    """Ask for every request, `in_flight` at a time; the number that was answered."""
    numbers: Iterator[int] = iter(range(count))
    answered = 0

    async def worker() -> None:
        nonlocal answered
        for number in numbers:
            came = await ask(body(number, size))
            answered += came

    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return answered


async def with_aiohttp(base_url: str, run: Callable[[Ask], Awaitable[int]]) -> int:
    import aiohttp
    import orjson

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers={"Content-Type": "application/json"}) as session:

        async def ask(question: dict[str, Any]) -> bool:
            async with session.post(f"{base_url}/chat/completions", data=orjson.dumps(question)) as response:
                return bool(orjson.loads(await response.read())["choices"])

        return await run(ask)


async def with_openai(base_url: str, run: Callable[[Ask], Awaitable[int]]) -> int:
    import openai

    async with openai.AsyncOpenAI(base_url=base_url, api_key="none") as client:

        async def ask(question: dict[str, Any]) -> bool:
            try:
                return bool((await client.chat.completions.create(**question)).choices)
            except openai.OpenAIError:
                return False

        return await run(ask)


def main() -> None:
    kind, base_url, count, in_flight, size = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    began = time.process_time()
    client = {"aiohttp": with_aiohttp, "openai": with_openai}[kind]
    answered = asyncio.run(client(base_url, lambda ask: all_of(ask, count, in_flight, size)))
    print(json.dumps({"answered": answered, "cpu_s": time.process_time() - began}))


if __name__ == "__main__":
    main()
