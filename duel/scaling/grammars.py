"""The languages whose code is read: tree-sitter grammars as single wheels, which fetch nothing when they are used."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from duel.errors import UserError
from duel.scaling import table

if TYPE_CHECKING:
    from tree_sitter import Node, Parser


def suffixes() -> dict[str, list[str]]:
    """{suffix: its language, the module of the grammar, the function that gives it}."""
    found: dict[str, list[str]] = table("code_pairs")["suffixes"]
    return found


@cache
def _parser(suffix: str) -> Parser:
    import tree_sitter

    _, module, function = suffixes()[suffix]
    return tree_sitter.Parser(tree_sitter.Language(getattr(import_module(module), function)()))


def parse(suffix: str, source: bytes) -> Node:
    """The tree of a file. Raises UserError where the grammars are not installed."""
    try:
        return _parser(suffix).parse(source).root_node
    except ModuleNotFoundError as error:
        hint = "pip install 'duel-curation[pairs]'"
        raise UserError("the grammars are not installed", value=error.name, hint=hint) from None


def parses(label: str, source: bytes) -> bool | None:
    """Whether code parses in the language of its label; None where the language or its grammar is not there."""
    suffix = table("code_pairs")["labels"].get(label, label)
    if suffix not in suffixes():
        return None
    try:
        return not _parser(suffix).parse(source).root_node.has_error
    except ModuleNotFoundError:
        return None
