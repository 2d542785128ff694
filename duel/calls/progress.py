"""Progress while a run goes: a live line on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Callable, Iterator
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

    def __init__(self, summary: Summary, client: Client, total: int | None, passed: Callable[[], int] = int) -> None:
        self._summary, self._client, self._total, self._passed = summary, client, total, passed
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
        """Done, rate, in flight, what is held back, dropped, failures by kind, tokens, cost, time left."""
        return printable(" | ".join([self._share(), *self._figures(), *self._troubles()]), 2000)

    def live(self) -> str:
        """The same for a terminal: a bar, and what goes wrong in lines of its own with the last failure's words."""
        summary = self._summary
        last = [f"last failure: {summary.last_fault}"] if summary.last_fault else []
        troubles = [printable(f"  {trouble}", 300) for trouble in [*self._troubles(), *last]]
        bar = _bar(self._at / self._total) + " " if self._total else ""
        return "\n".join([bar + printable(" | ".join([self._share(), *self._figures()]), 300), *troubles])

    @property
    def _at(self) -> int:
        """Items that are dealt with, those of earlier runs included."""
        at = self._passed() + self._summary.done + self._summary.failed.total()
        return min(at, self._total) if self._total else at

    def _share(self) -> str:
        if not self._total:
            return f"{self._summary.title}: {self._at:,}"
        return f"{self._summary.title}: {self._at:,} of {self._total:,} ({math.floor(100 * self._at / self._total)}%)"

    def _figures(self) -> Iterator[str]:
        summary, seconds = self._summary, max(time.monotonic() - self._began, 1e-9)
        finished = summary.done + summary.left_out + summary.failed.total()
        yield f"{60 * finished / seconds:,.0f} a minute"
        yield f"{self._client.in_flight:,} in flight"
        yield f"{summary.tokens_in + summary.tokens_out:,} tokens"
        yield summary.spent
        if self._total and finished:
            yield f"{_duration(seconds / finished * (self._total - self._at))} left"

    def _troubles(self) -> Iterator[str]:
        summary = self._summary
        if hanging := self._client.hanging:
            yield f"{hanging:,} hang"
        yield from self._client.models_out
        yield from (f"{model} is given up" for model in summary.down)
        if summary.left_out:
            yield f"{summary.left_out:,} dropped"
        if summary.failed:
            yield f"failed {listed(summary.failed)}"
        if summary.faults:
            yield f"retried {listed(summary.faults)}"
        if self._client.stopped:
            yield "stopping: waiting for the replies in flight (Ctrl-C again: at once)"

    def _again(self) -> None:
        loop = asyncio.get_running_loop()
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text(self.live()), refresh=True)
            self._timer = loop.call_later(LIVE_EVERY_S, self._again)
        else:
            if time.monotonic() - self._began > 1:
                command.say(self.line())
            self._timer = loop.call_later(PLAIN_EVERY_S, self._again)


def _bar(share: float, cells: int = 24) -> str:
    """`━━━━━━━━────`; in ASCII where standard error takes nothing else."""
    full, rest = "━─" if "utf" in (sys.stderr.encoding or "").lower() else "#-"
    return full * round(share * cells) + rest * (cells - round(share * cells))


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
