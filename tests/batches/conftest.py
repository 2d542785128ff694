"""A workspace with prompts, and a provider of batches that the environment points to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from duel.workspace import Workspace
from tests.batches.shapes import Shapes
from tests.offline.watched import endpoint
from tests.stages.conftest import SETTINGS, fill  # noqa: F401

BATCH = '[batch]\npoll_s = 0.01\n[prices]\n"*" = { input = 1.0, output = 2.0 }\n'


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shapes]:
    with endpoint() as chat, Shapes(chat.base_url) as running:
        monkeypatch.setenv("CHUTES_BASE_URL", running.base_url)
        monkeypatch.setenv("CHUTES_API_KEY", "cpk_test_key")
        yield running


@pytest.fixture
def work(fill: Callable[..., Workspace]) -> Callable[..., Workspace]:  # noqa: F811
    """A workspace with `count` prompts whose chain.toml looks at batches often."""

    def make(count: int = 6, more: str = "", folder: str = "work") -> Workspace:
        return fill(count, folder=folder, settings=SETTINGS + BATCH + more)

    return make


def replies(workspace: Workspace) -> list[tuple[str, float, str]]:
    """(key, cost, provider) of every reply in the ledger."""
    import sqlite3

    with sqlite3.connect(workspace.ledger) as database:
        rows = database.execute(
            "SELECT hex(digest) || '-' || attempt || '-' || occurrence, cost, provider FROM replies"
        )
        return rows.fetchall()


def path_of(workspace: Workspace, name: str) -> Path:
    return workspace.root / name


def live(provider: Shapes) -> int:
    return provider.asked.count(("POST", "/chat/completions"))
