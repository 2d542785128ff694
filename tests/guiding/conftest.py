"""A small repository with tasks, and models that say what a test wants them to."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from duel import settings
from duel.records import Commit, Guided
from duel.settings import Settings
from duel.workspace import Workspace
from tests.execution.conftest import make_repository
from tests.offline.watched import StandIn, endpoint

SETTINGS = """
[execute]
backend = "bubblewrap"
repositories = "mirrors"
[generate]
format_retries = 1
[guide]
agent_model = "small/agent"
overseer_model = "large/overseer"
held_out = 0.0
max_steps = 6
verify = false
"""
SUBMIT = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
Says = Callable[[str], str]
"""What a model says to the last message of its request."""


def block(command: str, thought: str = "on") -> str:
    return f"THOUGHT: {thought}\n\n```bash\n{command}\n```"


def ruling(word: str, reason: str = "because", kind: str = "loop", turn: str = "") -> str:
    return json.dumps({"ruling": word, "kind": kind, "reason": reason}) + (f"\n{turn}" if turn else "")


def proposals(asked: str) -> list[str]:
    return re.findall(r"=== PROPOSAL (\w+) ===\n(.*?)\n=== END OF PROPOSAL \1 ===", asked, re.DOTALL)


@pytest.fixture(scope="session")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The mirrors, and the commit of the one repository there."""
    mirrors = tmp_path_factory.mktemp("mirrored")
    return mirrors, make_repository(mirrors, "owner/repo", {"a.txt": "one\ntwo\n", "b.txt": "x\n"}).commit


@pytest.fixture
def tasks(mirrored: tuple[Path, str], tmp_path: Path) -> Callable[..., Workspace]:
    """A workspace with `count` issues about one small repository."""

    def make(count: int = 1, more: str = "", folder: str = "work") -> Workspace:
        workspace = Workspace(tmp_path / folder)
        mirrors, newest = mirrored
        shutil.copytree(mirrors, workspace.root / "mirrors")
        for number in range(1, count + 1):
            commit = Commit(
                instance_id=f"owner__repo-{number}",
                repo="owner/repo",
                commit=newest,
                issue=f"Line {number} of `a.txt` is wrong.",
                license="MIT",
            )
            workspace.save(workspace.commit_path(commit.instance_id), commit)
        workspace.save(workspace.root / "chain.toml", (SETTINGS + more).encode())
        return workspace

    return make


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """An endpoint whose agent and overseer say what two functions return; `asked` holds what each was asked."""

    @contextmanager
    def serve(agent: Says, overseer: Says = lambda _: ruling("approve")) -> Iterator[StandIn]:
        def reply(body: Mapping[str, Any]) -> str:
            last = str(body["messages"][-1]["content"])
            says = overseer if body["model"] == "large/overseer" else agent
            return says(last)

        with endpoint(reply=reply) as running:
            monkeypatch.setenv("CHUTES_BASE_URL", running.base_url)
            monkeypatch.setenv("CHUTES_API_KEY", "cpk_test")
            yield running

    return serve


def chosen(workspace: Workspace) -> Settings:
    return settings.load(workspace.root)


def guided(workspace: Workspace) -> list[Guided]:
    return [record for _, record in workspace.guided([])]
