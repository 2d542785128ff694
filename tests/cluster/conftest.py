"""A draw of the bundled sample, and the endpoint of the stages' tests."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from duel.offline.sample import folder
from duel.workspace import Workspace
from tests.conftest import Finished
from tests.stages.conftest import SETTINGS, stand_in

__all__ = ["stand_in"]

Script = Callable[..., Finished]
SAMPLE = f"""
[sample]
n = 60
max_turn = 30
per_instance = 2
dataset = "{folder()}/trajectories.parquet"
pulls = "{folder()}/pulls.parquet"
"""


@pytest.fixture
def drawn(tmp_path: Path, script: Script) -> Workspace:
    """A workspace with a draw of the bundled sample, and nothing asked yet."""
    workspace = Workspace(tmp_path / "drawn")
    workspace.save(workspace.root / "chain.toml", f"{SETTINGS}\n{SAMPLE}".encode())
    workspace.secret()
    script("prompt.py", "--workspace", workspace.root, code=0)
    return workspace


def copy(workspace: Workspace, name: str) -> Workspace:
    return Workspace(shutil.copytree(workspace.root, workspace.root.with_name(name)))
