"""The house itself: imports run downward, nothing heavy happens on import, the README shows what is there."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import pytest

from duel.cli import COMMANDS, overview

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(path.name for path in ROOT.glob("*.py"))

# The floors, from the ground up. A module may import from its own room and from lower floors; the listed pairs are the
# only doors between rooms of the same floor.
FLOORS = [
    {
        "dimensions",
        "errors",
        "records",
        "sections",
        "settings",
        "environment",
        "registry",
        "synchronous",
        "wordlists",
    },
    {
        "workspace",
        "file_sums",
        "spill",
        "processes",
        "local_server",
        "turn",
        "shell",
        "history",
        "pull",
        "fence",
        "prompts",
        "command",
        "chat_tokens",
        "untrusted",
    },
    {"calls", "conversation", "placement", "bookkeeping", "standing"},
    {
        "candidates",
        "sources",
        "judging",
        "audit",
        "exports",
        "reporting",
        "refining",
        "execution",
        "guiding",
        "review",
        "scaling",
        "cluster",
        "offline",
    },
    {"stages"},
    {"cli", "__main__"},
]
ROOMS = 3
"""The floor of the rooms that know nothing of each other but through a door."""
DOORS = {
    ("execution", "offline"),
    ("review", "judging"),
    ("review", "reporting"),
    ("exports", "audit"),
    ("scaling", "audit"),
    ("scaling", "exports"),
    ("scaling", "execution"),
    ("scaling", "offline"),
    ("scaling", "sources"),
    ("sources", "audit"),
    ("reporting", "judging"),
    ("reporting", "audit"),
    ("judging", "candidates"),
    ("cluster", "audit"),
    ("cluster", "candidates"),
    ("cluster", "judging"),
    ("cluster", "review"),
    ("refining", "judging"),
    ("reporting", "refining"),
    ("guiding", "candidates"),
    ("guiding", "execution"),
    ("guiding", "judging"),
    ("guiding", "reporting"),
    ("guiding", "sources"),
    ("cluster", "sources"),
}
HEAVY = {
    "numpy",
    "scipy",
    "pyarrow",
    "datasets",
    "aiohttp",
    "huggingface_hub",
    "openai",
    "tree_sitter",
    "rensa",
    "jsonschema_rs",
    "yara_x",
    "pandas",
    "pydantic",
}


def room(module: str) -> str:
    """`duel.calls.request` -> `calls`."""
    return module.split(".")[1] if module.count(".") else ""


def floor(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


@lru_cache(maxsize=1)
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Every statement under `node`, however deep; no expression, of which there are ten times as many."""
    for part in ("body", "orelse", "finalbody", "handlers", "cases"):
        inside = getattr(node, part, [])
        for statement in inside if isinstance(inside, list) else []:  # the body of a lambda is an expression
            yield statement
            yield from statements(statement)


def imports(path: Path) -> set[str]:
    """The `duel.…` modules that a file imports, wherever in the file it does so."""
    found = set()
    for node in statements(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("duel.")}


def package_files() -> list[Path]:
    return sorted((ROOT / "duel").rglob("*.py"))


# For the scope's sake all tests of one file run together, and it is parsed once.
EACH_FILE = pytest.mark.parametrize(
    "path", package_files(), ids=lambda path: str(path.relative_to(ROOT)), scope="module"
)


