"""The house itself: imports run downward, nothing heavy happens on import, the README shows what is there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(path.name for path in ROOT.glob("*.py"))
STAGES = ["prompt.py", "king.py", "ch.py", "validate.py", "report.py", "run.py"]
OTHERS = ["audit.py", "export.py", "mine.py"]

# The floors, from the ground up. A module may import from its own room and from lower floors; the listed pairs are the
# only doors between rooms of the same floor.
FLOORS = [
    {"errors", "records", "sections", "settings", "environment"},
    {"workspace", "turn", "shell", "history", "pull", "fence", "prompts", "command"},
    {"calls", "conversation"},
    {"stage", "candidates", "estimate", "sources", "judging", "audit", "exports", "reporting", "offline"},
]
DOORS = {
    ("exports", "audit"),
    ("sources", "audit"),
    ("reporting", "judging"),
    ("reporting", "audit"),
    ("judging", "stage"),
    ("judging", "candidates"),
    ("estimate", "candidates"),
    ("estimate", "stage"),
    ("estimate", "judging"),
}
HEAVY = {
    "numpy",
    "scipy",
    "pyarrow",
    "duckdb",
    "datasets",
    "aiohttp",
    "huggingface_hub",
    "openai",
    "tree_sitter",
    "pandas",
}


def room(module: str) -> str:
    """`duel.calls.request` -> `calls`."""
    return module.split(".")[1] if module.count(".") else ""


def floor(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


def imports(path: Path) -> set[str]:
    """The `duel.…` modules that a file imports, wherever in the file it does so."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("duel.")}


def package_files() -> list[Path]:
    return sorted((ROOT / "duel").rglob("*.py"))


@pytest.mark.parametrize("path", package_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downward_only(path: Path) -> None:
    own = room(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if own in {"", "__init__"}:
        return
    for module in imports(path):
        other = room(module)
        if other == own or other == "__version__":
            continue
        assert floor(other) <= floor(own), f"{path.name} reaches up to {module}"
        if floor(other) == floor(own) == len(FLOORS) - 1:
            assert (own, other) in DOORS, f"{path.name} goes through no known door to {module}"


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_script_imports_another(script: str) -> None:
    tree = ast.parse((ROOT / script).read_text("utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert not names & {name.removesuffix(".py") for name in SCRIPTS}


@pytest.mark.parametrize("path", package_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_has_one_subject_and_says_it_first(path: Path) -> None:
    text = path.read_text("utf-8")
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert text.count("\n") <= 410


@pytest.mark.parametrize("script", [*STAGES, *OTHERS])
def test_help_comes_at_once_because_nothing_heavy_is_imported(script: str) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r}); sys.argv = [{script!r}, '--help']\n"
        "try:\n"
        f"    runpy.run_path({str(ROOT / script)!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        f"print('HEAVY', sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout
    assert "--workspace" in done.stdout


@pytest.mark.parametrize("script", [*STAGES, *OTHERS])
def test_the_readme_tells_of_every_script(script: str) -> None:
    assert f"`{script}`" in (ROOT / "README.md").read_text("utf-8")


def test_every_file_in_the_readmes_tree_is_there() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    tree = re.search(r"## What is where\n.*?```text\n(.*?)```", readme, re.DOTALL)
    assert tree
    folders: list[str] = []
    for line in tree[1].splitlines():
        name = line.split("  ")[0].strip() if line[:1] != " " else line.strip().split("  ")[0]
        depth = (len(line) - len(line.lstrip())) // 4
        folders = [*folders[:depth], name.rstrip("/")]
        assert (ROOT / "/".join(folders)).exists(), name


def test_every_constraint_is_a_name_and_a_version_only() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins
    for line in pins:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+", line), line
