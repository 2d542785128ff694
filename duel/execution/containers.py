"""The container back end: docker or podman through their command line, one container a state.

A fork is an image of the container as it stands (`commit`), so nothing is replayed; a change is what `diff` names, its
files read with `cp` out of the container and out of the image. A container has no network and no capability.
"""

import contextlib
import io
import itertools
import json
import os
import re
import shlex
import subprocess
import tarfile
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from duel.errors import UserError, printable
from duel.execution import changes
from duel.execution.checkouts import Sources
from duel.execution.executor import ExecutionError, Limits, Outcome, Start, State, in_thread
from duel.execution.supervision import supervise

# As mini-swe-agent 2 sets it for SWE-bench: a shell that is no login shell reads BASH_ENV, which finds the conda tools.
ENVIRONMENT = (
    "BASH_ENV=/root/.bashrc PAGER=cat MANPAGER=cat LESS=-R PIP_PROGRESS_BAR=off TQDM_DISABLE=1 LC_ALL=C.UTF-8".split()
)
LIFETIME_S = 7200
# Images are full clones: whatever lies after the base commit goes before an agent's command can look at it.
_FORGET = (
    "git remote | xargs -r -n1 git remote remove; git tag | xargs -r git tag -d;"
    " git checkout -q --detach; git for-each-ref --format='%(refname)' refs/heads | xargs -r -n1 git update-ref -d;"
    " git reflog expire --expire=now --all; git gc -q --prune=now"
)
INSTALL = 'is its daemon running, and may you use it? `[execute] backend = "bubblewrap"` needs neither'
# What the client needs to find its daemon; nothing of it reaches a container.
_CLIENT = (
    "PATH HOME XDG_RUNTIME_DIR DOCKER_HOST DOCKER_CONTEXT DOCKER_CONFIG DOCKER_CERT_PATH DOCKER_TLS_VERIFY".split()
)
IMAGE_COLUMNS = ("image_name", "docker_image")  # of a data set; they come before the names below (docs/execution.md)
# What an image's name tells of the place of its repository; {name} is the repository's own, in its own case.
_PLACES = (
    (re.compile(r"(^|/)swerebenchv2/"), "/{name}"),
    (re.compile(r"(^|/)mswebench/"), "/home/{name}"),
    (re.compile(r"sweap-images"), "/app"),
)
_IMAGE = re.compile(r"[A-Za-z0-9][\w./:@-]*", re.ASCII)
_SWE_BENCH = "docker.io/swebench/sweb.eval.x86_64.{instance}:latest"


def image_of(instance: Mapping[str, object], asked: str = "") -> str:
    """The image of an instance: the settings' own, the dataset's column, else the name that SWE-bench gives it.

    "" where none of them names one, or where it is no image's name: a dataset's column may begin like an option.
    """
    name, repo = (str(instance.get(column) or "") for column in ("instance_id", "repo"))
    slug = name.replace("__", "_1776_").lower()
    found = next((str(instance[column]) for column in IMAGE_COLUMNS if instance.get(column)), "")
    if asked:
        found = asked.replace("{instance}", slug).replace("{repo}", repo.replace("/", "__").lower())
    elif not found and "__" in name:
        found = _SWE_BENCH.format(instance=slug)
    return found if _IMAGE.fullmatch(found) else ""


def place_of(image: str, repository: str) -> str:
    name = repository.rpartition("/")[2]
    return next((place.format(name=name) for pattern, place in _PLACES if pattern.search(image)), "/testbed")


