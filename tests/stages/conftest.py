"""A workspace with prompts and pull requests, and an endpoint that answers as the real ones do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from duel.records import ChangedFile, Commit, Message, Prompt, Source
from duel.workspace import Workspace
from tests.offline.watched import StandIn, endpoint

SYSTEM = "Reply with a THOUGHT and exactly one bash block.\n\n```bash\n<command>\n```"
MODELS = """
[generate]
model = "some/writer"
[judge]
models = ["some/judge-a", "other/judge-b", "third/judge-c"]
thinking_models = []
[audit]
decontaminate = []
"""
"""A writer and a panel; the tests of other rooms and bench/scale.py add to it."""
SETTINGS = f"""
[endpoint]
retry_initial_backoff_s = 0.01
max_429_wait_s = 0.05
{MODELS}"""


def prompt(number: int, *, task: str = "", observation: str = "src/app.py  src/util.py  README.md") -> Prompt:
    """One prompt of its own pull request."""
    return Prompt(
        instance_id=f"owner__repo-{number}",
        repo=f"owner/repo{number % 3}",
        messages=[
            Message(role="system", content=SYSTEM),
            Message(role="user", content=task or f"Fix issue {number}: the parser loses the last line of a file."),
            Message(role="assistant", content="THOUGHT: look around\n\n```bash\nls\n```"),
            Message(role="user", content=f"Observation: {observation}"),
        ],
        assistant="THOUGHT: read it\n\n```bash\ncat src/app.py\n```",
        turn=2,
        source=Source(dataset="made", file="train-0.parquet", row=number),
    )


def commit(number: int) -> Commit:
    """The pull request of `prompt(number)`."""
    return Commit(
        instance_id=f"owner__repo-{number}",
        repo=f"owner/repo{number % 3}",
        pull_number=number,
        commit=f"{number:040x}",
        issue="The parser loses the last line of a file.",
        description=f"Keep the last line (case {number}).",
        files=[ChangedFile(path="src/app.py", additions=1, deletions=1)],
        patch=(
            "diff --git a/src/app.py b/src/app.py\n--- a/src/app.py\n+++ b/src/app.py\n@@ -1,2 +1,2 @@\n"
            f"-lines = text.split('\\n')[:-1]\n+lines = text.splitlines()  # case_{number}\n"
        ),
        license="MIT",
    )


@pytest.fixture
def fill(tmp_path: Path) -> Callable[..., Workspace]:
    """Make a workspace with `count` prompts and their pull requests."""

    def make(count: int = 6, *, folder: str = "work", settings: str = SETTINGS) -> Workspace:
        workspace = Workspace(tmp_path / folder)
        rows = [orjson.loads(prompt(number).dump()) for number in range(1, count + 1)]
        for k, start in enumerate(range(0, count, 200), start=1):
            path = workspace.root / "prompt" / f"prompts_{count}_{k}.json"
            workspace.save(path, orjson.dumps(rows[start : start + 200]))
        for number in range(1, count + 1):
            workspace.save(workspace.commit_path(f"owner__repo-{number}"), commit(number))
        workspace.save(workspace.root / "chain.toml", settings.encode())
        return workspace

    return make


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """An endpoint on loopback that the environment points to."""
    with endpoint() as running:
        monkeypatch.setenv("CHUTES_BASE_URL", running.base_url)
        monkeypatch.setenv("CHUTES_API_KEY", "cpk_test")
        yield running
