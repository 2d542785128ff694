"""A draw of the bundled sample, and the endpoint of the stages' tests."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from duel.cluster import shards
from duel.offline import SAMPLE
from duel.workspace import Workspace
from tests.conftest import Finished
from tests.offline.watched import StandIn
from tests.stages.conftest import SETTINGS, stand_in

__all__ = ["stand_in"]

Script = Callable[..., Finished]
SAMPLE = f"""
[sample]
n = 14
max_turn = 30
per_instance = 2
dataset = "{SAMPLE}/trajectories.parquet"
pulls = "{SAMPLE}/pulls.parquet"
"""


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for workspaces that several tests start from; the first that needs one makes it."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def drawn(tmp_path: Path, kept: Path, script: Script) -> Workspace:
    """A workspace with a draw of the bundled sample, and nothing asked yet."""
    first = Workspace(kept / "drawn")
    if not first.root.exists():
        first.save(first.root / "chain.toml", f"{SETTINGS}\n{SAMPLE}".encode())
        first.secret()
        script("prompt.py", "--workspace", first.root, code=0)
    return Workspace(shutil.copytree(first.root, tmp_path / "drawn"))


@pytest.fixture
def in_two(drawn: Workspace, tmp_path: Path, kept: Path, script: Script, stand_in: StandIn) -> Workspace:
    """The same in two shards that have run, and are not merged."""
    first = kept / "in_two"
    if not first.exists():
        run_shards(script, drawn, 2)
        shutil.copytree(drawn.root, first)
    return Workspace(shutil.copytree(first, drawn.root, dirs_exist_ok=True))


def run_shards(script: Script, workspace: Workspace, number: int) -> None:
    script("shard", "split", number, "--workspace", workspace.root, code=0)
    for shard in shards.there(workspace):
        for stage in () if shard.decided else ("king.py", "ch.py", "audit", "validate.py"):
            script(stage, "--workspace", shard.workspace.root)


def copy(workspace: Workspace, name: str) -> Workspace:
    return Workspace(shutil.copytree(workspace.root, workspace.root.with_name(name)))