class Containers:
    """Runs commands in containers of `image`, "" for an instance's own; one without a repository gets a checkout."""

    def __init__(
        self, sources: Sources, limits: Limits | None = None, *, program: str = "docker", image: str = ""
    ) -> None:
        self.sources, self.limits, self.name, self.image = sources, limits or Limits(), program, image
        self.session = f"duel-{uuid.uuid4().hex[:8]}"
        self.numbers = itertools.count(1)
        try:
            said = json.loads(self.call("version", "--format", "{{json .}}"))
        except (OSError, ExecutionError, ValueError) as error:
            hint = f"is {program} installed? or {INSTALL}" if isinstance(error, OSError) else INSTALL
            raise UserError(f"{program} cannot run a container here", value=printable(error, 300), hint=hint) from None
        self.version = str((said.get("Server") or said.get("Client") or {}).get("Version", "?"))

    def describe(self) -> str:
        return f"{self.name} {self.version}"

    async def state(self, start: Start) -> "Container":
        """A container at the start of a task. Raises ExecutionError (`no-image`, `no-repository`, `no-commit`)."""
        return await in_thread(self._open, start)

    def _open(self, start: Start) -> "Container":
        image = image_of({"repo": start.repository, **start.instance}, self.image)
        if not image:
            raise ExecutionError("no-image", f"no column and no rule names an image for {start.repository}")
        try:
            self.call("image", "inspect", "--format", "{{.Id}}", image)
        except ExecutionError:
            try:
                self.call("pull", "--quiet", image, seconds=1800)
            except ExecutionError as error:
                raise ExecutionError("no-image", f"{image} does not pull: {error.what}") from None
        container = Container(self, image, start, place_of(image, start.repository))
        try:
            container.begin()
        except BaseException:
            container.discard()
            raise
        return container

    async def close(self) -> None:
        """Remove what this session made, as far as the daemon still answers."""
        for listed, removed in (("ps -aq", "rm -f"), ("images -q", "rmi -f")):
            with contextlib.suppress(ExecutionError):
                found = await in_thread(self.call, *listed.split(), "--filter", f"label=duel={self.session}")
                if ids := dict.fromkeys(found.split()):
                    await in_thread(self.call, *removed.split(), *ids)

    def call(self, *words: str, seconds: float = 300, given: bytes = b"") -> str:
        """Run the program. Raises ExecutionError (`sandbox`) with what it said."""
        return self.bytes(*words, seconds=seconds, given=given).decode("utf-8", "replace")

    def bytes(self, *words: str, seconds: float = 300, given: bytes = b"") -> bytes:
        how: dict[str, Any] = {"input": given, "capture_output": True, "timeout": seconds, "check": False}
        try:
            done = subprocess.run([self.name, *words], **how)  # noqa: S603 - a command is one argument among ours
        except subprocess.TimeoutExpired:
            raise ExecutionError("sandbox", f"{self.name} {words[0]} took longer than {seconds:.0f} s") from None
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip()
            raise ExecutionError("sandbox", f"{self.name} {words[0]}: {printable(said[-400:])}")
        return bytes(done.stdout)


