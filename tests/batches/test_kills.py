"""kill -9 at every point of a batch's way, and again: one batch, every request run once, every reply once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from duel.workspace import Workspace
from tests.batches.conftest import replies
from tests.batches.shapes import Shapes
from tests.conftest import ROOT, Finished

Script = Callable[..., Finished]
Work = Callable[..., Workspace]
TURNS = 12

# Runs king.py --batch and kills the process at the point that is named.
_RUN = """
import os, signal, sys
from duel import cli
from duel.calls.batches import batch_steps, batch_link, batch_rows
from duel.calls.batches.batch_rows import BatchRows
point, shape, folder = sys.argv[1:]
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def after(kind, name, which=lambda *a, **k: True, before=False):
    real = getattr(kind, name)
    def call(*arguments, **named):
        if before and which(*arguments, **named): die()
        found = real(*arguments, **named)
        if which(*arguments, **named): die()
        return found
    setattr(kind, name, call)
batch_steps.AT_ONCE = 5
state = lambda wanted: lambda *a, **k: k.get("state") == wanted
if point == "written": after(BatchRows, "add")
if point == "uploaded": after(BatchRows, "set", state("uploaded"))
if point == "uploaded, unrecorded": after(BatchRows, "set", state("uploaded"), before=True)
if point == "about to be created": after(BatchRows, "set", state("creating"))
if point == "created, unrecorded": after(BatchRows, "set", state("created"), before=True)
if point == "created": after(BatchRows, "set", state("created"))
if point == "running": after(BatchRows, "set", lambda *a, **k: k.get("status") == "in_progress")
if point == "downloaded": after(batch_steps.Passage, "absorb", before=True)
if point == "half absorbed": after(BatchRows, "absorb")
if point == "absorbed": after(BatchRows, "close", before=True)
if point == "done": after(BatchRows, "close")
sys.exit(cli.call(["king", "--workspace", folder, "--batch", shape]))
"""
POINTS = [
    "written",
    "uploaded, unrecorded",
    "uploaded",
    "about to be created",
    "created, unrecorded",
    "created",
    "running",
    "downloaded",
    "half absorbed",
    "absorbed",
    "done",
]


@pytest.mark.parametrize("shape", ["openai", "openrouter", "anthropic"])
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_leaves_one_batch_and_every_reply_once(
    script: Script, work: Work, provider: Shapes, point: str, shape: str
) -> None:
    provider.looks = 3
    workspace = work(TURNS)
    code = [sys.executable, "-c", _RUN, point, shape, str(workspace.root)]
    killed = subprocess.run(code, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL or "uploaded, unrecorded" in point, killed.stderr
    script("king.py", "--workspace", workspace.root, "--batch", shape, code=0)
    assert [len(batch.requests) for batch in provider.batches] == [TURNS]
    assert sorted(provider.run.values()) == [1] * TURNS
    kept = replies(workspace)
    assert len(kept) == len({key for key, *_ in kept}) == TURNS
    assert len(workspace.answer_paths()) == TURNS
    assert not list((workspace.private / "batches").iterdir())


def test_another_batch_of_the_same_size_is_not_taken_for_ones_own(
    script: Script, work: Work, provider: Shapes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without metadata a batch that was not recorded is known by its size; its results tell whose it is."""
    theirs, ours = work(TURNS, folder="theirs"), work(TURNS, folder="ours")
    code = [sys.executable, "-c", _RUN, "about to be created", "anthropic", str(ours.root)]
    subprocess.run(code, cwd=ROOT, env=dict(os.environ), capture_output=True, check=False)
    chain = theirs.root / "chain.toml"
    chain.write_text(chain.read_text().replace("[generate]", "[generate]\ntemperature = 0.5"))
    script("king.py", "--workspace", theirs.root, "--batch", "anthropic", code=0)
    script("king.py", "--workspace", ours.root, "--batch", "anthropic", code=0)
    assert [len(batch.requests) for batch in provider.batches] == [TURNS, TURNS]
    assert len(ours.answer_paths()) == len(replies(ours)) == TURNS


def test_ctrl_c_leaves_batches_running_and_says_so(work: Work, script: Script, provider: Shapes) -> None:
    provider.looks = 10**9
    workspace = work(3)
    command = [sys.executable, "king.py", "--workspace", str(workspace.root), "--batch"]
    stage = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stderr=subprocess.PIPE, text=True)
    while stage.poll() is None and not any(batch.looks for batch in provider.batches):
        wait(stage)
    stage.send_signal(signal.SIGINT)
    said = stage.communicate(timeout=60)[1]
    assert stage.returncode == 130
    assert "1 batches go on at the provider: run the same command again" in said
    assert "Traceback" not in said
    listed = script("batches", "--workspace", workspace.root, code=0).out
    assert "3 requests" in listed and "king" in listed and "at most $" in listed
    provider.looks = 1
    script("batches", "--workspace", workspace.root, "--wait", code=0)
    assert len(replies(workspace)) == 3
    script("king.py", "--workspace", workspace.root, "--batch", code=0)
    assert len(workspace.answer_paths()) == 3
    assert len(provider.batches) == 1


def wait(stage: subprocess.Popen[Any]) -> None:
    try:
        stage.wait(0.01)
    except subprocess.TimeoutExpired:
        return


def test_a_batch_that_is_called_off_ends_at_the_provider(script: Script, work: Work, provider: Shapes) -> None:
    workspace = work(2)
    code = [sys.executable, "-c", _RUN, "created", "openai", str(workspace.root)]
    subprocess.run(code, cwd=ROOT, env=dict(os.environ), capture_output=True, check=False)
    assert "no such batch" in script("batches", "--workspace", workspace.root, "--cancel", "x", code=2).err
    script("batches", "--workspace", workspace.root, "--cancel", "all", code=0)
    assert [batch.canceled for batch in provider.batches] == [True]
    script("king.py", "--workspace", workspace.root, "--batch", code=0)
    assert [batch.canceled for batch in provider.batches] == [True, False]
    assert len(workspace.answer_paths()) == 2
