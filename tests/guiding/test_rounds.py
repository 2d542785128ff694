"""Three agents of known badness over 16 tasks of the bundled sample; interruptions, exports, the report over rounds."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from duel import settings
from duel.guiding.rounds import InterventionRates, row
from duel.offline import overrides
from duel.records import Guided, GuidedRun
from duel.stages import guide, prompt
from duel.workspace import Workspace
from tests.conftest import Finished, ended, forked_command
from tests.guiding.conftest import guided
from tests.offline.watched import endpoint

Script = Callable[..., Finished]

BADNESS = {1: 0.50, 2: 0.30, 3: 0.15}
"""The share of bad proposals of each round's agent; the overseer knows each, so it is the rate of interventions."""
TASKS = 3  # of a run that is interrupted
SETTINGS = "[guide]\nverify = false\ntasks = {tasks}\nheld_out = {held_out}\n"
MODELS = 'agent_model = "offline-stand-in/agent-30"\noverseer_model = "offline-stand-in/overseer"\n'
SANDBOX = '[execute]\nbackend = "bubblewrap"\n'


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled sample's pull requests and prompts."""
    workspace = Workspace(tmp_path_factory.mktemp("drawn"))
    prompt.run(workspace, settings.load(workspace.root, *overrides(True)), offline=True)
    return workspace.root


def workspace_of(drawn: Path, folder: Path, *, tasks: int, held_out: float = 0.0, more: str = "") -> Workspace:
    for name in ("commit", "prompt"):
        shutil.copytree(drawn / name, folder / name)
    (folder / "chain.toml").write_text(SETTINGS.format(tasks=tasks, held_out=held_out) + more)
    return Workspace(folder)


