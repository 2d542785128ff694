"""The local back end: bubblewrap around each command, and a checkout in memory that forks at no cost.

A command sees its checkout, the allowed tools read-only, and nothing else of the machine: no network, no home, no key,
no other process. It runs as nobody even where this program is root.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import shutil
import subprocess
import tempfile
import weakref
from copy import copy
from pathlib import Path

from duel.errors import UserError, printable
from duel.execution import changes, toolbox
from duel.execution.checkouts import Sources
from duel.execution.executor import ExecutionError, Limits, Outcome, Start, State
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
# The last checkouts stay laid out also when no state uses them: the next turn of the same pull request is near.
KEPT_CHECKOUTS = 4
INSTALL = (
    "`apt-get install bubblewrap` (Debian, Ubuntu) or `dnf install bubblewrap` (Fedora); on Ubuntu 23.10 and newer "
    "also `sysctl kernel.apparmor_restrict_unprivileged_userns=0` or an AppArmor profile for bwrap; "
    'or [execute] backend = "docker"'
)


class Bubblewrap:
    """Runs commands in bubblewrap. `whole_machine` shows the machine's /usr (compilers, interpreters) read-only."""

    name = "bubblewrap"

    def __init__(
        self, sources: Sources, limits: Limits | None = None, *, forks: str = "", whole_machine: bool = False
    ) -> None:
        self.sources, self.limits, self.whole_machine = sources, limits or Limits(), whole_machine
        self.environment = ENVIRONMENT | ({"PATH": MACHINE_PATH} if whole_machine else {})
        self.scratch, self._numbers = new_scratch(), itertools.count(1)
        self._checkouts: dict[Start, asyncio.Task[Checkout]] = {}
        try:
            self.filter = self.scratch / "system-calls"
            self.filter.write_bytes(toolbox.refused_calls())
            root = None if whole_machine else toolbox.build(self.scratch / "root")
            self._shown = [*toolbox.mounts(root), *self._limiting(root)]
            self.version = bwrap_version()
            self._probe(forks)
        except BaseException:
            remove(self.scratch)
            raise

    def describe(self) -> str:
        return f"{self.name} {self.version}, {self.forks} forks"

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

    def _probe(self, asked: str) -> None:
        """Find by trying how states fork (`forks`) and the room for them. Raises UserError where nothing runs."""
        base = Checkout(self._folder("probe"))
        (base.folder / "folder").mkdir(parents=True)
        (base.folder / "folder" / "file").write_text("before\n")
        give_tree(base.folder)
        tried = []
        for self.forks, self.private in (("overlay", True), ("copy", True), ("copy", False)):
            if asked and self.forks != asked:
                continue
            try:
                state = self._open(Start("probe", "probe"), base)
                made = state._run("rm -r folder && mkdir folder && ls -A folder", self.limits, merged=True)
                state.discard()
                if (made.exit, made.stdout.text) == (0, ""):
                    return
                tried.append(printable(made.stdout.text.strip(), 300))
            except (ExecutionError, OSError) as error:
                tried.append(str(error))
        raise UserError("bubblewrap cannot run a command here", value=tried[0], hint=INSTALL)

    def _folder(self, what: str) -> Path:
        return self.scratch / f"{what}-{next(self._numbers)}"

    def _open(self, start: Start, base: Checkout) -> Sandbox:
        return Sandbox(self, start, base, Room(self._folder("room"), self.private))

    async def state(self, start: Start) -> Sandbox:
        """A fresh state at the start of a task, laid out once for all that begin there.

        Raises ExecutionError where the checkout cannot be had.
        """

        def lay_out(folder: Path) -> Checkout:
            base = Checkout(folder)
            self.sources.lay_out(start, folder)
            give_tree(folder)
            return base

        laying = self._checkouts.pop(start, None) or asyncio.create_task(
            asyncio.to_thread(lay_out, self._folder("base"))
        )
        self._checkouts[start] = laying  # the last in use goes last
        for one in list(self._checkouts)[:-KEPT_CHECKOUTS]:
            del self._checkouts[one]
        base = await asyncio.shield(laying)
        return await asyncio.to_thread(self._open, start, base)

    async def close(self) -> None:
        await asyncio.gather(*self._checkouts.values(), return_exceptions=True)
        await asyncio.to_thread(remove, self.scratch)

    def words(self, room: Room, folder: str, place: str, command: str, refused: int, told: int) -> list[str]:
        """The words that run `command` in the sandbox with `folder` of the room at `place`.

        `refused` is a handle of the filter of system calls; to `told` goes the process id of the sandbox.
        """
        environment = self.environment | {"HOME": place, "REPO_PATH": place, "BASH_ENV": LIMITS}
        return [
            *room.enter,
            *("bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"),
            *("--cap-drop", "ALL", "--hostname", "sandbox", "--uid", "0", "--gid", "0"),
            *self._shown,
            *("--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"),
            *("--size", str(TEMPORARY_MB << 20), "--tmpfs", "/dev/shm"),  # noqa: S108 - the sandbox's own
            *("--size", str(TEMPORARY_MB << 20), "--tmpfs", "/tmp"),  # noqa: S108
            *("--info-fd", str(told)),
            *(("--seccomp", str(refused)) if self.filter.stat().st_size else ()),
            *("--bind", f"{room.folder}/{folder}", place, "--remount-ro", "/", "--chdir", place, "--clearenv"),
            *(word for name, value in environment.items() for word in ("--setenv", name, value)),
            *("/bin/bash", "-c", command),
        ]


