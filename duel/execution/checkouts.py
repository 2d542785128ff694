"""Where checkouts come from, and laying one out as the dataset did: one commit deep, the pull request's tests on top.

A repository is looked for in the user's folder of mirrors, in the bundled sample, in the workspace's cache, and last on
the code host, from which exactly one commit is fetched. What lies after the base commit is never in a checkout: agents
have dug the fix out of it in 11-21 % of tasks elsewhere (SWE-agent/mini-swe-agent#787).
"""

import os
import re
import subprocess
import threading
from collections import defaultdict
from contextlib import suppress
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from duel import offline
from duel.errors import printable
from duel.execution.changes import remove
from duel.execution.executor import ExecutionError, Start

CODE_HOST = "https://github.com/{repo}.git"
FETCH_SECONDS = 900
_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_NO_COMMIT = re.compile(r"not our ref|unadvertised object|couldn't find remote ref|bad object|unable to read tree")


class Origin(NamedTuple):
    """A repository that is at hand: its folder, and its address at the code host; "" for one of the bundled sample."""

    folder: Path
    remote: str = ""


class Sources:
    """Finds repositories and lays out checkouts. `mirrors` is a folder, an address with `{repo}`, or "" (GitHub)."""

    def __init__(self, cache: Path, mirrors: str = "", offline: bool = False) -> None:
        self.cache, self.offline = cache, offline
        self.address = mirrors if "{repo}" in mirrors else CODE_HOST
        self.mirrors = Path(mirrors) if mirrors and self.address != mirrors else None
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def lay_out(self, start: Start, folder: Path) -> None:
        """Fill the new folder `folder`. Raises ExecutionError (`no-repository`, `no-commit`)."""
        if not _NAME.fullmatch(start.repository) or ".." in start.repository:
            raise ExecutionError("no-repository", f"not a repository's name: {printable(start.repository, 80)}")
        if not _COMMIT.fullmatch(start.commit):
            raise ExecutionError("no-commit", f"not a commit: {printable(start.commit, 80) or 'none is recorded'}")
        with self._locks[start.repository]:
            origin = self.find(start.repository, start.commit)
        folder.mkdir(parents=True)
        if origin.remote:
            begin, to, depth = [], ["checkout", "--quiet"], [f"--depth={start.history}"]
            refs = "+refs/heads/*:refs/remotes/origin/*"
            more = f'[remote "origin"]\n\turl = {origin.remote}\n\tfetch = {refs}\n'
        else:  # the sample's agents stood on a branch with all that came before
            begin, to, depth = ["--template=", "--initial-branch=main"], ["reset", "--quiet", "--hard"], []
            settings = (re.split("[.=]", line, maxsplit=2) for line in offline.GIT_SETTINGS)
            more = "".join(f"[{section}]\n\t{key} = {value}\n" for section, key, value in settings)
        self._git("init", "--quiet", *begin, at=folder)
        with (folder / ".git" / "config").open("a") as file:
            file.write(more)
        fetch = ["fetch", "--quiet", "--no-tags", *depth, str(origin.folder), start.commit]
        for words in (fetch, [*to, "FETCH_HEAD"]):
            done = self._git(*words, at=folder, seconds=FETCH_SECONDS)
            if done.returncode:
                remove(folder)
                said = printable(done.stderr, 300)
                raise ExecutionError("no-commit", f"{start.commit[:12]} cannot be checked out: {said}")
        # It names a folder of this machine; the agents' named the code host.
        head = folder / ".git" / "FETCH_HEAD"
        if origin.remote:
            head.write_text(f"{start.commit}\t\t'{start.commit}' of {origin.remote.removesuffix('.git')}\n")
        else:
            head.unlink(missing_ok=True)
        # The tests are laid over it as the dataset's generator did; where no way works it went on without.
        apply = ("apply", "--allow-empty", "--whitespace=nowarn", "-")
        if start.test_patch.strip() and self._git(*apply, at=folder, given=start.test_patch).returncode:
            # `--unified`: a patch in the form of an ed script would be run by ed, which can start programs.
            forward = ("--unified", "-p1", "--forward", "--batch")
            self._git(*forward, at=folder, given=start.test_patch, program="patch")
        order(folder)

    def find(self, name: str, commit: str) -> Origin:
        """The repository `name` with `commit` in it. Raises ExecutionError (`no-repository`, `no-commit`)."""
        flat, remote = name.replace("/", "__"), CODE_HOST.format(repo=name)
        folders = [self.mirrors / one for one in (name, f"{name}.git", flat, f"{flat}.git")] if self.mirrors else []
        known = [Origin(one, remote) for one in folders if one.is_dir()]
        if self.mirrors and not known and self.offline:
            raise ExecutionError("no-repository", f"{name} is not among the mirrors", where=self.mirrors)
        known += [self._bundled(bundle, flat)] if (bundle := offline.bundle(name)).is_file() else []
        for origin in known:
            if self._has(origin.folder, commit):
                return origin
        if known:
            raise ExecutionError("no-commit", f"{name} has no commit {commit[:12]}", where=known[0].folder)
        cached = self.cache / f"{flat}.git"
        if self._has(cached, commit):
            return Origin(cached, remote)
        if self.offline:
            raise ExecutionError("no-repository", f"{name} is not at hand, and there is no network")
        if not cached.is_dir():
            cached.mkdir(parents=True)
            self._git("init", "--quiet", "--bare", "--template=", at=cached)
        url, keep = self.address.format(repo=name), f"{commit}:refs/duel/{commit}"
        done = self._git("fetch", "--quiet", "--no-tags", "--depth=1", url, keep, at=cached, seconds=FETCH_SECONDS)
        if done.returncode:
            reason = "no-commit" if _NO_COMMIT.search(done.stderr) else "no-repository"
            raise ExecutionError(reason, f"{name} at {commit[:12]}: {printable(done.stderr.strip(), 300)}", where=url)
        return Origin(cached, remote)

    def _has(self, folder: Path, commit: str) -> bool:
        return folder.is_dir() and not self._git("cat-file", "-e", f"{commit}^{{commit}}", at=folder).returncode

    def _bundled(self, bundle: Path, flat: str) -> Origin:
        """A repository of the sample, unpacked on first use; its agents had the history up to the base commit."""
        folder = self.cache / "bundled" / f"{flat}.git"
        if not folder.is_dir():
            part = folder.with_suffix(f".{os.getpid()}")
            remove(part)
            part.mkdir(parents=True)
            done = self._git("clone", "--quiet", "--bare", "--template=", str(bundle), ".", at=part)
            if done.returncode:
                raise ExecutionError("no-repository", printable(done.stderr.strip(), 300), where=bundle)
            with suppress(OSError):  # another process was faster
                part.rename(folder)
            remove(part)
        return Origin(folder)

    @cached_property
    def _environment(self) -> dict[str, str]:
        config = self.cache / "gitconfig"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_bytes(_configuration())
        quiet = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}
        own = {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
        return {**own, "GIT_CONFIG_GLOBAL": str(config), **quiet}

    def _git(
        self, *words: str, at: Path, given: str = "", seconds: float = 120, program: str = "git"
    ) -> subprocess.CompletedProcess[str]:
        """Run it with words of this module and checked names. Raises ExecutionError (`no-repository`)."""
        how: dict[str, Any] = {"cwd": at, "env": self._environment, "timeout": seconds, "input": given, "check": False}
        try:
            return subprocess.run([program, *words], capture_output=True, text=True, errors="replace", **how)  # noqa: S603
        except subprocess.TimeoutExpired:
            what = f"{program} {words[0]} took longer than {seconds:.0f} s"
            raise ExecutionError("no-repository", what, where=at) from None
        except OSError as error:
            raise ExecutionError("no-repository", f"{program} cannot be run: {error}") from None


@cache
def _configuration() -> bytes:
    return resources.files(__package__).joinpath("gitconfig").read_bytes()


def order(folder: Path) -> None:
    """Make every folder list its entries from the oldest to the newest, as the dataset's machines did.

    `find` and `grep -r` print in the order in which a file system lists. SWE-ZERO's tmpfs listed the oldest first;
    newer kernels' tmpfs lists the newest first, so entries are renamed in reverse. Other file systems are left alone.
    """
    aside = folder.with_name(f"{folder.name}.aside")
    aside.mkdir()
    for name in "abc":
        (aside / name).touch()
    listed_newest_first = os.listdir(aside) == ["c", "b", "a"]
    remove(aside)
    if not listed_newest_first:
        return
    listed = {root: os.listdir(root) for root, _folders, _files in os.walk(folder)}
    for root, names in reversed(listed.items()):
        if len(names) < 2:
            continue
        was = os.stat(root)
        os.mkdir(aside, was.st_mode & 0o7777)
        for name in names:  # the newest first, so that the oldest goes in last and is listed first
            os.rename(f"{root}/{name}", f"{aside}/{name}")
        os.rmdir(root)
        os.rename(aside, root)
        os.utime(root, ns=(was.st_atime_ns, was.st_mtime_ns))
