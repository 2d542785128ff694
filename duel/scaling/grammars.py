"""The languages whose code is read: tree-sitter grammars as single wheels, which fetch nothing when they are used."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from duel.errors import UserError

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

# Suffix -> (language, module, function that gives the grammar).
SUFFIXES = {
    "py": ("python", "tree_sitter_python", "language"),
    "js": ("javascript", "tree_sitter_javascript", "language"),
    "jsx": ("javascript", "tree_sitter_javascript", "language"),
    "mjs": ("javascript", "tree_sitter_javascript", "language"),
    "ts": ("typescript", "tree_sitter_typescript", "language_typescript"),
    "tsx": ("typescript", "tree_sitter_typescript", "language_tsx"),
    "go": ("go", "tree_sitter_go", "language"),
    "rs": ("rust", "tree_sitter_rust", "language"),
    "java": ("java", "tree_sitter_java", "language"),
}
_LABELS = {"python": "py", "javascript": "js", "typescript": "ts", "rust": "rs", "golang": "go"}


@cache
def _parser(suffix: str) -> Parser:
    import tree_sitter

    _, module, function = SUFFIXES[suffix]
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
    suffix = _LABELS.get(label, label)
    if suffix not in SUFFIXES:
        return None
    try:
        return not _parser(suffix).parse(source).root_node.has_error
    except ModuleNotFoundError:
        return None
