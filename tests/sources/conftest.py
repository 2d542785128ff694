"""prompt.py as a user runs it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Finished, run_command
from tests.sources.tables import CLEAN, dataset, pull, write_pulls


@pytest.fixture
def sampler() -> Callable[..., Finished]:
    """Run prompt.py: `sampler("--workspace", folder, code=0)`."""
    return partial(run_command, "prompt.py")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A workspace with `runs/` (three files, a straddling pull request between neighbors) and `pulls.parquet`."""
    (tmp_path / "chain.toml").write_text(f'[sample]\ndataset = "runs"\npulls = "pulls.parquet"\nn = 6\n{CLEAN}')
    dataset(tmp_path / "runs", files=3)
    write_pulls(tmp_path / "pulls.parquet", [pull(f"owner__repo{k % 3}-{n}") for n in range(9) for k in range(3)])
    return tmp_path
