"""The registry of training formats: a table in formats.toml each; a module writes and reads those of one kind."""

from dataclasses import replace
from functools import partial

from duel.errors import UserError
from duel.exports.example import each_turn, text_only
from duel.exports.formats.base import FORMATS, Format

__all__ = ["FORMATS", "Format", "named"]


def named(text: str) -> list[Format]:
    """The formats of a comma-separated list. Raises UserError that names the nearest known one."""
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError("no format is named", where="--format", hint=f"known: {', '.join(FORMATS)}")
    return [FORMATS[name] for name in dict.fromkeys(names)]


def per_turn(wanted: list[Format], everywhere: bool, cap: int) -> list[Format]:
    """The formats with a row for each turn of a run where that is their way, or `everywhere` asks for it.

    Raises UserError for a format whose rows are whole conversations by nature.
    """
    for form in wanted if everywhere else []:
        if form.rows_of not in (each_turn, text_only):
            raise UserError("rows of single turns are for formats of text", where="--per-turn", value=form.name)
    each = partial(each_turn, cap=cap)
    return [replace(form, rows_of=each) if everywhere or form.rows_of is each_turn else form for form in wanted]
