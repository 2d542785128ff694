"""What the tests notice: one small change at a time in a module, and the tests that guard it must fail.

`python -m tools.mutants` tries every module of `mutants.txt`, `python -m tools.mutants duel/fence.py` one, and prints
what went unnoticed. Sentences (two words in a row), docstrings, annotations and `frozen` are left alone.
"""

import argparse
import ast
import contextlib
import importlib.util
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

Mutation = Callable[[], object]
ROOT = Path(__file__).resolve().parent.parent
INSTEAD = dict(
    pair.split(":")
    for pair in (
        "Lt:LtE GtE,LtE:Lt Gt,Gt:GtE LtE,GtE:Gt Lt,Eq:NotEq,NotEq:Eq,In:NotIn,NotIn:In,Is:IsNot,IsNot:Is,And:Or,Or:And,"
        "Add:Sub,Sub:Add,Mult:Div,Div:Mult,FloorDiv:Mult,Mod:Mult,Pow:Mult,BitAnd:BitOr,BitOr:BitAnd"
    ).split(",")
)


def changes(parent: ast.AST) -> Iterator[tuple[int, str, Mutation]]:
    """(line, what it is in words, what makes it) of every change below `parent`."""
    for name, value in ast.iter_fields(parent):
        for place, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if name not in ("annotation", "returns") and isinstance(node, ast.AST) and not _is_said(node):
                put = partial(setattr, parent, name) if place is None else partial(value.__setitem__, place)
                yield from ((getattr(node, "lineno", 0), *change) for change in _of_node(node, put))
                yield from changes(node)


def _is_said(node: ast.AST) -> bool:
    """True for a sentence, a docstring, and what only the type checker reads."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.keyword(arg="frozen"):
            return True
        case ast.If(test=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
            return name in ("TYPE_CHECKING", "__all__")
        case ast.JoinedStr() | ast.Constant(value=str()):
            return re.search(r"[A-Za-z]{2,},? [A-Za-z]{2,}", re.sub(r"\{.*?\}", "0", ast.unparse(node))) is not None
    return False


def _of_node(node: Any, put: Callable[[object], object]) -> Iterator[tuple[str, Mutation]]:
    """(what, how) of every change at one node, whose place `put` fills with another."""
    text = ast.unparse(node) if isinstance(node, ast.expr | ast.stmt) else ""
    match node:
        case ast.Compare(ops=ops):
            for place, op in enumerate(ops):
                for other in INSTEAD[type(op).__name__].split():
                    yield f"{text}: {other}", partial(ops.__setitem__, place, getattr(ast, other)())
        case ast.BoolOp(op=op) | ast.BinOp(op=op) | ast.AugAssign(op=op):
            for other in INSTEAD.get(type(op).__name__, "").split():
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


def become(file: str, tree: ast.Module) -> None:
    """Import the module `file` from `tree`."""
    name = file.removesuffix(".py").replace("/", ".")
    spec = importlib.util.spec_from_file_location(name, ROOT / file)
    assert spec
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    exec(compile(ast.fix_missing_locations(tree), ROOT / file, "exec"), module.__dict__)  # noqa: S102
    setattr(importlib.import_module(name.rpartition(".")[0]), name.rpartition(".")[2], module)


def notices(file: str, tree: ast.Module, make: Mutation, tests: Sequence[str]) -> bool:
    """Whether `tests` fail in a fork in which the module `file` is the `tree` that `make` has changed."""
    if child := os.fork():
        ended = os.waitpid(child, 0)[1]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        return ended != 0
    code = 1
    try:
        os.setsid()
        for clock, seconds in ((signal.ITIMER_PROF, 60), (signal.ITIMER_REAL, 600)):
            signal.setitimer(clock, seconds)  # tests that run on have noticed
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        make()
        become(file, tree)
        with tempfile.TemporaryDirectory() as folder:
            options = f"-x -q -p no:cacheprovider -p no:xdist --hypothesis-seed=0 --basetemp={folder}/of".split()
            code = int(pytest.main([*options, "-Wignore:Module already", *tests]))
    finally:
        os._exit(code)


def tried(file: str, tests: Sequence[str], most: int) -> str:
    """Try the changes of a module, at most `most` evenly spaced ones; names those that were not noticed."""
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    if notices(file, tree, bool, tests):
        raise SystemExit(f"{file}: its tests fail without a change: {' '.join(tests)}")
    found, unnoticed = sorted(changes(tree), key=lambda change: change[0]), 0
    chosen = found[:: -(-len(found) // most)]
    for line, what, make in chosen:
        if not notices(file, tree, make, tests):
            unnoticed += 1
            print(f"  {file}:{line}: {what}", flush=True)
    return f"{file}: {len(chosen) - unnoticed} of {len(chosen)} noticed, {len(found)} in all"


if __name__ == "__main__":
    os.chdir(ROOT)
    for library in ("hypothesis", "numpy", "pydantic"):  # once for all forks
        importlib.import_module(library)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help="as mutants.txt names them; all without")
    parser.add_argument("--most", type=int, default=150, help="changes of a module that are tried")
    given = parser.parse_args()
    table = Path(__file__).with_suffix(".txt").read_text("utf-8").splitlines()
    guards = {file: tests for file, *tests in map(str.split, table)}
    if unknown := [name for name in given.modules if name not in guards]:
        parser.error(f"not in mutants.txt: {' '.join(unknown)}")
    for name in given.modules or guards:
        print(tried(name, guards[name], given.most), flush=True)
