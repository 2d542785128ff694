"""The local back end: bubblewrap around each command, and a checkout in memory that forks at no cost.

A command sees its checkout, the allowed tools read-only, and nothing else of the machine: no network, no home, no key,
no other process. It runs as nobody even where this program is root.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
import weakref
from copy import copy
from pathlib import Path
from typing import Any

from duel.errors import UserError, printable
from duel.execution import changes, toolbox
from duel.execution.checkouts import Sources
from duel.execution.executor import ExecutionError, Limits, Outcome, Start, State, in_thread
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
# Started by root, the sandbox belongs to nobody: limits on processes do not bind root, and a hole would lead nowhere.
NOBODY = 65534
# What the process that starts a sandbox may know: never a key (bwrap's own environment shows in /proc/1/environ).
BARE_ENVIRONMENT = {"PATH": toolbox.SEARCHED, "LC_ALL": "C.UTF-8"}
_SHELL = (
    'while read -r line; do if said=$(eval "$line" 2>&1 </dev/null); then echo ok;'
    ' else echo "failed: $said" | tr "\\n" " "; echo; fi; done'
)
LIMITS = "/etc/limits"
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
        self.environment = ENVIRONMENT | ({"PATH": toolbox.SEARCHED} if whole_machine else {})
        self.scratch, self._numbers = new_scratch(), itertools.count(1)
        self._checkouts: dict[Start, asyncio.Task[Checkout]] = {}
        try:
            self.filter = self.scratch / "system-calls"
            self.filter.write_bytes(toolbox.refused_calls())
            root = None if whole_machine else toolbox.build(self.scratch / "root")
            # bash reads the limits before its command. They are set inside, where processes are counted from none:
            # outside, those of the user's other programs count too. A program for it (prlimit) costs 1.1 ms a command.
            # Interpreters reserve terabytes that they never touch; for them the watch over memory in use must do.
            most, file = self.limits, root / LIMITS[1:] if root else self.scratch / "limits"
            memory = "" if whole_machine else f" -v {most.memory_mb << 10}"
            bounds = f"-u {most.processes} -f {most.disk_mb << 10} -n 1024 -c 0 -t {int(most.seconds) + 5}{memory}"
            file.write_text(f"ulimit {bounds}\nunset BASH_ENV\n")
            self._shown = [*toolbox.mounts(root), *([] if root else ["--ro-bind", f"{file}", LIMITS])]
            self.version = bwrap_version()
            self._probe(forks)
        except BaseException as error:
            changes.remove(self.scratch)
            if isinstance(error, OSError):
                hint = "free some space, or let TMPDIR name a folder that has some"
                raise UserError("no room for a sandbox", where=self.scratch, value=error.strerror, hint=hint) from None
            raise

    def describe(self) -> str:
        return f"{self.name} {self.version}, {self.forks} forks"

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
        """A fresh state, of a checkout that is laid out once for all who begin there. Raises ExecutionError."""

        def lay_out(folder: Path) -> Checkout:
            base = Checkout(folder)
            self.sources.lay_out(start, folder)
            give_tree(folder)
            return base

        laying = self._checkouts.pop(start, None) or asyncio.create_task(in_thread(lay_out, self._folder("base")))
        self._checkouts[start] = laying  # the last in use goes last
        for one in list(self._checkouts)[:-KEPT_CHECKOUTS]:
            del self._checkouts[one]
        return await in_thread(self._open, start, await asyncio.shield(laying))

    async def close(self) -> None:
        await asyncio.gather(*self._checkouts.values(), return_exceptions=True)
        await asyncio.to_thread(changes.remove, self.scratch)

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
            *("--size", str(TEMPORARY_MB << 20), "--tmpfs", "/tmp", "--info-fd", str(told)),  # noqa: S108
            *(("--seccomp", str(refused)) if self.filter.stat().st_size else ()),
            *("--bind", f"{room.folder}/{folder}", place, "--remount-ro", "/", "--chdir", place, "--clearenv"),
            *(word for name, value in environment.items() for word in ("--setenv", name, value)),
            *("/bin/bash", "-c", command),
        ]


class Room:
    """A mount namespace of its own, held by one small shell, in which a task's states are laid out in memory.

    It and all that was written in it vanish when nobody refers to it, and when the process that opened it ends, however
    that comes about. Where the kernel allows no namespace to a plain user, it is a folder on disk. Raises
    ExecutionError (`sandbox`) where it cannot be opened.
    """

    def __init__(self, folder: Path, private: bool = True) -> None:
        self.folder, self.private, self._lock = folder, private, threading.Lock()
        self.layers = itertools.count(1)  # names of layers that nothing has yet
        folder.mkdir(mode=0o700)
        give_tree(folder)
        # Popen's own `user=` would do the same, but then it cannot use vfork: 10 ms a command in a process of 150 MB.
        plain = os.geteuid() != 0
        as_nobody = [] if plain else ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        mount = f"mount -t tmpfs -o size=1m,mode=755 room {folder} && " if private else ""
        apart = ["unshare", "--user", "--map-root-user", "--mount"] if private else []
        words = [*as_nobody, *apart, "sh", "-c", f"{mount}cd {folder} && echo ok && {_SHELL}"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self._shell = subprocess.Popen(  # noqa: S603 - words of this module's own
            words, text=True, start_new_session=True, env=BARE_ENVIRONMENT, cwd="/", **pipes
        )
        weakref.finalize(self, _end, self._shell, folder)
        # What comes before a command. Root becomes the room's user on entering; a plain user is it already.
        keep, at = ["--preserve-credentials"] * plain, self._shell.pid
        self.enter = ["nsenter", *keep, "--user", "--mount", f"--target={at}"] if private else as_nobody
        self.outside = Path(f"/proc/{at}/root{folder}") if private else folder  # the folder, seen from outside
        self._heed("a room cannot be opened")

    def tell(self, line: str) -> None:
        """Run one line of shell in the room, at its folder. Raises ExecutionError (`sandbox`) with what it said."""
        assert self._shell.stdin
        with self._lock:
            try:
                self._shell.stdin.write(line + "\n")
                self._shell.stdin.flush()
            except OSError as error:
                raise ExecutionError("sandbox", f"the room is gone: {error}") from None
            self._heed(line)

    def _heed(self, line: str) -> None:
        assert self._shell.stdout
        said = self._shell.stdout.readline().strip()
        if said != "ok":
            raise ExecutionError("sandbox", f"{line}: {said or 'no reply'}")


def _end(shell: subprocess.Popen[str], folder: Path) -> None:
    with contextlib.suppress(OSError), shell:  # a line may be left in its pipe
        shell.kill()
    changes.remove(folder)


def give_tree(folder: Path) -> None:
    """Give a whole tree to the user that the sandbox runs as; links are given, not followed."""
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY, follow_symlinks=False)
        for root, folders, files in os.walk(folder):
            for name in (*folders, *files):
                os.chown(f"{root}/{name}", NOBODY, NOBODY, follow_symlinks=False)


class Checkout:
    """A folder that is removed when no state stands on it any more."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        weakref.finalize(self, changes.remove, folder)


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
            self._unmount()
            self._room.tell(f"mount -t overlay overlay -o {options} {self.folder}")
        self.before = self.folder
        self._grow()
        twin = copy(self)
        twin._grow()
        return twin

    def _unmount(self) -> None:
        """What was killed lets go of the tree a moment after it has ended: 3 s at most."""
        for again in range(60, -1, -1):
            try:
                self._room.tell(f"umount {self.folder}")
                break
            except ExecutionError as error:
                if not again or "busy" not in error.what:
                    raise
                time.sleep(0.05)

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
        with contextlib.suppress(FileNotFoundError):  # another run sweeps as well
            if match and not Path(f"/proc/{match[1]}").exists() and old.lstat().st_uid == os.geteuid():
                changes.remove(old)
    scratch = Path(tempfile.mkdtemp(prefix=f"duel-execution-{os.getpid()}-", dir=parent))
    if os.geteuid() == 0:
        scratch.chmod(0o711)  # nobody must find its way to the rooms
    return scratch
