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
    for file in [file for patch in patches for file in _read(patch) if file.path]:
        known = files.setdefault(file.path, file)
        if known is not file:
            known.additions += file.additions
            known.deletions += file.deletions
    return list(files.values())


def _read(patch: str) -> list[ChangedFile]:
    lines = patch.split("\n")  # not splitlines(): a form feed is content
    files: list[ChangedFile] = []
    named = True  # the `---` and `+++` lines of the last file have been there
    at = 0
    while at < len(lines):
        line, behind = lines[at].removesuffix("\r"), lines[at + 1] if at + 1 < len(lines) else ""
        at += 1
        if line.startswith("diff --git "):
            files.append(ChangedFile(path=_path_of_git_header(line)))
            named = False
        elif hunk := _HUNK.match(line):
            old_left, new_left = int(hunk[1] or 1), int(hunk[2] or 1)
            while (old_left > 0 or new_left > 0) and at < len(lines):
                sign = lines[at][:1]
                # Any other sign is context; an editor may have stripped the blank of an empty line.
                old_left -= sign not in ("+", "\\")
                new_left -= sign not in ("-", "\\")
                for file in files[-1:]:
                    file.additions += sign == "+"
                    file.deletions += sign == "-"
                at += 1
        elif line.startswith("--- ") and behind.startswith("+++ "):
            # The surest paths. In a plain diff they also open the file.
            old, new = _path(line[4:]), _path(behind[4:].removesuffix("\r"))
            at += 1
            if named:
                files.append(ChangedFile(path=""))
            named = True
            files[-1].path = new or old or files[-1].path
            files[-1].status = "added" if not old else "deleted" if not new else files[-1].status
        elif not named:
            _extended(line, files[-1])
    return files


def _extended(line: str, file: ChangedFile) -> None:
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
    name = name.strip()
    if len(name) < 2 or not (name.startswith('"') and name.endswith('"')):
        return name

    def byte(found: re.Match[bytes]) -> bytes:
        return bytes([int(found[1], 8) & 255]) if len(found[1]) == 3 else _ESCAPED.get(found[1], found[1])

    return _ESCAPE.sub(byte, name[1:-1].encode("utf-8", "surrogatepass")).decode("utf-8", "replace")