class Container(State):
    """One state: a running container, and the image that it started from."""

    def __init__(self, back: Containers, image: str, start: Start, place: str) -> None:
        self.back, self.start, self.place, self.limits = back, start, place, back.limits
        self._begin_in(image)

    def _begin_in(self, image: str) -> None:
        back, limits = self.back, self.limits
        self.image, self.name = image, f"{back.session}-{next(back.numbers)}"
        back.call(
            *("run", "--detach", "--init", "--name", self.name, "--label", f"duel={back.session}"),
            *("--network", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            *("--memory", f"{limits.memory_mb}m", "--memory-swap", f"{limits.memory_mb}m"),
            *("--pids-limit", str(limits.processes), "--ulimit", f"fsize={limits.disk_mb << 20}"),
            *("--entrypoint", "sleep", image, str(LIFETIME_S)),
        )
        upper = Path(back.call("inspect", "--format", "{{.GraphDriver.Data.UpperDir}}", self.name).strip() or "/none")
        # Docker bounds no container's disk on most file systems; where its folder is ours to look at, we do.
        self.written = upper if os.access(upper, os.R_OK | os.X_OK) else None

    def begin(self) -> None:
        """Bring the repository to its base commit with the tests on top; where the image has none, copy one in."""
        back, place = self.back, self.place

        def succeeds(*words: str) -> bool:
            try:
                back.call("exec", self.name, *words, seconds=600)
            except ExecutionError:
                return False
            return True

        if not succeeds("test", "-e", f"{place}/.git"):
            with tempfile.TemporaryDirectory() as folder:
                checkout = Path(folder) / "checkout"
                back.sources.lay_out(self.start, checkout)
                succeeds("mkdir", "-p", place)
                back.call("cp", "--archive", f"{checkout}/.", f"{self.name}:{place}")
                succeeds("chown", "-R", "0:0", place)
        else:
            succeeds("bash", "-c", f"cd {shlex.quote(place)} && {_FORGET}")
            if self.start.test_patch.strip():
                apply = ["exec", "-i", "-w", place, self.name, "git", "apply", "--whitespace=nowarn", "-"]
                back.call(*apply, given=self.start.test_patch.encode())
        self._commit()

    def _commit(self) -> None:
        """Go on in a container of an image of this one: `diff` tells what differs from a container's own image."""
        image = f"{self.back.session}-{next(self.back.numbers)}-image"
        self.back.call("commit", "--change", f"LABEL duel={self.back.session}", self.name, image, seconds=600)
        self.discard()
        self._begin_in(image)

    def _run(self, command: str, limits: Limits, merged: bool) -> Outcome:
        back = self.back
        # Whoever kills the client leaves the command running: `timeout` stands inside, and what it leaves is ended.
        words = [back.name, "exec", "--workdir", self.place, *(f"--env={one}" for one in ENVIRONMENT), self.name]
        words += ["timeout", "--signal=KILL", str(limits.seconds), "/bin/bash", "-c", command]
        outcome = supervise(
            lambda _told: words,
            replace(limits, seconds=limits.seconds + 10, memory_mb=1 << 20),
            merged=merged,
            environment={name: os.environ[name] for name in _CLIENT if name in os.environ},
            disk=self.written,
        )
        # All but the container's first two processes, init and its sleep, were left running by the command.
        if len(back.call("top", self.name, "-eo", "pid").split()) > 3:
            back.call("restart", "--time", "0", self.name)
        if outcome.exit in (124, 137) and outcome.seconds >= limits.seconds:
            return replace(outcome, exit=124, ended_by="time")
        return outcome

    def _fork(self) -> "Container":
        self._commit()
        return Container(self.back, self.image, self.start, self.place)

    def _changes(self) -> str:
        prefix = f"{self.place}/"
        named = [line.split(" ", 1)[1] for line in self.back.call("diff", self.name).splitlines() if " " in line]
        inside = [path.removeprefix(prefix) for path in named if path.startswith(prefix)]
        inside = [path for path in inside if path.split("/")[0] != ".git"]
        if not inside:
            return ""
        source = self.back.call("create", "--label", f"duel={self.back.session}", self.image, "true").strip()
        with tempfile.TemporaryDirectory() as name:
            after, before = Path(name) / "after", Path(name) / "before"
            try:
                self._extract(self.name, inside, after)
                self._extract(source, inside, before)
                return changes.between(after, before)
            finally:
                self.back.call("rm", "--force", source)
                changes.remove(Path(name))

    def _extract(self, container: str, paths: Sequence[str], folder: Path) -> None:
        """Copy the named files out of a container. The names are a command's: none may lead out of the folder."""
        folder.mkdir()
        folders = {path.rpartition("/")[0] for path in paths}
        for path in paths[: changes.MOST_FILES]:
            target = folder / path
            above = [parent for parent in target.parents if parent.is_relative_to(folder)]
            if path in folders or {"", ".", ".."} & set(path.split("/")) or any(map(Path.is_symlink, above)):
                continue
            try:
                packed = self.back.bytes("cp", f"{container}:{self.place}/{path}", "-")
            except ExecutionError:  # it is not there
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with tarfile.open(fileobj=io.BytesIO(packed)) as tar:  # one file or link, whatever name it has in there
                member = tar.next()
                if member is not None and member.issym():
                    target.symlink_to(member.linkname)
                elif member is not None and member.isreg() and (content := tar.extractfile(member)):
                    target.write_bytes(content.read())
                    target.chmod(member.mode & 0o777)

    def discard(self) -> None:
        self.back.call("rm", "--force", self.name)
        if self.image.startswith(self.back.session):
            with contextlib.suppress(ExecutionError):  # a fork still stands on it, and takes it along
                self.back.call("rmi", self.image)
