"""ch.py: challengers with the pull request in hand, bound to act as if it were not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from duel import candidates, fence
from duel.records import Answer, Message
from duel.workspace import Workspace
from tests.conftest import Finished
from tests.offline.watched import StandIn
from tests.stages.conftest import SETTINGS, commit, prompt
from tests.stages.test_king import answers

Script = Callable[..., Finished]
Fill = Callable[..., Workspace]


@pytest.fixture
def answered(script: Script, fill: Fill, stand_in: StandIn) -> Workspace:
    """A workspace whose kings are written."""
    workspace = fill(4)
    script("king.py", "--workspace", workspace.root, code=0)
    return workspace


def test_every_answer_gets_a_challenger_in_place(script: Script, answered: Workspace) -> None:
    kings = {stem: answer.king for stem, answer in answers(answered).items()}
    script("ch.py", "--workspace", answered.root, code=0)
    done = answers(answered)
    assert all("```bash" in answer.challenger for answer in done.values())
    assert {stem: answer.king for stem, answer in done.items()} == kings
    assert all(answer.audit("challenger") is not None for answer in done.values())


def test_the_challenger_is_shown_the_pull_request_between_marks_it_cannot_forge(tmp_path: Path) -> None:
    mark = fence.nonce(Workspace(tmp_path).secret(), "challenger x")
    messages = candidates.informed(prompt(1).messages, commit(1), mark)
    system = messages[0].content
    assert system.index(f"=== HIDDEN PULL REQUEST {mark} ===") < system.index("splitlines()")
    assert system.index("splitlines()") < system.index(f"=== END OF HIDDEN PULL REQUEST {mark} ===")
    assert prompt(1).messages[0].content in system
    assert messages[1:] == prompt(1).messages[1:]


def test_a_pull_request_cannot_become_a_field_of_the_template(tmp_path: Path) -> None:
    record = commit(1)
    record.patch = "{{mark}} {{system}} {{nothing}}"
    system = candidates.informed([Message(role="user", content="x")], record, "0" * 16)[0].content
    assert "{{mark}} {{system}} {{nothing}}" in system


def test_a_second_run_asks_nothing(script: Script, answered: Workspace, stand_in: StandIn) -> None:
    script("ch.py", "--workspace", answered.root, code=0)
    before = {path: path.read_bytes() for path in answered.answer_paths()}
    asked = stand_in.stats()["requests"]
    script("king.py", "--workspace", answered.root, code=0)
    script("ch.py", "--workspace", answered.root, code=0)
    assert stand_in.stats()["requests"] == asked
    assert {path: path.read_bytes() for path in answered.answer_paths()} == before


def test_a_new_king_leaves_the_challenger_alone(script: Script, answered: Workspace, stand_in: StandIn) -> None:
    script("ch.py", "--workspace", answered.root, code=0)
    challengers = {stem: answer.challenger for stem, answer in answers(answered).items()}
    asked = stand_in.stats()["requests"]
    (answered.root / "chain.toml").write_text(SETTINGS.replace("[generate]", '[generate]\nking_model = "b/king"'))
    script("king.py", "--workspace", answered.root, code=0)
    script("ch.py", "--workspace", answered.root, code=0)
    assert stand_in.stats()["requests"] == asked + 4
    assert {stem: answer.challenger for stem, answer in answers(answered).items()} == challengers


def test_a_challenger_of_another_history_goes(script: Script, answered: Workspace) -> None:
    script("ch.py", "--workspace", answered.root, code=0)
    [file] = answered.prompt_files()
    rows = json.loads(file.read_bytes())
    rows[0]["messages"][-1]["content"] += " and more.py"
    answered.save(file, json.dumps(rows).encode())
    script("king.py", "--workspace", answered.root, code=0)
    changed, *others = answers(answered).values()
    assert (changed.challenger, changed.of_side("challenger")) == ("", [])
    assert len(others) == 3 and all(other.challenger and other.of_side("challenger") for other in others)


def test_an_answer_without_a_pull_request_is_left_out_and_said(script: Script, answered: Workspace) -> None:
    answered.commit_path("owner__repo-2").unlink()
    answered.commit_path("owner__repo-3").write_bytes(b'{"instance_id"')
    done = script("ch.py", "--workspace", answered.root, code=1)
    challengers = [answer.challenger for answer in answers(answered).values()]
    assert [bool(text) for text in challengers] == [True, False, False, True]
    assert "dropped: no-pull-request" in done.err
    assert "owner__repo-3.json" in done.err


def test_a_challenger_written_by_hand_is_taken_as_it_is(script: Script, answered: Workspace, stand_in: StandIn) -> None:
    path = answered.answer_paths()[0]
    answer = answered.read(path, Answer)
    answer.challenger = "THOUGHT: mine\n\n```bash\nls src\n```"
    answered.save(path, answer)
    script("ch.py", "--workspace", answered.root, code=0)
    assert answered.read(path, Answer).challenger == answer.challenger


def test_no_answers_yet_is_said_with_what_to_do(script: Script, tmp_path: Path, stand_in: StandIn) -> None:
    done = script("ch.py", "--workspace", tmp_path, code=2)
    assert "hint: run king.py first" in done.err
