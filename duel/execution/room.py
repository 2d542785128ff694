"""A room: a mount namespace of its own, held by one small shell, in which states are laid out in memory.

The room and all that was written in it vanish when the shell ends, and the shell ends when the process that opened it
does, however that comes about. Where the kernel allows no namespace to a plain user, a room is a folder on disk.
"""

import contextlib
import os
import shutil
import subprocess
import threading
from collections import Counter
from pathlib import Path

from duel.execution.executor import ExecutionError

# Started by root, the sandbox belongs to nobody: limits on processes do not bind root, and a hole would lead nowhere.
NOBODY = 65534
# What the process that starts a sandbox may know: never a key (bwrap's own environment shows in /proc/1/environ).
BARE_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}
_AHEAD = 16
_SHELL = (
    'while read -r line; do if said=$(eval "$line" 2>&1 </dev/null); then echo ok;'
    ' else echo "failed: $said" | tr "\\n" " "; echo; fi; done'
)


class Room:
    """One room in the empty folder `folder`; `private` asks for a namespace. Raises ExecutionError (`sandbox`)."""

    def __init__(self, folder: Path, private: bool = True) -> None:
        self.folder, self.private, self._names, self._lock = folder, private, 0, threading.Lock()
        self._users: Counter[str] = Counter()
        folder.mkdir(mode=0o700)
        give_tree(folder)
        # Popen's own `user=` would do the same, but then it cannot use vfork: 10 ms a command in a process of 150 MB.
        self._as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        self._as_nobody = [] if os.geteuid() else self._as_nobody
        mount = f"mount -t tmpfs -o size=1m,mode=755 room {folder} && " if private else ""
        apart = ["unshare", "--user", "--map-root-user", "--mount"] if private else []
        words = [*self._as_nobody, *apart, "sh", "-c", f"{mount}cd {folder} && echo ok && {_SHELL}"]
        self._shell = subprocess.Popen(  # noqa: S603 - words of this module's own
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=BARE_ENVIRONMENT,
            cwd="/",
        )
        try:
            self._reply("a room cannot be opened")
        except ExecutionError:
            self.close()
            raise

    @property
    def enter(self) -> list[str]:
        """The words that come before a command that runs in the room, as the room's user."""
        if not self.private:
            return self._as_nobody
        # Root becomes the room's user on entering; a plain user is it already.
        keep = ["--preserve-credentials"] if os.geteuid() else []
        return ["nsenter", *keep, "--user", "--mount", f"--target={self._shell.pid}"]

    @property
    def outside(self) -> Path:
        """The room's folder as it is seen from outside the namespace."""
        return Path(f"/proc/{self._shell.pid}/root{self.folder}") if self.private else self.folder

    def name(self) -> str:
        """The name of an empty folder `NAME` that nothing uses, with an empty `NAMEm` beside it."""
        with self._lock:
            self._names += 1
            number = self._names
            if number % _AHEAD == 1:  # one call of mkdir for many layers
                self._tell("mkdir " + " ".join(f"l{n} l{n}m" for n in range(number, number + _AHEAD)))
        return f"l{number}"

    def tell(self, line: str) -> None:
        """Run one line of shell in the room, at its folder. Raises ExecutionError (`sandbox`) with what it said."""
        with self._lock:
            self._tell(line)

    def _tell(self, line: str) -> None:
        assert self._shell.stdin
        try:
            self._shell.stdin.write(line + "\n")
            self._shell.stdin.flush()
        except OSError as error:
            raise ExecutionError("sandbox", f"the room is gone: {error}") from None
        self._reply(line)

    def _reply(self, line: str) -> None:
        assert self._shell.stdout
        said = self._shell.stdout.readline().strip()
        if said != "ok":
            raise ExecutionError("sandbox", f"{line}: {said or 'no reply'}")

    def hold(self, *layers: str) -> None:
        with self._lock:
            self._users.update(layers)

    def let_go(self, shown: list[str], layers: list[str]) -> None:
        """One user less of each layer: those that nobody uses are given back, after the mounts `shown`."""
        with self._lock:
            self._users.subtract(layers)
            gone = [layer for layer in layers if self._users[layer] == 0]
            for layer in gone:
                del self._users[layer]
            if self.private and (shown or gone):
                with contextlib.suppress(ExecutionError):  # the room may be gone, and they with it
                    self._tell("umount --lazy " + " ".join([*shown, *gone]))
        if not self.private:
            for layer in gone:
                remove(self.folder / layer)

    def close(self) -> None:
        for pipe in (self._shell.stdin, self._shell.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._shell.kill()
        self._shell.wait()
        remove(self.folder)


def give_tree(folder: Path) -> None:
    """Give a whole tree to the user that the sandbox runs as; links are given, not followed."""
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY, follow_symlinks=False)
        for root, folders, files in os.walk(folder):
            for name in (*folders, *files):
                os.chown(f"{root}/{name}", NOBODY, NOBODY, follow_symlinks=False)


def remove(folder: Path) -> None:
    """Remove a tree, whatever modes a command or an overlay (its work folder has mode 000) left in it."""
    for root, folders, _files in os.walk(folder):
        for name in folders:
            path = f"{root}/{name}"
            if not os.path.islink(path) and not os.access(path, os.R_OK | os.W_OK | os.X_OK):
                with contextlib.suppress(OSError):
                    os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)
