"""Unified diffs: which files a patch touches, how, and each line of its hunks."""

import re
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from duel.records import ChangedFile

_HUNK = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@ ?(.*)")
LINE = 2000  # characters of one line that are kept; longer ones are no source code
_HEADER = re.compile(r"(new file|deleted file) mode|(rename|copy) to (.+)")
_ESCAPED = bytes.maketrans(b"abfnrtv", b"\a\b\f\n\r\t\v")
_STATUS = {"new file": "added", "deleted file": "deleted", "rename": "renamed", "copy": "copied"}


class DiffLine(NamedTuple):
    """A line of a hunk, or its heading, in the part `part` of a pull request."""

    part: str
    path: str
    sign: str  # `+`, `-`, ` `, or `@` for the heading of a hunk
    text: str  # at most LINE characters
    number: int  # 1-based position in the text of the diff
    old: int
    new: int


def changed_files(*patches: str) -> list[ChangedFile]:
    """The files that the patches touch, in order; a file of two patches counts once."""
    files: dict[str, ChangedFile] = {}
    read: list[ChangedFile] = []
    for patch in patches:
        deque(lines_of("", patch, read), maxlen=0)
    for file in (file for file in read if file.path):
        known = files.setdefault(file.path, file)
        if known is not file:
            known.additions += file.additions
            known.deletions += file.deletions
    return list(files.values())


def lines_of(part: str, patch: str, files: list[ChangedFile] | None = None) -> Iterator[DiffLine]:
    """The lines of all hunks with their headings; each file that comes by is appended to `files`.

    Understands git's extended headers, quoted paths, plain `---`/`+++` diffs. Lines inside a hunk are counted by the
    hunk's own header, so content that looks like a header is content. What is not a diff is passed over.
    """
    files, lines = [] if files is None else files, patch.split("\n")  # not splitlines(): a form feed is content
    named = True  # the `---` and `+++` lines of the last file have been there
    at = 0
    while at < len(lines):
        line, behind = lines[at].removesuffix("\r"), lines[at + 1] if at + 1 < len(lines) else ""
        at += 1
        if line.startswith("diff --git "):
            # `a/X b/X`; a surer path may follow. Both are equal unless the file was renamed: `rename to` says so.
            names = line.removeprefix("diff --git ")
            middle, quoted, last = len(names) // 2, names.find('" ') + 2, names.rfind(" b/") + 1
            is_twice = names[2:middle] == names[middle + 3 :]
            path = names[2:middle] if is_twice else _path(names[last:])
            files.append(ChangedFile(path=_path(names[quoted:]) if names.startswith('"') else path))
            named = False
        elif hunk := _HUNK.match(line):
            old, new, path = int(hunk[1]), int(hunk[3]), files[-1].path if files else ""
            old_end, new_end = old + int(hunk[2] or 1), new + int(hunk[4] or 1)
            yield DiffLine(part, path, "@", hunk[5][:LINE], at, old, new)
            while (old < old_end or new < new_end) and at < len(lines):
                # Any other sign is context; an editor may have stripped the blank of an empty line.
                sign = lines[at][:1] if lines[at].startswith(("+", "-", "\\")) else " "
                if sign != "\\":
                    yield DiffLine(part, path, sign, lines[at][1 : LINE + 1], at + 1, old, new)
                old, new, at = old + (sign in " -"), new + (sign in " +"), at + 1
                for file in files[-1:]:
                    file.additions += sign == "+"
                    file.deletions += sign == "-"
        elif line.startswith("--- ") and behind.startswith("+++ "):
            # The surest paths. In a plain diff they also open the file.
            before, after = _path(line[4:]), _path(behind[4:].removesuffix("\r"))
            at += 1
            if named:
                files.append(ChangedFile(path=""))
            named = True
            files[-1].path = after or before or files[-1].path
            files[-1].status = "added" if not before else "deleted" if not after else files[-1].status
        elif not named and (told := _HEADER.match(line)):
            files[-1].status = _STATUS[told[1] or told[2]]
            files[-1].path = _unquoted(told[3]) if told[3] else files[-1].path


def _path(name: str) -> str:
    """The path behind `a/` or `b/`; "" for /dev/null. What follows a tab is a date."""
    path = _unquoted(name if name.startswith('"') else name.split("\t", 1)[0])
    return "" if path == "/dev/null" else path[2:] if path[:2] in ("a/", "b/") else path


def _unquoted(name: str) -> str:
    """A path as it is: git quotes one with special characters as C does, byte by byte."""
    name = name.strip()
    if len(name) < 2 or not (name.startswith('"') and name.endswith('"')):
        return name
    raw = name[1:-1].encode("utf-8", "surrogatepass")

    def character(escape: re.Match[bytes]) -> bytes:
        return bytes([int(escape[1], 8) & 255]) if len(escape[1]) == 3 else escape[1].translate(_ESCAPED)

    return re.sub(rb"\\([0-7]{3}|.)", character, raw, flags=re.DOTALL).decode("utf-8", "replace")
