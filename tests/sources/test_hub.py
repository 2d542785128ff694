"""The Hub path, against a Hub on loopback: every file once, at one commit, with patience and in plain words."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest

from duel import cli, command
from duel.errors import SourceError
from duel.sources import parquet_tables
from duel.sources.parquet_tables import HubTable, seconds_to_wait
from duel.workspace import Workspace
from tests.conftest import ended, forked
from tests.hub import LoopbackHub
from tests.sources.tables import dataset, pull, write_pulls

Script = Callable[..., Any]


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    """The library reads HF_HUB_OFFLINE and the home folder once, whichever test of this process imports it first."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture
def connect(loopback: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., HubTable]:
    """A table of the loopback Hub within this process; `waits` collects what it would have slept."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", loopback.url)

    def make(
        revision: str = "", *, name: str = "someone/rollouts", waits: list[float] | None = None, **options: Any
    ) -> HubTable:
        monkeypatch.setattr(parquet_tables, "sleep", (waits if waits is not None else []).append)
        return HubTable(Workspace(tmp_path / "workspace"), name, revision, "data/*.parquet", **options)

    return make


@pytest.fixture
def published(loopback: LoopbackHub, tmp_path: Path) -> dict[str, Path]:
    """A dataset of 20 parquet files and its pull requests, on the loopback Hub."""
    files = dataset(tmp_path / "published", files=20)
    loopback.add("someone/rollouts", {**files, "README.md": b"# Rollouts"})
    rows = [pull(f"owner__repo{n // 3 % 5}-{n}") for n in range(60)]
    thirds = {
        f"data/train-0000{k}-of-00003.parquet": write_pulls(
            tmp_path / "published" / f"pulls{k}.parquet", rows[k * 20 : k * 20 + 20]
        )
        for k in range(3)
    }
    loopback.add("someone/pulls", dict(thirds))
    return files


def configure(folder: Path, **sample: Any) -> Path:
    keys = {"dataset": "someone/rollouts", "pulls": "someone/pulls", **sample}
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    folder.mkdir(exist_ok=True)
    (folder / "chain.toml").write_text("[sample]\n" + "\n".join(lines) + "\n[audit]\ndecontaminate = []\n")
    return folder


@pytest.mark.usefixtures("published")
def test_twenty_files_are_sent_once_each_and_a_rerun_asks_nothing(
    loopback: LoopbackHub, tmp_path: Path, script: Script
) -> None:
    home = configure(tmp_path / "run", n=50, files=20)
    done = script("prompt.py", "--workspace", home, code=0, **loopback.environment)
    assert "50 turns from 50 pull requests" in done.err
    assert set(loopback.downloads().values()) == {1}
    assert len(loopback.downloads()) == 23
    row = json.loads((home / "prompt" / "prompts_50_1.json").read_bytes())[0]
    assert row["source"]["dataset"] == "someone/rollouts"
    assert row["source"]["revision"] == loopback.repositories["someone/rollouts"].sha
    asked = len(loopback.requests)
    assert "nothing to do" in script("prompt.py", "--workspace", home, code=0, **loopback.environment).err
    assert len(loopback.requests) == asked


@pytest.mark.usefixtures("published")
def test_only_the_drawn_files_are_downloaded_and_the_plan_names_them(
    loopback: LoopbackHub, tmp_path: Path, script: Script
) -> None:
    home = configure(tmp_path / "run", n=5, files=3)
    plan = script("prompt.py", "--workspace", home, "--plan", code=0, **loopback.environment)
    assert "3 of 20 files" in plan.err
    assert not loopback.downloads()
    assert not (home / "prompt").exists()
    script("prompt.py", "--workspace", home, code=0, **loopback.environment)
    rollouts = {name for name in loopback.downloads() if "-of-" not in name}
    assert rollouts == {line.split()[-1] for line in plan.err.splitlines() if line.endswith(".parquet")} - {
        name for name in loopback.downloads() if "-of-" in name
    }
    page = json.loads((home / "report" / "sampling.json").read_bytes())
    assert page["trajectories"]["files_in_all"] == 20
    assert all(file["probability"] == pytest.approx(3 / 20, rel=0.2) for file in page["trajectories"]["files"])


@pytest.mark.usefixtures("published")
def test_the_commit_is_resolved_once_so_that_a_rerun_draws_from_the_same_data(
    loopback: LoopbackHub, connect: Callable[..., HubTable]
) -> None:
    first = connect().revision
    loopback.repositories["someone/rollouts"].sha = "b" * 40
    assert connect().revision == first
    assert connect(again=True).revision == "b" * 40
    assert connect().revision == "b" * 40


def test_a_sha_needs_no_request(loopback: LoopbackHub, connect: Callable[..., HubTable]) -> None:
    assert connect("a" * 40).revision == "a" * 40
    assert not loopback.requests


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("where", ["/api/datasets/someone/rollouts", "/tree/", "/resolve/", "/cdn/"])
def test_a_429_is_waited_for_as_the_header_says(
    loopback: LoopbackHub, connect: Callable[..., HubTable], capsys: pytest.CaptureFixture[str], where: str
) -> None:
    waits: list[float] = []
    loopback.refuse(where, {"RateLimit": '"resolvers";r=0;t=55', "RateLimit-Policy": '"fixed window";q=3000;w=300'})
    loopback.refuse(where, {"Retry-After": "7"})
    table = connect(waits=waits)
    assert table.fetch("data/train-00003.parquet").stat().st_size == table.sizes["data/train-00003.parquet"]
    assert waits == [56.0, 7.0]
    assert "the Hub's rate limit is reached: going on in 56 s (wait 1 of 3)" in capsys.readouterr().err
    assert loopback.downloads() == {"data/train-00003.parquet": 1 if where != "/cdn/" else 3}


@pytest.mark.usefixtures("published")
def test_a_hub_that_only_answers_429_is_given_up_after_three_waits(
    loopback: LoopbackHub, connect: Callable[..., HubTable]
) -> None:
    waits: list[float] = []
    for _ in range(9):
        loopback.refuse("/api/", {"RateLimit": '"api";r=0;t=99999'})
    with pytest.raises(SourceError, match="still answers 429"):
        _ = connect(waits=waits).revision
    assert waits == [310.0, 310.0, 310.0]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"ratelimit": '"api";r=0;t=55'}, 56.0),
        ({"ratelimit": "limit=500, remaining=0, t=3"}, 4.0),
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": "0"}, 1.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30.0),
        ({"retry-after": "1e9"}, 310.0),
        ({}, 30.0),
    ],
)
def test_a_wait_is_bounded_whatever_the_header_says(headers: dict[str, str], seconds: float) -> None:
    assert seconds_to_wait(headers) == seconds


@pytest.mark.usefixtures("published")
def test_a_connection_that_breaks_half_way_is_taken_up_where_it_broke(
    loopback: LoopbackHub, connect: Callable[..., HubTable], monkeypatch: pytest.MonkeyPatch, published: dict[str, Path]
) -> None:
    import huggingface_hub.file_download as client

    monkeypatch.setattr(client.time, "sleep", lambda seconds: None)
    loopback.cut("data/train-00001.parquet")
    path = connect().fetch("data/train-00001.parquet")
    assert path.read_bytes() == published["data/train-00001.parquet"].read_bytes()


def test_the_token_goes_with_the_request_and_never_into_a_message(
    loopback: LoopbackHub, connect: Callable[..., HubTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = loopback.add("someone/private", {"data/x.parquet": b""}, token="hf_secret")
    with pytest.raises(SourceError, match="neither a local path nor a dataset on the Hub") as failed:
        _ = connect("main", name="someone/private").revision
    assert "HF_TOKEN" in str(failed.value)
    monkeypatch.setenv("HUGGINGFACE_API_KEY", "hf_secret")
    assert connect("main", name="someone/private").revision == sha
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(SourceError) as failed:
        _ = connect("main", name="someone/private", again=True).revision
    assert "hf_wrong" not in str(failed.value)


@pytest.mark.usefixtures("published")
def test_what_is_not_there_is_one_clear_message(loopback: LoopbackHub, connect: Callable[..., HubTable]) -> None:
    table = connect()
    with pytest.raises(SourceError, match="neither a local path nor a dataset"):
        _ = connect(name="someone/else").revision
    with pytest.raises(SourceError, match="no such revision"):
        _ = connect("v9").revision
    with pytest.raises(SourceError, match="the Hub answered 404"):
        del loopback.repositories["someone/rollouts"].files[next(iter(table.sizes))]
        table.fetch(next(iter(table.sizes)))
    table = connect()
    table.pattern = "other/*.parquet"
    with pytest.raises(SourceError, match=r"no file that matches `other/\*\.parquet`"):
        _ = table.sizes


def test_a_hub_that_cannot_be_reached_is_one_clear_message(
    connect: Callable[..., HubTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match="the Hub cannot be reached"):
        _ = connect().revision


@pytest.mark.parametrize("library", ["httpx", "httpx2", "httpcore", "httpcore2"])
def test_an_error_of_whichever_http_library_the_client_has_is_told_in_plain_words(library: str) -> None:
    lost = type("ReadError", (Exception,), {"__module__": f"{library}._exceptions"})
    with pytest.raises(SourceError, match="the Hub cannot be reached"), parquet_tables.in_plain_words("a/b", ""):
        raise lost("gone")


def test_a_relative_path_is_looked_up_in_the_workspace_and_then_here(tmp_path: Path) -> None:
    tmp_path = tmp_path / "with [brackets]"
    workspace = Workspace(tmp_path)
    dataset(Path("runs"), files=1)

    def table(spec: str) -> parquet_tables.ParquetTable:
        return parquet_tables.open_table(spec, workspace, "", offline=True)

    assert list(table("runs").sizes) == ["data/train-00000.parquet"]
    dataset(tmp_path / "runs", files=2)
    assert len(table("runs").sizes) == len(table("runs/**/*.parquet").sizes) == 2
    assert list(table("runs/*/*0.parquet").sizes) == ["data/train-00000.parquet"]
    assert table(str(tmp_path / "runs")).name == f"{tmp_path.name}/runs"


@pytest.mark.usefixtures("published")
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(
    loopback: LoopbackHub, tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    whole, killed = (configure(tmp_path / name, n=50, files=20) for name in ("whole", "killed"))
    for name, value in loopback.environment.items():
        monkeypatch.setenv(name, value)
    script("prompt.py", "--workspace", whole, code=0)
    loopback.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "fresh"))
    loopback.refuse("/resolve/" + loopback.repositories["someone/pulls"].sha, {"Retry-After": "300"})
    reading, writing = os.pipe()

    def prompt() -> None:
        with os.fdopen(writing, "w", buffering=1) as said, redirect_stderr(said):
            command.run(lambda: cli.launch("prompt", "prompt.py", ["--workspace", str(killed)]))

    run = forked(prompt)
    os.close(writing)
    with os.fdopen(reading) as stderr:
        seen: list[str] = []
        for line in stderr:
            seen.append(line)
            if sum("read data/" in one for one in seen) == 20 and any("going on in 300 s" in one for one in seen):
                run.kill()  # with the trajectories read and the pull requests not
    assert ended(run) == -signal.SIGKILL
    assert not (killed / "prompt").exists()
    script("prompt.py", "--workspace", killed, code=0)
    assert set(loopback.downloads().values()) == {1}
    assert len(loopback.downloads()) == 23
    for folder in ("prompt", "commit", "report"):
        names = {path.name for path in (whole / folder).iterdir()}
        assert names == {path.name for path in (killed / folder).iterdir()}
        assert all((whole / folder / name).read_bytes() == (killed / folder / name).read_bytes() for name in names)
