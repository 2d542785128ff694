"""run.py: all stages in one process, ended as one, and each stage as a function."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from duel import cli, command, settings
from duel.bookkeeping import Result
from duel.offline import SAMPLE
from duel.stages import export, king, validate, whole
from duel.workspace import BUCKETS, Workspace
from tests.conftest import Finished, ended, forked_command
from tests.offline.watched import StandIn, endpoint
from tests.stages.conftest import SETTINGS

Script = Callable[..., Finished]
Fill = Callable[..., Workspace]


@pytest.fixture
def sampled(tmp_path: Path) -> Workspace:
    """A workspace whose settings draw 12 turns of the bundled sample."""
    sample = f'[sample]\nn = 12\ndataset = "{SAMPLE}/trajectories.parquet"\npulls = "{SAMPLE}/pulls.parquet"\n'
    workspace = Workspace(tmp_path)
    workspace.save(tmp_path / "chain.toml", f"{SETTINGS}\n{sample}".encode())
    return workspace


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_process_ends_the_whole_run_after_the_replies_in_flight(
    sampled: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    with endpoint(latency_s=0.1) as stand_in:
        monkeypatch.setenv("CHUTES_BASE_URL", stand_in.base_url)
        monkeypatch.setenv("CHUTES_API_KEY", "k")
        run = forked_command("run", "--workspace", sampled.root, told=tmp_path / "said.txt")
        while run.is_alive() and not stand_in.stats()["requests"]:
            run.join(0.005)
        os.kill(run.pid or 0, how)
        code = ended(run)
        served = stand_in.stats()
    said = (tmp_path / "said.txt").read_text()
    assert code == 130, said
    assert "Traceback" not in said and "Run the same command again" in said
    assert "challenger" not in said
    assert len(sampled.answer_paths()) == served["unique_ok"] == served["requests"]


def test_a_run_under_nohup_outlives_its_terminal(
    sampled: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with endpoint(latency_s=0.02) as stand_in:
        monkeypatch.setenv("CHUTES_BASE_URL", stand_in.base_url)
        monkeypatch.setenv("CHUTES_API_KEY", "k")
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            run = forked_command("run", "--workspace", sampled.root, told=tmp_path / "said.txt")
        finally:
            signal.signal(signal.SIGHUP, before)
        while run.is_alive() and not stand_in.stats()["requests"]:
            run.join(0.005)
        os.kill(run.pid or 0, signal.SIGHUP)
        code = ended(run)
    assert code == 0, (tmp_path / "said.txt").read_text()
    assert len(sampled.answer_paths()) == 12


def test_the_audit_comes_before_the_judges_and_its_turns_stay_out_of_the_buckets(
    script: Script, sampled: Workspace, stand_in: StandIn
) -> None:
    done = script("run.py", "--workspace", sampled.root, code=0)
    steps = [line.split("] ")[1] for line in done.err.splitlines() if line.startswith("[")]
    assert steps == ["prompt", "king", "challenger", "audit", "validate", "report"]
    assert all(answer.audit("challenger").protocol for _, answer in sampled.answers([]))  # type: ignore[union-attr]


def test_a_stage_that_fails_in_an_unforeseen_way_stops_the_run(
    sampled: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stand_in: StandIn
) -> None:
    def crash(*_: object, **__: object) -> Result:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(king, "run", crash)
    code = command.code_of(lambda: cli.call(["run", "--workspace", str(sampled.root)]))
    said = capsys.readouterr().err
    assert code == 70
    assert "ZeroDivisionError: a mistake of ours" in said
    assert "hint: please report it" in said
    assert stand_in.stats()["requests"] == 0


def test_items_that_stay_open_do_not_stop_the_stages_behind_them(
    script: Script, sampled: Workspace, stand_in: StandIn
) -> None:
    script("prompt.py", "--workspace", sampled.root, code=0)
    sampled.save(sampled.root / "prompt" / "prompts_99_1.json", b"[{")
    assert "[6/6] report" in script("run.py", "--workspace", sampled.root, code=1).err


def test_stages_are_functions_that_work_inside_a_running_event_loop(sampled: Workspace) -> None:
    chosen = settings.load(sampled.root)

    async def notebook() -> tuple[Result, Result]:
        written = whole.run(sampled, chosen, offline=True)
        return written, await validate.run_async(sampled, chosen, offline=True)

    written, judged = asyncio.run(notebook())
    assert written.exit_code == judged.exit_code == 0
    assert judged.found.turns + judged.dropped["protocol"] == 12
    assert judged.calls is not None and judged.calls.calls == 0


def test_a_stage_takes_the_options_of_its_command_line_and_no_others(sampled: Workspace) -> None:
    with pytest.raises(TypeError, match="unknown options: formats; known: balance"):
        export.run(sampled, settings.load(sampled.root), formats="sft")


def test_small_folders_hold_the_same_run(script: Script, sampled: Workspace, stand_in: StandIn, tmp_path: Path) -> None:
    def left(workspace: Workspace) -> list[str]:
        kept = [path for bucket in BUCKETS for path in workspace.kept_paths(bucket)]
        files = [*workspace.commit_paths(), *workspace.score_paths(), *workspace.answer_paths(), *kept]
        return [f"{path.relative_to(workspace.root).parts[0].split('_')[0]}/{path.name}" for path in files]

    small = Workspace(tmp_path / "small")
    settings = (sampled.root / "chain.toml").read_text() + "\n[store]\nanswers_per_dir = 5\n"
    small.save(small.root / "chain.toml", settings.encode())
    small.save(small.private / "secret", sampled.secret())
    for workspace in (sampled, small):
        script("run.py", "--workspace", workspace.root, code=0)
    assert left(small) == left(sampled)
    assert small.duel.read_bytes() == sampled.duel.read_bytes()
    for name in ("answer_0", "score", "score/1", "commit", "commit/1", "final", "defeat"):
        files = [path for path in (small.root / name).glob("*.json") if path.name[0] != "_"]
        assert len(files) <= 5, name
    assert len(list((small.root / "commit" / "1").iterdir())) == 5
    before = stand_in.stats()["requests"]
    script("run.py", "--workspace", small.root, code=0)
    assert stand_in.stats()["requests"] == before
