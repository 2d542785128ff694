"""A judged workspace in a world with a known truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from duel.offline import endpoint
from duel.offline.loopback import StandIn
from duel.records import Answer, Kept
from duel.workspace import Workspace
from tests.conftest import Finished
from tests.refining.world import SETTINGS, World
from tests.stages.conftest import fill

__all__ = ["fill"]
BEFORE = ("king.py", "ch.py", "audit", "validate.py", "report.py")


@dataclass
class Story:
    """A workspace, its world, and the commands that a user calls."""

    workspace: Workspace
    world: World
    stand_in: StandIn
    call: Callable[..., Finished] = field(repr=False)

    def run(self, *names: str, code: int = 0) -> None:
        for name in names:
            self.call(name, "--workspace", self.workspace.root, code=code)

    def report(self) -> list[dict[str, Any]]:
        """What the report says of each round."""
        done = self.call("report.py", "--json", "--workspace", self.workspace.root, code=0)
        return list(orjson.loads(done.out)["refining"])

    def refine(self, rounds: int = 1) -> list[dict[str, Any]]:
        for _ in range(rounds):
            self.run("refine", "validate.py")
        return self.report()

    def answers(self) -> dict[str, Answer]:
        return {path.stem: answer for path, answer in self.workspace.answers([])}

    def final(self) -> dict[str, Kept]:
        paths = self.workspace.kept_paths("final")
        return {path.stem: self.workspace.read(path, Kept) for path in paths}

    @property
    def rewritten(self) -> dict[str, Answer]:
        return {stem: answer for stem, answer in self.answers().items() if answer.rewrites()}


@pytest.fixture
def story(
    fill: Callable[..., Workspace], script: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Story]]:
    """Make a workspace of `count` turns, judged up to the report; further settings go behind those of the world."""
    running = []

    def make(
        world: World, count: int = 60, more: str = "", before: tuple[str, ...] = BEFORE, chain: str = SETTINGS
    ) -> Story:
        serving = endpoint(reply=world.reply)
        stand_in = serving.__enter__()
        running.append(serving)
        monkeypatch.setenv("CHUTES_BASE_URL", stand_in.base_url)
        monkeypatch.setenv("CHUTES_API_KEY", "cpk_test")
        made = Story(fill(count, folder=f"work-{len(running)}", settings=chain + more), world, stand_in, script)
        made.run(*before)
        return made

    yield make
    for serving in running:
        serving.__exit__(None, None, None)
