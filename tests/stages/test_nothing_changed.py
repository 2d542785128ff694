"""A stage that has nothing to do opens no file; whatever somebody else has changed is noticed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from duel.judging import kept_case
from duel.records import Answer
from duel.standing import Snapshot
from duel.workspace import BUCKETS, Workspace
from tests.conftest import Finished
from tests.offline.watched import StandIn
from tests.stages.conftest import SETTINGS, prompt

Script = Callable[..., Finished]
Fill = Callable[..., Workspace]
STAGES = ("king.py", "ch.py", "audit.py", "validate.py", "report.py")


def answered(script: Script, fill: Fill, turns: int = 4) -> Workspace:
    """A workspace through all stages up to the report."""
    workspace = fill(turns)
    for stage in STAGES:
        script(stage, "--workspace", workspace.root, code=0)
    return workspace


def edit(path: Path, old: bytes, new: bytes) -> None:
    """Put `new` in place of `old`, as long as it, with the time that the file had before."""
    assert len(old) == len(new) and old in path.read_bytes()
    found = path.stat()
    path.write_bytes(path.read_bytes().replace(old, new))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert path.stat().st_size == found.st_size and path.stat().st_mtime_ns == found.st_mtime_ns


@pytest.fixture
def no_record_is_opened(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def forbid() -> None:
        for name in ("read", "prompts", "answers"):
            monkeypatch.setattr(Workspace, name, lambda *_: pytest.fail("a record was opened"))

    return forbid


def test_after_a_whole_run_no_stage_opens_a_record(
    script: Script,
    fill: Fill,
    stand_in: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    no_record_is_opened: Callable[[], None],
) -> None:
    monkeypatch.setattr(kept_case, "FEWEST", 1)
    workspace = answered(script, fill)
    verdict, asked = workspace.duel.read_bytes(), stand_in.stats()["requests"]
    no_record_is_opened()
    told = [script(stage, "--workspace", workspace.root, code=0).err for stage in STAGES]
    assert "4 finished before" in told[0] and "4 finished before" in told[1]
    assert "4 finished before" in told[3]
    assert told[4].endswith("index.html\n") and workspace.duel.read_bytes() == verdict
    assert stand_in.stats()["requests"] == asked


def test_a_king_edited_by_hand_with_the_same_size_and_time_is_noticed(
    script: Script, fill: Fill, stand_in: StandIn
) -> None:
    workspace = answered(script, fill)
    asked = stand_in.stats()["requests"]
    path = workspace.answer_paths()[0]
    plan = workspace.read(path, Answer).made("king").plan.encode()
    edit(path, plan, plan[:-1] + (b"0" if plan[-1:] != b"0" else b"1"))
    told = script("king.py", "--workspace", workspace.root, code=0).err
    assert "1 done, 0 failed, 3 finished before" in told
    assert stand_in.stats()["requests"] == asked


def test_a_score_edited_by_hand_with_the_same_size_and_time_changes_the_verdict(
    script: Script, fill: Fill, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_case, "FEWEST", 1)
    workspace = answered(script, fill)
    before = workspace.verdict()
    for path in workspace.score_paths():
        text = path.read_bytes()
        edit(path, text, text.replace(b'":0.0,', b'":1.0,').replace(b'": 0.0,', b'": 1.0,'))
    script("validate.py", "--workspace", workspace.root, code=0)
    assert workspace.verdict().margin != before.margin


def test_other_settings_and_another_prompt_are_noticed(script: Script, fill: Fill, stand_in: StandIn) -> None:
    workspace = fill(4)
    script("king.py", "--workspace", workspace.root, code=0)
    (workspace.root / "chain.toml").write_text(SETTINGS.replace("some/writer", "another/writer"))
    assert "4 had been made with other settings" in script("king.py", "--workspace", workspace.root, code=0).err
    path = workspace.prompt_files()[0]
    issue = prompt(2).messages[1].content.encode()
    edit(path, issue, issue.replace(b"loses", b"drops"))
    assert "1 done, 0 failed, 3 finished before" in script("king.py", "--workspace", workspace.root, code=0).err


def test_the_report_of_a_workspace_that_was_moved_names_its_new_place(
    script: Script, fill: Fill, stand_in: StandIn, tmp_path: Path
) -> None:
    moved = answered(script, fill).root.rename(tmp_path / "moved")
    told = script("report.py", "--workspace", moved, code=0).err
    assert f"{moved}/report/report.md" in told and f"{moved}/report/index.html" in told


@pytest.mark.parametrize("touched", ["a kept turn", "the page", "a row that a stage left out", "a threshold"])
def test_the_report_is_written_anew_once_anything_it_shows_or_wrote_has_changed(
    script: Script, fill: Fill, stand_in: StandIn, touched: str
) -> None:
    workspace = answered(script, fill)
    page = workspace.report / "index.html"
    before = page.stat().st_mtime_ns
    if touched == "a kept turn":
        kept = next(path for bucket in BUCKETS for path in workspace.kept_paths(bucket))
        text = kept.read_bytes()
        edit(kept, b"owner__repo", b"other__repo")
    elif touched == "the page":
        page.unlink()
    elif touched == "a row that a stage left out":
        workspace.save_dropped("king", [{"file": "prompts_4_1_9", "reason": "cut", "instance_id": "", "detail": ""}])
    else:
        (workspace.root / "chain.toml").write_text(SETTINGS + "[report]\nfinal_min = 1.0\ndefeat_min = 0.5\n")
    script("report.py", "--workspace", workspace.root, code=0)
    assert page.stat().st_mtime_ns > before
    if touched == "a kept turn":
        assert kept.read_bytes() == text
    assert script("report.py", "--workspace", workspace.root, "--json", code=0).out.startswith("{")


def test_what_is_kept_beside_the_files_can_be_damaged_or_deleted(script: Script, fill: Fill, stand_in: StandIn) -> None:
    workspace = answered(script, fill)
    kept = workspace.private / "standing.json"
    for text in (b"", b"[1]", b'{"king": 3, "challenger": {"said": []}}'):
        kept.write_bytes(text)
        for stage in STAGES[:2]:
            assert "4 finished before" in script(stage, "--workspace", workspace.root, code=0).err
    kept.unlink()
    assert "4 finished before" in script("king.py", "--workspace", workspace.root, code=0).err


def test_a_sum_moves_with_ones_own_saves_and_with_no_other(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    paths = [workspace.new_answer_path(f"prompts_2_1_{number}", 0, 5000) for number in (1, 2)]
    for path in paths:
        workspace.save(path, b"{}")
    before = Snapshot.take(workspace, "answer")
    workspace.save(paths[0], b'{"a": 1}')
    workspace.save(workspace.new_answer_path("prompts_2_1_3", 5000, 5000), b"{}")
    workspace.save(workspace.report / "page.json", b"{}")
    assert before.now() == Snapshot.take(workspace, "answer").before != before.before
    workspace.saves.let_the_clock_move()
    paths[1].write_bytes(b"[]")
    assert before.now() != Snapshot.take(workspace, "answer").before


def test_a_link_that_leads_nowhere_hides_no_other_file(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    (tmp_path / "answer_0").mkdir()
    (tmp_path / "answer_0" / "a.json").symlink_to(tmp_path / "nowhere")
    before = Snapshot.take(workspace, "answer")
    workspace.save(tmp_path / "answer_0" / "b.json", b"{}")
    assert Snapshot.take(workspace, "answer").before != before.before
