"""The local back end: bubblewrap around each command, and a checkout in memory that forks at no cost.

A command sees its checkout, the allowed tools read-only, and nothing else of the machine: no network, no home, no key,
no other process. It runs as nobody even where this program is root.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from duel.errors import UserError, printable
from duel.execution import changes, checkouts, syscalls, toolbox
from duel.execution.executor import ExecutionError, Limits, Outcome, Start, checked
from duel.execution.room import BARE_ENVIRONMENT, Room, give_tree, remove
from duel.execution.supervision import supervise

# Exactly what the generator of SWE-ZERO-12M gave its agents; REPO_PATH and HOME are the checkout.
ENVIRONMENT = {
    "PATH": toolbox.ALLOWED,
    "SHELL": "/bin/bash",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "PAGER": "cat",
    "TERM": "dumb",
}
LIMITS = "/etc/limits"
MACHINE_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
TEMPORARY_MB = 64
# Checkouts that stay laid out when no state uses them: the next turn of the same pull request is near.
IDLE_BASES = 3
INSTALL = (
    "`apt-get install bubblewrap` (Debian, Ubuntu) or `dnf install bubblewrap` (Fedora); on Ubuntu 23.10 and newer "
    "also `sysctl kernel.apparmor_restrict_unprivileged_userns=0` or an AppArmor profile for bwrap; "
    'or [execute] backend = "docker"'
)


class Bubblewrap:
    """Runs commands in bubblewrap. `whole_machine` shows the machine's /usr (compilers, interpreters) read-only."""

    name = "bubblewrap"

    def __init__(
        self,
        sources: checkouts.Sources,
        limits: Limits | None = None,
        *,
        forks: str = "",
        whole_machine: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.sources, self.limits, self.whole_machine = sources, limits or Limits(), whole_machine
        self.environment = {**ENVIRONMENT, **({"PATH": MACHINE_PATH} if whole_machine else {}), **(environment or {})}
        self.scratch, self._count = new_scratch(), 0
        try:
            self._filter = self.scratch / "system-calls"
            self._filter.write_bytes(syscalls.program())
            root = None if whole_machine else toolbox.build(self.scratch / "root")
            self._shown = [*toolbox.mounts(root), *self._limiting(root)]
            self.version = bwrap_version()
            self.forks, self.room = self._probe(forks)
        except BaseException:
            remove(self.scratch)
            raise
        self._bases: dict[Start, asyncio.Task[Path]] = {}
        self._users: dict[Start, int] = {}

    def describe(self) -> str:
        return f"{self.name} {self.version}, {self.forks} forks"

    # -- states ----------------------------------------------------------------------------------------------------

    async def state(self, start: Start) -> Sandbox:
        """A fresh state at the start of a task. Raises ExecutionError where the checkout cannot be had."""
        base = await self._take(start)
        try:
            return await asyncio.to_thread(self._open, start, base)
        except BaseException:
            self.release(start)
            raise

    def _open(self, start: Start, base: Path) -> Sandbox:
        kind = Overlay if self.forks == "overlay" else Copy
        return kind(self, start, self.room, (str(base),))

    async def _take(self, start: Start) -> Path:
        """The folder with the start of a task, laid out once for all that begin there."""
        self._users[start] = self._users.get(start, 0) + 1
        if start not in self._bases:
            self._count += 1
            folder = self.scratch / f"base-{self._count}"
            self._bases[start] = asyncio.create_task(asyncio.to_thread(self._lay_out, start, folder))
        try:
            return await asyncio.shield(self._bases[start])
        except BaseException:
            self.release(start)
            raise

    def _lay_out(self, start: Start, folder: Path) -> Path:
        try:
            self.sources.lay_out(start, folder)
            give_tree(folder)
        except BaseException:
            remove(folder)
            raise
        return folder

    def share(self, start: Start) -> None:
        """One user more of a checkout that is laid out."""
        self._users[start] += 1

    def release(self, start: Start) -> None:
        """One user less; checkouts that nobody uses go, the oldest first."""
        self._users[start] -= 1
        idle = [start for start, users in self._users.items() if users == 0]
        for one in idle[: max(0, len(idle) - IDLE_BASES)]:
            self._users.pop(one)
            task = self._bases.pop(one)
            if task.done() and not task.cancelled() and not task.exception():
                remove(task.result())

    async def close(self) -> None:
        await asyncio.gather(*self._bases.values(), return_exceptions=True)
        self.room.close()
        await asyncio.to_thread(remove, self.scratch)

    # -- commands --------------------------------------------------------------------------------------------------

    def words(self, room: Room, folder: str, place: str, command: str, refused: int, told: int) -> list[str]:
        """The words that run `command` in the sandbox with `folder` of the room at `place`.

        `refused` is a handle of the filter of system calls; to `told` goes the process id of the sandbox.
        """
        environment = {**self.environment, "HOME": place, "REPO_PATH": place}
        return [
            *room.enter,
            *("bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"),
            *("--cap-drop", "ALL", "--hostname", "sandbox", "--uid", "0", "--gid", "0"),
            *self._shown,
            *("--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"),
            *("--size", str(TEMPORARY_MB << 20), "--tmpfs", "/dev/shm"),  # noqa: S108 - the sandbox's own
            *("--size", str(TEMPORARY_MB << 20), "--tmpfs", "/tmp"),  # noqa: S108
            *("--info-fd", str(told)),
            *(("--seccomp", str(refused)) if self._filter.stat().st_size else ()),
            *("--bind", f"{room.folder}/{folder}", place, "--remount-ro", "/", "--chdir", place, "--clearenv"),
            *(word for name, value in environment.items() for word in ("--setenv", name, value)),
            *("--setenv", "BASH_ENV", LIMITS, "/bin/bash", "-c", command),
        ]

    def _limiting(self, root: Path | None) -> list[str]:
        """Write the limits where bash reads them before its command, and the words that show them where they must be.

        They are set inside, where processes are counted from none: outside, those of the user's other programs count
        too. A program of its own for them (prlimit) costs 1.1 ms a command.
        """
        most = self.limits
        # Interpreters reserve terabytes that they never touch; for them the watch over memory in use must do.
        memory = "" if self.whole_machine else f" -v {most.memory_mb << 10}"
        disk, seconds = most.disk_mb << 10, int(most.seconds) + 5
        file = root / LIMITS[1:] if root else self.scratch / "limits"
        file.write_text(f"ulimit -u {most.processes} -f {disk} -n 1024 -c 0 -t {seconds}{memory}\nunset BASH_ENV\n")
        return [] if root else ["--ro-bind", f"{file}", LIMITS]

    def run(self, room: Room, folder: str, place: str, command: str, limits: Limits, merged: bool) -> Outcome:
        disk = None if room.private else room.folder / folder
        with self._filter.open("rb") as refused:
            handle = refused.fileno()
            return supervise(
                lambda told: self.words(room, folder, place, command, handle, told),
                limits,
                merged=merged,
                disk=disk,
                handles=(handle,),
                environment=BARE_ENVIRONMENT,
            )

    # -- what this machine can do ----------------------------------------------------------------------------------

    def _probe(self, asked: str) -> tuple[str, Room]:
        """(how states fork, the room for them), by trying. Raises UserError where nothing runs."""
        tried = []
        for forks, private in (("overlay", True), ("copy", True), ("copy", False)):
            if asked and forks != asked:
                continue
            self._count += 1
            try:
                room = Room(self.scratch / f"room-{self._count}", private)
            except (ExecutionError, OSError) as error:
                tried.append(str(error))
                continue
            problem = self._try(forks, room)
            if not problem:
                return forks, room
            room.close()
            tried.append(problem)
        raise UserError("bubblewrap cannot run a command here", value=tried[0], hint=INSTALL)

    def _try(self, forks: str, room: Room) -> str:
        """What goes wrong with this kind of fork in this room, or ""."""
        base = Path(tempfile.mkdtemp(prefix="probe-", dir=self.scratch))
        (base / "folder").mkdir()
        (base / "folder" / "file").write_text("before\n")
        give_tree(base)
        try:
            state = (Overlay if forks == "overlay" else Copy)(self, Start("probe", "probe"), room, (str(base),))
            command = "rm -r folder && mkdir folder && ls -A folder"
            made = self.run(room, state.folder, "/repo", command, self.limits, True)
            state.discard()
        except ExecutionError as error:
            return str(error)
        return "" if (made.exit, made.stdout.text) == (0, "") else printable(made.stdout.text.strip(), 300)


class Sandbox:
    """A state in a room: layers of a checkout, of which commands write the topmost."""

    def __init__(self, executor: Bubblewrap, start: Start, room: Room, lower: Sequence[str]) -> None:
        self.executor, self.start, self.room = executor, start, room
        self.lower: tuple[str, ...] = tuple(lower)
        """What lies below, the nearest first; the last is the common checkout."""
        self.top = self.folder = ""
        room.hold(*self._layers(self.lower[:-1]))
        self._grow()
        room.hold(self.top)

    def _grow(self) -> None:
        """Put a fresh topmost layer on `lower` and show it in `folder`."""
        raise NotImplementedError

    def _freeze(self) -> str:
        """Take the topmost layer off `folder` so that it can be shared; returns its path in the room."""
        raise NotImplementedError

    @staticmethod
    def _layers(paths: Sequence[str]) -> list[str]:
        return [path.partition("/")[0] for path in paths]

    def _disk(self, name: str) -> str:
        """The words that give a layer a size of its own, where the room is private."""
        size = f"size={self.executor.limits.disk_mb}m,mode=755"
        return f"mount -t tmpfs -o {size} layer {name} && " if self.room.private else ""

    async def run(self, command: str, *, merged: bool = False, seconds: float | None = None) -> Outcome:
        command, limits = checked(command), self.executor.limits
        limits = replace(limits, seconds=seconds) if seconds else limits
        return await asyncio.to_thread(
            self.executor.run, self.room, self.folder, self.start.place, command, limits, merged
        )

    async def fork(self) -> Sandbox:
        twin = await asyncio.to_thread(self._fork)
        self.executor.share(self.start)
        return twin

    def _fork(self) -> Sandbox:
        self.lower = (self._freeze(), *self.lower)
        self._grow()
        self.room.hold(self.top)
        return type(self)(self.executor, self.start, self.room, self.lower)

    async def close(self) -> None:
        await asyncio.to_thread(self.discard)
        self.executor.release(self.start)

    def discard(self) -> None:
        shown = [self.folder] if self.folder != self.top else []
        self.room.let_go(shown, [self.top, *self._layers(self.lower[:-1])])

    async def changes(self) -> str:
        raise NotImplementedError


class Overlay(Sandbox):
    """Layers of an overlay: forking freezes the topmost and costs nothing, however large the checkout is."""

    def _grow(self) -> None:
        name = self.room.name()
        options = f"lowerdir={':'.join(self.lower)},upperdir={name}/u,workdir={name}/w,userxattr"
        self.room.tell(f"{self._disk(name)}mkdir {name}/u {name}/w && mount -t overlay overlay -o {options} {name}m")
        self.top, self.folder = name, f"{name}m"

    def _freeze(self) -> str:
        self.room.tell(f"umount {self.folder}")
        return f"{self.top}/u"

    async def changes(self) -> str:
        outside = self.room.outside
        upper, below = outside / self.top / "u", [outside / one for one in self.lower]
        return await asyncio.to_thread(changes.of_overlay, upper, below)


class Copy(Sandbox):
    """Whole copies, where the kernel has no overlay for us: forking costs as much as copying."""

    def _grow(self) -> None:
        name = self.room.name()
        self.room.tell(f"{self._disk(name)}cp -a {self.lower[0]}/. {name}")
        self.top = self.folder = name

    def _freeze(self) -> str:
        return self.top

    async def changes(self) -> str:
        outside = self.room.outside
        return await asyncio.to_thread(changes.of_copy, outside / self.top, outside / self.lower[0])


def bwrap_version() -> str:
    """The version of the installed bubblewrap. Raises UserError where there is none."""
    try:
        said = subprocess.run(
            ["bwrap", "--version"],  # noqa: S607 - the machine's bubblewrap
            capture_output=True,
            text=True,
            check=True,
            env=BARE_ENVIRONMENT,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        raise UserError("bubblewrap is not installed", hint=INSTALL) from None
    return said.split()[-1] if said.split() else "?"


def new_scratch() -> Path:
    """A folder for checkouts and rooms: in memory where that is possible, else on disk. Sweeps what dead runs left."""
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes the name
    parent = memory if _fit(memory) else Path(tempfile.gettempdir())
    for old in parent.glob("duel-execution-*"):
        match = re.fullmatch(r"duel-execution-(\d+)-\w+", old.name)
        if match and not Path(f"/proc/{match[1]}").exists() and old.lstat().st_uid == os.geteuid():
            remove(old)
    scratch = Path(tempfile.mkdtemp(prefix=f"duel-execution-{os.getpid()}-", dir=parent))
    if os.geteuid() == 0:
        scratch.chmod(0o711)  # nobody must find its way to the rooms
    return scratch


def _fit(folder: Path) -> bool:
    """True if programs can be run from `folder` and it has room (a container's /dev/shm has neither)."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    return not os.statvfs(folder).f_flag & os.ST_NOEXEC and shutil.disk_usage(folder).free > 1 << 30
