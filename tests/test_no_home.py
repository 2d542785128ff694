"""Containers may have no home folder at all: what stands on one is done without, or told plainly."""

from __future__ import annotations

import pwd
import subprocess
import time
from pathlib import Path

import pytest

from duel import environment, settings
from duel.audit.contamination import Benchmarks
from duel.conversation import record_files
from duel.conversation.model import AgentCall, AgentReply, Session
from duel.errors import DuelError
from duel.sources.mining import own_commits
from duel.stages import mine
from duel.workspace import Workspace


@pytest.fixture(autouse=True)
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user is in no file of accounts."""

    def nobody(_number: int) -> None:
        raise KeyError("no such account")

    for name in ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(RuntimeError):
        Path.home()


def test_a_tilde_stays_a_tilde() -> None:
    assert environment.expanded("~/runs") == Path("~/runs")


def test_lists_of_benchmarks_do_without_a_cache_at_home(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    lists = Benchmarks.load(settings.Settings(), workspace)
    assert lists.unchecked and not lists.checked


def test_files_named_by_a_tilde_are_not_found(tmp_path: Path) -> None:
    assert record_files.find("~/runs", [tmp_path]) == {}


@pytest.mark.parametrize("place", [[], ["~/.claude"]])
def test_mine_finds_nothing_and_says_so(tmp_path: Path, place: list[str]) -> None:
    with pytest.raises(DuelError):
        mine.run(Workspace(tmp_path), place=place)


def test_the_commit_that_kept_a_sessions_work_is_found(tmp_path: Path) -> None:
    git = ("git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org")
    for step in (["init", "-q"], ["commit", "-qm", "first", "--allow-empty"]):
        subprocess.run([*git, *step], check=True)
    (tmp_path / "a.py").write_text("x = 1\n")
    for step in (["add", "a.py"], ["commit", "-qm", "second"]):
        subprocess.run([*git, *step], check=True)
    calls = [AgentCall("c", "Write", {"file_path": path}, result="ok") for path in ("~/elsewhere.py", "a.py")]
    session = Session("s", "s", [AgentReply("", calls)], folder=str(tmp_path), started=0.0, ended=time.time())
    place = own_commits.LocalRepository(tmp_path, "local/x")
    found = own_commits.following(session, place)
    assert found is not None and found.message == "second"
