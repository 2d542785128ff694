"""An audit that was killed locks nobody out, and one that is repeated does only what has changed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duel import settings
from duel.audit import workspace_audit
from duel.records import Answer, Candidate
from duel.stages import audit as audit_stage
from duel.workspace import Workspace
from tests.audit.test_audit_script import HISTORY
from tests.audit.test_leaks import COMMIT
from tests.conftest import ROOT, Finished

KILLED = """
import os, runpy, signal, sys
from duel.audit import workspace_audit

workspace_audit.FEW, workspace_audit.CHUNK = 1, 5
each_chunk = workspace_audit._each_chunk

def killed(*given):
    for result in each_chunk(*given):
        os.kill(os.getpid(), signal.SIGKILL)
        yield result

workspace_audit._each_chunk = killed
sys.argv = ["duel", "audit", *sys.argv[1:]]
runpy.run_module("duel", run_name="__main__")
"""


def filled(root: Path, answers: int) -> Workspace:
    workspace = Workspace(root)
    workspace.save(root / "chain.toml", b"[audit]\ndecontaminate = []\n")
    workspace.save(workspace.commit_path(COMMIT.instance_id), COMMIT)
    for number in range(1, answers + 1):
        words = " ".join(f"word{number}x{i}" for i in range(20))
        reply = f"I look for {words}.\n\n```bash\ngrep -rn word{number} shop\n```"
        answer = Answer(instance_id=COMMIT.instance_id, king="k", challenger=reply, messages=HISTORY)
        workspace.save(workspace.new_answer_path(f"prompts_{answers}_1_{number}", 0, 5000), answer)
    return workspace


def audits(workspace: Workspace) -> list[bytes]:
    return [path.read_bytes() for path in workspace.answer_paths()]


def test_after_a_kill_the_workers_are_gone_and_the_next_run_holds_the_workspace(
    tmp_path: Path, script: Callable[..., Finished]
) -> None:
    whole, cut = filled(tmp_path / "whole", 40), filled(tmp_path / "cut", 40)
    script("audit.py", "--workspace", whole.root, code=0)
    call = [sys.executable, "-c", KILLED, "--workspace", str(cut.root)]
    killed = subprocess.Popen(call, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    killed.communicate(timeout=60)  # the pipe closes when the last process that holds it has ended
    assert killed.returncode == -9
    script("audit.py", "--workspace", cut.root, code=0)
    assert audits(cut) == audits(whole)


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> Callable[[Workspace], tuple[Any, list[str]]]:
    """Audit a workspace; gives what was found, and the replies for which the checks were made."""
    checked: list[str] = []
    check = workspace_audit.check
    monkeypatch.setattr(
        workspace_audit, "check", lambda reply, messages: (checked.append(reply), check(reply, messages))[1]
    )

    def call(workspace: Workspace) -> tuple[Any, list[str]]:
        checked.clear()
        chosen = settings.load(workspace.root)
        return audit_stage.run(workspace, chosen, offline=True).found, list(checked)

    return call


def test_with_nothing_changed_nothing_is_checked_and_the_same_is_said(
    tmp_path: Path, audit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = filled(tmp_path, 6)
    first, checked = audit(workspace)
    assert len(checked) == 6
    monkeypatch.setattr(Workspace, "read", None)  # no record is opened
    assert audit(workspace) == (first, [])


def test_only_a_new_text_is_checked_again(tmp_path: Path, audit: Callable[..., Any]) -> None:
    workspace = filled(tmp_path, 6)
    audit(workspace)
    path = workspace.answer_paths()[2]
    answer = workspace.read(path, Answer)
    answer.choose(Candidate(id="challenger-2", side="challenger"), "Other.\n\n```bash\nls\n```")
    workspace.save(path, answer)
    assert audit(workspace)[1] == ["Other.\n\n```bash\nls\n```"]


@pytest.mark.parametrize("changed", ["setting", "list", "pull request"])
def test_what_the_findings_rest_on_is_looked_at(tmp_path: Path, audit: Callable[..., Any], changed: str) -> None:
    workspace = filled(tmp_path, 6)
    (workspace.root / "ids.txt").write_text("nobody__none-1\n")
    (workspace.root / "chain.toml").write_text("[audit]\ndecontaminate = ['ids.txt']\n")
    audit(workspace)
    if changed == "setting":
        (workspace.root / "chain.toml").write_text("[audit]\ndecontaminate = ['ids.txt']\nleak_max = 2.0\n")
    elif changed == "list":
        (workspace.root / "ids.txt").write_text(f"{COMMIT.instance_id}\n")
    else:
        other = COMMIT.model_copy(update={"description": "Another one, of another length."})
        workspace.save(workspace.commit_path(COMMIT.instance_id), other)
    found, checked = audit(workspace)
    assert len(checked) == 6
    assert found["contamination"]["contaminated"] == (6 if changed == "list" else 0)
