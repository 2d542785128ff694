"""Attempts to get out of the sandbox: each must fail, whoever starts it, whatever tools are at hand."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from duel.execution.bubblewrap import Bubblewrap
from duel.execution.executor import Start
from tests.execution.conftest import in_sandbox, make_repository

# Spelled apart, so that an attempt's own words never hold it.
MARK = "planted" + "-7d1f03"

# name: a command that would print the mark, or "GOT-OUT", if it got out. {…} are filled in by `World`.
ATTEMPTS = {
    # network
    "network: bash connects to a local port": "exec 3<>/dev/tcp/127.0.0.1/{port} && cat <&3 && echo GOT-OUT",
    "network: perl connects to a local port": (
        'perl -MSocket -e \'socket(S,PF_INET,SOCK_STREAM,6); connect(S,sockaddr_in({port},inet_aton("127.0.0.1")))'
        ' and print "GOT-OUT", <S>\''
    ),
    "network: over IPv6": "exec 3<>/dev/tcp/::1/{port} && echo GOT-OUT",
    "network: the machine's own address": "exec 3<>/dev/tcp/{address}/{port} && echo GOT-OUT",
    "network: a datagram to a name server": "exec 3<>/dev/udp/8.8.8.8/53 && echo GOT-OUT",
    "network: a raw socket": "perl -e 'socket(S,2,3,1) and print \"GOT-OUT\"'",
    "network: an abstract unix socket": (
        "perl -MSocket -e 'socket(S,PF_UNIX,SOCK_STREAM,0);"
        ' connect(S,pack("Sa*",1,"\\0{abstract}")) and print "GOT-OUT", <S>\''
    ),
    "network: a unix socket by its path": (
        "perl -MSocket -e 'socket(S,PF_UNIX,SOCK_STREAM,0);"
        ' connect(S,sockaddr_un("{socket}")) and print "GOT-OUT", <S>\''
    ),
    "network: another interface than loopback": "grep -vE 'lo:|face|Inter' /proc/net/dev && echo GOT-OUT",
    # keys
    "key: the environment": "env; export -p; set",
    "key: the environment of pid 1": "tr '\\0' '\\n' </proc/1/environ",
    "key: the environment of every process": "cat /proc/*/environ /proc/*/task/*/environ | tr '\\0' '\\n'",
    "key: the command line of every process": "cat /proc/*/cmdline | tr '\\0' '\\n'",
    "key: the keyring of the session": (
        "perl -e 'my $b=\"\\0\"x64; syscall({keyctl},11,{key},$b,64); print $b'; cat /proc/keys"
    ),
    "key: a file handle left open": "for n in 3 4 5 6 7 8 9 10 11 12; do cat <&$n; done 2>/dev/null; ls -l /proc/*/fd",
    # home
    "home: the secret by its path": "cat {home}/secret",
    "home: folders of users": "ls -A /home /root 2>/dev/null && echo GOT-OUT",
    "home: the shadow file": "cat /etc/shadow && echo GOT-OUT",
    "home: names of users": "grep -v '^root:x:0:0:root:/repo' /etc/passwd && echo GOT-OUT",
    "home: the workspace's .env": "cat {workspace}/.env",
    "home: a file of that name anywhere": "find / -name secret -exec cat {{}} + ; grep -rs {half} /tmp /dev/shm /etc",
    # other states
    "other states: by the scratch folder": "cat {scratch}/*/*/* {scratch}/*/* ; ls {scratch} && echo GOT-OUT",
    "other states: by the overlay's own lower folder": (
        "lower=$(sed -n 's/.*lowerdir=\\([^:,]*\\).*/\\1/p' /proc/self/mountinfo);"
        ' [ -n "$lower" ] && cat $lower/a.txt && echo GOT-OUT'
    ),
    "other states: writing into the common base": "echo {half} > {base}/a.txt && echo GOT-OUT",
    # /proc
    "proc: a process of the machine": "kill -0 {victim} && cat /proc/{victim}/environ && echo GOT-OUT",
    "proc: killing everything": "kill -9 -1; echo still here",
    "proc: the root of pid 1": "ls /proc/1/root/root /proc/1/root/home /proc/1/cwd/.. | grep -x secret && echo GOT-OUT",
    "proc: a program for core dumps": "echo '|/bin/true' > /proc/sys/kernel/core_pattern && echo GOT-OUT",
    "proc: the magic key": "echo h > /proc/sysrq-trigger && echo GOT-OUT",
    "proc: the kernel's log": "head -c1 /proc/kmsg && echo GOT-OUT",
    "proc: the machine's memory": "head -c1 /dev/mem /proc/kcore 2>/dev/null | grep -q . && echo GOT-OUT",
    # links
    "links: a link out of the checkout": "ln -s {home}/secret x && cat x",
    "links: writing through a link": "ln -s {home}/secret y && echo overwritten > y && echo GOT-OUT",
    "links: the way up": "cat ../../../../../../../..{home}/secret",
    "links: a link that the repository brings": "cat escape/secret; echo overwritten > escape/secret",
    "links: a hard link": "ln {home}/secret z && cat z",
    # setuid
    "setuid: su": "su -c 'echo GOT-OUT' nobody; su nobody -s /bin/sh -c 'echo GOT-OUT'",
    "setuid: a shell of one's own": "cp /bin/bash s && chmod 6755 s && ./s -p -c 'cat {home}/secret'",
    "setuid: another user by a system call": "perl -e '$<=$>=65534; print \"GOT-OUT\" if $> == 65534'",
    "setuid: the disk as a device": "mknod disk b {major} {minor} && head -c9 disk && echo GOT-OUT",
    "setuid: capabilities": "grep -E '^Cap(Eff|Prm|Bnd)' /proc/self/status | grep -v 0000000000000000 && echo GOT-OUT",
    # namespaces
    "namespaces: a user namespace": "unshare --user --map-root-user true && echo GOT-OUT",
    "namespaces: a mount": "mount -t tmpfs none /tmp && echo GOT-OUT",
    "namespaces: a mount by the new calls": 'perl -e \'my $at="/"; print "GOT-OUT" if syscall(428,-100,$at,1) >= 0\'',
    "namespaces: making /usr writable": "mount -o remount,rw,bind /usr; touch /usr/x && echo GOT-OUT",
    "namespaces: entering that of pid 1's parent": "nsenter --target 1 --mount --net true && echo GOT-OUT",
    "namespaces: chroot": 'mkdir r && chroot r / ; perl -e \'chroot("r") and print "GOT-OUT"\'',
    "namespaces: calls of 32 bits' numbering": "perl -e 'print \"GOT-OUT\" if syscall(0x40000000 + 39) > 0'",
    "namespaces: writing into the root": "touch /x || touch /usr/bin/x || touch /etc/x || touch /dev/x && echo GOT-OUT",
}


@dataclass
class World:
    """The machine around the sandbox, with something planted wherever an attempt looks."""

    root: Path
    accepted: list[str]
    values: dict[str, object]
    victim: subprocess.Popen[bytes]

    def unharmed(self) -> None:
        assert (self.root / "home" / "secret").read_text() == MARK
        assert self.victim.poll() is None, "a process of the machine was ended"
        assert not self.accepted, "something was reached over the network"


def plant_key() -> int:
    """A key in this session's keyring, as a desktop's login puts one there; 0 where the kernel has none."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    add_key, keyctl = (248, 250) if os.uname().machine == "x86_64" else (217, 219)
    call(keyctl, 1, None)
    key = call(add_key, b"user", b"planted", MARK.encode(), len(MARK), -3)
    if key > 0:
        call(keyctl, 5, key, 0x3F3F3F3F)  # readable by everyone
    return max(key, 0)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="duel-world-") as name:
        Path(name).chmod(0o755)
        yield from build(Path(name))


