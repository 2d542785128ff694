"""A new user's first hour: settings to start from, what works here, and checks before anything is downloaded."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from duel import cli, settings
from duel.errors import SettingsError
from duel.offline import SAMPLE
from duel.workspace import Workspace
from tests.calls.faulty import Faulty, Said, completion, refusal
from tests.conftest import Finished
from tests.offline.watched import endpoint
from tests.stages.conftest import SETTINGS

Script = Callable[..., Finished]


def test_init_writes_settings_that_load_and_change_nothing(script: Script, tmp_path: Path) -> None:
    script("init", "--workspace", tmp_path, code=0)
    text = (tmp_path / "chain.toml").read_text("utf-8")
    assert settings.load(tmp_path) == settings.Settings()
    every = "\n".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ") and " = " in line)
    assert "win_margin = 2.0  # " in every and tomllib.loads(text)
    assert "CHUTES_API_KEY=" in (tmp_path / ".env.example").read_text("utf-8")


def test_init_leaves_what_is_there(script: Script, tmp_path: Path) -> None:
    (tmp_path / "chain.toml").write_text("[sample]\nn = 3\n")
    assert "stays as it is" in script("init", "--workspace", tmp_path, code=0).err
    assert settings.load(tmp_path).sample.n == 3


@pytest.mark.parametrize(
    ("options", "flags", "said"),
    [
        ({"models": ["some/writer-2", "some/judge-a"]}, [], "some/writer-2"),
        ({"expected_key": "another"}, ["--check-models"], "is the key in .env the right one for this endpoint?"),
    ],
)
def test_run_checks_the_endpoint_before_the_first_download(
    script: Script, tmp_path: Path, options: dict[str, object], flags: list[str], said: str
) -> None:
    (tmp_path / "chain.toml").write_text(SETTINGS)
    with endpoint(**options) as stand_in:  # type: ignore[arg-type]
        env = {"CHUTES_BASE_URL": stand_in.base_url, "CHUTES_API_KEY": "cpk_x"}
        done = script("run.py", "--workspace", tmp_path, *flags, code=2, **env)
    assert said in done.err and "cpk_x" not in done.err
    assert not (tmp_path / "prompt").exists()
    assert "the Hub" not in done.err


def test_a_closed_port_is_told_before_the_first_download(script: Script, tmp_path: Path) -> None:
    env = {"CHUTES_BASE_URL": "http://127.0.0.1:9/v1", "CHUTES_API_KEY": "k"}
    done = script("run.py", "--workspace", tmp_path, code=2, **env)
    assert "in `http://127.0.0.1:9/v1`" in done.err and "duel doctor" in done.err
    assert "the Hub" not in done.err and not (tmp_path / "prompt").exists()


def test_a_budget_is_an_amount_of_money(script: Script, tmp_path: Path) -> None:
    for amount in ("-1", "nan", "inf", "much"):
        done = script("king.py", "--workspace", tmp_path, f"--budget={amount}", code=2)
        assert f"argument --budget: must be a number of at least 0: {amount}" in done.err


def test_hints_name_commands_where_there_are_no_scripts(program: Script, script: Script, tmp_path: Path) -> None:
    assert "hint: run duel prompt first" in program("king", "--workspace", tmp_path, code=2).err
    assert "hint: run prompt.py first" in script("king.py", "--workspace", tmp_path, code=2).err


def test_another_draw_says_what_it_costs_before_it_is_made(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(n: int, *flags: str) -> str:
        sample = f'[sample]\nn = {n}\ndataset = "{SAMPLE}/trajectories.parquet"\npulls = "{SAMPLE}/pulls.parquet"\n'
        (tmp_path / "chain.toml").write_text(f'{SETTINGS}\n{sample}[prices]\n"*" = {{ input = 1.0, output = 1.0 }}\n')
        return script("prompt.py", "--workspace", tmp_path, *flags, code=0).err

    draw(3, "--n", "4")
    assert "it is drawn anew\nto answer and judge 5 turns costs at most $" in draw(5)


def test_a_finished_run_needs_no_key_and_no_endpoint(script: Script, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    sample = f'[sample]\nn = 3\ndataset = "{SAMPLE}/trajectories.parquet"\npulls = "{SAMPLE}/pulls.parquet"\n'
    workspace.save(tmp_path / "chain.toml", f"{SETTINGS}\n{sample}".encode())
    with endpoint() as stand_in:
        env = {"CHUTES_BASE_URL": stand_in.base_url, "CHUTES_API_KEY": "k"}
        script("run.py", "--workspace", tmp_path, "--check-models", code=0, **env)
    script("run.py", "--workspace", tmp_path, code=0)


def test_the_doctor_says_what_works_and_what_is_missing(script: Script, tmp_path: Path) -> None:
    (tmp_path / "chain.toml").write_text(SETTINGS)
    done = script("doctor", "--workspace", tmp_path, code=2)
    assert "no  endpoint" in done.out and "CHUTES_API_KEY" in done.out
    with endpoint() as stand_in:
        env = {"CHUTES_BASE_URL": stand_in.base_url, "CHUTES_API_KEY": "k"}
        done = script("doctor", "--workspace", tmp_path, **env)
    assert "model some/judge-a" in done.out and "answers" in done.out
    closed = {"CHUTES_BASE_URL": "http://127.0.0.1:9/v1", "CHUTES_API_KEY": "k"}
    told = script("doctor", "--workspace", tmp_path, code=2, **closed).out
    assert "is answered" in told and "is the network there?" in told and "duel doctor" not in told


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (refusal(500, "we are down"), "no  model some/judge-a   no answer now: http-500: we are down"),
        (refusal(429, "too many"), "no answer now: http-429: too many"),
        (Said(b"<html>log in</html>"), "no answer now: malformed"),
        (Said(json.dumps({"choices": []}).encode()), "no answer now: malformed"),
        (refusal(400, "max_tokens is not known"), "ok  model some/judge-a   answers"),
        (Said(json.dumps(completion("", "length")).encode()), "ok  model some/judge-a   answers"),
    ],
    ids=["down", "busy", "a page", "no choice", "another parameter", "one token of thought"],
)
def test_the_doctor_says_so_where_a_model_answers_nothing(
    script: Script, tmp_path: Path, said: Said, found: str
) -> None:
    (tmp_path / "chain.toml").write_text(SETTINGS)
    with Faulty(lambda _: said) as server:
        env = {"CHUTES_BASE_URL": server.base_url, "CHUTES_API_KEY": "k"}
        done = script("doctor", "--workspace", tmp_path, code=2 if "no answer" in found else 0, **env)
    assert found in done.out


def test_the_doctor_says_where_nothing_can_be_written(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    told = script("doctor", "--offline", "--workspace", tmp_path, code=2).out
    assert "no  disk" in told and "where nothing can be written" in told


def test_the_doctor_asks_for_no_key_where_the_stand_in_answers(script: Script, tmp_path: Path) -> None:
    told = script("doctor", "--offline", "--workspace", tmp_path).out
    assert "ok  endpoint" in told and "CHUTES_API_KEY" not in told and "no  Hub" not in told


@pytest.mark.parametrize(("typed", "meant"), [("kin", "king"), ("validat", "validate"), ("exprot", "export")])
def test_a_misspelled_command_is_told_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(SettingsError, match=f"did you mean `{meant}`"):
        cli.call([typed])
