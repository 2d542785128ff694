"""mine.py as its users run it: what is taken, what is written, what is never written, and what comes after."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from duel.conversation.model import Session
from duel.sources.mining.mined import SessionScrubber
from duel.sources.mining.sweep import Mine, seconds_of
from duel.sources.sessions import session_formats
from tests.sessions.logs import ClaudeCode, text_block, tool_use, write_lines

SIX = ["instance_id", "repo", "messages", "trajectory_format", "exit_status", "duration_sec"]
FIXED = "def total(prices):\n    return sum(prices)\n"
BROKEN = "def total(prices):\n    return sum(prices[1:])\n"
TEST = "from shop import total\n\n\ndef test_total():\n    assert total([1, 2]) == 3\n"
MIT = "Permission is hereby granted, free of charge, to any person obtaining a copy of this … copies or substantial …\n"


def git(folder: Path, *arguments: str, at: str = "2026-01-02T04:00:00Z") -> str:
    who = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@lovelace.org", "GIT_AUTHOR_DATE": at}
    who |= {"GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@lovelace.org", "GIT_COMMITTER_DATE": at}
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], env={**os.environ, **who}, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a bug, whose fix was committed half an hour after the session."""
    top = tmp_path / "shop"
    top.mkdir()
    git(top, "init", "-q", "-b", "main")
    git(top, "remote", "add", "origin", "https://ada:hunter2secret@code.invalid/acme/shop.git")
    (top / "shop.py").write_text(BROKEN)
    (top / "LICENSE").write_text(MIT)
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "A shop", at="2026-01-01T00:00:00Z")
    (top / "notes.md").write_text("unrelated\n")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "Notes", at="2026-01-02T03:20:00Z")
    (top / "shop.py").write_text(FIXED)
    (top / "test_shop.py").write_text(TEST)
    git(top, "add", ".")
    git(
        top,
        "commit",
        "-q",
        "-m",
        "Count every price\n\nThe first one was left out.\n\nBy ada@lovelace.org",
        at="2026-01-02T03:40:00Z",
    )
    return top


def fix(folder: Path | str, session: str = "s-1", task: str = "The total is too low. Fix it.") -> list[Any]:
    """A session that finds the bug, fixes it and runs the tests."""
    log = ClaudeCode(str(folder), session, gitBranch="main")
    log.says(task)
    log.runs(f"{session}-a", "cat shop.py", BROKEN)
    edit = tool_use(f"{session}-b", "Edit", file_path=f"{folder}/shop.py", old_string="prices[1:]", new_string="prices")
    log.replies(f"{session}-m", text_block("The slice skips the first price."), edit)
    log.result(f"{session}-b", "updated", {"originalFile": BROKEN, "structuredPatch": [], "filePath": "x"})
    failed = "Exit code 1\nFAILED test_shop.py::test_total - assert 2 == 3\n1 failed in 0.01s"
    log.runs(f"{session}-c", "pytest -q test_shop.py", failed, f"Error: {failed}")
    log.runs(f"{session}-d", "pytest -q test_shop.py", "1 passed")
    log.replies(f"{session}-e", text_block("The total is right now."))
    return log.lines


def rows(path: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(path).to_pylist())


def test_the_agents_own_folder_is_found_and_written_in_the_datasets_columns(
    script: Callable[..., Any], logs: Path, tmp_path: Path
) -> None:
    write_lines(logs / "a.jsonl", fix("/home/ada/shop"))
    script("mine", "--workspace", tmp_path, code=0)
    schema = pq.read_schema(tmp_path / "mined.parquet")
    assert schema.names[:6] == SIX
    assert str(schema.field("messages").type) == "list<element: struct<role: string, content: string>>"
    (row,) = rows(tmp_path / "mined.parquet")
    assert [message["role"] for message in row["messages"]] == ["system"] + ["user", "assistant"] * 5
    assert row["messages"][4]["content"] == (
        "THOUGHT: The slice skips the first price.\n\n```bash\ngit apply <<'EOF'\ndiff --git a/shop.py b/shop.py\n"
        "--- a/shop.py\n+++ b/shop.py\n@@ -1,2 +1,2 @@\n def total(prices):\n-    return sum(prices[1:])\n"
        "+    return sum(prices)\nEOF\n```"
    )
    assert (row["repo"], row["exit_status"], row["eligible_turns"]) == ("local/shop", "Submitted", 5)
    assert (row["outcome_guess"], row["outcome_evidence"]) == ("success", "the last run of tests passed: pytest")
    assert row["duration_sec"] == 9.0
    assert not (tmp_path / "mined-pulls.parquet").exists()


