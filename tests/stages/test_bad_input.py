"""What a user gets wrong, or finds broken: one clear message, a hint, the right exit code."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from duel import cli
from duel.calls.ledger import Ledger
from duel.offline import SAMPLE
from duel.workspace import Workspace
from tests.conftest import Finished
from tests.offline.faults import endpoint
from tests.offline.watched import StandIn
from tests.stages.conftest import SETTINGS

BUNDLED = SAMPLE
Script = Callable[..., Finished]
Fill = Callable[..., Workspace]


def test_no_key_says_where_to_put_one(script: Script, fill: Fill) -> None:
    done = script("king.py", "--workspace", fill(1).root, code=2, CHUTES_BASE_URL="https://llm.example/v1")
    assert "CHUTES_API_KEY" in done.err
    assert "hint:" in done.err


def test_a_plan_needs_no_key(script: Script, fill: Fill) -> None:
    workspace = fill(3)
    assert "3 calls" in script("king.py", "--workspace", workspace.root, "--plan", code=0).out
    done = script("run.py", "--workspace", workspace.root, "--plan", code=0)
    assert "in all: 24 calls" in done.out
    assert not (workspace.root / "answer_0").exists()


@pytest.mark.parametrize("name", ["king.py", "run.py"])
def test_a_plan_of_doing_it_again_counts_what_lies_there_as_well(
    script: Script, fill: Fill, stand_in: StandIn, name: str
) -> None:
    workspace = fill(3)
    script("king.py", "--workspace", workspace.root, code=0)
    assert "king: 3 items, 3 calls" in script(name, "--workspace", workspace.root, "--plan", "--again", code=0).out


def test_a_plan_writes_nothing(script: Script, fill: Fill, stand_in: StandIn) -> None:
    workspace = fill(3)
    script("king.py", "--workspace", workspace.root, code=0)
    shutil.rmtree(workspace.private)
    before = {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*")}
    for name in ("king.py", "ch.py", "audit", "validate.py", "guide", "run.py"):
        script(name, "--workspace", workspace.root, "--plan", code=0)
    assert {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*")} == before


def test_a_plan_for_an_empty_folder_assumes_typical_turns(script: Script, tmp_path: Path) -> None:
    (tmp_path / "chain.toml").write_text("[sample]\nn = 10\n")
    done = script("run.py", "--workspace", tmp_path, "--plan", code=0)
    assert "in all: 80 calls, at most $" in done.out
    assert "no prompt is drawn yet" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["chain.toml"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"expected_key": "cpk_right"}, "401"),
        ({"faults": {"402": 1.0}}, "402"),
        ({"models": ["some/writer-v2"]}, "some/writer-v2"),
    ],
)
def test_a_run_that_would_fail_everywhere_stops_at_once(
    script: Script, fill: Fill, options: dict[str, object], said: str
) -> None:
    workspace = fill(40)
    with endpoint(**options) as stand_in:  # type: ignore[arg-type]
        env = {"CHUTES_BASE_URL": stand_in.base_url, "CHUTES_API_KEY": "cpk_very_secret"}
        done = script("king.py", "--workspace", workspace.root, code=2, **env)
        assert stand_in.stats()["requests"] < 40
    assert said in done.err
    assert "hint:" in done.err
    assert "cpk_very_secret" not in done.err + done.out
    for path in workspace.private.rglob("*"):
        assert b"cpk_very_secret" not in path.read_bytes()


def test_a_wrong_address_is_said_with_the_address(script: Script, fill: Fill) -> None:
    env = {"CHUTES_BASE_URL": "http://127.0.0.1:9/v1", "CHUTES_API_KEY": "k"}
    done = script("king.py", "--workspace", fill(2).root, **env)
    assert done.code in {1, 2}
    assert "127.0.0.1:9" in done.err


@pytest.mark.parametrize("name", ["prompt.py", "king.py", "ch.py", "validate.py", "report.py", "audit", "export"])
def test_a_typo_in_the_settings_stops_every_script(script: Script, tmp_path: Path, name: str) -> None:
    (tmp_path / "chain.toml").write_text("[judge]\nmodles = []\n")
    done = script(name, "--workspace", tmp_path, code=2)
    assert "did you mean `models`?" in done.err


@pytest.mark.parametrize(
    "words",
    [
        "verify --limit -1",
        "verify --seconds nan",
        "bench-judges --rollouts -1",
        "bench-judges --each 0",
        "scale public --limit -1",
        "review --port 99999",
        "king --budget much",
        "king --budget nan",
    ],
)
def test_a_number_that_counts_nothing_is_told_before_anything_is_done(
    script: Script, tmp_path: Path, words: str
) -> None:
    name, *options = words.split()
    done = script(name, *options, "--workspace", tmp_path, code=2)
    assert f"{options[-2]}: must be a number" in done.err and options[-1] in done.err
    assert not list(tmp_path.iterdir())


BEGIN = {"init", "doctor", "run", "prompt", "mine", "scale", "bench-judges", "verify"}
"""Commands that begin a workspace; `calls` reads the ledger alone."""


@pytest.mark.parametrize("name", sorted(cli.COMMANDS.keys() - BEGIN - {"calls"}))
def test_a_workspace_that_is_not_there_is_told_and_not_made(script: Script, tmp_path: Path, name: str) -> None:
    words = {"shard": ["merge"], "cluster": ["run"]}.get(name, [])
    done = script(name, "--workspace", tmp_path / "no" / "such", *words, code=2)
    assert "there is no such workspace" in done.err and "no/such" in done.err and "--workspace" in done.err
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("instance_id", ["../../x", "o__r-" + "9" * 300, "a/b", "..", "ünïcode"])
def test_a_hostile_instance_id_stays_in_its_folder(
    script: Script, fill: Fill, stand_in: StandIn, instance_id: str
) -> None:
    workspace = fill(1)
    path = workspace.root / "prompt" / "prompts_1_1.json"
    rows = orjson.loads(path.read_bytes())
    rows[0]["instance_id"] = instance_id
    path.write_bytes(orjson.dumps(rows))
    record = workspace.commit("owner__repo-1")
    assert record is not None
    record.instance_id = instance_id
    workspace.save(workspace.commit_path(instance_id), record)
    before = {entry for entry in workspace.root.parent.rglob("*") if workspace.root not in entry.parents}
    for stage in ["king.py", "ch.py", "validate.py", "report.py"]:
        script(stage, "--workspace", workspace.root, code=0)
    assert {entry for entry in workspace.root.parent.rglob("*") if workspace.root not in entry.parents} == before
    assert len(workspace.answer_paths()) == len(workspace.score_paths()) == 1


def test_an_unknown_flag_is_one_line_with_a_hint(script: Script) -> None:
    done = script("king.py", "--wrokspace", "x", code=2)
    assert "--wrokspace" in done.err
    assert "hint: `king.py --help`" in done.err


def test_a_workspace_that_cannot_be_written_is_said(script: Script, fill: Fill, stand_in: StandIn) -> None:
    workspace = fill(1)
    (workspace.root / "answer_0").write_text("a file where a folder should be")
    done = script("king.py", "--workspace", workspace.root, code=2)
    assert "cannot write" in done.err


def test_the_budget_ends_a_run_cleanly(script: Script, fill: Fill, stand_in: StandIn) -> None:
    workspace = fill(30, settings=SETTINGS + '[prices]\n"some/writer" = { input = 1000.0, output = 1000.0 }\n')
    done = script("king.py", "--workspace", workspace.root, "--budget", "3", code=3)
    assert "the budget is spent" in done.err
    assert len(workspace.answer_paths()) < 30
    assert len(workspace.answer_paths()) == stand_in.stats()["unique_ok"]


def test_a_budget_of_nothing_does_not_say_that_there_is_nothing_to_do(script: Script, fill: Fill) -> None:
    workspace = fill(3, settings=SETTINGS + '[prices]\n"*" = { input = 1.0, output = 1.0 }\n')
    done = script("king.py", "--workspace", workspace.root, "--budget", "0", code=3, CHUTES_API_KEY="k")
    assert "king: 0 done" in done.err and "the budget is spent" in done.err
    assert "nothing to do" not in done.err


def test_one_budget_holds_for_all_stages_of_a_run(script: Script, tmp_path: Path, stand_in: StandIn) -> None:
    models = ["some/writer", "some/judge-a", "other/judge-b", "third/judge-c"]
    prices = "".join(f'"{name}" = {{ input = 100.0, output = 100.0 }}\n' for name in models)
    sample = (
        f'[sample]\nn = 12\ndataset = "{BUNDLED / "trajectories.parquet"}"\npulls = "{BUNDLED / "pulls.parquet"}"\n'
    )
    workspace = Workspace(tmp_path)
    workspace.save(tmp_path / "chain.toml", f"{SETTINGS}\n{sample}[prices]\n{prices}".encode())
    done = script("run.py", "--workspace", tmp_path, "--budget", "6", code=3)
    assert "[5/6] validate" in done.err
    assert "the budget is spent" in done.err
    with Ledger(workspace.ledger) as ledger:
        assert 3 < ledger.spent() <= 6
    script("run.py", "--workspace", tmp_path, code=0)


def test_a_key_outside_of_any_section_is_told_where_it_belongs(script: Script, tmp_path: Path) -> None:
    (tmp_path / "chain.toml").write_text("temperature = 3\n")
    done = script("king.py", "--workspace", tmp_path, code=2)
    assert "a key stands outside of any section" in done.err and "put it under [generate] or [judge]" in done.err


def test_a_misspelled_back_end_is_told_before_anything_is_drawn(script: Script, tmp_path: Path) -> None:
    done = script("run.py", "--offline", "--execute", "bublewrap", "--workspace", tmp_path, code=2)
    assert "did you mean `bubblewrap`?" in done.err
    assert not (tmp_path / "prompt").exists()


def test_validate_names_each_contest_and_a_wrong_panel_is_told_without_talk_of_missing_votes(
    script: Script, fill: Fill, stand_in: StandIn
) -> None:
    workspace = fill(4)
    for name in ("king.py", "ch.py"):
        script(name, "--workspace", workspace.root, code=0)
    said = script("validate.py", "--workspace", workspace.root, "--noise-floor", 3, "--canary", 3, code=0).err
    for told in ("judge: 4 done", "noise: 3 done", "judge, noise: 3 done", "judge, canary: 3 done"):
        assert told in said
    (workspace.root / "chain.toml").write_text(SETTINGS.replace("some/judge-a", "some/judge-x"))
    said = script("validate.py", "--workspace", workspace.root, "--regate", code=2).err
    assert "there is nothing to decide on" in said and "other-panel" in said and "wait for votes" not in said
