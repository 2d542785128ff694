"""How rare a name is: counted once, kept on disk, and always what counting anew would give."""

from __future__ import annotations

from pathlib import Path

import pytest

from duel.audit import rarity
from duel.audit.rarity import Rarity
from duel.records import Answer, Commit, Message
from duel.workspace import Workspace

WORDS = ["alpha_one", "beta_two", "gamma_three", "delta_four", "word_of_all"]


def fill(workspace: Workspace, start: int, end: int) -> None:
    for n in range(start, end):
        patch = f"+++ b/x.py\n@@ -1 +1 @@\n+{WORDS[n % 4]} word_of_all own_{n}"
        workspace.save(workspace.commit_path(f"acme__shop-{n}"), Commit(instance_id=f"acme__shop-{n}", patch=patch))
        for turn in range(2):
            messages = [Message(role="user", content=f"seen_{turn} shown_{n}")]
            answer = Answer(instance_id=f"acme__shop-{n}", king="k", messages=messages)
            workspace.save(workspace.new_answer_path(f"prompts_1_{n}_{turn}", n, 100), answer)


def anew(workspace: Workspace, tmp_path: Path) -> Rarity:
    """Counted with nothing kept."""
    (workspace.private / rarity.FILE).unlink(missing_ok=True)
    return Rarity.of_workspace(workspace)


@pytest.fixture(autouse=True)
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rarity, "HISTORIES", 6)


def test_a_growing_workspace_gives_the_counts_of_counting_anew(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for start, end in [(0, 5), (5, 6), (6, 20), (20, 20)]:
        fill(workspace, start, end)
        added = Rarity.of_workspace(workspace)
        assert added.elsewhere("word_of_all") == end - 1
        assert added.elsewhere("alpha_one") == (end + 3) // 4 - 1
        fresh = anew(workspace, tmp_path)
        assert added.records == fresh.records == end
        assert added.counts == fresh.counts


def test_what_is_counted_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    fill(workspace, 0, 8)
    first = Rarity.of_workspace(workspace)
    monkeypatch.setattr(Workspace, "read", lambda *_: pytest.fail("a file was read again"))
    again = Rarity.of_workspace(workspace)
    assert (again.records, again.counts) == (first.records, first.counts)


def test_a_changed_or_lost_file_counts_anew(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    fill(workspace, 0, 8)
    Rarity.of_workspace(workspace)
    workspace.save(workspace.commit_path("acme__shop-3"), Commit(instance_id="acme__shop-3", patch="nothing here"))
    assert Rarity.of_workspace(workspace).elsewhere("word_of_all") == 6
    workspace.commit_path("acme__shop-4").unlink()
    assert Rarity.of_workspace(workspace).elsewhere("word_of_all") == 5
    for path in workspace.answer_paths()[:9]:
        path.unlink()
    found = Rarity.of_workspace(workspace)
    assert found.counts == anew(workspace, tmp_path).counts


@pytest.mark.parametrize("damage", [b"", b"{}\n", b"no json", b"\x00" * 100])
def test_a_damaged_table_counts_anew(tmp_path: Path, damage: bytes) -> None:
    workspace = Workspace(tmp_path)
    fill(workspace, 0, 4)
    whole = Rarity.of_workspace(workspace)
    file = workspace.private / rarity.FILE
    kept = file.read_bytes()
    for content in (damage, kept[: len(kept) // 2], kept[:-30] + b"\x00" * 30):
        file.write_bytes(content)
        assert Rarity.of_workspace(workspace).counts == whole.counts


def test_a_damaged_answer_or_pull_request_stops_nothing(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    fill(workspace, 0, 4)
    workspace.answer_paths()[0].write_bytes(b"{")
    workspace.commit_path("acme__shop-1").write_bytes(b"{")
    assert Rarity.of_workspace(workspace).elsewhere("word_of_all") == 2
    assert Rarity.of_workspace(workspace).counts == anew(workspace, tmp_path).counts
