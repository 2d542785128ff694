"""A container daemon and an image of this machine's own tools: what tests and the benchmark of containers run on."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from duel.execution import toolbox

IMAGE = "duel-tests/tools:1"


@contextmanager
def daemon() -> Iterator[str]:
    """The address of a daemon: that of DOCKER_HOST, else of one that root starts here until the end; "" for the usual.

    Raises RuntimeError where there is none to be had.
    """
    host = os.environ.get("DOCKER_HOST", "")
    if host or not (shutil.which("dockerd") and os.geteuid() == 0):
        if not _answers(host):
            raise RuntimeError("no docker daemon answers here")
        yield host
        return
    with tempfile.TemporaryDirectory(prefix="duel-docker-", ignore_cleanup_errors=True) as name:
        host = f"unix://{name}/socket"
        words = "dockerd --iptables=false --ip6tables=false --bridge=none --storage-driver overlay2".split()
        places = ["--data-root", f"{name}/data", "--exec-root", f"{name}/exec", "--pidfile", f"{name}/pid", "-H", host]
        with Path(f"{name}/log").open("wb") as log:
            process = subprocess.Popen([*words, *places], stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 60
            # Each question takes 50 ms of CPU: none before there is a socket.
            while not (Path(name, "socket").exists() and _answers(host)) and time.monotonic() < deadline:
                if process.poll() is not None:
                    raise RuntimeError(f"dockerd ended: {Path(f'{name}/log').read_text()[-2000:]}")
                time.sleep(0.02)
            yield host
        finally:
            process.terminate()
            process.wait(60)


def _answers(host: str) -> bool:
    ask = ["docker", *(["--host", host] if host else []), "version"]
    return bool(shutil.which("docker")) and not subprocess.run(ask, capture_output=True, check=False).returncode


def make(scratch: Path, image: str = IMAGE) -> str:
    """Have `image` at the daemon that DOCKER_HOST names: bash and the agent's tools, 39 MB, made of a tarball."""
    if not subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode:
        return image
    root = toolbox.build(scratch / "root", more=("timeout", "xargs", "chown", "sh"))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in ("usr", "etc"):
            tar.add(root / name, name)
        for name in ("bin", "lib", "lib64"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, f"usr/{name}"
            tar.addfile(link)
        for name in ("tmp", "proc", "dev", "root"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o777
            tar.addfile(folder)
    subprocess.run(["docker", "import", "-", image], input=packed.getvalue(), check=True, capture_output=True)
    return image
