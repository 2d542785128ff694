"""Trees that commands wrote in: what one changed, as a diff read from outside, and how a tree is removed.

No git is run, no link is followed, nothing is disturbed: git would let a changed `.git/config` start programs on the
host (core.fsmonitor, diff.external), and `git add -N` would change what the next `git status` says.
"""

import contextlib
import difflib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

MOST_BYTES = 65_536
MOST_FILES = 200  # Files that one diff shows; a command that touches more is told by the count of the others
_OPAQUE = "user.overlay.opaque"


def between(after: Path, before: Path, upper: Path | None = None) -> str:
    """The diff between a checkout and what it was made from; with an overlay, of what its top layer `upper` holds."""
    parts = {Path()} if upper is None else set(_touched(upper))
    now, then = ({path: told for part in parts for path, told in _listing(tree, part)} for tree in (after, before))
    gone = [(path, f"deleted: {path}\n") for path in then.keys() - now.keys()]
    changed = (path for path in now if now[path] != then.get(path))
    told = [(path, _described(Path(path), after, before if path in then else None)) for path in changed]
    shown = sorted(piece for piece in (*gone, *told) if piece[1])
    more = len(shown) - MOST_FILES
    return "".join(text for _, text in shown[:MOST_FILES]) + (f"and {more} more files\n" if more > 0 else "")


def _touched(upper: Path) -> Iterator[Path]:
    """What a top layer says of the tree: each file, each that is gone (a special file of its name), each made anew."""
    for root, folders, files in os.walk(upper):
        inside = Path(root).relative_to(upper)
        folders[:] = [name for name in folders if (inside / name).parts != (".git",)]
        yield from (inside / name for name in [*files, *(name for name in folders if Path(root, name).is_symlink())])
        with contextlib.suppress(OSError):
            if inside.parts and os.getxattr(root, _OPAQUE, follow_symlinks=False) == b"y":
                yield inside


def _listing(tree: Path, part: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Each file at or below `part` of a tree with what tells that it changed; `cp -a` keeps all of it."""
    with contextlib.suppress(OSError), _folder(tree, part.parent) as above:
        top = part.name or "."
        if not stat.S_ISDIR((info := os.stat(top, dir_fd=above, follow_symlinks=False)).st_mode):
            yield str(part), (info.st_mode, info.st_size, info.st_mtime_ns)
            return
        for root, folders, files, here in os.fwalk(top, dir_fd=above):
            inside = part.parent / root
            folders[:] = [name for name in folders if (inside / name).parts != (".git",)]
            for name in (*files, *folders):
                info = os.stat(name, dir_fd=here, follow_symlinks=False)
                if not stat.S_ISDIR(info.st_mode):
                    yield str(inside / name), (info.st_mode, info.st_size, info.st_mtime_ns)


def _described(path: Path, after: Path, before: Path | None) -> str:
    """What became of the file `path` in the tree `after`; `before` is the tree that held it, or None for a new file."""
    info = os.lstat(after / path)
    if stat.S_ISLNK(info.st_mode):
        return f"link: {path} -> {os.readlink(after / path)}\n"
    if not stat.S_ISREG(info.st_mode):
        return f"special file: {path}\n"
    new, old = read(after, path), read(before, path) if before else []
    if new is None or old is None:
        return f"{'changed' if before else 'new'}, not shown: {path} ({info.st_size} bytes)\n"
    if new != old:
        lines = difflib.unified_diff(old, new, f"a/{path}" if before else "/dev/null", f"b/{path}")
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
    if before is None:
        return f"new, empty: {path}\n"
    mode = os.lstat(before / path).st_mode
    return f"mode: {path} {mode & 0o777:o} -> {info.st_mode & 0o777:o}\n" if mode != info.st_mode else ""


def read(tree: Path, path: Path) -> list[str] | None:
    """The lines of a regular file below `tree`, where no step of the way is a link.

    None where it is missing, special, binary or larger than MOST_BYTES. The way is walked one folder at a time: a
    repository may hold `docs -> /root`, and a command may put a folder of its own in that link's place.
    """
    try:
        with _folder(tree, path.parent) as folder:
            handle = os.open(path.name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=folder)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        raw = file.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES or b"\0" in raw:
        return None
    return raw.decode("utf-8", "replace").splitlines(keepends=True)


@contextlib.contextmanager
def _folder(tree: Path, path: Path) -> Iterator[int]:
    """A handle of the folder `path` below `tree`, reached without following a link. Raises OSError."""
    handle = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in path.parts:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
            os.close(handle)
            handle = below
        yield handle
    finally:
        os.close(handle)


def remove(folder: Path) -> None:
    """Remove a tree, whatever modes a command or an overlay (its work folder has mode 000) left in it."""
    for root, folders, _files in os.walk(folder):
        for name in folders:
            path = f"{root}/{name}"
            if not os.path.islink(path) and not os.access(path, os.R_OK | os.W_OK | os.X_OK):
                with contextlib.suppress(OSError):
                    os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)
