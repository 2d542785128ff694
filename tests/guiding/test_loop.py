"""One guided task: who decides what runs, what the agent is told, when a run ends, what is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from typing import Any

import pyarrow.parquet as pq
import pytest

from duel.errors import SettingsError
from duel.execution import bubblewrap
from duel.guiding.rounds import row
from duel.guiding.supervised_loop import touched
from duel.stages import guide
from duel.workspace import Workspace
from tests.conftest import Finished
from tests.guiding.conftest import SUBMIT, block, chosen, guided, proposals, ruling

Tasks = Callable[..., Workspace]
Models = Callable[..., Any]
Script = Callable[..., Finished]


def sequence(*commands: str) -> Callable[[str], str]:
    """An agent that says these commands in turn, then submits."""
    left = iter(commands)
    return lambda _: block(next(left, SUBMIT))


def test_an_approved_proposal_runs_and_the_next_one_sees_what_it_printed(tasks: Tasks, models: Models) -> None:
    workspace = tasks()
    with models(lambda seen: block(SUBMIT if "two" in seen else "cat a.txt")):
        result = guide.run(workspace, chosen(workspace))
    (record,) = guided(workspace)
    assert result.exit_code == 0
    assert [step.ruling for step in record.steps] == ["approve", "approve"]
    assert record.steps[0].outcome and record.steps[0].outcome.shown == "Observation: one\ntwo\n"
    assert record.outcome == "submitted"
    assert result.found["training"].rate == 0


def test_a_rejected_proposal_never_runs_and_its_reason_is_forgotten(tasks: Tasks, models: Models) -> None:
    workspace = tasks()
    told: list[str] = []

    def agent(last: str) -> str:
        told.append(last)
        if "[Note" in last:
            return block("sed -i s/one/1/ a.txt")
        return block("rm a.txt" if len(told) == 1 else SUBMIT)

    def overseer(asked: str) -> str:
        return ruling("reject", "That would lose the file.", "unsafe") if "rm a.txt" in asked else ruling("approve")

    with models(agent, overseer):
        guide.run(workspace, chosen(workspace))
    (record,) = guided(workspace)
    assert [(step.ruling, bool(step.action)) for step in record.steps][:2] == [("reject", False), ("approve", True)]
    assert "That would lose the file." in told[1]
    assert "That would lose the file." not in told[2]  # the next turn knows nothing of it
    said = row(record)
    assert not [m for m in said["messages"] if "Note" in m["content"] or "lose the file" in m["content"]]
    assert not [m for m in said["messages"] if "rm a.txt" in m["content"]]
    assert json.loads(said["interventions"]) == [
        {"message": 2, "ruling": "reject", "kind": "unsafe", "proposal": block("rm a.txt")}
    ]
    assert said["messages"][2]["content"] == block("sed -i s/one/1/ a.txt")


def test_after_two_rejections_the_overseer_must_write(tasks: Tasks, models: Models) -> None:
    workspace = tasks()
    asked_of_it: list[list[Any]] = []

    def overseer(asked: str) -> str:
        asked_of_it.append(proposals(asked))
        if "cat a.txt" in asked:
            return ruling("approve")
        if "You have rejected two proposals" in asked:
            return ruling("replace", turn=block("cat a.txt"))
        return ruling("reject")

    with models(sequence("ls -R", "ls -lR"), overseer):
        guide.run(workspace, chosen(workspace))
    steps = guided(workspace)[0].steps
    assert [step.ruling for step in steps] == ["reject", "reject", "replace", "approve"]
    assert (steps[2].proposal, steps[2].action) == ("", block("cat a.txt"))
    assert [len(shown) for shown in asked_of_it] == [1, 1, 2, 1]
    assert len(json.loads(row(guided(workspace)[0])["interventions"])) == 2


def test_a_replacement_runs_in_place_of_the_proposal(tasks: Tasks, models: Models) -> None:
    workspace = tasks()

    def overseer(asked: str) -> str:
        replaces = "ls -R" in proposals(asked)[-1][1]
        return ruling("replace", turn=block("cat b.txt")) if replaces else ruling("approve")

    with models(sequence("ls -R"), overseer):
        guide.run(workspace, chosen(workspace))
    steps = guided(workspace)[0].steps
    assert (steps[0].proposal, steps[0].action) == (block("ls -R"), block("cat b.txt"))
    assert steps[0].outcome and steps[0].outcome.shown == "Observation: x\n"


def test_an_agent_that_goes_in_circles_is_given_a_suggestion(tasks: Tasks, models: Models) -> None:
    workspace = tasks()
    told: list[str] = []

    def agent(last: str) -> str:
        told.append(last)
        return block(SUBMIT if "Look at b.txt" in last else "ls")

    def overseer(asked: str) -> str:
        return ruling("suggest", "Look at b.txt.") if "goes in circles" in asked else ruling("approve")

    with models(agent, overseer):
        guide.run(workspace, chosen(workspace))
    (record,) = guided(workspace)
    assert [step.suggestion for step in record.steps] == ["", "", "", "", "Look at b.txt."]
    assert touched(record.steps) == [False, False, False, False, True]
    assert not any("Look at b.txt" in message["content"] for message in row(record)["messages"])


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("I am done.", "no-block"),
        (block("ls") + "\n" + block("ls"), "several-blocks"),
    ],
)
def test_a_proposal_that_no_harness_can_run_is_rejected_by_rule(
    tasks: Tasks, models: Models, wrong: str, why: str
) -> None:
    workspace = tasks()
    with models(lambda last: block(SUBMIT) if "[Note" in last else wrong) as running:
        guide.run(workspace, chosen(workspace))
        assert running.stats()["by_model"]["large/overseer"] == 1
    first, second = guided(workspace)[0].steps
    assert (first.by, first.kind) == ("rule", "protocol")
    assert why in first.reason
    assert second.action == block(SUBMIT)


@pytest.mark.parametrize(
    "thought",
    ["As you pointed out, that was a repeat.", "You're right, I should look first.", "My previous proposal was wrong."],
)
def test_a_turn_that_answers_the_overseer_is_neither_run_nor_kept(tasks: Tasks, models: Models, thought: str) -> None:
    workspace = tasks()
    answers = count()

    def agent(last: str) -> str:
        if "[Note" not in last:
            return block("ls -R") if "Observation" not in last else block(SUBMIT)
        return block("cat a.txt", thought)

    def overseer(asked: str) -> str:
        if "You have rejected two" in asked:
            return ruling("replace", turn=block("cat b.txt", thought if next(answers) == 0 else "read it"))
        return ruling("reject") if "ls -R" in asked and "Observation" not in asked else ruling("approve")

    with models(agent, overseer):
        assert guide.run(workspace, chosen(workspace)).exit_code == 0
    (record,) = guided(workspace)
    assert [step.by for step in record.steps[:3]] == ["overseer", "rule", "overseer"]
    assert record.steps[2].action == block("cat b.txt", "read it")  # its first turn spoke to the agent: asked again
    assert not any(thought in message["content"] for message in row(record)["messages"])


def test_runs_end_on_steps_and_on_interventions(tasks: Tasks, models: Models) -> None:
    numbers = count()
    agent = lambda _: block(f"echo {next(numbers)}")  # noqa: E731
    steps = tasks(folder="steps")
    with models(agent):
        guide.run(steps, chosen(steps))
    assert guided(steps)[0].outcome == "max-steps"
    assert len(guided(steps)[0].steps) == 6
    capped = tasks(folder="capped", more="max_interventions = 2\n")
    with models(agent, lambda _: ruling("replace", turn=block("cat a.txt"))):
        guide.run(capped, chosen(capped))
    assert guided(capped)[0].outcome == "max-interventions"
    assert len(guided(capped)[0].steps) == 2
    assert pq.read_table(capped.root / "guided" / "round_1.parquet").to_pylist()[0]["exit_status"] == "incomplete"


def test_an_overseer_that_cannot_be_read_leaves_the_task_open(tasks: Tasks, models: Models) -> None:
    workspace = tasks()
    with models(sequence("ls"), lambda _: "Fine by me."):
        result = guide.run(workspace, chosen(workspace))
    assert result.exit_code == 1
    assert guided(workspace) == []


def test_a_damaged_record_is_kept_under_another_name_before_its_task_is_guided_anew(
    tasks: Tasks, models: Models
) -> None:
    workspace = tasks()
    with models(sequence("ls", SUBMIT)):
        guide.run(workspace, chosen(workspace))
    (path,) = (workspace.root / "guided").glob("*.json")
    cut = path.read_bytes()[:100]
    path.write_bytes(cut)
    with models(sequence("ls", SUBMIT)):
        guide.plan(workspace, chosen(workspace))
        assert path.read_bytes() == cut
        guide.run(workspace, chosen(workspace))
    assert guided(workspace)[0].is_done
    assert path.with_name(f"{path.name}.damaged").read_bytes() == cut


def test_guiding_offers_no_batches_because_an_agent_waits_for_each_of_its_steps(script: Script) -> None:
    told = script("guide", "--help", code=0).out
    assert "--budget" in told and "--batch" not in told and "--absorb" not in told


def test_a_held_out_task_is_done_alone_too_and_makes_no_row(tasks: Tasks, models: Models) -> None:
    workspace = tasks(more="")
    text = (workspace.root / "chain.toml").read_text().replace("held_out = 0.0", "held_out = 1.0")
    (workspace.root / "chain.toml").write_text(text)

    def agent(last: str) -> str:
        return block(SUBMIT) if "Please always provide" in last or "[Note" in last else "Let me think."

    with models(agent):
        result = guide.run(workspace, chosen(workspace))
    (record,) = guided(workspace)
    assert record.solo_outcome == record.outcome == "submitted"
    assert [step.action for step in record.solo_steps] == ["Let me think.", block(SUBMIT)]
    assert result.found["held-out"].solo_submitted == 1
    assert result.found["rows"] == 0
    assert not (workspace.root / "guided" / "round_1.parquet").exists()


def test_agent_and_overseer_may_live_at_two_addresses(
    tasks: Tasks, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = tasks(more='agent_base_url_env = "AGENT_URL"\n')
    with models(sequence("ls")) as local:
        monkeypatch.setenv("AGENT_URL", local.base_url)
        with models(sequence()) as remote:
            assert guide.run(workspace, chosen(workspace)).exit_code == 0
            assert set(local.stats()["by_model"]) == {"small/agent"}
            assert set(remote.stats()["by_model"]) == {"large/overseer"}


def test_without_a_sandbox_it_says_how_to_get_one(
    tasks: Tasks, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = tasks()
    text = (workspace.root / "chain.toml").read_text()
    (workspace.root / "chain.toml").write_text(text.replace('"bubblewrap"', '"off"'))
    with pytest.raises(SettingsError, match="no back end"):
        guide.run(workspace, chosen(workspace))
    monkeypatch.setitem(bubblewrap.BARE_ENVIRONMENT, "PATH", str(workspace.root))
    said = script("guide", "--workspace", workspace.root, "--backend", "bubblewrap", code=2).err
    assert "bubblewrap is not installed" in said
    assert "apt-get install bubblewrap" in said


def test_without_tasks_it_says_what_to_run_first(tmp_path: Any, script: Script) -> None:
    assert "run prompt.py first" in script("guide", "--workspace", tmp_path, "--offline", code=2).err
    assert "run duel guide first" in script("guide", "--workspace", tmp_path, "--report", code=2).err
    assert "agent-30" in script("guide", "--workspace", tmp_path, "--offline", "--agent", "gpt", code=2).err
