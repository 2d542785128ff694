"""Progress while a run goes: a live line on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any, Self

from duel import command
from duel.calls.run_summary import Summary, listed
from duel.errors import printable

if TYPE_CHECKING:
    from duel.calls.client import Client

PLAIN_EVERY_S = 5.0
LIVE_EVERY_S = 0.5


class Progress:
    """Says how far a run is, on standard error. Use as a context manager inside the event loop."""

    def __init__(self, summary: Summary, client: Client, total: int | None) -> None:
        self._summary, self._client, self._total = summary, client, total
        self._began = time.monotonic()
        self._live: Any = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        self._again()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._live is not None:
            self._live.stop()

    def line(self) -> str:
        """Done, rate, in flight, failures by kind, tokens, cost, time left."""
        summary, seconds = self._summary, max(time.monotonic() - self._began, 1e-9)
        finished = summary.done + summary.failed.total()
        parts = [
            f"{summary.stage}: {finished:,} of {self._total:,}" if self._total else f"{summary.stage}: {finished:,}",
            f"{60 * finished / seconds:,.0f} a minute",
            f"{self._client.in_flight:,} in flight",
        ]
        if hanging := self._client.hanging:
            parts.append(f"{hanging:,} hang")
        parts.extend(self._client.models_out)
        parts.extend(f"{model} is given up" for model in summary.down)
        if summary.failed:
            parts.append(f"failed {listed(summary.failed)}")
        if summary.faults:
            parts.append(f"retried {listed(summary.faults)}")
        parts.append(f"{summary.tokens_in + summary.tokens_out:,} tokens")
        parts.append(summary.spent)
        if self._total and finished:
            parts.append(f"{_duration(seconds / finished * max(0, self._total - finished))} left")
        if self._client.stopped:
            parts.append("stopping: waiting for the replies in flight (Ctrl-C again: at once)")
        return printable(" | ".join(parts), 2000)

    def _again(self) -> None:
        loop = asyncio.get_running_loop()
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text(self.line()), refresh=True)
            self._timer = loop.call_later(LIVE_EVERY_S, self._again)
        else:
            if time.monotonic() - self._began > 1:
                command.say(self.line())
            self._timer = loop.call_later(PLAIN_EVERY_S, self._again)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
