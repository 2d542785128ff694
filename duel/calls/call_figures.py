"""What the calls of a workspace came to, by stage and model.

duel calls                      the ledger of the current directory
duel calls --workspace DIR      of another workspace
duel calls --json               the same figures for programs
"""

from argparse import Namespace
from collections import Counter
from typing import Any

import orjson

from duel.calls.ledger import Ledger
from duel.calls.run_summary import listed
from duel.errors import EXIT_FINISHED, UserError, printable
from duel.workspace import Workspace

_TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
_COUNTED = ("replies", "rejected", *_TOKENS, "cost", "unpriced_replies")
_SUMS = ", ".join(f"COALESCE(SUM(json_extract(usage, '$.{name}')), 0)" for name in _TOKENS)
_REPLIES = (
    f"SELECT stage, asked_model, COUNT(*), SUM(rejected != ''), {_SUMS}, "  # noqa: S608 - constants alone
    "COALESCE(SUM(cost), 0.0), SUM(cost IS NULL), json_group_array(latency_s) FILTER (WHERE tries > 0) "
    "FROM replies GROUP BY stage, asked_model"
)
_PROVIDERS = "SELECT stage, asked_model, provider, COUNT(*) FROM replies GROUP BY stage, asked_model, provider"
_FAULTS = "SELECT stage, asked_model, kind, calls, tokens_in, tokens_out, cost FROM faults ORDER BY kind"
_PERCENTILES = {"latency_p50": 0.5, "latency_p90": 0.9, "latency_p99": 0.99}
HEADINGS = (
    "stage", "model", "replies", "rejected", "failed calls", "tokens in", "cached", "tokens out", "reasoning", "cost",
    "latency p50", "p90", "p99",
)  # fmt: skip


def collect(ledger: Ledger) -> list[dict[str, Any]]:
    """Figures of each stage and model. Latencies in seconds, cost in dollars."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for stage, model, *counts, latencies in ledger.query(_REPLIES):
        row = found[stage, model] = dict(zip(_COUNTED, counts, strict=True))
        row |= {"failed_calls": {}, "providers": {}}
        if taken := sorted(orjson.loads(latencies)):  # replies that came with batches have none
            row |= {name: taken[min(len(taken) - 1, int(part * len(taken)))] for name, part in _PERCENTILES.items()}
    for stage, model, provider, count in ledger.query(_PROVIDERS):
        found[stage, model]["providers"][provider] = count
    for stage, model, kind, calls, tokens_in, tokens_out, cost in ledger.query(_FAULTS):
        nothing = {**dict.fromkeys(_COUNTED, 0), "failed_calls": {}, "providers": {}}
        row = found.setdefault((stage, model), nothing)
        row["failed_calls"][kind] = calls
        row["prompt_tokens"] += tokens_in
        row["completion_tokens"] += tokens_out
        row["cost"] += cost
    return [
        {"stage": stage, "model": model, **dict.fromkeys(_PERCENTILES), **row}
        | {"calls": row["replies"] + sum(row["failed_calls"].values())}
        # Of the prompt tokens, what the endpoint served from its cache.
        | {"cached_share": row["cached_tokens"] / row["prompt_tokens"] if row["prompt_tokens"] else None}
        for (stage, model), row in sorted(found.items())
    ]


def main(arguments: Namespace) -> int:
    workspace = Workspace(arguments.workspace)
    if not workspace.ledger.exists():
        raise UserError("no call was made in this workspace", where=workspace.root, hint="name it with --workspace")
    with Ledger(workspace.ledger) as ledger:
        rows = collect(ledger)
    if arguments.json:
        print(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return EXIT_FINISHED
    table = [HEADINGS]
    for row in rows:
        share, unpriced, kinds = row["cached_share"], row["unpriced_replies"], Counter(row["failed_calls"])
        asked = (row["stage"], printable(row["model"]), f"{row['replies']:,}", f"{row['rejected']:,}")
        read = (f"{row['prompt_tokens']:,}", "" if share is None else f"{share:.0%}")
        written = (f"{row['completion_tokens']:,}", f"{row['reasoning_tokens']:,}")
        cost = f"${row['cost']:.4f}" + (f" + {unpriced:,} unpriced" if unpriced else "")
        took = ("" if row[name] is None else f"{row[name]:.2f} s" for name in _PERCENTILES)
        table.append((*asked, listed(kinds) or "0", *read, *written, cost, *took))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    return EXIT_FINISHED
