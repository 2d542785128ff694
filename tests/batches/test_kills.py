"""kill -9 at every point of a batch's way, and again: one batch, every request run once, every reply once."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duel import cli
from duel.calls.batches import batch_steps
from duel.calls.batches.batch_rows import BatchRows
from duel.workspace import Workspace
from tests.batches.conftest import replies
from tests.batches.shapes import Shapes
from tests.conftest import ROOT, Finished, ended, forked

Script = Callable[..., Finished]
Work = Callable[..., Workspace]
TURNS = 7  # more than are read at once, here five


def state(wanted: str) -> Callable[..., bool]:
    return lambda *_, **named: named.get("state") == wanted


def always(*_: Any, **__: Any) -> bool:
    return True


# Where the process is killed: before or after which call, on which arguments.
POINTS: dict[str, tuple[str, type, str, Callable[..., bool]]] = {
    "written": ("after", BatchRows, "add", always),
    "uploaded, unrecorded": ("before", BatchRows, "set", state("uploaded")),
    "uploaded": ("after", BatchRows, "set", state("uploaded")),
    "about to be created": ("after", BatchRows, "set", state("creating")),
    "created, unrecorded": ("before", BatchRows, "set", state("created")),
    "created": ("after", BatchRows, "set", state("created")),
    "running": ("after", BatchRows, "set", lambda *_, **named: named.get("status") == "in_progress"),
    "downloaded": ("before", batch_steps.Passage, "absorb", always),
    "half absorbed": ("after", BatchRows, "absorb", always),
    "absorbed": ("before", BatchRows, "close", always),
    "done": ("after", BatchRows, "close", always),
}


def king_killed_at(point: str, shape: str, root: Path) -> int | None:
    """Run king.py --batch in a process that is killed at this point; its exit code."""
    when, kind, name, which = POINTS[point]
    real = getattr(kind, name)

    def call(*arguments: Any, **named: Any) -> Any:
        if when == "before" and which(*arguments, **named):
            os.kill(os.getpid(), signal.SIGKILL)
        found = real(*arguments, **named)
        if which(*arguments, **named):
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    def work() -> None:
        batch_steps.AT_ONCE = 5
        setattr(kind, name, call)
        sys.exit(cli.call(["king", "--workspace", str(root), "--batch", shape]))

    return ended(forked(work))


@pytest.mark.parametrize("shape", ["openai", "openrouter", "anthropic"])
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_leaves_one_batch_and_every_reply_once(
    script: Script, work: Work, provider: Shapes, point: str, shape: str
) -> None:
    provider.looks = 3
    workspace = work(TURNS)
    killed = king_killed_at(point, shape, workspace.root)
    assert killed == -signal.SIGKILL or "uploaded, unrecorded" in point
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
    assert king_killed_at("about to be created", "anthropic", ours.root) == -signal.SIGKILL
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
    assert "batches that go on at the provider: 1; run the same command again" in said
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
    assert king_killed_at("created", "openai", workspace.root) == -signal.SIGKILL
    assert "no such batch" in script("batches", "--workspace", workspace.root, "--cancel", "x", code=2).err
    script("batches", "--workspace", workspace.root, "--cancel", "all", code=0)
    assert [batch.canceled for batch in provider.batches] == [True]
    script("king.py", "--workspace", workspace.root, "--batch", code=0)
    assert [batch.canceled for batch in provider.batches] == [True, False]
    assert len(workspace.answer_paths()) == 2


@pytest.mark.parametrize("point", ["uploaded", "created", "half absorbed"])
def test_a_batch_that_is_out_survives_the_salvage_of_a_damaged_ledger(
    script: Script, work: Work, provider: Shapes, point: str
) -> None:
    """What is under way stands in the ledger's file, too: without its rows it would be sent, and paid for, twice."""
    provider.looks = 1
    workspace = work(TURNS)
    assert king_killed_at(point, "openai", workspace.root) == -signal.SIGKILL
    lose_a_page(workspace.ledger, "replies_by_request")
    said = script("king.py", "--workspace", workspace.root, "--batch", code=0).err
    assert "the ledger of paid replies is damaged" in said and "1 batches that are out were carried over" in said
    assert [len(batch.requests) for batch in provider.batches] == [TURNS]
    assert sorted(provider.run.values()) == [1] * TURNS
    kept = replies(workspace)
    assert len(kept) == len({key for key, *_ in kept}) == TURNS == len(workspace.answer_paths())


def lose_a_page(path: Path, table: str) -> None:
    """Overwrite the first page of a table or index of a SQLite file."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page = database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
        size = database.execute("PRAGMA page_size").fetchone()[0]
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
