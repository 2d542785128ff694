"""Files of a workspace: names, atomic saves, damage, locks."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duel.errors import ItemError, WorkspaceError
from duel.records import Answer, Message, Prompt, Score
from duel.workspace import NumberedFolders, Workspace, file_name, natural_order


def answer(instance_id: str = "a__b-1", king: str = "k") -> Answer:
    return Answer(instance_id=instance_id, king=king, messages=[Message(role="user", content="hi")])


def test_a_plain_id_is_its_own_file_name() -> None:
    assert file_name("AlienKevin__repo.js-12") == "AlienKevin__repo.js-12"


@pytest.mark.parametrize(
    "name", ["../../x", "..", ".", "", "/etc/passwd", "a/b", "a\\b", "a\0b", "x" * 300, "con", ".a"]
)
def test_a_hostile_id_never_leaves_its_folder(name: str, tmp_path: Path) -> None:
    path = Workspace(tmp_path).commit_path(name)
    assert path.resolve().parent == (tmp_path / "commit").resolve()
    assert len(path.name) < 200


@given(st.lists(st.text(max_size=320), min_size=2, max_size=2, unique=True))
def test_two_ids_never_share_a_file_name(names: list[str]) -> None:
    first, second = map(file_name, names)
    assert first != second
    assert not {"/", "\\", "\0"} & set(first)


def test_a_file_in_a_numbered_folder_is_found_by_who_asked_before_it_was_there(tmp_path: Path) -> None:
    folders = NumberedFolders(most=1)
    for name in ("0.json", "1.json"):
        assert not folders.place(tmp_path, name, 0).exists()
    for position in range(4):
        path = folders.place(tmp_path, f"{position}.json", position)
        folders.make(path.parent)
        path.write_bytes(b"{}")
    found = [folders.place(tmp_path, f"{position}.json", 0) for position in range(4)]
    assert found == [tmp_path / name for name in ("0.json", "1/1.json", "2/2.json", "3/3.json")]


def test_of_two_files_of_one_name_the_first_folders_counts(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "a.json").write_bytes(b"{}")
    assert NumberedFolders().place(tmp_path, "a.json", 0) == tmp_path / "1" / "a.json"


def test_a_workspace_whose_name_is_a_number_makes_no_folders_beside_itself(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "20261127")
    workspace.save(workspace.root / "chain.toml", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["20261127"]


def test_names_come_in_the_order_a_person_expects() -> None:
    names = ["prompts_9_10_2", "prompts_9_2_11", "prompts_9_2_2", "other"]
    assert sorted(names, key=natural_order) == ["other", "prompts_9_2_2", "prompts_9_2_11", "prompts_9_10_2"]
    assert sorted(["1²1", "1²0"], key=natural_order) == ["1²0", "1²1"]  # "²" is a digit to Python, and no number


def test_a_record_survives_a_round_trip_with_keys_nobody_knows(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    raw = orjson.loads(answer().dump()) | {"mine": {"a": [1]}}
    raw["messages"][0]["name"] = "x"
    workspace.save(tmp_path / "answer_0" / "a.json", orjson.dumps(raw))
    again = orjson.loads(workspace.read(tmp_path / "answer_0" / "a.json", Answer).dump())
    assert again == raw


@pytest.mark.parametrize(
    "content",
    [b"", b'{"instance_id": "a", "kin', b'{"instance_id": "\xff"}', b"[]", b"null", b'{"format": "duel-score/1"}'],
)
def test_a_damaged_answer_is_named_and_the_others_go_on(tmp_path: Path, content: bytes) -> None:
    workspace = Workspace(tmp_path)
    workspace.save(tmp_path / "answer_0" / "p_1.json", content)
    workspace.save(tmp_path / "answer_1" / "p_2.json", answer())
    damage: list[ItemError] = []
    assert [path.stem for path, _ in workspace.answers(damage)] == ["p_2"]
    assert "answer_0/p_1.json" in str(damage[0])


@pytest.mark.parametrize(
    "fields",
    [b'"turn": %s' % (b"9" * 30), b'"turn": "%s"' % (b"9" * 30), b'"more": %s' % (b"[" * 400 + b"]" * 400)],
)
def test_what_no_file_can_hold_is_a_damaged_record_and_no_crash(fields: bytes) -> None:
    with pytest.raises(ItemError, match="answer"):
        Answer.parse(answer().dump().replace(b'"turn": 0', fields)).dump()


def test_a_length_below_zero_is_no_length() -> None:
    with pytest.raises(ItemError, match=r"lengths\.king"):
        Score.parse({"file": "a", "instance_id": "a", "lengths": {"king": -1}})


def test_a_record_of_another_kind_is_not_taken_for_an_answer(tmp_path: Path) -> None:
    raw = orjson.loads(answer().dump()) | {"format": "duel-commit/1"}
    with pytest.raises(ItemError, match="its format says duel-commit/1"):
        Answer.parse(orjson.dumps(raw))


def test_prompts_are_read_file_by_file_and_damage_is_counted(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    prompt = orjson.loads(Prompt(instance_id="a", messages=[Message(role="user", content="x")]).dump())
    workspace.save(tmp_path / "prompt" / "prompts_3_1.json", orjson.dumps([prompt, {"instance_id": "b"}, prompt]))
    workspace.save(tmp_path / "prompt" / "prompts_3_2.json", b"[{")
    workspace.save(tmp_path / "prompt" / "notes.json", b"{}")
    damage: list[ItemError] = []
    assert [(stem, position) for stem, position, _ in workspace.prompts(damage)] == [
        ("prompts_3_1_1", 0),
        ("prompts_3_1_3", 2),
    ]
    assert len(damage) == 2
    assert workspace.count_prompts() == 200


def test_an_answer_is_found_in_any_answer_folder(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.save(tmp_path / "answer" / "x_1.json", answer())
    workspace.save(tmp_path / "answer_12" / "x_2.json", answer())
    workspace.save(tmp_path / "answer_2" / "x_2.json", answer(king="first"))
    assert workspace.find_answer("x_1") == tmp_path / "answer" / "x_1.json"
    assert [p.parent.name for p in workspace.answer_paths()] == ["answer", "answer_2"]
    assert workspace.new_answer_path("s", 5000, 5000).parent.name == "answer_1"


def test_a_reader_never_sees_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    path = tmp_path / "answer_0" / "a.json"
    workspace.save(path, answer(king="old"))

    def disk_full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", disk_full)
    with pytest.raises(WorkspaceError, match="the disk is full"):
        workspace.save(path, answer(king="new"))
    assert workspace.read(path, Answer).king == "old"
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_a_second_run_is_told_of_the_first_and_stops(tmp_path: Path) -> None:
    code = (
        "import sys; from duel.workspace import Workspace\n"
        f"with Workspace({str(tmp_path)!r}).lock('answer', 'king.py'):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    root = str(Path(__file__).resolve().parent.parent)
    first = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert first.stdout is not None
    assert first.stdin is not None
    assert first.stdout.readline() == "held\n"
    workspace = Workspace(tmp_path)
    with pytest.raises(WorkspaceError, match=f"king.py, process {first.pid}"), workspace.lock("answer", "ch.py"):
        pass
    first.communicate("")
    with workspace.lock("answer", "ch.py"):
        pass


@pytest.mark.parametrize("blocked", [".duel", ".duel/secret/inside"])
def test_a_secret_that_cannot_be_kept_is_told(tmp_path: Path, blocked: str) -> None:
    (tmp_path / blocked).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / blocked).write_text("in the way")
    with pytest.raises(WorkspaceError, match="cannot write"):
        Workspace(tmp_path).secret()


def test_the_secret_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    first = Workspace(tmp_path).secret()
    assert len(first) == 32
    assert Workspace(tmp_path).secret() == first
    assert (tmp_path / ".duel" / "secret").stat().st_mode & 0o077 == 0


def test_each_stage_replaces_its_own_dropped_items_only(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.save_dropped("king", [{"file": "a", "instance_id": "i", "reason": "cut"}])
    workspace.save_dropped("ch", [{"file": "b", "instance_id": "j", "reason": "leak"}])
    workspace.save_dropped("king", [])
    assert [(row["stage"], row["reason"]) for row in workspace.dropped()] == [("ch", "leak")]


def test_a_full_disk_is_told_by_what_is_saved_not_by_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with Workspace(tmp_path).lock("prompt", "prompt.py"):
        monkeypatch.setattr("duel.workspace.open", full, raising=False)
        with pytest.raises(WorkspaceError, match="the disk is full"):
            Workspace(tmp_path).save(tmp_path / "x.json", b"{}")


def test_a_process_that_was_forked_off_a_run_does_not_keep_its_lock(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from duel.workspace import Workspace\n"
        f"with Workspace({str(tmp_path)!r}).lock('answer', 'duel audit'):\n"
        "    child = os.fork()\n"
        "    if child == 0: os.close(1); os.close(2); time.sleep(30)\n"
        "    print(child, flush=True); os._exit(9)"
    )
    root = str(Path(__file__).resolve().parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
        check=False,
    )
    try:
        with Workspace(tmp_path).lock("answer", "ch.py"):
            pass
    finally:
        os.kill(int(done.stdout), signal.SIGKILL)


def test_without_locks_in_the_file_system_a_marker_of_a_dead_run_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    workspace = Workspace(tmp_path)
    with workspace.lock("answer", "king.py"):
        with (
            pytest.raises(WorkspaceError, match="another run is writing answer files"),
            workspace.lock("answer", "ch.py"),
        ):
            pass
        marker = (tmp_path / ".duel" / "answer.held").read_text()
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    ).stdout
    held = tmp_path / ".duel" / "answer.held"
    held.write_text(marker.replace(str(os.getpid()), dead.strip()))
    held.chmod(0o600)
    with workspace.lock("answer", "ch.py"):
        pass


def test_without_a_home_folder_a_workspace_is_where_it_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda _: (_ for _ in ()).throw(KeyError("no such user")))
    assert Workspace(tmp_path).resolve("data").parent == tmp_path
    assert Workspace("~/run").root.name == "run"


def test_folders_hold_so_many_files_and_all_of_them_are_found_whatever_the_number(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.folders.most = 150
    stems = [f"prompts_900_{k}_{order}" for k in (1, 2, 4) for order in (1, 150, 151, 200)]
    for stem in stems:
        workspace.save(workspace.score_path(stem), b"{}")
        workspace.save(workspace.kept_path("final", stem), b"{}")
        workspace.save(workspace.score_path(stem, "noise"), b"{}")
    assert workspace.score_path("prompts_900_1_150") == tmp_path / "score" / "prompts_900_1_150.json"
    assert workspace.score_path("prompts_900_1_151") == tmp_path / "score" / "1" / "prompts_900_1_151.json"
    again = Workspace(tmp_path)
    again.folders.most = 40
    for listed in (again.score_paths(), again.kept_paths("final"), again.score_paths("noise")):
        assert sorted(path.stem for path in listed) == sorted(stems)
    assert all(again.score_path(stem).exists() and again.kept_path("final", stem).exists() for stem in stems)
    for number in range(400):
        workspace.save(workspace.commit_path(f"o__r-{number}", number), b"{}")
    assert len(list((tmp_path / "commit").glob("*.json"))) == 150
    assert len(again.commit_paths()) == 400 and again.commit_path("o__r-399").exists()
