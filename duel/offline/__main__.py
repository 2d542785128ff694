"""Run the stand-in endpoint as a program: `python -m duel.offline --port 8399 --latency-ms 200 --fault 429=0.05`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

from duel import command
from duel.errors import SettingsError

if TYPE_CHECKING:
    from duel.offline.server import Reply, Server


def main() -> None:
    """Listen until interrupted."""
    from duel.offline.faults import KINDS, Faults
    from duel.offline.server import Options, Server

    parser = argparse.ArgumentParser(
        prog="python -m duel.offline", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--latency-ms", type=float, default=0, help="wait before each reply")
    parser.add_argument("--capacity", type=int, default=0, metavar="K", help="429 beyond K in flight")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="NAME=PROBABILITY", help=f"any of: {', '.join(KINDS)}"
    )
    parser.add_argument("--faults-per-request", type=int, default=0, metavar="N", help="at most N for one request")
    parser.add_argument("--seed", type=int, default=0, help="which requests meet a fault")
    parser.add_argument("--retry-after-s", type=float, default=1.0)
    parser.add_argument("--slow-s", type=float, default=2.0)
    parser.add_argument("--key", default="", help="the bearer key to ask for; without it any is taken")
    parser.add_argument("--model", action="append", default=[], help="a model to know; without it any is known")
    parser.add_argument("--no-response-format", action="store_true", help="refuse response_format with 400")
    parser.add_argument("--prefix-cache", action="store_true", help="count cached tokens from earlier prompts")
    parser.add_argument("--reply-bytes", type=int, default=0, metavar="N", help="say N fixed bytes, not the rules")
    given = parser.parse_args()
    faults = Faults(
        dict(map(_fault, given.fault)),
        seed=given.seed,
        most_per_request=given.faults_per_request,
        retry_after_s=given.retry_after_s,
        slow_s=given.slow_s,
    )
    options = Options(
        faults=faults,
        latency_s=given.latency_ms / 1000,
        capacity=given.capacity,
        expected_key=given.key,
        models=tuple(given.model),
        response_format=not given.no_response_format,
        prefix_cache=given.prefix_cache,
        reply=_fixed(given.reply_bytes) if given.reply_bytes else None,
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(Server(options), given.port))


async def _serve(server: Server, port: int) -> None:
    from duel.offline.loopback import listening

    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    try:
        async with listening(server, port) as taken:
            print(f"http://127.0.0.1:{taken}/v1", flush=True)
            await end.wait()
    except OSError as error:
        raise SettingsError("cannot listen", where="--port", value=error.strerror or port) from None


def _fault(text: str) -> tuple[str, float]:
    name, _, probability = text.partition("=")
    try:
        return name, float(probability)
    except ValueError:
        raise SettingsError(
            "not NAME=PROBABILITY", where="--fault", value=text, hint="as in --fault 429=0.05"
        ) from None


def _fixed(size: int) -> Reply:
    turn = "THOUGHT: a reply of fixed size.\n\n```bash\nls\n```\n"
    text = "x" * max(0, size - len(turn)) + turn
    return lambda _body: text


if __name__ == "__main__":
    command.run(main)
