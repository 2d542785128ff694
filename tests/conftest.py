"""A clean home for every test: no key, no proxy, no cache and no setting of the machine reaches it."""

from __future__ import annotations

import gc
import io
import itertools
import marshal
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from duel import cli, command, offline
from duel.audit import rarity
from duel.execution import toolbox

KEEP = {"PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "CI", "PYTEST_CURRENT_TEST", "SHOTS"}
KEEP |= {"OPENBLAS_CORETYPE"}  # it chooses kernels, and so the last bit of a sum: let it be the same in a new process
# No test depends on the clock: a busy machine makes no example too slow. Where 50 examples are not what the sentence
# needs, its test says how many.
hypothesis_settings.register_profile(
    "any-machine", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("any-machine")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"


def pytest_configure() -> None:
    """Temporary files lie in memory where there is room: a disk's bookkeeping of 80,000 takes a tenth of all CPU."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or os.statvfs(memory).f_flag & os.ST_NOEXEC:
        return
    if shutil.disk_usage(memory).free > 4 << 30:
        tempfile.tempdir = os.environ.setdefault("TMPDIR", str(memory))  # pytest itself has asked for it before


def pytest_collection() -> None:
    """What collection makes, 230,000 objects, lives to the end: no search for garbage need look at it."""
    gc.disable()


def pytest_collection_finish() -> None:
    """With the default, 700 new objects, searches take 7 % of all CPU."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    gc.enable()


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new folder at each `next`: pytest's own `mktemp` looks through all before it, which are thousands."""
    base = tmp_path_factory.mktemp("homes")
    return (base / str(number) for number in itertools.count())


@pytest.fixture(scope="session")
def clean_environment() -> Iterator[None]:
    """Only the few variables that a process needs."""
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - KEEP:
            patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def clean_home(clean_environment: None, homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, an empty current folder, and no variable that something outside a test has set."""
    home = next(homes)
    for name in set(os.environ) - KEEP:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("duel.environment._HANDED_ON", {})
    here = home / "here"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    return home


@pytest.fixture(scope="session", autouse=True)
def one_toolbox() -> Iterator[None]:
    """The tools of sandboxes, 36 MB, are copied once a user and then linked: each copy takes 90 ms of CPU.

    A process of its own copies them.
    """
    build, homes = toolbox.build, Path(tempfile.mkdtemp(prefix="duel-tools-"))
    homes.chmod(0o1777)

    def linked(folder: Path, more: tuple[str, ...] = ()) -> Path:
        if more:
            return build(folder, more)
        kept = homes / str(os.geteuid())  # the system lets nobody link another's files
        if not kept.exists():
            build(kept)
        return Path(shutil.copytree(kept, folder, symlinks=True, copy_function=os.link))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toolbox, "build", linked)
        yield
    shutil.rmtree(homes)


@pytest.fixture(scope="session", autouse=True)
def one_background(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One of the processes that share the tests counts the words of all modules: 0.5 s of CPU each."""
    base, modules = tmp_path_factory.getbasetemp(), rarity._modules
    kept = (base.parent if hasattr(request.config, "workerinput") else base) / "background"

    def counted() -> Iterator[Path]:
        with FileLock(f"{kept}.lock"):
            if not kept.exists():
                found = Counter(word for file in modules() for word in rarity.words(file.read_bytes()))
                kept.write_bytes(marshal.dumps(dict(found)))
        rarity.BACKGROUND.update(marshal.loads(kept.read_bytes()))
        return iter(())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rarity, "_modules", counted)
        yield


@pytest.fixture
def shared() -> Path:
    """Real data that lies beside the checkout on some machines; tests that need it skip cleanly elsewhere."""
    if not SHARED.is_dir():
        pytest.skip("the real data is not on this machine")
    return SHARED


@dataclass(frozen=True)
class Recorded:
    """Files of recorded runs, and the file of their pull requests."""

    runs: tuple[Path, ...]
    pulls: Path


@pytest.fixture(params=["the bundled sample", "real data"])
def recorded(request: pytest.FixtureRequest) -> Recorded:
    """A rule about recorded runs holds for those that the package brings, and for the real ones where they lie."""
    if request.param == "the bundled sample":
        return Recorded((offline.SAMPLE / "trajectories.parquet",), offline.SAMPLE / "pulls.parquet")
    real: Path = request.getfixturevalue("shared")
    runs = tuple(real / name / "train-00000.parquet" for name in ("mini_swe_agent", "swe_zero"))
    return Recorded(runs, real / "pulls" / "train-00000-of-00001.parquet")


@dataclass(frozen=True)
class Finished:
    """A command that has ended: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def run_command(name: str, *arguments: object, code: int | None = None, **env: str) -> Finished:
    """Run a root script (`king.py`) or a command of `duel` (`audit`) in this process, to its exit code."""
    words = list(map(str, arguments))
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))

    def main() -> int:
        bare = name.removesuffix(".py")
        return cli.launch(bare, name if name != bare else f"duel {name}", words)

    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for key, value in env.items():
            patch.setenv(key, value)
        try:
            ended = command.code_of(main)
        except SystemExit as asked_for_help:
            ended = int(asked_for_help.code or 0)
    said = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    assert "Traceback" not in said[1], said[1]
    if code is not None:
        assert ended == code, f"exit {ended}\n{said[0]}\n{said[1]}"
    return Finished(ended, *said)


@pytest.fixture
def script(clean_home: Path) -> Callable[..., Finished]:
    """Run a command as a user does: `script("king.py", "--workspace", folder)`."""
    return run_command


def forked(work: Callable[[], object]) -> BaseProcess:
    """Start `work` in a copy of this process, where it may be killed: nothing is imported anew. It is over by sys.exit.

    For what must hold after a kill or Ctrl-C. That a process of its own does the same is `program`'s to show.
    """
    process = multiprocessing.get_context("fork").Process(target=work)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads here are servers, which the copy does not need
        process.start()
    return process


def forked_command(name: str, *arguments: object, told: Path | int = Path(os.devnull)) -> BaseProcess:
    """A command of `duel` (`king`) in such a copy, with its handling of signals; what it says goes to `told`."""

    def main() -> None:
        with open(told, "w") as said, redirect_stdout(said), redirect_stderr(said):  # noqa: PTH123 - a handle too
            command.run(lambda: cli.launch(name, f"duel {name}", list(map(str, arguments))))

    return forked(main)


def ended(process: BaseProcess) -> int | None:
    """The exit code, or minus the signal; within a minute."""
    process.join(60)
    return process.exitcode


@pytest.fixture
def program(clean_home: Path) -> Callable[..., Finished]:
    """The same in a process of its own, for what only a process shows: signals, streams, libraries' start-up."""

    def call(name: str, *arguments: object, code: int | None = None, timeout: float = 100, **env: str) -> Finished:
        done = subprocess.run(
            [sys.executable, *(["-m", "duel", name] if name in cli.COMMANDS else [name]), *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        if code is not None:
            assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return Finished(done.returncode, done.stdout, done.stderr)

    return call
