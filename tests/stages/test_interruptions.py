"""Interrupted anywhere and run again: the same bytes as a run that nobody interrupted, and no reply paid for twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from importlib.abc import MetaPathFinder
from pathlib import Path

import orjson
import pytest

from duel.offline import SAMPLE
from duel.reporting import tally
from duel.workspace import Workspace
from tests.conftest import ROOT, Finished, ended, forked, forked_command
from tests.offline.watched import StandIn, endpoint
from tests.stages.conftest import SETTINGS

Script = Callable[..., Finished]
Fill = Callable[..., Workspace]

TURNS = 5
STAGES = {"king.py": TURNS, "ch.py": TURNS, "validate.py": TURNS * 3 * 2}


def everything(workspace: Workspace) -> dict[str, object]:
    """Every file that a user sees, without recorded times."""
    found: dict[str, object] = {}
    for path in sorted(workspace.root.rglob("*")):
        name = path.relative_to(workspace.root)
        if path.is_file() and name.parts[0] != ".duel":
            raw = path.read_bytes()
            found[str(name)] = without_times(orjson.loads(raw)) if path.suffix == ".json" else raw
    return found


def without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if key not in {"at", "latency_s"}}
    return [without_times(inner) for inner in value] if isinstance(value, list) else value


def interrupt(script: str, workspace: Workspace, how: signal.Signals, stand_in: StandIn, after: int) -> int | None:
    """Start a stage and send it a signal once the endpoint has seen `after` requests of it."""
    start = stand_in.stats()["requests"]
    stage = forked_command(script.removesuffix(".py"), "--workspace", workspace.root)
    while stage.is_alive():
        if stand_in.stats()["requests"] - start >= after:
            os.kill(stage.pid or 0, how)
            break
        stage.join(0.002)
    return ended(stage)


@pytest.mark.parametrize(
    ("how", "candidates"),
    [(signal.SIGKILL, 1), (signal.SIGINT, 1), (signal.SIGKILL, 4)],  # of 4, validate.py is killed while it chooses
)
def test_an_interrupted_run_ends_with_the_same_bytes(
    script: Script, fill: Fill, monkeypatch: pytest.MonkeyPatch, how: signal.Signals, candidates: int
) -> None:
    # How long the calls took, which the report tells, is no more the same than when they were made.
    monkeypatch.setattr(tally, "_SPENT", tally._SPENT.replace("SUM(latency_s) / 60", "0.0"))
    settings = SETTINGS.replace("[generate]", f"[generate]\nchallengers = {candidates}")
    whole, broken = (fill(TURNS, folder=folder, settings=settings) for folder in ("whole", "broken"))
    with endpoint(latency_s=0.03) as stand_in:
        monkeypatch.setenv("CHUTES_BASE_URL", stand_in.base_url)
        monkeypatch.setenv("CHUTES_API_KEY", "k")
        for stage in [*STAGES, "report.py"]:
            script(stage, "--workspace", whole.root, code=0)
        asked = stand_in.stats()["requests"]
        stand_in.reset()
        for stage, calls in STAGES.items():
            code = interrupt(stage, broken, how, stand_in, after=calls // 2)
            assert code == (-9 if how == signal.SIGKILL else 130)
            script(stage, "--workspace", broken.root, code=0)
        script("report.py", "--workspace", broken.root, code=0)
        counted = stand_in.stats()
    assert everything(broken) == everything(whole)
    if how == signal.SIGINT:  # Ctrl-C waits for what is in flight: not one call more than the whole run made
        assert counted["requests"] == asked
    else:
        assert counted["extra_ok"] <= counted["max_inflight"] * len(STAGES)


def test_ctrl_c_says_how_to_go_on(fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = fill(TURNS)
    with endpoint(latency_s=0.05) as stand_in:
        monkeypatch.setenv("CHUTES_BASE_URL", stand_in.base_url)
        monkeypatch.setenv("CHUTES_API_KEY", "k")
        stage = subprocess.Popen(
            [sys.executable, str(ROOT / "king.py"), "--workspace", str(workspace.root)],
            env=dict(os.environ),
            stderr=subprocess.PIPE,
            text=True,
        )
        while stand_in.stats()["requests"] < 2 and stage.poll() is None:
            try:
                stage.wait(0.002)
            except subprocess.TimeoutExpired:
                continue
        stage.send_signal(signal.SIGINT)
        said = stage.communicate(timeout=30)[1]
    assert stage.returncode == 130
    assert "Run the same command again" in said
    assert "Traceback" not in said
    assert len(workspace.answer_paths()) == stand_in.stats()["unique_ok"]


def test_leftovers_of_a_kill_are_no_answers(script: Script, fill: Fill, stand_in: StandIn) -> None:
    workspace = fill(2)
    folder = Path(workspace.root / "answer_0")
    folder.mkdir()
    (folder / ".prompts_2_1_1.json.part").write_bytes(b'{"instance')
    script("king.py", "--workspace", workspace.root, code=0)
    assert [path.name for path in sorted(folder.iterdir())] == ["prompts_2_1_1.json", "prompts_2_1_2.json"]


AFTERWARDS = """
import atexit, os, signal, sys
from duel import command

class Pressed:
    def __getattr__(self, name):
        return getattr(sys.__stderr__, name)
    def write(self, text):
        press()
        return sys.__stderr__.write(text)

def press():
    os.kill(os.getpid(), signal.{which})

def main():
    {how}
    raise KeyboardInterrupt

command.run(main)
"""


@pytest.mark.parametrize("which", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("how", ["atexit.register(press)", "sys.stderr = Pressed()"])
def test_a_further_ctrl_c_while_the_command_ends_is_no_traceback(which: str, how: str) -> None:
    """While the first is told of, and while Python ends its threads: impatient people press it several times."""
    script = AFTERWARDS.format(which=which, how=how)
    over = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in over.stderr, over.stderr
    assert over.returncode in (130, -getattr(signal, which))


class CtrlC(MetaPathFinder):
    """Presses Ctrl-C when a module is looked for."""

    def __init__(self, module: str) -> None:
        self.module = module

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == self.module:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("words", "module"),
    [
        (["king"], "duel.candidates"),
        (["run", "--offline"], "duel.sources.admission"),
        (["validate", "--regate"], "duel.judging.panel"),
        (["export", "--from", "runs.parquet"], "duel.exports.card"),
        (["export", "--from", "runs.parquet"], "pyarrow"),
        (["mine", "runs.jsonl"], "duel.sources.mining.sweep"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_ctrl_c_in_an_import_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], module: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs.parquet").write_bytes(SAMPLE.joinpath("trajectories.parquet").read_bytes())
    (tmp_path / "runs.jsonl").write_text('{"messages": []}\n')

    def main() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] in {"duel", "pyarrow"}]:
            del sys.modules[name]
        sys.meta_path.insert(0, CtrlC(module))
        sys.argv = ["duel", *words]
        with (tmp_path / "told").open("w") as said, redirect_stdout(said), redirect_stderr(said):
            import_module("duel.cli").main()

    code, said = ended(forked(main)), (tmp_path / "told").read_text()
    assert (code, said.splitlines()[-1]) == (130, "interrupted; run the same command again to go on"), said
    assert "Traceback" not in said