@EACH_FILE
def test_imports_run_downward_only(path: Path) -> None:
    own = room(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if own in {"", "__init__"}:
        return
    for module in imports(path):
        other = room(module)
        if other == own or other == "__version__":
            continue
        assert floor(other) <= floor(own), f"{path.name} reaches up to {module}"
        if floor(other) == floor(own) == ROOMS:
            assert (own, other) in DOORS, f"{path.name} goes through no known door to {module}"


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_root_script_is_a_docstring_and_a_call(script: str) -> None:
    docstring, imported, guarded = ast.parse((ROOT / script).read_text("utf-8")).body
    assert isinstance(docstring, ast.Expr) and isinstance(imported, ast.ImportFrom) and isinstance(guarded, ast.If)
    (call,) = guarded.body
    assert ast.unparse(call) == f"script('{script.removesuffix('.py')}')"


def test_the_root_holds_what_users_know_by_name() -> None:
    assert SCRIPTS == ["ch.py", "king.py", "prompt.py", "report.py", "run.py", "validate.py"]


@EACH_FILE
def test_a_module_has_one_subject_and_says_it_first(path: Path) -> None:
    assert ast.get_docstring(tree(path)), "no docstring"


def test_no_file_is_longer_than_400_lines() -> None:
    files = [
        path for folder in ("duel", "tests", "bench", "tools", "recipes") for path in (ROOT / folder).rglob("*.py")
    ]
    lines = {str(path.relative_to(ROOT)): path.read_text("utf-8").count("\n") for path in files}
    assert [name for name, count in lines.items() if count > 400] == []


def test_a_name_stands_for_one_class_and_one_module() -> None:
    """Names of types count as classes, but for what only stands for a type (`TypeVar`)."""
    named: dict[str, Counter[str]] = {"class": Counter(), "module": Counter()}
    kinds = r"(?m)^ *class (\w+)[(:]|^([A-Z]\w*[a-z]\w*)(?:: TypeAlias)? = (?!TypeVar|ParamSpec)"
    for path in [*package_files(), *(ROOT / "tools").rglob("*.py")]:
        if path.is_relative_to(ROOT / "duel"):
            named["module"][path.stem] += path.stem not in {"__init__", "__main__"}
        named["class"].update("".join(found) for found in re.findall(kinds, path.read_text("utf-8")))
    for kind, names in named.items():
        assert not {name for name, count in names.items() if count > 1}, kind


def test_help_comes_at_once_because_nothing_heavy_is_imported() -> None:
    """Every command's, one after the other in one process: the first that brings something heavy is named."""
    code = (
        "import sys\nfrom duel import cli\n"
        f"for name in {list(COMMANDS)!r}:\n"
        "    try:\n        cli.call([name, '--help'])\n    except SystemExit:\n        pass\n"
        f"    print('AFTER', name, sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    helps = re.split(r"(?m)^AFTER (.*)$", done.stdout)
    assert helps[1::2] == [f"{name} []" for name in COMMANDS]
    assert all("--workspace" in text for text in helps[:-1:2])


def test_every_command_can_be_imported_where_unix_modules_are_missing() -> None:
    missing = "fcntl", "pwd", "grp", "resource", "termios"
    code = f"import sys\nsys.modules.update(dict.fromkeys({missing}))\n"
    code += "\n".join(f"import {module}" for module in [*COMMANDS.values(), "duel.workspace", "duel.calls.runner"])
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("path", sorted((ROOT / "bench").glob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_uses_names_that_are_there(path: Path) -> None:
    """No other check reads `bench/`: a name that the package has lost would be told by the next run alone."""
    modules: dict[str, ModuleType] = {}
    nodes = list(ast.walk(tree(path)))
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "duel":
            home = importlib.import_module(str(node.module))
            for name in node.names:
                there = hasattr(home, name.name)
                found = getattr(home, name.name) if there else importlib.import_module(f"{node.module}.{name.name}")
                if isinstance(found, ModuleType):
                    modules[name.asname or name.name] = found
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            assert hasattr(modules[node.value.id], node.attr), f"line {node.lineno}: {ast.unparse(node)}"


def test_the_overview_tells_of_every_command_in_its_own_first_line() -> None:
    shown = overview()
    for name, module in COMMANDS.items():
        story = ast.get_docstring(ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text("utf-8")))
        assert story and f"  {name:12} {story.splitlines()[0]}" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_the_readme_tells_of_every_command(name: str) -> None:
    called = f"`{name}.py`" if f"{name}.py" in SCRIPTS else f"`duel {name}`"
    assert called in (ROOT / "README.md").read_text("utf-8")


def test_every_constraint_is_a_name_and_a_version_only() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins
    for line in pins:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+", line), line
