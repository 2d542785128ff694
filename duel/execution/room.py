"""A room: a mount namespace of its own, held by one small shell, in which a task's states are laid out in memory.

The room and all that was written in it vanish when its last state is closed, and when the process that opened it ends,
however that comes about. Where the kernel allows no namespace to a plain user, a room is a folder on disk.
"""

import contextlib
import itertools
import os
import shutil
import subprocess
import threading
import weakref
from pathlib import Path

from duel.execution.executor import ExecutionError

# Started by root, the sandbox belongs to nobody: limits on processes do not bind root, and a hole would lead nowhere.
NOBODY = 65534
# What the process that starts a sandbox may know: never a key (bwrap's own environment shows in /proc/1/environ).
BARE_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}
_SHELL = (
    'while read -r line; do if said=$(eval "$line" 2>&1 </dev/null); then echo ok;'
    ' else echo "failed: $said" | tr "\\n" " "; echo; fi; done'
)


class Room:
    """One room in the empty folder `folder`; `private` asks for a namespace. It ends when nobody refers to it.

    Raises ExecutionError (`sandbox`) where it cannot be opened.
    """

    def __init__(self, folder: Path, private: bool = True) -> None:
        self.folder, self.private, self._lock = folder, private, threading.Lock()
        self.layers = itertools.count(1)  # names of layers that nothing has yet
        folder.mkdir(mode=0o700)
        give_tree(folder)
        # Popen's own `user=` would do the same, but then it cannot use vfork: 10 ms a command in a process of 150 MB.
        as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        as_nobody = [] if os.geteuid() else as_nobody
        mount = f"mount -t tmpfs -o size=1m,mode=755 room {folder} && " if private else ""
        apart = ["unshare", "--user", "--map-root-user", "--mount"] if private else []
        words = [*as_nobody, *apart, "sh", "-c", f"{mount}cd {folder} && echo ok && {_SHELL}"]
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
        weakref.finalize(self, _end, self._shell, folder)
        # Root becomes the room's user on entering; a plain user is it already.
        keep = ["--preserve-credentials"] if os.geteuid() else []
        within = ["nsenter", *keep, "--user", "--mount", f"--target={self._shell.pid}"]
        self.enter = within if private else as_nobody
        """The words that come before a command that runs in the room, as the room's user."""
        self.outside = Path(f"/proc/{self._shell.pid}/root{folder}") if private else folder
        """The room's folder as it is seen from outside the namespace."""
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
    shell.kill()
    for pipe in (shell.stdin, shell.stdout):
        with contextlib.suppress(OSError):
            pipe.close()  # type: ignore[union-attr]  # both are pipes
    shell.wait()
    remove(folder)


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
