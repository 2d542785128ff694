"""The wheel in an environment of its own, outside the checkout; streams, interrupts and crashes of a real process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from tests.conftest import ROOT

BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what is in the checkout."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "duel", copy / "duel", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-c", BUILD, "dist"], cwd=copy, check=True, capture_output=True)
    (built,) = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the wheel and none of the packages it needs."""
    place = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    for source in (ROOT / "duel").rglob("*.py"):
        compiled, same = cache_from_source(source), packages / source.relative_to(ROOT)
        # What the checkout has compiled serves equal sources of equal times: 2 s of CPU.
        if Path(compiled).exists() and same.read_bytes() == source.read_bytes():
            shutil.copystat(source, same)
            same.parent.joinpath("__pycache__").mkdir(exist_ok=True)
            shutil.copy(compiled, cache_from_source(same))
    return place / "bin" / "python"


@pytest.fixture
def with_packages(python: Path) -> Iterator[Path]:
    """The same, with the packages of the environment that runs the tests."""
    (packages,) = python.parent.parent.glob("lib/python*/site-packages")
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib"))
    yield python
    (packages / "needed.pth").unlink()


def run(*call: object, code: int = 0, **options: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(list(map(str, call)), capture_output=True, text=True, check=False, **options)  # type: ignore
    assert done.returncode == code, done.stderr
    return done


def test_without_the_packages_a_command_says_so_once_and_stops(python: Path, tmp_path: Path) -> None:
    done = run(python, "-m", "duel", "run", "--offline", code=2, cwd=tmp_path)
    assert done.stderr.startswith("error: a package is missing: ")
    assert "hint: run `make setup`" in done.stderr
    assert "Traceback" not in done.stderr
    assert "king" in run(python, "-m", "duel", "--help", cwd=tmp_path).stdout


def test_the_wheel_runs_and_exports_anywhere(with_packages: Path, tmp_path: Path) -> None:
    (tmp_path / "chain.toml").write_text("[sample]\nn = 4\n[report]\nfinal_min = 50\ndefeat_min = 40\n")
    run(with_packages, "-m", "duel", "run", "--offline", cwd=tmp_path)
    assert (tmp_path / "report" / "index.html").exists()
    run(with_packages, "-m", "duel", "export", "--offline", "--format", "sft,dpo", cwd=tmp_path)
    assert (tmp_path / "export" / "sft" / "train.jsonl").stat().st_size


def test_the_wheel_holds_what_users_need_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"duel/py.typed", "duel/prompts/rubric.txt", "duel/offline/data/pulls.parquet"} <= set(names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"duel", "duel_curation"}
    assert (
        "duel = duel.cli:main" in zipfile.ZipFile(wheel).read("duel_curation-0.1.0.dist-info/entry_points.txt").decode()
    )


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "2>&- >&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_failure(tmp_path: Path, closed: str) -> None:
    command = f'"{sys.executable}" -m duel report --workspace "{tmp_path}" {closed}'
    run("bash", "-c", command, code=2, cwd=ROOT)  # there is no verdict
    run("bash", "-c", f'"{sys.executable}" -m duel --help {closed}', cwd=ROOT)


def test_a_terminal_that_takes_ascii_alone_breaks_nothing(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    place = tmp_path / "naïve – ✓"
    place.mkdir()
    done = run(sys.executable, "-m", "duel", "king", "--workspace", place, code=2, cwd=ROOT, env=env)
    assert "there are no prompts" in done.stderr and "hint: " in done.stderr
