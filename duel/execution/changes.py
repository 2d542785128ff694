"""What a command changed, as a diff, read from outside: no git is run, no link is followed, nothing is disturbed.

Running git there would let a changed `.git/config` start programs on the host (core.fsmonitor, diff.external), and
`git add -N` would change what the next `git status` says.
"""

import contextlib
import difflib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

MOST_BYTES = 65_536
MOST_FILES = 200  # Files that one diff shows; a command that touches more is told by the count of the others
_OPAQUE = "user.overlay.opaque"
# The path of a changed file, and what became of it.
Piece: TypeAlias = tuple[str, str]


def of_overlay(upper: Path, below: Sequence[Path]) -> str:
    """The diff that the top layer `upper` makes of the layers `below` it, the nearest first."""
    return _joined(_overlay_pieces(upper, below))


def of_copy(folder: Path, before: Path) -> str:
    """The diff between a folder and the copy `before` that it was made from."""
    now, then = (_listing(tree) for tree in (folder, before))
    gone = [_deleted(Path(path)) for path in then.keys() - now.keys()]
    changed = [path for path in now if now[path] != then.get(path)]
    shown = [(path, _described(Path(path), folder, before if path in then else None)) for path in changed]
    return _joined([*gone, *shown])


def _joined(pieces: Iterable[Piece]) -> str:
    """The pieces by the path of their file, so that every back end shows the same diff."""
    shown = sorted(piece for piece in pieces if piece[1])
    more = len(shown) - MOST_FILES
    return "".join(text for _, text in shown[:MOST_FILES]) + (f"and {more} more files\n" if more > 0 else "")


def _overlay_pieces(upper: Path, below: Sequence[Path]) -> Iterator[Piece]:
    for root, folders, files in os.walk(upper):
        here = Path(root)
        inside = here.relative_to(upper)
        folders[:] = [name for name in folders if (inside / name).parts != (".git",)]
        if str(inside) != "." and _is_opaque(here):
            kept = {*folders, *files}
            gone = _files_of(below, inside)
            yield from (_deleted(path) for path in gone if path.relative_to(inside).parts[0] not in kept)
        for name in [*files, *(name for name in folders if (here / name).is_symlink())]:
            path = inside / name
            layer = _holder(below, path)
            if not _is_whiteout(os.lstat(here / name)):
                yield str(path), _described(path, upper, layer)
            elif layer:
                yield from map(_deleted, _files_of(below, path) or {path})


def _listing(tree: Path) -> dict[str, tuple[int, ...]]:
    """Each file of a tree with what tells that it changed; `cp -a` keeps all of it."""
    found: dict[str, tuple[int, ...]] = {}
    for root, folders, files in os.walk(tree):
        inside = os.path.relpath(root, tree)
        folders[:] = [name for name in folders if (inside, name) != (".", ".git")]
        for name in [*files, *(name for name in folders if os.path.islink(f"{root}/{name}"))]:
            info = os.lstat(f"{root}/{name}")
            found[os.path.normpath(f"{inside}/{name}")] = (info.st_mode, info.st_size, info.st_mtime_ns)
    return found


def _deleted(path: Path) -> Piece:
    return str(path), f"deleted: {path}\n"


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


def _holder(layers: Sequence[Path], path: Path) -> Path | None:
    """The nearest of `layers` that holds `path`, or None where none does or a nearer one hides it."""
    for layer in layers:
        opaque = False
        for step in [*reversed(path.parents[:-1]), path]:
            try:
                with _folder(layer, step.parent) as folder:
                    info = os.stat(step.name, dir_fd=folder, follow_symlinks=False)
            except OSError:  # it says nothing of the path, unless it hides what the layers below say
                if opaque:
                    return None
                break
            if _is_whiteout(info) or (step != path and not stat.S_ISDIR(info.st_mode)):
                return None
            opaque = opaque or _is_opaque(layer / step)
        else:
            return layer
    return None


def _is_whiteout(info: os.stat_result) -> bool:
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def _files_below(tree: Path, path: Path) -> Iterator[Path]:
    """The files of the folder `path` below `tree`; none where it is no folder, or lies behind a link."""
    try:
        with _folder(tree, path) as folder:
            for entry in list(os.scandir(f"/proc/self/fd/{folder}")):
                if entry.is_dir(follow_symlinks=False):
                    yield from _files_below(tree, path / entry.name)
                else:
                    yield path / entry.name
    except OSError:
        return


def _files_of(layers: Sequence[Path], path: Path) -> set[Path]:
    found = {one for layer in layers for one in _files_below(layer, path)}
    return {one for one in found if _holder(layers, one)}


def _is_opaque(folder: Path) -> bool:
    """True for a folder that was removed and made anew: what lay below it is gone."""
    try:
        return os.getxattr(folder, _OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        return False
