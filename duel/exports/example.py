"""The one model between what was kept and every training format: a conversation that ends on what is to be learned."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from duel import shell, turn
from duel.conversation import dialogue, tasks
from duel.conversation.model import Entry
from duel.errors import ItemError
from duel.history import estimate_tokens, history_tokens
from duel.records import Audit, Message

# Turns of one style, and of one third of a run, that rows of single turns take of it at most.
TURNS_OF_A_KIND = 8


@dataclass(frozen=True, kw_only=True)
class Example:
    """One unit of training data.

    From a duel: the history that the model saw, the accepted turn as the last message, the other side's turn in
    `rejected`. From a trajectory file: the whole conversation as it was recorded, with `rejected` empty.
    """

    id: str
    instance_id: str = ""
    repo: str = ""
    license: str = ""
    base_commit: str = ""
    dataset: str = ""
    """Where the conversation comes from: a Hub id or a file's name."""
    revision: str = ""
    messages: tuple[Message, ...]
    native: tuple[Message, ...] = ()
    """The same conversation with its native tool calls, where the source kept both; tool formats take it."""
    rejected: str = ""
    label: bool | None = None
    """For unpaired preferences: whether the last message is wanted. None: the format has no labels."""
    score: float | None = None
    """Panel score of the last message against `rejected`, 0-100; None where no panel saw it."""
    bucket: str = ""
    style: str = ""
    model: str = ""
    """The model that wrote the last message."""
    template: str = ""
    """Hash of the prompt file it was asked with."""
    agent: str = ""
    """The harness, as the trajectory's format names it."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """Function schemas of native tool calls, in OpenAI's shape; empty: the bash block is the only action."""
    exit_status: str = ""
    resolved: bool | None = None
    """Whether tests showed that the run solved its issue; None: unknown."""
    guess: str = ""
    """What mine.py guesses of the run: "success", "failure" or "unknown". Nothing is chosen by it."""
    evidence: str = ""
    """What `resolved` rests on, where the source tells."""
    audit: Audit | None = None
    """Of the accepted turn; None: it was never audited."""
