"""What a sandboxed command is given: the tools that the dataset's agents had, and the system calls that it may make.

The tools are those of the generator of SWE-ZERO-12M (marin, experiments/swe_zero/safe_exec.py): no interpreter, no
build tool, no network tool, and no shell on the agent's PATH.
"""

import os
import platform
import re
import shutil
import struct
import subprocess
from functools import cache
from pathlib import Path

from duel import wordlists
from duel.errors import UserError

TOOLS = (
    "cat head tail less more nl wc od xxd file tac rev fold fmt ls find tree pwd stat readlink realpath basename"
    " dirname grep egrep fgrep sed awk cut sort uniq tr tee echo printf diff cmp comm join paste split csplit expand"
    " unexpand yes cp mv rm mkdir rmdir touch ln chmod tar gzip gunzip zcat bzip2 bunzip2 bzcat xz unxz xzcat md5sum"
    " sha1sum sha256sum sha512sum cksum true false test [ expr date env id whoami hostname uname which sleep git"
).split()
NEEDED = ("bash", "cat", "grep", "sed", "ls", "find", "git")
_SHELL = "bash"  # what runs a command, and is not on the agent's PATH
ALLOWED = "/allowed"  # Where the allowed tools lie in the sandbox; the only folder on its PATH
_DATA = (
    "/usr/share/git-core/templates",
    "/usr/share/misc/magic.mgc",
    "/usr/lib/file/magic.mgc",
    "/usr/lib/locale/C.utf8",
    "/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache",
)
SEARCHED = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
_LIBRARY = re.compile(r"(?:=> )?(/[^ ]+) \(0x")
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050001, 0x80000000  # refused: EPERM
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_X32 = 0x40000000
_ETC = {"passwd": "root:x:0:0:root:/repo:/bin/bash\n", "group": "root:x:0:\n"}


def build(folder: Path, more: tuple[str, ...] = ()) -> Path:
    """Copy the machine's tools to `folder` (36 MB). Raises UserError where one is missing that histories need."""
    programs, files = contents(more)
    for source in files:
        target = folder / str(source)[1:]
        if source.is_dir() and not target.exists():
            shutil.copytree(source, target, symlinks=True)
        elif source.exists() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    for part in (ALLOWED[1:], "usr/bin", "etc"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name, path in programs.items():
        if name != _SHELL:
            (folder / ALLOWED[1:] / name).symlink_to(path)
    (folder / "usr/bin/bash").chmod(0o755)
    for name, text in _ETC.items():
        (folder / "etc" / name).write_text(text)
    return folder


@cache
def contents(more: tuple[str, ...] = ()) -> tuple[dict[str, str], list[Path]]:
    """The path of each tool, and all files that they need: `ldd` takes a quarter of a second, once a process."""
    found = {name: shutil.which(name, path=SEARCHED) for name in (*TOOLS, *more, _SHELL)}
    missing = [name for name in NEEDED if not found[name]]
    if missing:
        raise UserError("the sandbox needs tools that this machine lacks", value=" ".join(missing))

    def in_usr(path: str) -> str:
        """The path below /usr, where /bin and /lib are links into it."""
        return path if path.startswith("/usr/") or not Path(f"/usr{path}").exists() else f"/usr{path}"

    programs = {name: in_usr(os.path.realpath(path)) for name, path in found.items() if path}
    binaries = sorted({*programs.values(), *(str(p) for p in [Path("/usr/lib/git-core/git")] if p.exists())})
    listed = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False).stdout  # noqa: S603, S607
    libraries = sorted({in_usr(library) for library in _LIBRARY.findall(listed)})
    return programs, [Path(path) for path in (*binaries, *libraries, *_DATA)]


def mounts(root: Path | None) -> list[str]:
    """The words with which bubblewrap shows `root`; without one, the machine's own /usr and nothing of its /etc."""
    at = root or Path("/")
    words = ["--ro-bind", f"{at / 'usr'}", "/usr"]
    for name in ("bin", "lib", "lib64", "lib32", "sbin"):
        if (at / "usr" / name).exists():
            words += ["--symlink", f"usr/{name}", f"/{name}"]
    if root:
        words += ["--ro-bind", f"{root}/etc", "/etc", "--ro-bind", f"{root}{ALLOWED}", ALLOWED]
    elif Path("/etc/alternatives").is_dir():  # javac, awk and others are links through it
        words += ["--ro-bind", "/etc/alternatives", "/etc/alternatives"]
    return words


def refused_calls(machine: str = "") -> bytes:
    """The filter that bubblewrap installs (classic BPF) on this or the named machine; b"" where no numbers are listed.

    Namespaces do not cover everything: the keys of the user's session are in reach of whatever runs under it (`keyctl`
    reads them through bubblewrap alone), and memory that is no process's (`memfd_create`, `shmget`) escapes every
    count. A call of another architecture ends the process: its numbers would mean other calls.
    """
    machine = machine or platform.machine()
    if machine not in _MACHINES:
        return b""
    column, architecture = _MACHINES[machine]
    numbers = [int(both[column]) for _name, *both in wordlists.rows("duel.execution", "system_calls.txt")]
    lines = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    lines.append((_AT_LEAST, len(numbers) + 1, 0, _X32))
    lines += [(_EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    lines += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
