"""A sandbox for every test here, as this process's user and as a plain one. Nothing is skipped."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401 - a plain user may not be able to read the interpreter that root runs
import os
import pickle
import subprocess
import tempfile
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from duel.execution import checkouts, toolbox
from duel.execution.bubblewrap import Bubblewrap
from duel.execution.checkouts import Sources
from duel.execution.executor import Limits, Start

ROOT = Path(__file__).resolve().parent.parent.parent
PLAIN_USER = 12_345
GIT = ("git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")


def git(folder: Path, *words: str) -> str:
    # The same files make the same commit, and so the same draws from it.
    when = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "2026-05-01T10:36:00+00:00")
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", **when}
    return subprocess.run([*GIT, *words], cwd=folder, env=env, check=True, capture_output=True, text=True).stdout


def make_repository(mirrors: Path, name: str, files: dict[str, str]) -> Start:
    """A mirror of one repository with one commit; the start of a task at it."""
    folder = mirrors / name
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            (folder / path).symlink_to(text[3:])
        else:
            (folder / path).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "The first commit")
    return Start(name, git(folder, "rev-parse", "HEAD").strip())


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user may read and write: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="duel-tests-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.fixture
def mirrors(place: Path) -> Path:
    return place / "mirrors"


@pytest.fixture
def small(mirrors: Path) -> Start:
    return make_repository(mirrors, "some/small", {"a.txt": "one\ntwo\n", "src/b.py": "x = 1\n", "src/c.py": "y = 2\n"})


Work = Callable[[Bubblewrap], Awaitable[Any]]


def in_sandbox(mirrors: Path, work: Work, limits: Limits | None = None, **how: Any) -> Any:
    """Open an executor over `mirrors`, let `work` use it, close it; returns what `work` does."""

    async def whole() -> Any:
        cache = mirrors.parent / f"cache-{os.geteuid()}"
        executor = Bubblewrap(Sources(cache, str(mirrors), offline=True), limits, **how)
        try:
            return await work(executor)
        finally:
            scratch = executor.scratch
            await executor.close()
            assert not scratch.exists(), "the executor left something behind"

    return asyncio.run(whole())


def as_plain_user(work: Callable[[], Any]) -> Any:
    """Call `work` in a process of a plain user; in this one where it is none of root's."""
    if os.geteuid():
        return work()
    toolbox.contents(())
    for read in (checkouts._configuration, toolbox.refused_calls):
        read()  # now: the plain user may not be able to
    there, here = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the child starts no thread of this process's
        child = os.fork()
    if not child:
        try:
            os.chdir("/")
            os.setgroups([])
            os.setgid(PLAIN_USER)
            os.setuid(PLAIN_USER)
            result: Any = ("done", work())
        except BaseException as error:
            result = ("failed", f"{type(error).__name__}: {error}")
        os.write(here, pickle.dumps(result))
        os._exit(0)
    os.close(here)
    with os.fdopen(there, "rb") as pipe:
        state, result = pickle.loads(pipe.read())
    os.waitpid(child, 0)
    assert state == "done", result
    return result


@pytest.fixture(params=["this user", "a plain user"])
def user(request: pytest.FixtureRequest) -> Callable[[Callable[[], Any]], Any]:
    """Calls a function as the user of the test run (root, in CI) or as a plain one."""
    return as_plain_user if request.param == "a plain user" else lambda work: work()