class Checkout:
    """A folder that is removed when no state stands on it any more."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        weakref.finalize(self, remove, folder)


class Sandbox(State):
    """A state in a room: layers of a checkout, of which commands write the topmost.

    With an overlay, forking freezes the topmost and costs nothing, however large the checkout; where the kernel has
    none for us, layers are copies. `lower` are the layers below, the nearest first; `before` shows them as one tree.
    """

    def __init__(self, executor: Bubblewrap, start: Start, base: Checkout, room: Room) -> None:
        self.executor, self.start, self.limits, self._base, self._room = executor, start, executor.limits, base, room
        self._overlay = executor.forks == "overlay"
        self.lower, self.before = [str(base.folder)], str(base.folder)
        self._grow()

    def _grow(self) -> None:
        """Put a fresh topmost layer on `lower`, of a size of its own where the room is private; show it in `folder`."""
        self.top = self.folder = name = f"l{next(self._room.layers)}"
        made = f"mount -t tmpfs -o X-mount.mkdir,size={self.limits.disk_mb}m,mode=755 layer {name}"
        made = made if self._room.private else f"mkdir {name}"
        if self._overlay:
            self.folder = f"{name}/m"
            options = f"lowerdir={':'.join(self.lower)},upperdir={name}/u,workdir={name}/w,userxattr"
            made += f" && mkdir {name}/u {name}/w {name}/m && mount -t overlay overlay -o {options} {name}/m"
        else:
            made += f" && cp -a {self.before}/. {name}"
        self._room.tell(made)

    def _run(self, command: str, limits: Limits, merged: bool) -> Outcome:
        with self.executor.filter.open("rb") as refused:
            handle, room = refused.fileno(), self._room
            return supervise(
                lambda told: self.executor.words(room, self.folder, self.start.place, command, handle, told),
                limits,
                merged=merged,
                disk=None if room.private else room.folder / self.folder,
                handles=(handle,),
                environment=BARE_ENVIRONMENT,
            )

    def _fork(self) -> Sandbox:
        if self._overlay:
            self.lower = [f"{self.top}/u", *self.lower]
            options = f"ro,userxattr,lowerdir={':'.join(self.lower)}"
            self._room.tell(f"umount {self.folder} && mount -t overlay overlay -o {options} {self.folder}")
        self.before = self.folder
        self._grow()
        twin = copy(self)
        twin._grow()
        return twin

    def _changes(self) -> str:
        outside = self._room.outside
        upper = outside / self.top / "u" if self._overlay else None
        return changes.between(outside / self.folder, outside / self.before, upper)

    def discard(self) -> None:
        del self._room, self._base  # the last state takes both with it


def bwrap_version() -> str:
    """The version of the installed bubblewrap. Raises UserError where there is none."""
    words = ["bwrap", "--version"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=BARE_ENVIRONMENT)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        raise UserError("bubblewrap is not installed", hint=INSTALL) from None
    return (done.stdout.split() or ["?"])[-1]


def new_scratch() -> Path:
    """A folder for checkouts and rooms: in memory where that is possible, else on disk. Sweeps what dead runs left."""
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes the name
    fits = os.access(memory, os.W_OK | os.X_OK) and not os.statvfs(memory).f_flag & os.ST_NOEXEC
    # A container's /dev/shm has no room, and runs no program.
    parent = memory if fits and shutil.disk_usage(memory).free > 1 << 30 else Path(tempfile.gettempdir())
    for old in parent.glob("duel-execution-*"):
        match = re.fullmatch(r"duel-execution-(\d+)-\w+", old.name)
        if match and not Path(f"/proc/{match[1]}").exists() and old.lstat().st_uid == os.geteuid():
            remove(old)
    scratch = Path(tempfile.mkdtemp(prefix=f"duel-execution-{os.getpid()}-", dir=parent))
    if os.geteuid() == 0:
        scratch.chmod(0o711)  # nobody must find its way to the rooms
    return scratch
