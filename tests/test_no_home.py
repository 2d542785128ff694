"""Containers may have no home folder at all: what stands on one is done without, or told plainly."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from duel import environment, settings
from duel.audit.contamination import Benchmarks
from duel.conversation import record_files
from duel.errors import DuelError
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