def build(root: Path) -> Iterator[World]:
    for name in ("home", "workspace"):
        (root / name).mkdir(mode=0o777)
    (root / "home" / "secret").write_text(MARK)
    (root / "home" / "secret").chmod(0o666)
    (root / "workspace" / ".env").write_text(f"CHUTES_API_KEY={MARK}\n")
    accepted: list[str] = []
    listeners = [socket.create_server(("0.0.0.0", 0)), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
    abstract = f"duel-{os.getpid()}-{time.monotonic_ns()}"
    listeners[1].bind(f"\0{abstract}")
    listeners[2].bind(str(root / "socket"))
    (root / "socket").chmod(0o777)
    for listener in listeners:
        listener.listen()
        threading.Thread(target=_accept, args=(listener, accepted), daemon=True).start()
    victim = subprocess.Popen(["sleep", "1000"], env={"KEY": MARK, "PATH": os.environ["PATH"]})
    disk = Path("/").stat().st_dev
    yield World(
        root,
        accepted,
        {
            "port": listeners[0].getsockname()[1],
            "address": socket.gethostbyname(socket.gethostname()),
            "abstract": abstract,
            "socket": root / "socket",
            "home": root / "home",
            "workspace": root / "workspace",
            "half": MARK[:7],
            "victim": victim.pid,
            "major": os.major(disk),
            "minor": os.minor(disk),
            "key": plant_key(),
            "keyctl": 250 if os.uname().machine == "x86_64" else 219,
        },
        victim,
    )
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    for listener in listeners:
        listener.close()


def _accept(listener: socket.socket, accepted: list[str]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        accepted.append(str(listener))
        connection.sendall(MARK.encode())
        connection.close()


@pytest.mark.parametrize("whole_machine", [False, True], ids=["the agent's tools", "all tools of the machine"])
def test_nobody_gets_out(
    world: World,
    mirrors: Path,
    user: Callable[[Callable[[], Any]], Any],
    whole_machine: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CHUTES_API_KEY", MARK)
    files = {"a.txt": "one\n", "escape": f"-> {world.root / 'home'}"}
    start = make_repository(mirrors, "some/small", files)

    async def attempt_all(executor: Bubblewrap) -> dict[str, str]:
        other = await executor.state(start)
        await other.run(f"echo {MARK} > other-state")
        base = next(executor.scratch.glob("base-*"))
        state = await executor.state(start)
        values = {**world.values, "scratch": executor.scratch, "base": base}
        printed = {}
        for name, attempt in ATTEMPTS.items():
            outcome = await state.run(attempt.format(**values), merged=True, seconds=10)
            printed[name] = outcome.stdout.text + await state.changes()
        await other.close()
        await state.close()
        return printed

    printed = user(lambda: in_sandbox(mirrors, attempt_all, whole_machine=whole_machine))
    assert len(printed) >= 40
    out = {name: text for name, text in printed.items() if MARK in text or "GOT-OUT" in text}
    assert not out
    world.unharmed()


def test_the_attempts_do_get_somewhere_without_the_sandbox(world: World) -> None:
    """The table could not fail if its commands were wrong: outside, those that need no privilege find the mark."""
    environment = {"PATH": os.environ["PATH"], "CHUTES_API_KEY": MARK}
    for name in (
        "key: the environment",
        "home: the secret by its path",
        "home: the workspace's .env",
        "proc: a process of the machine",
    ):
        done = subprocess.run(
            ["bash", "-c", ATTEMPTS[name].format(**world.values)],
            env=environment,
            capture_output=True,
            cwd="/",
            check=False,
        )
        assert MARK.encode() in done.stdout + done.stderr, name
    key = world.values["key"]
    if key:
        done = subprocess.run(
            ["bash", "-c", ATTEMPTS["key: the keyring of the session"].format(**world.values)],
            capture_output=True,
            check=False,
        )
        assert MARK.encode() in done.stdout
    for name in [name for name in ATTEMPTS if name.startswith("network: bash") or "unix socket" in name]:
        done = subprocess.run(
            ["bash", "-c", ATTEMPTS[name].format(**world.values)], capture_output=True, cwd="/", check=False
        )
        assert b"GOT-OUT" in done.stdout, name
    world.accepted.clear()


def test_the_diff_does_not_read_through_a_link_that_a_folder_replaced(
    world: World, mirrors: Path, user: Callable[[Callable[[], Any]], Any]
) -> None:
    files = {"a.txt": "one\n", "escape": f"-> {world.root / 'home'}"}
    start: Start = make_repository(mirrors, "some/small", files)

    async def work(executor: Bubblewrap) -> str:
        state = await executor.state(start)
        await state.run("rm escape && mkdir escape && echo mine > escape/secret")
        changed = await state.changes()
        await state.close()
        return changed

    for forks in ("overlay", "copy"):
        changed = user(lambda forks=forks: in_sandbox(mirrors, work, forks=forks))
        assert "+mine" in changed
        assert MARK not in changed
