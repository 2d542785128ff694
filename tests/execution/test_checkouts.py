"""Where checkouts come from: nothing that a repository brings is run, and nothing after the base commit is in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from duel.execution.checkouts import Sources, order
from duel.execution.executor import ExecutionError, Start
from tests.execution.conftest import git, make_repository


@pytest.fixture
def sources(mirrors: Path, place: Path) -> Sources:
    return Sources(place / "cache", str(mirrors), offline=True)


def test_a_checkout_is_one_commit_deep_and_holds_nothing_that_came_later(
    mirrors: Path, place: Path, sources: Sources
) -> None:
    start = make_repository(mirrors, "some/one", {"a": "first\n"})
    (mirrors / "some/one/a").write_text("second\n")
    git(mirrors / "some/one", "commit", "-qam", "Base")
    base = git(mirrors / "some/one", "rev-parse", "HEAD").strip()
    (mirrors / "some/one/a").write_text("the fix\n")
    git(mirrors / "some/one", "commit", "-qam", "The fix")
    git(mirrors / "some/one", "tag", "v2")
    sources.lay_out(Start(start.repository, base), place / "out")
    assert (place / "out/a").read_text() == "second\n"
    assert git(place / "out", "log", "--all", "--oneline").count("\n") == 1
    assert git(place / "out", "tag") == ""
    assert git(place / "out", "cat-file", "--batch-all-objects", "--batch-check").count("blob") == 1
    assert git(place / "out", "remote", "-v").startswith("origin\thttps://github.com/some/one.git")
    files = [path for path in (place / "out/.git").rglob("*") if path.is_file()]
    assert not any(str(mirrors).encode() in path.read_bytes() for path in files)


def test_the_tests_of_the_pull_request_lie_on_top_as_a_change(mirrors: Path, place: Path, sources: Sources) -> None:
    start = make_repository(mirrors, "some/one", {"t.py": "a\nb\nc\n"})
    good = "diff --git a/t.py b/t.py\n--- a/t.py\n+++ b/t.py\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"
    sources.lay_out(Start(start.repository, start.commit, good), place / "good")
    assert git(place / "good", "status", "--short") == " M t.py\n"
    loose = good.replace(" a\n", " A\n").replace("@@ -1,3 +1,3", "@@ -2,3 +2,3")
    sources.lay_out(Start(start.repository, start.commit, loose), place / "loose")
    sources.lay_out(Start(start.repository, start.commit, "no patch at all"), place / "none")
    assert (place / "none/t.py").read_text() == "a\nb\nc\n"


def test_a_patch_cannot_write_outside_or_start_a_program(mirrors: Path, place: Path, sources: Sources) -> None:
    (place / "victim").mkdir()
    start = make_repository(mirrors, "some/one", {"a": "a\n", "out": f"-> {place}/victim"})
    new = "--- /dev/null\n+++ b/{}\n@@ -0,0 +1 @@\n+written\n"
    script = f"--- a/a\n+++ b/a\n1s/a/b/\n!touch {place}/victim/started\nw\nq\n"
    ed = f"diff --git a/a b/a\n0a\n!touch {place}/victim/started\n.\nw\nq\n"
    for number, patch in enumerate([new.format("out/file"), new.format("../victim/file"), script, ed]):
        sources.lay_out(Start(start.repository, start.commit, patch), place / f"out-{number}")
    assert list((place / "victim").iterdir()) == []


def test_hooks_and_configuration_of_a_repository_do_nothing(mirrors: Path, place: Path, sources: Sources) -> None:
    started = place / "started"
    start = make_repository(mirrors, "some/one", {"a": "a\n", ".gitattributes": "* filter=evil diff=evil\n"})
    mirror = mirrors / "some/one"
    for hook in ("post-checkout", "post-merge", "reference-transaction", "post-index-change", "pre-auto-gc"):
        path = mirror / ".git/hooks" / hook
        path.write_text(f"#!/bin/sh\ntouch {started}\n")
        path.chmod(0o755)
    program = place / "program"
    program.write_text(f"#!/bin/sh\ntouch {started}\ncat\n")
    program.chmod(0o755)
    for key in (
        "core.fsmonitor",
        "filter.evil.smudge",
        "uploadpack.packObjectsHook",
        "core.sshCommand",
        "diff.external",
    ):
        git(mirror, "config", key, str(program))
    sources.lay_out(start, place / "out")
    assert (place / "out/a").read_text() == "a\n"
    assert not started.exists()


def test_an_address_is_fetched_one_commit_deep_once(mirrors: Path, place: Path) -> None:
    start = make_repository(mirrors, "some/one", {"a": "a\n"})
    sources = Sources(place / "cache", f"file://{mirrors}/{{repo}}")
    sources.lay_out(start, place / "out")
    assert git(place / "cache/some__one.git", "rev-list", "--all", "--count").strip() == "1"
    (mirrors / "some").rename(mirrors / "gone")
    sources.lay_out(start, place / "again")
    assert (place / "again/a").read_text() == "a\n"
    with pytest.raises(ExecutionError) as raised:
        sources.lay_out(Start("some/two", "a" * 40), place / "two")
    assert raised.value.reason == "no-repository"


def test_entries_are_listed_oldest_first_where_the_file_system_allows(tmp_path: Path) -> None:
    folder = Path("/dev/shm") / f"duel-order-{os.getpid()}"
    if not os.access(folder.parent, os.W_OK):
        folder = tmp_path / "order"
    folder.mkdir()
    try:
        for name in ("z", "a", "m"):
            (folder / name).touch()
        order(folder)
        if folder.parent == Path("/dev/shm"):
            assert [path.name for path in folder.iterdir()] == ["z", "a", "m"]
        assert sorted(path.name for path in folder.iterdir()) == ["a", "m", "z"]
    finally:
        for name in ("z", "a", "m"):
            (folder / name).unlink()
        folder.rmdir()


def test_a_bundled_repository_has_its_history_up_to_the_base_commit_only(tmp_path: Path) -> None:
    sources = Sources(tmp_path / "cache", offline=True)
    start = Start("lowtide/bitjar", "7ee6dd0f0d284cc92e6832631d7c863179d476a6")
    sources.lay_out(start, tmp_path / "out")
    log = git(tmp_path / "out", "log", "--all", "--format=%s")
    assert log.splitlines()[0] == "Make enough room for long additions (#6)"
    assert git(tmp_path / "out", "status", "--short", "--branch") == "## main\n"
    assert git(tmp_path / "out", "rev-list", "--all", "--count") == "4\n"