@pytest.fixture(scope="module")
def two_tasks(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the first round of two tasks."""
    workspace = workspace_of(drawn, tmp_path_factory.mktemp("rounds") / "work", tasks=2)
    guide.run(workspace, settings.load(workspace.root, *overrides(True)), offline=True)
    return workspace.root


@pytest.fixture
def one_round(two_tasks: Path, tmp_path: Path) -> Workspace:
    return Workspace(Path(shutil.copytree(two_tasks, tmp_path / "work")))


def of_round(records: list[Guided], number: int) -> list[GuidedRun]:
    return [run for record in records for run in record.every_round() if run.round == number]


def test_three_agents_of_known_badness_over_16_tasks(drawn: Path, tmp_path: Path, script: Script) -> None:
    # With four actions of 16 tasks an interval is up to 0.3 wide.
    workspace = workspace_of(drawn, tmp_path / "work", tasks=16, held_out=0.25, more="max_steps = 4\n")
    for number, badness in BADNESS.items():
        name = f"offline-stand-in/agent-{100 * badness:.0f}"
        said = script("guide", "--workspace", workspace.root, "--offline", "--agent", name, code=0).err
        assert f"round {number}" in said

    records = guided(workspace)
    assert len(records) == 16
    rates = {number: InterventionRates(of_round(records, number)) for number in BADNESS}
    assert rates[1].rate > rates[2].rate > rates[3].rate
    for number, truth in BADNESS.items():
        assert rates[number].low <= truth <= rates[number].high, (truth, rates[number])
        assert rates[number].tasks == 16
        assert rates[number].high - rates[number].low < 0.32

    # What is measured on held-out tasks stands in the report, beside what the agents do alone.
    script("guide", "--workspace", workspace.root, "--report", code=0)
    page = (workspace.report / "guide.md").read_text("utf-8")
    assert "OFFLINE" in page
    assert "From round 1 to 3 the rate fell by" in page
    assert (workspace.report / "guide.svg").read_text("utf-8").count("<circle") == 6

    # The rows: what the agent will see alone, and each proposal that did not run beside the turn that did.
    rows = str(workspace.root / "guided" / "round_1.parquet")
    script("export", "--workspace", workspace.root, "--offline", "--from", rows, "--format", "sft,dpo", code=0)
    training = [record for record in records if not record.held_out]
    sft = lines(workspace.root / "export" / "sft" / "train.jsonl")
    assert len(sft) == len(training)
    first = {record.task: next(run for run in record.every_round() if run.round == 1) for record in training}
    refused = {step.proposal for run in first.values() for step in run.steps if step.ruling != "approve"} - {""}
    reasons = {step.reason for run in first.values() for step in run.steps if step.reason}
    for example in sft:
        said = [message["content"] for message in example["messages"]]
        assert not any("[Note from" in text or reason in text for text in said for reason in reasons)
        turns = {message["content"] for message in example["messages"] if message["role"] == "assistant"}
        assert turns == {step.action for step in first[example["instance_id"]].steps if step.action}
    dpo = lines(workspace.root / "export" / "dpo" / "train.jsonl")
    assert {pair["rejected"][0]["content"] for pair in dpo} <= refused
    wanted = {
        (record.task, mark["proposal"], record.opening[-1].content, said["messages"][mark["message"]]["content"])
        for record in training
        for said in [row(record.model_copy(update={"steps": first[record.task].steps}))]
        for mark in orjson.loads(said["interventions"])
    }
    made = {
        (p["instance_id"], p["rejected"][0]["content"], p["prompt"][1]["content"], p["chosen"][0]["content"])
        for p in dpo
    }
    assert made == wanted
    assert not any("[Note from" in message["content"] for pair in dpo for message in pair["prompt"])


def lines(path: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_run_ends_with_the_same_bytes_and_no_call_twice(
    drawn: Path,
    tmp_path: Path,
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: dict[str, bytes],
    how: signal.Signals,
) -> None:
    monkeypatch.setenv("CHUTES_API_KEY", "k")
    if not undisturbed:
        whole = to_interrupt(drawn, tmp_path / "whole")
        with endpoint() as stand_in:
            script("guide", "--workspace", whole.root, code=0, CHUTES_BASE_URL=stand_in.base_url)
        undisturbed.update(guided_files(whole))
    broken = to_interrupt(drawn, tmp_path / "broken")
    with endpoint(latency_s=0.01) as stand_in:
        monkeypatch.setenv("CHUTES_BASE_URL", stand_in.base_url)
        stage = forked_command("guide", "--workspace", broken.root)
        while stage.is_alive() and stand_in.stats()["requests"] < 15:
            stage.join(0.002)
        os.kill(stage.pid or 0, how)
        assert ended(stage) == (-9 if how == signal.SIGKILL else 130)
        half = stand_in.stats()
        script("guide", "--workspace", broken.root, code=0)
        counted = stand_in.stats()
    assert guided_files(broken) == undisturbed
    # Only what was out or not yet on the disk when the process was killed had to be asked again: a reply a task.
    assert counted["extra_ok"] <= (TASKS if how == signal.SIGKILL else 0)
    assert half["unique_ok"] < counted["unique_ok"]


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, bytes]:
    """What a run that nobody interrupts leaves behind; the first test that asks makes it."""
    return {}


def to_interrupt(drawn: Path, folder: Path) -> Workspace:
    return workspace_of(drawn, folder, tasks=TASKS, held_out=0.4, more=MODELS + "max_steps = 5\n" + SANDBOX)


def guided_files(workspace: Workspace) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((workspace.root / "guided").iterdir())}


def test_dates_that_an_earlier_run_showed_stand(one_round: Workspace, script: Script) -> None:
    """A rerun replays the commands; a new date in their output must not make new questions."""
    workspace = one_round
    path, _ = next(workspace.guided([]))
    whole = path.read_bytes()
    record = workspace.read(path, Guided)
    for step in record.steps[:3]:
        assert step.outcome
        step.outcome.shown = "Observation: as it was then"
    kept = record.steps[:3]
    workspace.save(path, record.model_copy(update={"steps": kept, "outcome": ""}))
    script("guide", "--workspace", workspace.root, "--offline", code=0)
    again = workspace.read(path, Guided)
    assert again.steps[:3] == kept
    assert again.outcome
    assert path.read_bytes() != whole


def test_another_agent_begins_the_next_round_and_the_rounds_before_stay(one_round: Workspace, script: Script) -> None:
    workspace = one_round
    call = ("guide", "--workspace", workspace.root, "--offline")
    before = {path: path.read_bytes() for path, _ in workspace.guided([])}
    assert "nothing to do" in script(*call, code=0).err
    assert {path: path.read_bytes() for path, _ in workspace.guided([])} == before
    script(*call, "--agent", "offline-stand-in/agent-15", code=0)
    for path, record in workspace.guided([]):
        old = orjson.loads(before[path])
        assert (record.round, [run.round for run in record.rounds]) == (2, [1])
        assert [step.action for step in record.rounds[0].steps] == [step["action"] for step in old["steps"]]
    assert (workspace.root / "guided" / "round_1.parquet").exists()
    (workspace.root / "chain.toml").write_text(SETTINGS.format(tasks=2, held_out=0.0) + "max_steps = 9\n")
    script(*call, "--agent", "offline-stand-in/agent-15", code=0)
    assert {record.round for record in guided(workspace)} == {3}
    assert len({run.series for record in guided(workspace) for run in record.every_round()}) == 2


def test_a_damaged_record_is_named_and_made_again(one_round: Workspace, script: Script) -> None:
    path, _ = next(one_round.guided([]))
    before = path.read_bytes()
    path.write_bytes(before[:200])
    said = script("guide", "--workspace", one_round.root, "--offline", code=0).err
    assert "1 file was damaged and written again" in said
    assert path.read_bytes() == before


def test_a_plan_counts_both_runs_and_writes_nothing(drawn: Path, tmp_path: Path, script: Script) -> None:
    workspace = workspace_of(drawn, tmp_path / "work", tasks=4, held_out=1.0)
    said = script("guide", "--workspace", workspace.root, "--offline", "--plan", code=0).out
    # Fifteen actions with a ruling each, and fifteen alone.
    assert "guide: 4 items, 180 calls" in said
    assert not (workspace.root / "guided").exists()
    assert not (workspace.root / ".duel").exists()


def test_what_is_submitted_is_checked_by_the_issues_own_tests(drawn: Path, tmp_path: Path, script: Script) -> None:
    workspace = workspace_of(drawn, tmp_path / "work", tasks=0)
    keep = {"granary__backhaul-2"}  # its tests need a shell alone
    for path, commit in [*workspace.commits([])]:
        if commit.instance_id not in keep:
            path.unlink()
    (workspace.root / "chain.toml").write_text("[guide]\nheld_out = 1.0\n")
    script("guide", "--workspace", workspace.root, "--offline", "--agent", "offline-stand-in/agent-0", code=0)
    (record,) = guided(workspace)
    assert (record.outcome, record.resolved) == ("submitted", True)
    assert (record.solo_outcome, record.solo_resolved) == ("submitted", True)
    script("guide", "--workspace", workspace.root, "--report", code=0)
    assert "1 of 1" in (workspace.report / "guide.md").read_text("utf-8")


def test_a_spent_budget_ends_the_run_cleanly_and_the_rest_is_taken_up_later(
    drawn: Path, tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = '[prices]\n"*" = { input = 1.0, output = 1.0 }\n'
    workspace = workspace_of(drawn, tmp_path / "work", tasks=3, more=MODELS + "max_steps = 5\n" + SANDBOX + prices)
    with endpoint() as stand_in:
        monkeypatch.setenv("CHUTES_BASE_URL", stand_in.base_url)
        monkeypatch.setenv("CHUTES_API_KEY", "k")
        script("guide", "--workspace", workspace.root, "--budget", "0.02", code=3)
        asked = stand_in.stats()["requests"]
        assert asked
        script("guide", "--workspace", workspace.root, code=0)
        assert stand_in.stats()["extra_ok"] == 0
    assert all(record.outcome for record in guided(workspace))
