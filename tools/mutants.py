"""What the tests notice: one small change at a time in a module, and the tests that guard it must fail.

`python -m tools.mutants` tries every module of `mutants.txt`, `python -m tools.mutants duel/fence.py` one, and prints
how many changes were noticed and which were not. Libraries are imported once; each change is tried in a fork that
imports the changed module. Sentences (strings with two words in a row), docstrings and annotations are left alone.
"""

import argparse
import ast
import contextlib
import importlib.machinery
import importlib.util
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis  # noqa: F401 - what tests import, once for all forks
import numpy  # noqa: F401
import pydantic  # noqa: F401
import pytest
import scipy.stats  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent
MOST = 150
"""Changes that are tried in a module; of more, evenly spaced ones."""
LONGEST_S = 120
"""A change that makes the tests run on has been noticed."""
SENTENCE = re.compile(r"[A-Za-z]{2,},? [A-Za-z]{2,}")
OTHERS = {
    "Lt": "LtE GtE", "LtE": "Lt Gt", "Gt": "GtE LtE", "GtE": "Gt Lt", "Eq": "NotEq", "NotEq": "Eq", "In": "NotIn",
    "NotIn": "In", "Is": "IsNot", "IsNot": "Is", "And": "Or", "Or": "And", "Add": "Sub", "Sub": "Add", "Mult": "Div",
    "Div": "Mult", "FloorDiv": "Mult", "Mod": "Mult", "Pow": "Mult", "BitAnd": "BitOr", "BitOr": "BitAnd",
}  # fmt: skip
"""What stands for each operator in turn."""


class Change(NamedTuple):
    """One change of a tree: its line, what it is in words, and what makes it."""

    line: int
    what: str
    make: Callable[[], object]


def changes(tree: ast.Module) -> list[Change]:
    """Every change of `tree`, in the order of its lines."""
    found = [Change(getattr(node, "lineno", 0), *told) for node, put in _sites(tree) for told in _of_node(node, put)]
    return sorted(found, key=lambda change: change.line)


def _sites(parent: ast.AST) -> Iterator[tuple[Any, Callable[[object], object]]]:
    """Every node under `parent` that does something, each with what puts another in its place."""
    for name, value in ast.iter_fields(parent):
        places = enumerate(value) if isinstance(value, list) else [(None, value)]
        for place, node in places:
            if name not in ("annotation", "returns") and isinstance(node, ast.AST) and not _is_said(node):
                yield node, partial(setattr, parent, name) if place is None else partial(value.__setitem__, place)
                yield from _sites(node)


def _is_said(node: ast.AST) -> bool:
    """True for a sentence, a docstring, and what only the type checker reads."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.keyword(arg="frozen"):
            return True
        case ast.JoinedStr(values=parts):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "0" for part in parts)
            return SENTENCE.search(text) is not None
        case ast.Constant(value=str(text)):
            return SENTENCE.search(text) is not None
    return False


def _of_node(node: Any, put: Callable[[object], object]) -> Iterator[tuple[str, Callable[[], object]]]:
    """(what, how) of every change at one node."""
    text = ast.unparse(node) if isinstance(node, ast.expr | ast.stmt) else ""
    match node:
        case ast.Compare(ops=ops):
            for place, op in enumerate(ops):
                for other in OTHERS[type(op).__name__].split():
                    yield f"{text}: {other}", partial(ops.__setitem__, place, getattr(ast, other)())
        case ast.BoolOp(op=op) | ast.BinOp(op=op) | ast.AugAssign(op=op):
            for other in OTHERS.get(type(op).__name__, "").split():
                yield f"{text}: {other}", partial(setattr, node, "op", getattr(ast, other)())
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield f"{text}: {ast.unparse(operand)}", partial(put, operand)
        case ast.Constant(value=bool(value)):
            yield f"{value}: {not value}", partial(put, ast.Constant(not value))
        case ast.Constant(value=int(value) | float(value)):
            yield f"{value}: {value + 1}", partial(put, ast.Constant(value + 1))
        case ast.Constant(value=str(value)):
            yield f"{value!r}: {value + 'X'!r}", partial(put, ast.Constant(value + "X"))
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield f"{text}: None", partial(setattr, node, "value", ast.Constant(None))
        case ast.Call(keywords=words):
            for word in [word for word in words if not _is_said(word)]:
                yield f"{ast.unparse(node.func)} without {ast.unparse(word)}", partial(words.remove, word)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            for mark in node.decorator_list:
                yield f"{node.name} without @{ast.unparse(mark)}", partial(node.decorator_list.remove, mark)
        case ast.If(test=test) | ast.IfExp(test=test) if isinstance(test, ast.Name | ast.Call | ast.Attribute):
            yield f"if {ast.unparse(test)}: not", partial(setattr, node, "test", ast.UnaryOp(ast.Not(), test))
    if isinstance(node, ast.Expr | ast.AugAssign | ast.Raise | ast.Continue | ast.Break):
        yield f"removed {text}", partial(put, ast.Pass())


class Changed(importlib.machinery.SourceFileLoader):
    """A finder and loader of one module that reads a tree in place of its file."""

    def __init__(self, file: str, tree: ast.Module) -> None:
        super().__init__(file.removesuffix(".py").replace("/", "."), str(ROOT / file))
        self.tree = ast.fix_missing_locations(tree)

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname: str) -> Any:
        return compile(self.tree, self.path, "exec")


def notices(file: str, tree: ast.Module, change: Change, tests: Sequence[str]) -> bool:
    """Whether `tests` fail in a fork in which the module `file` has `change`."""
    child = os.fork()
    if child:
        ended = os.waitpid(child, 0)[1]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        return ended != 0
    code = 1
    try:
        os.setsid()
        signal.alarm(LONGEST_S)
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        change.make()
        sys.meta_path.insert(0, Changed(file, tree))
        with tempfile.TemporaryDirectory() as folder:
            options = [
                "-x",
                "-q",
                "-p",
                "no:cacheprovider",
                "-p",
                "no:xdist",
                f"--basetemp={folder}/of",
                "-Wignore:Module already",
            ]
            code = int(pytest.main([*options, "--hypothesis-seed=0", *tests]))
    finally:
        os._exit(code)


def tried(file: str, tests: Sequence[str], lines: range, most: int) -> tuple[int, int]:
    """(changes tried, changes noticed) in the lines of a module; names those that were not noticed."""
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    if notices(file, tree, Change(0, "nothing", bool), tests):
        raise SystemExit(f"{file}: its tests fail without a change: {' '.join(tests)}")
    found = [change for change in changes(tree) if change.line in lines]
    chosen = found[:: -(-len(found) // most) or 1]
    unnoticed = []
    for change in chosen:
        if not notices(file, tree, change, tests):
            unnoticed.append(change)
            print(f"  {file}:{change.line}: {change.what}", flush=True)
    return len(chosen), len(chosen) - len(unnoticed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="as mutants.txt names them; all without")
    parser.add_argument("--lines", default="1-9999", help="only changes in these lines, as 10-20")
    parser.add_argument("--most", type=int, default=MOST, help="evenly spaced changes of a module with more")
    given = parser.parse_args()
    first, last = map(int, given.lines.split("-"))
    rows = [line.split() for line in Path(__file__).with_suffix(".txt").read_text("utf-8").splitlines() if line]
    for file, *tests in rows:
        if not given.modules or file in given.modules:
            count, noticed = tried(file, tests, range(first, last + 1), given.most)
            print(f"{file}: {noticed} of {count} noticed ({noticed / count:.0%})", flush=True)


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