def test_the_same_logs_give_the_same_bytes(script: Callable[..., Any], logs: Path, tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_lines(logs / f"{name}.jsonl", fix("/home/ada/shop", name))
    for folder in ("one", "two"):
        script("mine", "--workspace", tmp_path / folder, "--keep-tools", code=0)
    assert (tmp_path / "one" / "mined.parquet").read_bytes() == (tmp_path / "two" / "mined.parquet").read_bytes()


def test_the_commit_that_followed_becomes_the_pull_request(
    script: Callable[..., Any], logs: Path, repository: Path, tmp_path: Path
) -> None:
    write_lines(logs / "a.jsonl", fix(repository))
    script("mine", "--workspace", tmp_path, code=0)
    (row,), (pull,) = rows(tmp_path / "mined.parquet"), rows(tmp_path / "mined-pulls.parquet")
    assert row["instance_id"].startswith("acme__shop-s")
    assert (row["instance_id"], row["repo"]) == (pull["instance_id"], pull["repo"])
    assert pull["repo"] == "acme/shop"
    assert pull["base_commit"] == row["base_commit"] == git(repository, "rev-parse", "HEAD~1")
    assert row["messages"][1]["content"].endswith(f"\n\n- Repo: acme/shop\n- Base commit: {pull['base_commit']}")
    assert pull["problem_statement"] == "The total is too low. Fix it."
    assert "+    return sum(prices)\n" in pull["patch"]
    assert "test_shop.py" not in pull["patch"]
    assert "+def test_total():" in pull["test_patch"]
    assert pull["pr_description"].startswith("Count every price\n\nThe first one was left out.")
    assert "lovelace" not in json.dumps(pull)
    assert (pull["license"], pull["created_at"]) == ("MIT", "2026-01-02T03:40:00+00:00")
    assert row["outcome_evidence"].endswith("touches 1 of the 1 files that were edited")


def test_no_commit_is_taken_that_is_not_the_sessions(logs: Path, repository: Path, tmp_path: Path) -> None:
    places = {name: tmp_path / name for name in ("no repository", "not edited", "too late", "gone", "the one")}
    for number, (name, place) in enumerate(places.items()):
        shutil.copytree(repository, place)
        lines = json.dumps(fix(place, f"s-{number}"))
        lines = lines.replace("/shop.py", "/other.py") if name == "not edited" else lines
        lines = lines.replace("2026-01-02", "2025-12-20") if name == "too late" else lines
        write_lines(logs / f"{number}.jsonl", json.loads(lines))
    shutil.rmtree(places["no repository"] / ".git")
    shutil.rmtree(places["gone"])
    mined = list(Mine([]).sessions())
    assert [found.commit is not None for found in mined] == [False, False, False, False, True]


def test_a_hostile_repository_runs_nothing(
    script: Callable[..., Any], logs: Path, repository: Path, tmp_path: Path
) -> None:
    """The folder stands in a log, so its git configuration is outside data."""
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\ncat\n")
    trap.chmod(0o755)
    for setting in (
        "core.fsmonitor",
        "diff.external",
        "diff.x.textconv",
        "diff.x.command",
        "core.pager",
        "core.sshCommand",
    ):
        git(repository, "config", setting, str(trap))
    git(repository, "config", "filter.x.smudge", str(trap))
    (repository / ".git" / "info").mkdir(exist_ok=True)
    (repository / ".git" / "info" / "attributes").write_text("* diff=x filter=x\n")
    lines = json.loads(
        json.dumps(fix(repository)).replace('"gitBranch": "main"', f'"gitBranch": "--output={tmp_path}/sprung"')
    )
    write_lines(logs / "a.jsonl", lines)
    script("mine", "--workspace", tmp_path / "w", code=0)
    assert len(rows(tmp_path / "w" / "mined-pulls.parquet")) == 1
    assert not (tmp_path / "sprung").exists()


def test_names_homes_addresses_and_secrets_are_gone_and_paths_stay_coherent(
    script: Callable[..., Any], logs: Path, tmp_path: Path
) -> None:
    key = "sk-ant-api03-" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA" * 2
    log = ClaudeCode("/home/lovelace/projects/shop")
    log.says(f"I am lovelace, write to a.lovelace@analytical.org. My key is {key}.")
    log.runs(
        "a",
        "ls -l ~/.claude/projects/-home-lovelace-projects-shop",
        "drwxr-xr-x 2 lovelace staff 64 x\n-rw-r--r--  1 byron byron 7 y\n/home/lovelace/x",
    )
    log.writes("b", "/home/lovelace/projects/shop/.env", f"KEY={key}\nHOME=/Users/Byron/y\n")
    write_lines(logs / "a.jsonl", log.lines)
    script("mine", "--workspace", tmp_path, "--keep-tools", code=0)
    (row,) = rows(tmp_path / "mined.parquet")
    written = json.dumps(row)
    for personal in ("lovelace", "Byron", "byron", key, "analytical.org"):
        assert personal not in written
    assert row["messages"][3]["content"] == "drwxr-xr-x 2 user staff 64 x\n-rw-r--r--  1 user user 7 y\n/home/user/x"
    assert "-home-user-projects-shop" in row["messages"][2]["content"]
    assert "/Users/user/y" in row["messages"][4]["content"]
    shown = script("mine", "--workspace", tmp_path, "--dry-run", code=0)
    assert "lovelace" not in shown.out + shown.err


def test_a_dry_run_shows_what_would_be_taken_and_writes_nothing(
    script: Callable[..., Any], logs: Path, tmp_path: Path
) -> None:
    write_lines(logs / "a.jsonl", fix("/home/ada/shop"))
    shown = script("mine", "--workspace", tmp_path / "w", "--dry-run", code=0)
    assert "The total is too low." in shown.out
    assert "1 sessions taken, 5 turns" in shown.err
    assert not (tmp_path / "w").exists()


def test_one_can_choose_by_age_project_length_outcome_and_recovery(logs: Path) -> None:
    write_lines(logs / "old.jsonl", fix("/home/ada/shop", "old", "Old"))
    young = json.dumps(fix("/home/ada/garden", "young", "Young")).replace("2026-01-02", "2026-03-02")
    write_lines(logs / "young.jsonl", json.loads(young))
    short = ClaudeCode("/home/ada/shop", "short")
    short.says("Short")
    short.runs("x", "ls", "y")
    write_lines(logs / "short.jsonl", short.lines)

    def taken(limit: int = 0, **wanted: Any) -> set[str]:
        return {found.trajectory.task for found in Mine([], limit=limit, **wanted).sessions()}

    assert taken() == {"Old", "Young", "Short"}
    assert taken(not_before=datetime(2026, 3, 1, tzinfo=UTC).timestamp()) == {"Young"}
    assert taken(project="*/garden") == taken(project="garden") == {"Young"}
    assert taken(min_turns=2) == taken(outcome="success") == {"Old", "Young"}
    assert taken(outcome="unknown") == {"Short"}
    assert len(taken(limit=1)) == 1


@pytest.mark.parametrize(("age", "seconds"), [("7d", 604800), ("12h", 43200), ("90m", 5400), ("1.5W", 907200)])
def test_ages(age: str, seconds: float) -> None:
    assert seconds_of(age) == seconds


def test_the_command_line_chooses_as_well(script: Callable[..., Any], logs: Path, tmp_path: Path) -> None:
    write_lines(logs / "old.jsonl", fix("/home/ada/shop", "old", "Old task."))
    today = time.strftime("%Y-%m-%d", time.gmtime())
    young = json.dumps(fix("/home/ada/garden", "young", "Young task.")).replace("2026-01-02", today)
    write_lines(logs / "young.jsonl", json.loads(young))
    options = ("--since", "7d", "--project", "*a*", "--filter", "error-recovery", "--outcome", "success")
    shown = script("mine", "--workspace", tmp_path, "--dry-run", *options, code=0).out
    assert "Young task." in shown
    assert "Old task." not in shown


def test_native_calls_are_kept_for_the_tool_call_exports(
    script: Callable[..., Any], logs: Path, tmp_path: Path
) -> None:
    write_lines(logs / "a.jsonl", fix("/home/ada/shop"))
    script("mine", "--workspace", tmp_path, "--keep-tools", code=0)
    messages = json.loads(rows(tmp_path / "mined.parquet")[0]["native_messages"])
    assert [message["role"] for message in messages] == ["user"] + ["assistant", "tool"] * 4 + ["assistant"]
    (use,) = messages[3]["tool_calls"]
    assert use["function"]["name"] == "Edit"
    assert use["function"]["arguments"]["new_string"] == "prices"
    assert messages[4]["tool_call_id"] == use["id"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--since", "soon"], "not an age"),
        (["nowhere"], "no such file"),
        (["--min-turns", "0"], "--min-turns"),
        (["nowhere/"], "no such file"),
        (["logs/nowhere.jsonl"], "no such file"),
        ([], "no session was taken"),
    ],
)
def test_a_mistake_is_one_clear_message(
    script: Callable[..., Any], tmp_path: Path, options: list[str], said: str
) -> None:
    assert said in script("mine", "--workspace", tmp_path, *options, code=2).err


