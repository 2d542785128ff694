"""The key never leaves this process: endpoints that echo it are quoted without it."""

from __future__ import annotations

from dataclasses import replace

from duel.calls.failures import Failure
from duel.calls.wire import Completion

# What stands in its place. Shorter keys are words that may stand anywhere ("none", "offline").
REDACTED, SHORTEST_KEY = "[key]", 8


def redacted(outcome: Completion | Failure, key: str) -> Completion | Failure:
    """`outcome` without `key` in any of its texts."""
    if len(key) < SHORTEST_KEY:
        return outcome
    if isinstance(outcome, Failure):
        return replace(outcome, words=outcome.words.replace(key, REDACTED)) if key in outcome.words else outcome
    if not any(key in text for text in (outcome.text, outcome.reasoning, outcome.model)):
        return outcome
    return replace(
        outcome,
        text=outcome.text.replace(key, REDACTED),
        reasoning=outcome.reasoning.replace(key, REDACTED),
        model=outcome.model.replace(key, REDACTED),
    )


def without_key(body: bytes, key: str) -> bytes:
    """`body` without `key`, before any part of it is cut off for a message."""
    raw = key.encode()
    return body.replace(raw, REDACTED.encode()) if len(raw) >= SHORTEST_KEY and raw in body else body
