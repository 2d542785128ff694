"""A script of this project as a benchmark runs it: in a process of its own, measured, against an endpoint beside it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LATENCY_S = 0.2  # of the endpoint, where no benchmark asks for another


@dataclass
class Endpoint:
    """The endpoint of this benchmark, seen from outside."""

    url: str

    def reset(self, **settings: Any) -> None:
        """Forget the counts; whatever is not named is plain again."""
        plain = {"latency_s": LATENCY_S, "capacity": 0, "faults": {}, "retry_after_s": 1}
        data = json.dumps({**plain, **settings}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/reset", data=data)).read()

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/stats") as response:
            stats: dict[str, Any] = json.load(response)
        return stats


@contextmanager
def serving(module: str) -> Iterator[str]:
    """A server in a process of its own; gives its first line, which says where it listens."""
    command = [sys.executable, "-m", module]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@contextmanager
def endpoint() -> Iterator[Endpoint]:
    with serving("bench.endpoint") as port:
        yield Endpoint(f"http://127.0.0.1:{int(port)}")


@dataclass
class Ran:
    code: int
    wall_s: float
    cpu_s: float
    peak_mb: float
    out: str
    err: str


# Writes the peak of its own process, which the kernel does not tell a parent, behind what the script says.
_PEAK = """
import atexit, re, runpy, sys
peak = lambda: re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]
atexit.register(lambda: print("peak", peak(), "kB", file=sys.stderr, flush=True))
sys.argv = sys.argv[1:]
sys.path[0] = ""
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(script: str, workspace: Path, url: str, *arguments: str) -> Ran:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    command = [sys.executable, "-c", _PEAK, script, *arguments, "--workspace", str(workspace)]
    done = subprocess.run(command, cwd=ROOT, env=environment(url), capture_output=True, text=True, check=False)
    wall_s = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = done.stderr.rpartition("peak ")[2].split(" ")[0]
    return Ran(done.returncode, wall_s, cpu_s, int(peak) / 1024 if peak.isdigit() else 0, done.stdout, done.stderr)


def environment(url: str, **more: str) -> dict[str, str]:
    return {**os.environ, "CHUTES_BASE_URL": url, "CHUTES_API_KEY": "none", **more}


def start(script: str, work: Path, url: str, **env: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, script, "--workspace", str(work)]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=ROOT, env=environment(url, **env), stdout=quiet, stderr=quiet)
