"""Unified diffs: which files a patch touches, how, and by how many lines."""

import re

from duel.records import ChangedFile

_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_ESCAPE = re.compile(rb'\\([0-7]{3}|[abfnrtv"\\])')
_ESCAPED = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def changed_files(*patches: str) -> list[ChangedFile]:
    """The files that the patches touch, in the order in which they appear; a file of two patches counts once.

    Understands git's extended headers (added, deleted, renamed, copied, binary, mode only), quoted paths, and plain
    `---`/`+++` diffs. Lines inside a hunk are counted by the hunk's own header, so content that looks like a header is
    content. What is not a diff is passed over.
    """
    files: dict[str, ChangedFile] = {}
    for patch in patches:
        for file in _Reader(patch).read():
            if not file.path:
                continue
            known = files.setdefault(file.path, file)
            if known is not file:
                known.additions += file.additions
                known.deletions += file.deletions
    return list(files.values())


class _Reader:
    """Walks the lines of one patch; `current` is the file whose header or hunks it is in."""

    def __init__(self, patch: str) -> None:
        self.lines = patch.split("\n")  # not splitlines(): a form feed is content
        self.position = 0
        self.files: list[ChangedFile] = []
        self.current: ChangedFile | None = None
        self.had_names = False

    def read(self) -> list[ChangedFile]:
        while self.position < len(self.lines):
            line = self.lines[self.position].removesuffix("\r")
            self.position += 1
            if line.startswith("diff --git "):
                self._open(_path_of_git_header(line))
            elif hunk := _HUNK.match(line):
                self._hunk(int(hunk[1] or 1), int(hunk[2] or 1))
            elif line.startswith("--- ") and self._next().startswith("+++ "):
                self._names(line[4:], self._next()[4:].removesuffix("\r"))
                self.position += 1
            elif self.current is not None and not self.had_names:
                self._extended(line, self.current)
        return self.files

    def _next(self) -> str:
        return self.lines[self.position] if self.position < len(self.lines) else ""

    def _open(self, path: str) -> ChangedFile:
        self.current, self.had_names = ChangedFile(path=path), False
        self.files.append(self.current)
        return self.current

    def _names(self, before: str, after: str) -> None:
        """The `---` and `+++` lines: the surest paths. In a plain diff they also open the file."""
        old, new = _path(before), _path(after)
        file = self.current
        if file is None or self.had_names:
            file = self._open("")
        self.had_names = True
        file.path = new or old or file.path
        if not old:
            file.status = "added"
        elif not new:
            file.status = "deleted"

    def _extended(self, line: str, file: ChangedFile) -> None:
        extra = file.model_extra if file.model_extra is not None else {}
        if line.startswith("new file mode"):
            file.status = "added"
        elif line.startswith("deleted file mode"):
            file.status = "deleted"
        elif line.startswith(("rename from ", "copy from ")):
            extra["previous_path"] = _unquote(line.split(" from ", 1)[1])
        elif line.startswith(("rename to ", "copy to ")):
            file.status = "renamed" if line.startswith("rename") else "copied"
            file.path = _unquote(line.split(" to ", 1)[1])
        elif line.startswith(("Binary files ", "GIT binary patch")):
            extra["binary"] = True

    def _hunk(self, old_lines: int, new_lines: int) -> None:
        while (old_lines > 0 or new_lines > 0) and self.position < len(self.lines):
            sign = self._next()[:1]
            # Any other sign is context; an editor may have stripped the blank of an empty line.
            old_lines -= sign not in ("+", "\\")
            new_lines -= sign not in ("-", "\\")
            if self.current is not None:
                self.current.additions += sign == "+"
                self.current.deletions += sign == "-"
            self.position += 1


def _path_of_git_header(line: str) -> str:
    """The path of `diff --git a/X b/X`; a surer one may follow in the file's other headers."""
    rest = line.removeprefix("diff --git ")
    if rest.startswith('"'):
        return _path(rest[rest.find('" ') + 2 :])
    middle = len(rest) // 2  # both names are equal unless the file was renamed, and then `rename to` says so
    same = rest[2:middle] == rest[middle + 3 :]
    return rest[2:middle] if same else _path(rest[rest.rfind(" b/") + 1 :] if " b/" in rest else rest)


def _path(name: str) -> str:
    """The path behind `a/` or `b/`; "" for /dev/null. What follows a tab is a date."""
    path = _unquote(name.split("\t", 1)[0] if not name.startswith('"') else name)
    if path == "/dev/null":
        return ""
    return path[2:] if path[:2] in ("a/", "b/") else path


def _unquote(name: str) -> str:
    """Undo git's C-style quoting of paths with unusual bytes."""
    name = name.strip()
    if len(name) < 2 or not (name.startswith('"') and name.endswith('"')):
        return name
    raw = _ESCAPE.sub(_unescape, name[1:-1].encode("utf-8", "surrogatepass"))
    return raw.decode("utf-8", "replace")


def _unescape(match: re.Match[bytes]) -> bytes:
    code = match[1]
    return bytes([int(code, 8) & 255]) if len(code) == 3 else _ESCAPED.get(code, code)
