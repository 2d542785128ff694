"""A clean home for every test: no key, no proxy, no cache and no setting of the machine reaches it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

KEEP = {"PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "CI", "PYTEST_CURRENT_TEST", "SHOTS"}
ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def clean_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, an empty current folder, and only the few variables that a process needs."""
    home = tmp_path_factory.mktemp("home")
    for name in set(os.environ) - KEEP:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    here = home / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return home


@pytest.fixture
def shared() -> Path:
    """Real data that lies beside the checkout on some machines; tests that need it skip cleanly elsewhere."""
    if not SHARED.is_dir():
        pytest.skip("the real data is not on this machine")
    return SHARED


@dataclass(frozen=True)
class Finished:
    """A root script that has ended: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@pytest.fixture
def script(clean_home: Path) -> Callable[..., Finished]:
    """Run a root script as a user does: `script("king.py", "--workspace", folder)`."""

    def call(name: str, *arguments: object, code: int | None = None, timeout: float = 100, **env: str) -> Finished:
        done = subprocess.run(
            [sys.executable, str(ROOT / name), *map(str, arguments)],
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        if code is not None:
            assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return Finished(done.returncode, done.stdout, done.stderr)

    return call
