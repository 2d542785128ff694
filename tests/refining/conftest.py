"""A judged workspace in a world with a known truth."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from duel.records import Answer, Kept
from duel.workspace import Workspace
from tests.conftest import Finished
from tests.offline.watched import StandIn, endpoint
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


@dataclass(frozen=True)
class Judged:
    """A workspace up to its report, and how often its judges were asked for what."""

    root: Path
    asked: Counter[str]


@pytest.fixture(scope="session")
def judged() -> dict[object, Judged]:
    """Those that were made: what comes before the first rewrite is the same in most worlds."""
    return {}


@pytest.fixture
def story(
    fill: Callable[..., Workspace],
    script: Callable[..., Finished],
    judged: dict[object, Judged],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
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
        key = (count, before, chain, world.flattery if world.words == "look" else 0.0)
        if key not in judged:
            made = Story(fill(count, folder=f"work-{len(running)}", settings=chain), world, stand_in, script)
            made.run(*before)
            kept = tmp_path_factory.mktemp("judged") / "workspace"
            judged[key] = Judged(Path(shutil.copytree(made.workspace.root, kept)), world.asked.copy())
        root = tmp_path / f"story-{len(running)}"
        shutil.copytree(judged[key].root, root)
        (root / "chain.toml").write_text(chain + more)
        world.asked = judged[key].asked.copy()
        return Story(Workspace(root), world, stand_in, script)

    yield make
    for serving in running:
        serving.__exit__(None, None, None)
