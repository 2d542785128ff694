"""Functions with their documentation, a row each, as CodeSearchNet and its kin hold them. Rows of the task `chat`."""

from collections.abc import Iterator
from typing import Any

from duel.conversation.message_rows import chat
from duel.conversation.model import Session
from duel.conversation.values import text
from duel.sources.sessions.log import Log

_TEXTS = ("func_documentation_string", "docstring", "doc", "nl")
_CODES = ("func_code_string", "whole_func_string", "code", "function", "original_string")


def recognizes(sample: list[dict[str, Any]]) -> bool:
    return any(text(record, *_TEXTS) and text(record, *_CODES) for record in sample)


def read(log: Log, all_branches: bool = False) -> Iterator[Session]:
    for number, row in enumerate(log.values()):
        code = f"```{text(row, 'language').lower()}\n{text(row, *_CODES).strip()}\n```"
        session = chat("docstrings", f"{log.name} row {number}", [("user", text(row, *_TEXTS)), ("assistant", code)])
        session.repo = text(row, "repository_name", "repo")
        session.license, session.row = text(row, "license"), number
        yield session
