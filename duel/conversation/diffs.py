"""Unified diffs: which files a patch touches, how, and by how many lines."""

import re

from duel.records import ChangedFile

_HUNK = re.compile(r"@@ -\d+(?:,(\d{1,9}))? \+\d+(?:,(\d{1,9}))? @@")
_HEADER = re.compile(r"(new file|deleted file) mode|(rename|copy) to (.+)")
_ESCAPED = bytes.maketrans(b"abfnrtv", b"\a\b\f\n\r\t\v")
_STATUS = {"new file": "added", "deleted file": "deleted", "rename": "renamed", "copy": "copied"}


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
            # `a/X b/X`; a surer path may follow. Both are equal unless the file was renamed: `rename to` says so.
            names = line.removeprefix("diff --git ")
            middle, quoted, last = len(names) // 2, names.find('" ') + 2, names.rfind(" b/") + 1
            is_twice = names[2:middle] == names[middle + 3 :]
            path = names[2:middle] if is_twice else _path(names[last:])
            files.append(ChangedFile(path=_path(names[quoted:]) if names.startswith('"') else path))
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
        elif not named and (told := _HEADER.match(line)):
            files[-1].status = _STATUS[told[1] or told[2]]
            files[-1].path = _unquoted(told[3]) if told[3] else files[-1].path
    return files


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
