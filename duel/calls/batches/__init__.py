"""Calls in batches, at half the price: a batch is a prefill of the ledger, in rounds.

Each open job's own work runs against an asker that answers from the ledger and notes what is missing (`prefill`): first
askings, format retries, follow-ups, larger budgets and further votes alike. What is missing goes out in batches, what
comes back goes into the ledger under its custom id, which is the request's key (`batch_steps`), and the stage runs once
more. Rounds end when nothing is missing.

A provider is a part of the kind `batch_provider`: a `BatchProvider` of `batch_shapes` under the name that
`[batch] provider` takes.
"""

from typing import TYPE_CHECKING

from duel.registry import Registry

if TYPE_CHECKING:
    from duel.calls.batches.batch_shapes import BatchProvider

PROVIDERS: "Registry[BatchProvider]" = Registry("batch_provider", home="duel.calls.batches.batch_shapes")
