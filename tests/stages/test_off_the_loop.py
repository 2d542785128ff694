"""ch.py keeps its event loop free: names are counted before the first call, replies are audited beside it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from duel.audit.leaks import find_leaks
from duel.audit.rarity import Rarity
from duel.stages import challenger
from duel.workspace import Workspace
from tests.conftest import Finished
from tests.offline.watched import endpoint
from tests.stages.conftest import SETTINGS
from tests.stages.test_king import answers

CAREFUL = "THOUGHT: I read the parser.\n\n```bash\ncat src/app.py\n```"
ONE_AT_A_TIME = SETTINGS.replace("[endpoint]\n", "[endpoint]\nconcurrency = 1\n")


def on_the_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@pytest.fixture
def answered(script: Callable[..., Finished], fill: Callable[..., Workspace], stand_in: Any) -> Workspace:
    workspace = fill(3, settings=ONE_AT_A_TIME)
    script("king.py", "--workspace", workspace.root, code=0)
    return workspace


def test_names_are_counted_once_before_the_first_call(
    script: Callable[..., Finished], answered: Workspace, stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.reset()
    count = Rarity.of_workspace.__func__  # type: ignore[attr-defined]
    counted: list[tuple[int, bool]] = []

    def counting(cls: type[Rarity], workspace: Workspace) -> Rarity:
        counted.append((stand_in.stats()["requests"], on_the_loop()))
        return count(cls, workspace)  # type: ignore[no-any-return]

    monkeypatch.setattr(Rarity, "of_workspace", classmethod(counting))
    script("ch.py", "--workspace", answered.root, code=0)
    assert counted == [(0, False)]
    script("ch.py", "--workspace", answered.root, code=0)
    assert counted == [(0, False)]  # with nothing left to write, nothing is counted


def test_while_a_reply_is_audited_the_next_call_goes_out(
    script: Callable[..., Finished], answered: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit of the first reply ends only when the second request has arrived, and only one may be in flight."""
    arrived: list[object] = []
    second = threading.Event()

    def reply(body: Any) -> str:
        arrived.append(body)
        if len(arrived) == 2:
            second.set()
        return CAREFUL

    def waiting(*given: Any, **named: Any) -> Any:
        assert second.wait(20), "the event loop stood still"
        assert not on_the_loop()
        return find_leaks(*given, **named)

    monkeypatch.setattr(challenger, "find_leaks", waiting)
    with endpoint(reply=reply) as running:
        monkeypatch.setenv("CHUTES_BASE_URL", running.base_url)
        script("ch.py", "--workspace", answered.root, code=0)
    assert len(arrived) == 3
    assert {answer.challenger for answer in answers(answered).values()} == {CAREFUL}
