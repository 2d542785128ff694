"""Rows with a list of chat messages: plain JSONL, parquet, the Hub's sets, and this project's own files."""

from collections.abc import Iterator
from typing import Any

from duel.conversation import message_rows
from duel.conversation.model import Session
from duel.sources.sessions.log import Log


def recognizes(sample: list[dict[str, Any]]) -> bool:
    return any(message_rows.conversation(record) for record in sample)


def read(log: Log, all_branches: bool = False, dialect: str = "") -> Iterator[Session]:
    for number, row in enumerate(log.values()):
        if isinstance(row, dict) and message_rows.conversation(row):
            session = message_rows.session(row, "messages", f"{log.name} row {number}", dialect)
            session.row = number
            yield session
        else:
            log.note("row without messages")
