"""king.py: blind answers, asked once, taken only when well-formed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from duel import candidates
from duel.records import Answer
from duel.settings import Settings
from duel.workspace import Workspace
from tests.conftest import Finished
from tests.offline.faults import endpoint
from tests.offline.watched import StandIn
from tests.stages.conftest import SETTINGS, prompt

Script = Callable[..., Finished]
Fill = Callable[..., Workspace]


def answers(workspace: Workspace) -> dict[str, Answer]:
    return {path.stem: answer for path, answer in workspace.answers([])}


def test_every_prompt_gets_a_blind_answer(script: Script, fill: Fill, stand_in: StandIn) -> None:
    workspace = fill(4)
    script("king.py", "--workspace", workspace.root, code=0)
    made = answers(workspace)
    assert list(made) == ["prompts_4_1_1", "prompts_4_1_2", "prompts_4_1_3", "prompts_4_1_4"]
    answer = made["prompts_4_1_2"]
    assert answer.instance_id == "owner__repo-2"
    assert "```bash" in answer.king
    assert answer.challenger == ""
    assert answer.assistant == prompt(2).assistant
    assert answer.messages == prompt(2).messages
    assert answer.made("king").model
    assert answer.made("king").usage["completion_tokens"] > 0


def test_the_king_never_sees_the_pull_request(script: Script, fill: Fill, stand_in: StandIn) -> None:
    script("king.py", "--workspace", fill(2).root, code=0)
    assert stand_in.stats()["by_role"] == {"king": 2}
    request = candidates.Numbered(Settings()).of("king", "stem", prompt(1).messages)[0].request
    assert list(request.messages) == [message.model_dump() for message in prompt(1).messages]


def test_a_second_run_asks_nothing(script: Script, fill: Fill, stand_in: StandIn) -> None:
    workspace = fill(5)
    script("king.py", "--workspace", workspace.root, code=0)
    before = {path: path.read_bytes() for path in workspace.answer_paths()}
    asked = stand_in.stats()["requests"]
    script("king.py", "--workspace", workspace.root, code=0)
    assert stand_in.stats()["requests"] == asked
    assert {path: path.read_bytes() for path in workspace.answer_paths()} == before


def test_lost_answers_come_back_from_the_ledger_without_a_call(script: Script, fill: Fill, stand_in: StandIn) -> None:
    workspace = fill(5)
    script("king.py", "--workspace", workspace.root, code=0)
    before = {path: path.read_bytes() for path in workspace.answer_paths()}
    asked = stand_in.stats()["requests"]
    paths = workspace.answer_paths()
    paths[0].unlink()
    paths[1].write_bytes(b'{"instance_id": "owner__re')
    paths[2].write_bytes(b"\xff\xfe")
    paths[3].write_bytes(b"")
    done = script("king.py", "--workspace", workspace.root, code=0)
    assert stand_in.stats()["requests"] == asked
    assert {path: path.read_bytes() for path in workspace.answer_paths()} == before
    assert "3 files were damaged and written again" in done.err
    assert paths[2].name in done.err


def test_a_larger_sample_pays_only_for_what_is_new(script: Script, fill: Fill, stand_in: StandIn) -> None:
    script("king.py", "--workspace", fill(3).root, code=0)
    asked = stand_in.stats()["requests"]
    workspace = fill(5)
    (workspace.root / "prompt" / "prompts_3_1.json").unlink()
    script("king.py", "--workspace", workspace.root, code=0)
    assert stand_in.stats()["requests"] == asked + 2


def test_a_larger_sample_pays_for_no_challenger_and_no_vote_twice(
    script: Script, fill: Fill, stand_in: StandIn
) -> None:
    stages = ["king.py", "ch.py", "validate.py"]
    for stage in stages:
        script(stage, "--workspace", fill(3).root, code=0)
    workspace = fill(4)
    (workspace.root / "prompt" / "prompts_3_1.json").unlink()
    for answer in workspace.answer_paths():
        answer.unlink()
    asked = stand_in.stats()["requests"]
    for stage in stages:
        script(stage, "--workspace", workspace.root, code=0)
    assert stand_in.stats()["requests"] == asked + 1 + 1 + 6


def test_two_prompts_with_the_same_text_both_get_a_reply(script: Script, fill: Fill, stand_in: StandIn) -> None:
    workspace = fill(1)
    path = workspace.root / "prompt" / "prompts_1_1.json"
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) * 2))
    script("king.py", "--workspace", workspace.root, code=0)
    assert stand_in.stats()["requests"] == 2
    assert len(answers(workspace)) == 2
    workspace.answer_paths()[1].unlink()
    script("king.py", "--workspace", workspace.root, code=0)
    assert stand_in.stats()["requests"] == 2


def test_a_changed_parameter_asks_anew_and_says_so(script: Script, fill: Fill, stand_in: StandIn) -> None:
    workspace = fill(3)
    script("king.py", "--workspace", workspace.root, code=0)
    asked = stand_in.stats()["requests"]
    (workspace.root / "chain.toml").write_text(SETTINGS.replace("[generate]", "[generate]\ntemperature = 0.3"))
    done = script("king.py", "--workspace", workspace.root, code=0)
    assert stand_in.stats()["requests"] == asked + 3
    assert "3 had been made with other settings" in done.err


def test_again_asks_anew_on_purpose(script: Script, fill: Fill, stand_in: StandIn) -> None:
    workspace = fill(3)
    script("king.py", "--workspace", workspace.root, code=0)
    asked = stand_in.stats()["requests"]
    script("king.py", "--workspace", workspace.root, "--again", code=0)
    assert stand_in.stats()["requests"] == asked + 3
    script("king.py", "--workspace", workspace.root, code=0)
    assert stand_in.stats()["requests"] == asked + 3


@pytest.mark.parametrize("fault", ["several-blocks", "no-block", "tool-tokens"])
def test_a_malformed_reply_is_asked_again_then_dropped_with_its_reason(
    script: Script, fill: Fill, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    workspace = fill(2)
    with endpoint({fault: 1.0}) as broken:
        monkeypatch.setenv("CHUTES_BASE_URL", broken.base_url)
        monkeypatch.setenv("CHUTES_API_KEY", "k")
        done = script("king.py", "--workspace", workspace.root, code=1)  # nothing was kept
        assert broken.stats()["requests"] == 2 * 3
        assert answers(workspace) == {}
        assert "2 dropped: king-format" in done.err
        assert {row["file"] for row in workspace.dropped()} == {"prompts_2_1_1", "prompts_2_1_2"}
        script("king.py", "--workspace", workspace.root, code=1)
        assert broken.stats()["requests"] == 2 * 3


def test_a_model_that_never_keeps_the_form_ends_the_run_with_its_reply_shown(
    script: Script, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = fill(60)
    with endpoint({"unparsable": 1.0}) as broken:
        monkeypatch.setenv("CHUTES_BASE_URL", broken.base_url)
        monkeypatch.setenv("CHUTES_API_KEY", "k")
        done = script("king.py", "--workspace", workspace.root, code=2)
        assert broken.stats()["requests"] < 60 * 3
    assert "0 of 20 replies could be used" in done.err
    assert "Both are reasonable next steps" in done.err and "hint:" in done.err


def test_a_history_longer_than_the_window_is_fitted_behind_a_marker(
    script: Script, fill: Fill, stand_in: StandIn
) -> None:
    workspace = fill(1, settings=SETTINGS.replace("[generate]", "[generate]\nmax_model_len = 4096"))
    path = workspace.root / "prompt" / "prompts_1_1.json"
    rows = orjson.loads(path.read_bytes())
    turn = rows[0]["messages"][2:4]
    rows[0]["messages"] = rows[0]["messages"][:2] + turn * 100
    path.write_bytes(orjson.dumps(rows))
    script("king.py", "--workspace", workspace.root, code=0)
    (answer,) = answers(workspace).values()
    assert "earlier messages are left out" in answer.messages[1].content
    script("ch.py", "--workspace", workspace.root, code=0)
    (answer,) = answers(workspace).values()
    assert answer.challenger


def test_no_prompts_yet_is_said_with_what_to_do(script: Script, tmp_path: Path, stand_in: StandIn) -> None:
    done = script("king.py", "--workspace", tmp_path, code=2)
    assert "there are no prompts" in done.err
    assert "hint: run prompt.py first" in done.err


def test_a_damaged_prompt_file_is_named_and_the_others_go_on(script: Script, fill: Fill, stand_in: StandIn) -> None:
    workspace = fill(2)
    workspace.save(workspace.root / "prompt" / "prompts_9_1.json", b"[{")
    done = script("king.py", "--workspace", workspace.root, code=1)
    assert len(answers(workspace)) == 2
    assert "prompts_9_1.json" in done.err


def test_excluded_and_huge_pull_requests_are_skipped_with_their_reason(
    script: Script, fill: Fill, stand_in: StandIn
) -> None:
    workspace = fill(3, settings=SETTINGS.replace("[generate]", '[generate]\nexclude_ids = ["owner__repo-1"]'))
    huge = workspace.commit("owner__repo-2")
    assert huge is not None
    huge.patch += "+x\n" * 40_000
    workspace.save(workspace.commit_path("owner__repo-2"), huge)
    done = script("king.py", "--workspace", workspace.root, code=0)
    assert list(answers(workspace)) == ["prompts_3_1_3"]
    assert "1 dropped: excluded" in done.err
    assert "1 dropped: huge-pull" in done.err