def test_a_session_without_a_shell_form_is_kept_for_exports_with_its_native_calls(
    script: Callable[..., Any], tmp_path: Path, logs: Path
) -> None:
    log = ClaudeCode("/home/ada/shop", "s-9")
    log.says("What is new in version 4?")
    log.replies("m", tool_use("w", "WebSearch", query="version 4"))
    log.result("w", "nothing")
    write_lines(logs / "s-9.jsonl", log.lines)
    assert "no-eligible-turn" in script("mine", "--workspace", tmp_path, code=2).err
    script("mine", "--workspace", tmp_path, "--keep-tools", code=0)
    (row,) = rows(tmp_path / "mined.parquet")
    assert [message["role"] for message in row["messages"]] == ["system", "user"]
    assert json.loads(row["native_messages"])[1]["tool_calls"][0]["function"]["name"] == "WebSearch"
    assert "no-eligible-turn" in script("mine", "--workspace", tmp_path, "--keep-tools", "--min-turns", "2", code=2).err


def test_a_run_that_takes_nothing_leaves_what_an_earlier_one_mined(
    script: Callable[..., Any], tmp_path: Path, logs: Path, repository: Path
) -> None:
    write_lines(logs / "s-1.jsonl", fix(repository))
    script("mine", "--workspace", tmp_path / "out", code=0)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.parquet")}
    assert sorted(before) == ["mined-pulls.parquet", "mined.parquet"]
    script("mine", "--workspace", tmp_path / "out", "--min-turns", "99", code=2)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.parquet")} == before
    script("mine", "--workspace", tmp_path / "out", "--no-commits", code=0)
    assert [path.name for path in (tmp_path / "out").glob("*.parquet")] == ["mined.parquet"]


