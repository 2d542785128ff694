import socket
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from subprocess import PIPE

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


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of open files to set")
def test_more_clients_than_the_system_allows_put_nothing_on_the_terminal_and_the_next_one_is_answered(tmp_path):
    import resource

    few = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (40, 40))
    call = [sys.executable, "-m", "duel.offline"]
    with (
        (tmp_path / "err").open("wb") as err,
        subprocess.Popen(call, cwd=ROOT, stdout=PIPE, stderr=err, text=True, preexec_fn=few) as process,
    ):
        assert process.stdout is not None
        port = int(process.stdout.readline().strip().removesuffix("/v1").rpartition(":")[2])
        with ExitStack() as clients:
            for _ in range(80):
                clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        assert ask(port, question()).status == 200
        process.terminate()
        assert process.wait(timeout=30) == 0
    assert (tmp_path / "err").read_text() == ""


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
