import subprocess
import sys
from pathlib import Path

import pytest

from tests.offline.asking import ask, question

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_endpoint_runs_as_a_program_until_it_is_ended():
    call = [sys.executable, "-m", "duel.offline", "--latency-ms", "1"]
    with subprocess.Popen(call, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().strip().removesuffix("/v1").rpartition(":")[2])
        assert ask(port, question()).status == 200
        process.terminate()
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("wrong", [["--port", "many"], ["--port", "70000"], ["--latency-ms", "slow"]])
def test_a_wrong_flag_is_explained(wrong):
    done = run("-m", "duel.offline", *wrong)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert wrong[0] in done.stderr


def test_recording_an_unknown_repository_is_explained(tmp_path):
    done = run("-m", "tools.recorder", "--out", str(tmp_path), "--only", "nope")
    assert done.returncode == 2
    assert "no such repository" in done.stderr


def test_importing_the_room_loads_nothing_heavy():
    done = run("-c", "import duel.offline, sys; print(*sys.modules)")
    assert not {"pyarrow", "aiohttp", "orjson", "pydantic", "asyncio"} & set(done.stdout.split())
