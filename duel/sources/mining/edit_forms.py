"""File changes as shell text: heredocs that write a file, patches that `git apply` takes, exact replacements.

Each form gives, byte for byte, what the recorded tool wrote. A line of the block must not open with three backticks,
which would end the bash block that it stands in; content that has such lines is written with a prefix that `sed` takes
off again, as shell archives do.
"""

import difflib
import re
import shlex
from collections.abc import Sequence
from itertools import count, islice

# difflib is quadratic at worst: a longer file is changed by an exact replacement.
LARGEST_DIFF_LINES = 20_000
_PREFIX = "|"
# Paths that a patch header holds without quoting.
_PLAIN_PATH = re.compile(r"[\w.@%+=,-][\w.@%+=,/-]*")
FENCE_LINE = re.compile(r"^```", re.MULTILINE)
# NUL, and halves of surrogate pairs.
_NO_SHELL_TEXT = re.compile(r"[\0\ud800-\udfff]")


def writable(text: str) -> bool:
    """False for what no shell text can hold."""
    return not _NO_SHELL_TEXT.search(text)


def quoted(path: str) -> str:
    """`path` as one shell word; a leading `~/` still means the home folder."""
    return f"~/{shlex.quote(path[2:])}" if path.startswith("~/") and len(path) > 2 else shlex.quote(path)


def heredoc(command: str, content: str) -> str:
    """`command` with `content`, which ends in a newline, as its input; the delimiter is no line of the content."""
    lines = set(content.split("\n"))
    delimiter = next(name for n in count() if (name := f"EOF_{n}" if n else "EOF") not in lines)
    return f"{command} <<'{delimiter}'\n{content}{delimiter}"


def write_file(path: str, content: str, make_folder: bool = False) -> str:
    """Shell text after which the file at `path` holds exactly `content`."""
    target = quoted(path)
    folder = path.rpartition("/")[0]
    before = f"mkdir -p {quoted(folder)} && " if make_folder and folder not in ("", "~", ".") else ""
    if not content:
        return f"{before}: > {target}"
    reader, ends = "cat", content.endswith("\n")
    body = content if ends else content + "\n"
    if FENCE_LINE.search(content):
        reader = f"sed 's/^{_PREFIX}//'"
        body = "".join(f"{_PREFIX}{line}\n" for line in body[:-1].split("\n"))
    if ends:
        return heredoc(f"{before}{reader} > {target}", body)
    # $(…) takes off the newline that a heredoc ends with; content that ends without one has no other to lose.
    return f'{before}printf %s "$({heredoc(reader, body)}\n)" > {target}'


def apply_patch(path: str, before: str, after: str, prefix: str = "") -> str:
    """`git apply` of the change from `before` to `after`; "" where there is none, or no patch can hold it.

    Below the top of a repository git passes over, in silence, what is not named from there: `prefix` says where.
    """
    old, new = _lines(before), _lines(after)
    plain = _PLAIN_PATH.fullmatch(path) and ".." not in path.split("/")
    if not plain or before == after or len(old) + len(new) > LARGEST_DIFF_LINES:
        return ""
    patch = f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n"
    for line in islice(difflib.unified_diff(old, new), 2, None):
        patch += line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
    return heredoc("git apply" + (f" --directory={shlex.quote(prefix)}" if prefix else ""), patch)


def _lines(text: str) -> list[str]:
    """Lines with their newline; only "\n" ends one, as for git."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def replaced(before: str, old: str, new: str, everywhere: bool) -> str:
    """`before` with `old` replaced as Claude Code does it.

    An edit that replaces by nothing takes the end of the line with it, where `old` stops in front of one.
    """
    if not new and not old.endswith("\n") and old + "\n" in before:
        old += "\n"
    return before.replace(old, new, -1 if everywhere else 1)


def replace_text(path: str, replacements: Sequence[tuple[str, str, bool]]) -> str:
    """An exact replacement for a file whose content is not at hand: (old, new, everywhere) in order, by Python.

    It fails, as the edit tools do, where `old` is not there, or there more than once without `everywhere`.
    """
    lines = [*_opened(path), "text = file.read_bytes().decode()"]
    for old, new, everywhere in replacements:
        missing = "old not in text" if everywhere else "text.count(old) != 1"
        lines += [
            f"old = {_literal(old)}",
            f"new = {_literal(new)}",
            f"if {missing}:",
            '    raise SystemExit(f"found {text.count(old)} times in {file}")',
            "text = text.replace(old, new)",
        ]
    return heredoc("python3 -", "\n".join([*lines, "file.write_bytes(text.encode())"]) + "\n")


def insert_lines(path: str, after_line: int, content: str) -> str:
    """`content` as lines of their own behind line `after_line` (0: at the top), by Python."""
    lines = [
        *_opened(path),
        'lines = file.read_bytes().decode().split("\\n")',
        f'lines[{after_line}:{after_line}] = {_literal(content)}.split("\\n")',
        'file.write_bytes("\\n".join(lines).encode())',
    ]
    return heredoc("python3 -", "\n".join(lines) + "\n")


def _opened(path: str) -> list[str]:
    return ["from pathlib import Path", "", f"file = Path({path!r})" + ".expanduser()" * path.startswith("~")]


def _literal(text: str) -> str:
    """A Python literal for `text`: readable lines where that is exact, escapes where it is not."""
    plain = all(character.isprintable() or character in "\n\t" for character in text)
    if not plain or "'''" in text or text.endswith(("'", "\\")) or FENCE_LINE.search(text) or "\n" not in text:
        return repr(text)
    return f"{'r' if chr(92) in text else ''}'''{text}'''"
