"""The registry of training formats. A new one is a module here with a schema, a writer and a reader."""

from __future__ import annotations

from duel.errors import UserError
from duel.exports.formats.base import FORMATS, Format

__all__ = ["FORMATS", "Format", "named"]


def named(text: str) -> list[Format]:
    """The formats of a comma-separated list. Raises UserError that names the nearest known one."""
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError("no format is named", where="--format", hint=f"known: {', '.join(FORMATS)}")
    return [FORMATS[name] for name in dict.fromkeys(names)]
