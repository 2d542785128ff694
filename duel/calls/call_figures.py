"""What the calls of a workspace came to, by stage and model.

duel calls                      the ledger of the current directory
duel calls --workspace DIR      of another workspace
duel calls --json               the same figures for programs
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from duel.errors import EXIT_FINISHED, WorkspaceError, printable

if TYPE_CHECKING:
    from duel.calls.ledger import Ledger

_TOKENS = ("prompt", "cached", "completion", "reasoning")
_SUMS = ", ".join(f"COALESCE(SUM(json_extract(usage, '$.{name}_tokens')), 0)" for name in _TOKENS)
_REPLIES = (
    f"SELECT stage, asked_model, COUNT(*), SUM(rejected != ''), {_SUMS}, "  # noqa: S608 - constants alone
    "COALESCE(SUM(cost), 0.0), SUM(cost IS NULL), json_group_array(latency_s) FILTER (WHERE tries > 0) "
    "FROM replies GROUP BY stage, asked_model"
)
_PROVIDERS = "SELECT stage, asked_model, provider, COUNT(*) FROM replies GROUP BY stage, asked_model, provider"
_FAULTS = "SELECT stage, asked_model, kind, calls, tokens_in, tokens_out, cost FROM faults ORDER BY kind"
HEADINGS = (
    "stage", "model", "replies", "rejected", "failed calls", "tokens in", "cached", "tokens out", "reasoning", "cost",
    "latency p50", "p90", "p99",
)  # fmt: skip


@dataclass
class Figures:
    """One stage and model. Latencies in seconds, cost in dollars."""

    stage: str
    model: str
    replies: int = 0
    rejected: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cost: float = 0.0
    unpriced_replies: int = 0
    failed_calls: dict[str, int] = field(default_factory=dict)
    latency_p50: float | None = None
    latency_p90: float | None = None
    latency_p99: float | None = None
    providers: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    cached_share: float | None = None  # of the prompt tokens, what the endpoint served from its cache


def collect(ledger: Ledger) -> list[Figures]:
    import orjson

    found: dict[tuple[str, str], Figures] = {}
    for *told, latencies in ledger.query(_REPLIES):
        row = found[told[0], told[1]] = Figures(*told)
        if taken := sorted(orjson.loads(latencies)):  # replies that came with batches have none
            row.latency_p50, row.latency_p90, row.latency_p99 = (
                taken[min(len(taken) - 1, int(share * len(taken)))] for share in (0.5, 0.9, 0.99)
            )
    for stage, model, provider, count in ledger.query(_PROVIDERS):
        found[stage, model].providers[provider] = count
    for stage, model, kind, calls, tokens_in, tokens_out, cost in ledger.query(_FAULTS):
        row = found.setdefault((stage, model), Figures(stage, model))
        row.failed_calls[kind] = calls
        row.prompt_tokens += tokens_in
        row.completion_tokens += tokens_out
        row.cost += cost
    for row in found.values():
        row.calls = row.replies + sum(row.failed_calls.values())
        row.cached_share = row.cached_tokens / row.prompt_tokens if row.prompt_tokens else None
    return [found[key] for key in sorted(found)]


def _cells(row: Figures) -> list[str]:
    from duel.calls.run_summary import listed

    cost = f"${row.cost:.4f}"
    return [
        row.stage,
        printable(row.model),
        f"{row.replies:,}",
        f"{row.rejected:,}",
        listed(Counter(row.failed_calls)) or "0",
        f"{row.prompt_tokens:,}",
        "" if row.cached_share is None else f"{row.cached_share:.0%}",
        f"{row.completion_tokens:,}",
        f"{row.reasoning_tokens:,}",
        f"{cost} + {row.unpriced_replies:,} unpriced" if row.unpriced_replies else cost,
        *("" if value is None else f"{value:.2f} s" for value in (row.latency_p50, row.latency_p90, row.latency_p99)),
    ]


def main(arguments: Namespace) -> int:
    import orjson

    from duel.calls.ledger import Ledger
    from duel.workspace import Workspace

    path = Workspace(arguments.workspace).ledger
    if not path.exists():
        where = arguments.workspace.absolute()
        raise WorkspaceError("no call was made in this workspace", where=where, hint="name it with --workspace")
    with Ledger(path) as ledger:
        rows = collect(ledger)
    if arguments.json:
        print(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
    elif sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*HEADINGS)
        for row in rows:
            table.add_row(*map(Text, _cells(row)))
        Console().print(table)
    else:
        print("\n".join("\t".join(cells) for cells in [list(HEADINGS), *map(_cells, rows)]))
    return EXIT_FINISHED
