"""The root that a command sees: the tools that the dataset's agents had, their libraries, and nothing else.

The list is that of the generator of SWE-ZERO-12M (marin, experiments/swe_zero/safe_exec.py): no interpreter, no build
tool, no network tool, and no shell on the agent's PATH.
"""

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from duel.errors import UserError

TOOLS = (
    "cat head tail less more nl wc od xxd file tac rev fold fmt ls find tree pwd stat readlink realpath basename"
    " dirname grep egrep fgrep sed awk cut sort uniq tr tee echo printf diff cmp comm join paste split csplit expand"
    " unexpand yes cp mv rm mkdir rmdir touch ln chmod tar gzip gunzip zcat bzip2 bunzip2 bzcat xz unxz xzcat md5sum"
    " sha1sum sha256sum sha512sum cksum true false test [ expr date env id whoami hostname uname which sleep git"
).split()
NEEDED = ("bash", "cat", "grep", "sed", "ls", "find", "git")
_UNSEEN = ("bash",)  # what runs a command, and is not on the agent's PATH
ALLOWED = "/allowed"  # Where the allowed tools lie in the sandbox; the only folder on its PATH
_DATA = (
    "/usr/share/git-core/templates",
    "/usr/share/misc/magic.mgc",
    "/usr/lib/file/magic.mgc",
    "/usr/lib/locale/C.utf8",
    "/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache",
)
_SEARCHED = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
_LIBRARY = re.compile(r"(?:=> )?(/[^ ]+) \(0x")
_ETC = {"passwd": "root:x:0:0:root:/repo:/bin/bash\n", "group": "root:x:0:\n"}


def build(folder: Path, more: tuple[str, ...] = ()) -> Path:
    """Copy the machine's tools into the new folder `folder` (36 MB); those that it lacks are left out.

    Raises UserError where a tool is missing without which no history can be replayed.
    """
    programs, files = contents(more)
    for source in files:
        target = folder / str(source)[1:]
        if source.exists() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, symlinks=True)
            else:
                shutil.copy2(source, target)
    for part in (ALLOWED[1:], "usr/bin", "etc"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name, path in programs.items():
        if name not in _UNSEEN:
            (folder / ALLOWED[1:] / name).symlink_to(path)
    (folder / "usr/bin/bash").chmod(0o755)
    for name, text in _ETC.items():
        (folder / "etc" / name).write_text(text)
    return folder


@cache
def contents(more: tuple[str, ...] = ()) -> tuple[dict[str, str], list[Path]]:
    """The path of each tool, and all files that they need: `ldd` takes a quarter of a second, once a process."""
    found = {name: shutil.which(name, path=_SEARCHED) for name in (*TOOLS, *more, *_UNSEEN)}
    missing = [name for name in NEEDED if not found[name]]
    if missing:
        raise UserError("the sandbox needs tools that this machine lacks", value=" ".join(missing))
    programs = {name: _in_usr(os.path.realpath(path)) for name, path in found.items() if path}
    binaries = sorted({*programs.values(), *(str(p) for p in [Path("/usr/lib/git-core/git")] if p.exists())})
    words = ["ldd", *binaries]
    listed = subprocess.run(words, capture_output=True, text=True, check=False).stdout  # noqa: S603 - this machine's own
    libraries = sorted({_in_usr(library) for library in _LIBRARY.findall(listed)})
    return programs, [Path(path) for path in (*binaries, *libraries, *_DATA)]


def _in_usr(path: str) -> str:
    """The path below /usr, where /bin and /lib are links into it."""
    return path if path.startswith("/usr/") or not Path(f"/usr{path}").exists() else f"/usr{path}"


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
