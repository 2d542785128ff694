"""The engine: stages that end with their worker, and, where Ray is installed, shards on a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from duel.cluster import shards
from duel.workspace import Workspace
from tests.cluster.conftest import copy
from tests.conftest import ROOT, Finished
from tests.offline.watched import StandIn, endpoint

Script = Callable[..., Finished]


def test_without_ray_the_command_says_what_to_install(
    drawn: Workspace,
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    told = script("cluster", "run", "--workspace", drawn.root, code=2).err
    assert "the engine is not installed" in told and "xargs" in told
    assert not (drawn.root / "shards").exists()
    lost = script("cluster", "run", "--share", "nowhere.json", "--workspace", drawn.root, code=2).err
    assert "the share is missing" in lost and "nowhere.json" in lost
    assert "at least 0" in script("cluster", "run", "--budget", "-1", "--workspace", drawn.root, code=2).err


@pytest.mark.parametrize("words", [[], ["--address", "auto"]])
def test_a_cluster_of_ones_own_is_started_unless_another_ones_address_is_given(
    drawn: Workspace, script: Script, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    asked: list[object] = []

    def init(*, address: object, **_: object) -> None:
        asked.append(address)
        raise ConnectionError("nobody is there")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    told = script("cluster", "run", *words, "--workspace", drawn.root, code=2).err
    assert "cannot join the cluster" in told and asked == [words[-1] if words else "local"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_a_stage_ends_with_the_worker_that_started_it_and_frees_its_lock(
    drawn: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with endpoint(latency_s=0.2) as slow:
        monkeypatch.setenv("CHUTES_BASE_URL", slow.base_url)
        monkeypatch.setenv("CHUTES_API_KEY", "k")
        stage = (
            f"[{sys.executable!r}, '-m', 'duel.cluster.leash', str(os.getpid()), 'king', '--workspace', '{drawn.root}']"
        )
        worker = subprocess.Popen([sys.executable, "-c", f"import os, subprocess; subprocess.run({stage})"], cwd=ROOT)
        wait_until(lambda: slow.stats()["requests"] > 0)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        wait_until(lambda: is_free(drawn))
        stats = slow.stats()
    assert len(drawn.answer_paths()) == stats["unique_ok"] == stats["requests"]


def is_free(workspace: Workspace) -> bool:
    from duel.errors import WorkspaceError

    try:
        with workspace.lock("answer", "a test"):
            return True
    except WorkspaceError:
        return False


def wait_until(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        os.sched_yield()


# -- with Ray ------------------------------------------------------------------------------------------------------


@pytest.fixture
def engine(program: Script, tmp_path: Path) -> Iterator[Script]:
    """`duel cluster run` on a cluster of its own."""
    pytest.importorskip("ray", reason="needs the extra `cluster`")

    def run(workspace: Workspace, *words: object, code: int) -> Finished:
        return program("cluster", "run", "--workspace", workspace.root, *words, code=code, timeout=500)

    yield run


def test_shards_on_ray_give_the_verdict_of_one_workspace_and_run_again_for_nothing(
    drawn: Workspace,
    script: Script,
    engine: Script,
    stand_in: StandIn,
) -> None:
    whole = copy(drawn, "whole")
    for stage in ("king.py", "ch.py", "audit", "validate.py"):
        script(stage, "--workspace", whole.root, code=0)
    before = stand_in.stats()["requests"]
    script("shard", "split", 2, "--workspace", drawn.root, code=0)
    told = engine(drawn, "--workers", 2, code=0).err
    assert told.count("validate  exit 0") == len([part for part in shards.there(drawn) if part.prompts])
    assert drawn.duel.read_bytes() == whole.duel.read_bytes()
    asked = stand_in.stats()["requests"]
    assert asked == 2 * before
    engine(drawn, "--workers", 2, code=0)
    assert stand_in.stats()["requests"] == asked


def test_a_budget_is_one_for_all_shards(drawn: Workspace, script: Script, engine: Script, stand_in: StandIn) -> None:
    settings = drawn.root / "chain.toml"
    prices = "\n".join(f'"{name}" = {{ input = 1.0, output = 1.0 }}' for name in ("some/writer", "some/judge-a"))
    settings.write_text(f"{settings.read_text()}\n[prices]\n{prices}\n")
    script("shard", "split", 2, "--workspace", drawn.root, code=0)
    engine(drawn, "--workers", 2, "--budget", 0.02, code=3)
    parts = shards.there(drawn)
    assert 0 < sum(part.spent() for part in parts) <= 0.02
    assert sum(len(part.workspace.answer_paths()) for part in parts) < sum(part.prompts for part in parts)


def test_calls_at_a_time_and_dollars_are_shared_by_all_shards(
    drawn: Workspace,
    script: Script,
    engine: Script,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings, share = drawn.root / "chain.toml", drawn.root / "share.json"
    settings.write_text(f'{settings.read_text()}\n[prices]\n"*" = {{ input = 1.0, output = 1.0 }}\n')
    share.write_text('{"calls": 3, "dollars": 1000}')
    with endpoint(latency_s=0.05) as slow:
        monkeypatch.setenv("CHUTES_BASE_URL", slow.base_url)
        monkeypatch.setenv("CHUTES_API_KEY", "k")
        script("shard", "split", 2, "--workspace", drawn.root, code=0)
        engine(drawn, "--workers", 2, "--share", share, code=0)
        assert slow.stats()["max_inflight"] <= 3
    assert all(shard.decided for shard in shards.there(drawn)) and drawn.duel.exists()


def test_a_mistake_in_a_shard_is_shown_and_nothing_is_merged(
    drawn: Workspace,
    script: Script,
    engine: Script,
    stand_in: StandIn,
) -> None:
    script("shard", "split", 2, "--workspace", drawn.root, code=0)
    (drawn.root / "shards" / "0000" / "chain.toml").write_text("[judge]\nquorums = 2\n")
    told = engine(drawn, "--workers", 2, code=2).err
    assert "quorum" in told and "cluster.log" in told
    assert not drawn.duel.exists()
