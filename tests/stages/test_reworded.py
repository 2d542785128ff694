"""ch.py after a leak: the reply is asked again, the less leaking one stays, and its record says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from duel.workspace import Workspace
from tests.conftest import Finished
from tests.offline.watched import endpoint
from tests.stages.test_king import answers

# The pull request of `commit(1)` alone knows `case_1` and `splitlines()`; nothing in the history names either.
BLUNT = "THOUGHT: the fix is `lines = text.splitlines()  # case_1`, as case_1 of the PR says\n\n```bash\nls\n```"
CAREFUL = "THOUGHT: I read the parser.\n\n```bash\ncat src/app.py\n```"


def writer(first: str, second: str) -> Callable[[Any], str]:
    """Replies with `first`, and with `second` when it is asked again."""
    return lambda body: second if "stands nowhere in the conversation" in str(body["messages"]) else first


@pytest.mark.parametrize(
    ("first", "second", "kept", "reworded"),
    [
        (BLUNT, CAREFUL, CAREFUL, True),
        (BLUNT, BLUNT + " ", BLUNT, False),
        (CAREFUL, BLUNT, CAREFUL, False),
    ],
    ids=["the second leaks less", "the second leaks as much", "the first does not leak"],
)
def test_the_less_leaking_reply_stays_and_is_marked(
    script: Callable[..., Finished],
    fill: Callable[..., Workspace],
    monkeypatch: pytest.MonkeyPatch,
    first: str,
    second: str,
    kept: str,
    reworded: bool,
) -> None:
    workspace = fill(1)
    monkeypatch.setenv("CHUTES_API_KEY", "cpk_test")
    with endpoint(reply=writer(first, second)) as running:
        monkeypatch.setenv("CHUTES_BASE_URL", running.base_url)
        script("king.py", "--workspace", workspace.root, code=0)
        script("ch.py", "--workspace", workspace.root, code=0)
    [answer] = answers(workspace).values()
    found = answer.audit("challenger")
    assert answer.challenger.strip() == kept.strip()
    assert found is not None
    assert (found.leaking, found.reworded) == (kept == BLUNT, reworded)