@pytest.mark.parametrize("mode", ["-r--r--r--", "-r-xr-xr-x", "drwxr-xr-x", "-rw-------"])
def test_owner_and_group_of_a_listed_file_go_whatever_its_mode(mode: str) -> None:
    scrub = SessionScrubber(Session("pi", "s-1"))
    assert scrub(f"{mode} 1 byron byron 7 x") == f"{mode} 1 user user 7 x"


def test_an_address_that_holds_the_persons_name_goes_as_a_whole() -> None:
    session = Session("pi", "s-1", folder="/home/ada/shop")
    scrubbed = SessionScrubber(session)("ada@lovelace.org wrote it; ada runs it in /home/ada/shop")
    assert "lovelace" not in scrubbed
    assert scrubbed.endswith("; user runs it in /home/user/shop")


def test_the_formats_that_one_can_name_are_those_that_are_known(script: Callable[..., Any]) -> None:
    said = script("mine", "--help", code=0).out
    assert f"readas{','.join(session_formats.formats())}" in "".join(said.split())


def test_from_sessions_to_the_end_offline(
    script: Callable[..., Any], logs: Path, repository: Path, tmp_path: Path
) -> None:
    """mine, prompt, king, ch, validate, report, export: on a repository that is made here."""
    for number in range(3):
        write_lines(logs / f"{number}.jsonl", fix(repository, f"s-{number}", f"The total of part {number} is too low."))
    work = ("--workspace", tmp_path / "w")
    script("mine", *work, code=0)
    mined = tmp_path / "w" / "mined.parquet"
    pulls = mined.with_name("mined-pulls.parquet")
    script("prompt.py", *work, "--source", mined, "--pulls", pulls, "--n", 3, "--offline", code=0)
    assert len(list((tmp_path / "w" / "commit").glob("acme__shop-s*.json"))) == 3
    for stage in ("king.py", "ch.py", "validate.py", "report.py"):
        script(stage, *work, "--offline", code=0)
    answers = list((tmp_path / "w" / "answer_0").glob("*.json"))
    assert len(answers) == 3
    assert all(json.loads(path.read_bytes())["challenger"] for path in answers)
    assert (tmp_path / "w" / "report" / "report.md").is_file()
    script("export", *work, "--from", mined, "--format", "sft", code=0)
    assert list((tmp_path / "w" / "export").rglob("*.jsonl"))
