"""Several candidates a side: written once each, chosen by audit, execution and a knockout, and all of them kept."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from duel.offline import rules
from duel.records import Answer
from duel.workspace import Workspace
from tests.conftest import Finished
from tests.offline.watched import StandIn, endpoint
from tests.stages.conftest import SETTINGS
from tests.stages.test_king import answers

Script = Callable[..., Finished]
Fill = Callable[..., Workspace]
FOUR = SETTINGS.replace("[generate]", "[generate]\nchallengers = 4")


def written(script: Script, workspace: Workspace) -> None:
    for stage in ("king.py", "ch.py"):
        script(stage, "--workspace", workspace.root, code=0)


def chains(text: str, workspace: Workspace) -> None:
    (workspace.root / "chain.toml").write_text(text)


def test_each_of_four_challengers_is_asked_once_and_one_of_them_stands(
    script: Script, fill: Fill, stand_in: StandIn
) -> None:
    workspace = fill(3, settings=FOUR)
    written(script, workspace)
    for answer in answers(workspace).values():
        ids = [one.id for one in answer.of_side("challenger")]
        assert ids == ["challenger-1", "challenger-2", "challenger-3", "challenger-4"]
        assert [one.chosen for one in answer.of_side("challenger")] == [True, False, False, False]
        assert all("```bash" in answer.text_of(one) for one in answer.candidates)
        assert len({one.made.plan for one in answer.candidates if one.made}) == 5
    asked = stand_in.stats()["requests"]
    before = {path: path.read_bytes() for path in workspace.answer_paths()}
    written(script, workspace)
    assert stand_in.stats()["requests"] == asked
    assert {path: path.read_bytes() for path in workspace.answer_paths()} == before


def test_validate_chooses_first_with_a_duel_less_than_there_are_different_candidates(
    script: Script, fill: Fill, stand_in: StandIn
) -> None:
    workspace = fill(6, settings=FOUR)
    written(script, workspace)
    stand_in.reset()
    done = script("validate.py", "--workspace", workspace.root)
    assert "chosen by some/judge-a; the duel is judged by other/judge-b, third/judge-c" in done.err
    duels = 0
    for answer in answers(workspace).values():
        chosen = answer.chosen("challenger")
        assert chosen and chosen.selection and chosen.selection.outcome == "chosen"
        assert chosen.selection.of == 4 and chosen.selection.panel == ["some/judge-a"]
        others = [one.selection for one in answer.of_side("challenger") if not one.chosen]
        lost = [one for one in others if one and one.outcome == "lost"]
        assert all(others) and chosen.selection.duels == len(lost)
        assert all(one.score is not None and one.score <= 50 for one in lost)
        duels += len(lost)
    assert stand_in.stats()["by_model"]["some/judge-a"] == 2 * duels
    assert duels > 6
    before = {path: path.read_bytes() for path in workspace.answer_paths()}
    asked = stand_in.stats()["requests"]
    script("validate.py", "--workspace", workspace.root)
    assert stand_in.stats()["requests"] == asked
    assert {path: path.read_bytes() for path in workspace.answer_paths()} == before


def test_a_user_who_sets_nothing_asks_and_saves_what_was_asked_and_saved_before(
    script: Script, fill: Fill, stand_in: StandIn
) -> None:
    workspace = fill(2)
    written(script, workspace)
    script("validate.py", "--workspace", workspace.root)
    first = answers(workspace)["prompts_2_1_1"]
    assert [(one.id, one.made.plan) for one in first.candidates if one.made] == [
        ("king-1", "51ade625f1aa00e8979a8724a5feaebd-0-0"),
        ("challenger-1", "937e921a6bf9f07f90842b5e6210f6b1-0-0"),
    ]
    on_disk = orjson.loads(workspace.answer_paths()[0].read_bytes())
    assert all("selection" not in one for one in on_disk["candidates"])
    assert stand_in.stats()["by_model"] == {
        "some/writer": 4,
        **dict.fromkeys(("some/judge-a", "other/judge-b", "third/judge-c"), 4),
    }


def test_one_candidate_from_each_of_several_models(script: Script, fill: Fill, stand_in: StandIn) -> None:
    models = 'king_models = ["a/7b", "b/14b", "c/32b"]\nchallenger_models = ["x/one", "y/two"]\nchallengers = 2'
    workspace = fill(2, settings=SETTINGS.replace("[generate]", f"[generate]\n{models}"))
    written(script, workspace)
    answer = answers(workspace)["prompts_2_1_1"]
    made = {one.id: one.made.model.removeprefix("offline-stand-in/") for one in answer.candidates if one.made}
    assert made == {
        "king-1": "a/7b",
        "king-2": "b/14b",
        "king-3": "c/32b",
        "challenger-1": "x/one",
        "challenger-2": "y/two",
        "challenger-3": "x/one",
        "challenger-4": "y/two",
    }


def test_more_candidates_are_added_to_those_that_are_there(script: Script, fill: Fill, stand_in: StandIn) -> None:
    workspace = fill(2)
    written(script, workspace)
    before = answers(workspace)["prompts_2_1_1"]
    asked = stand_in.stats()["requests"]
    chains(FOUR, workspace)
    written(script, workspace)
    after = answers(workspace)["prompts_2_1_1"]
    assert stand_in.stats()["requests"] - asked <= 2 * 3 * 2  # a leak is asked once more
    assert after.challenger == before.challenger
    assert [one.id for one in after.of_side("challenger")] == [f"challenger-{n}" for n in (1, 2, 3, 4)]
    asked = stand_in.stats()["requests"]
    chains(SETTINGS, workspace)
    written(script, workspace)
    script("validate.py", "--workspace", workspace.root)
    assert stand_in.stats()["by_model"]["some/writer"] <= asked


def test_fewer_candidates_again_stand_as_before_without_a_call(script: Script, fill: Fill, stand_in: StandIn) -> None:
    workspace = fill(4, settings=FOUR)
    written(script, workspace)
    first = {stem: answer.challenger for stem, answer in answers(workspace).items()}
    script("validate.py", "--workspace", workspace.root)
    assert {stem: answer.challenger for stem, answer in answers(workspace).items()} != first
    asked = stand_in.stats()["by_model"]["some/writer"]
    chains(SETTINGS, workspace)
    written(script, workspace)
    assert {stem: answer.challenger for stem, answer in answers(workspace).items()} == first
    assert stand_in.stats()["by_model"]["some/writer"] == asked


def test_a_challenger_by_hand_is_no_candidate_among_others(script: Script, fill: Fill, stand_in: StandIn) -> None:
    workspace = fill(1, settings=FOUR)
    script("king.py", "--workspace", workspace.root, code=0)
    path = workspace.answer_paths()[0]
    answer = workspace.read(path, Answer)
    answer.challenger = "THOUGHT: mine\n\n```bash\nls src\n```"
    workspace.save(path, answer)
    script("ch.py", "--workspace", workspace.root, code=0)
    script("validate.py", "--workspace", workspace.root)
    assert workspace.read(path, Answer).challenger == answer.challenger
    assert stand_in.stats()["by_model"].get("some/judge-a", 0) == 0


def test_one_malformed_candidate_of_several_is_noted_and_the_others_go_on(
    script: Script, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = fill(3, settings=SETTINGS.replace("[generate]", "[generate]\nkings = 3"))
    good = "THOUGHT: look\n\n```bash\ncat src/app.py\n```"
    with endpoint(reply=lambda body: "no block" if body.get("seed") == 1 else good) as running:
        monkeypatch.setenv("CHUTES_BASE_URL", running.base_url)
        monkeypatch.setenv("CHUTES_API_KEY", "k")
        done = script("king.py", "--workspace", workspace.root, code=0)
        asked = running.stats()["requests"]
        assert asked == 3 * (1 + 3 + 1)
        script("king.py", "--workspace", workspace.root, code=0)
        assert running.stats()["requests"] == asked
    assert "3 dropped: one-king-of-several-format: no-block" in done.err
    assert all(len(answer.of_side("king")) == 2 for answer in answers(workspace).values())


def test_a_choosing_judge_that_writes_no_verdict_leaves_its_turns_open_and_unjudged(
    script: Script, fill: Fill, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = fill(3, settings=FOUR)
    written(script, workspace)
    with endpoint(reply=lambda body: "hm" if body["model"] == "some/judge-a" else rules.reply(body)) as running:
        monkeypatch.setenv("CHUTES_BASE_URL", running.base_url)
        done = script("validate.py", "--workspace", workspace.root)
    assert done.code in (1, 2)
    assert "dropped: not-chosen" in done.err or "unparsed" in done.err
    opened = [stem for stem, answer in answers(workspace).items() if not answer.chosen("challenger").selection]
    assert opened and not any(workspace.score_path(stem).exists() for stem in opened)


def test_the_plan_counts_every_candidate_and_every_duel(script: Script, fill: Fill) -> None:
    many = 'kings = 2\nking_models = ["a/x", "b/y", "c/z"]\nchallengers = 4\nselect_model = ["p/q", "r/s"]'
    workspace = fill(5, settings=SETTINGS.replace("[generate]", f"[generate]\n{many}"))
    told = script("run.py", "--plan", "--workspace", workspace.root, code=0).out
    assert "king: 5 items, 30 calls" in told
    assert "challenger: 5 items, 20 calls" in told
    assert f"choose: 5 items, {5 * (5 + 3) * 2 * 2} calls" in told
    assert f"judge: 5 items, {5 * 3 * 2} calls" in told
    assert f"in all: {30 + 20 + 160 + 30} calls" in told


def test_an_interrupted_choice_goes_on_with_the_same_bytes_and_no_call_twice(
    script: Script, fill: Fill, stand_in: StandIn
) -> None:
    priced = '\n[prices]\n"some/judge-a" = { input = 100.0, output = 100.0 }\n'
    whole, cut = fill(8, settings=FOUR), fill(8, folder="cut", settings=FOUR + priced)
    (cut.root / ".duel").mkdir(exist_ok=True)
    (cut.root / ".duel" / "secret").write_bytes(whole.secret())
    for workspace in (whole, cut):
        written(script, workspace)
    script("validate.py", "--workspace", whole.root)
    stand_in.reset()
    done = script("validate.py", "--workspace", cut.root, "--check", "--budget", "2.5", code=3)
    assert "the budget is spent" in done.err
    assert not cut.duel.exists()
    script("validate.py", "--workspace", cut.root)
    stats = stand_in.stats()
    assert stats["extra_ok"] == 0
    chosen = [{stem: answer.challenger for stem, answer in answers(one).items()} for one in (whole, cut)]
    assert chosen[0] == chosen[1]


def test_every_losing_candidate_is_a_pair_in_the_exports(script: Script, fill: Fill, stand_in: StandIn) -> None:
    workspace = fill(12, settings=FOUR + "[report]\nfinal_min = 50\ndefeat_min = 40\n")
    for stage in ("king.py", "ch.py", "audit", "validate.py", "report.py"):
        script(stage, "--workspace", workspace.root)
    script("export", "--format", "dpo,kto", "--workspace", workspace.root, code=0)
    rows = [orjson.loads(line) for line in (workspace.root / "export/dpo/train.jsonl").read_bytes().splitlines()]
    pairs: dict[str, list[str]] = {}
    for row in rows:
        pairs.setdefault(row["id"], []).append(row["rejected"][-1]["content"])
    assert pairs
    for stem, rejected in pairs.items():
        answer = answers(workspace)[stem]
        losers = [one for one in answer.candidates if not one.chosen and one.selection]
        lost = [one for one in losers if one.selection.outcome == "lost"]
        assert {one.text for one in lost if one.selection.score != 50} <= {*rejected}
        drawn = {one.text for one in lost if one.selection.score == 50}
        assert drawn.isdisjoint(rejected), "which of two equal ones stays is the order's doing"
        assert len(rejected) == len({*rejected}) and answer.challenger not in rejected
    text = (workspace.root / "report/report.md").read_text("utf-8")
    assert "What a kept turn costs" in text and "| best of n" in text
    assert "winner's curse" in text
    assert not (workspace.root / "report/yield.svg").exists()  # one source: a bar would have no other beside it
