"""File changes as shell text: heredocs that write a file, patches that `git apply` takes, exact replacements.

Each form gives, byte for byte, what the recorded tool wrote. A line of the block must not open with three backticks,
which would end the bash block that it stands in; content that has such lines is written with a prefix that `sed` takes
off again, as shell archives do.
"""

import difflib
import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import count

from duel.conversation.model import Hunk

CONTEXT_LINES = 3
# difflib is quadratic at worst: a change that spans more lines than this becomes one hunk that replaces them all.
LARGEST_DIFF_LINES = 2000
NO_NEWLINE = "\\ No newline at end of file"
_PREFIX = "|"
# Paths that a patch header holds without quoting.
_PLAIN_PATH = re.compile(r"[\w.@%+=,-][\w.@%+=,/-]*")
_FENCE_LINE = re.compile(r"^```", re.MULTILINE)
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")


def writable(text: str) -> bool:
    """False for what no shell text can hold: NUL, and halves of surrogate pairs."""
    return "\0" not in text and not _LONE_SURROGATE.search(text)


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
    if _FENCE_LINE.search(content):
        reader = f"sed 's/^{_PREFIX}//'"
        body = "".join(f"{_PREFIX}{line}\n" for line in body[:-1].split("\n"))
    if ends:
        return heredoc(f"{before}{reader} > {target}", body)
    # $(…) takes off the newline that a heredoc ends with; content that ends without one has no other to lose.
    return f'{before}printf %s "$({heredoc(reader, body)}\n)" > {target}'


def apply_patch(path: str, before: str, after: str, prefix: str = "") -> str:
    """`git apply` of the change from `before` to `after`; "" where the path cannot stand in a patch header.

    Below the top of a repository git passes over, in silence, what is not named from there: `prefix` says where.
    """
    return _git_apply(path, list(_hunks(before, after)), prefix) if _in_patch(path) and before != after else ""


def apply_hunks(path: str, hunks: Sequence[Hunk], prefix: str = "") -> str:
    """`git apply` of hunks whose file is not at hand; "" where they cannot be trusted to apply.

    Whether the file's last line has a newline is not known. So each hunk must go on behind its last change, and its
    last line of context, which may be the file's last, is left off.
    """
    shortened: list[str] = []
    for hunk in hunks:
        signs = [line[:1] for line in hunk.lines]
        if signs[-2:] != [" ", " "] or "\\" in signs:
            return ""
        shortened += _render(hunk.old_start, hunk.new_start, hunk.lines[:-1])
    return _git_apply(path, shortened, prefix) if shortened and _in_patch(path) else ""


def patched(before: str, hunks: Sequence[Hunk]) -> str | None:
    lines, after, position = _lines(before), list[str](), 0
    for hunk in hunks:
        start = max(hunk.old_start - 1, 0)
        if start < position or not any(line[:1] in ("+", "-", " ") for line in hunk.lines):
            return None
        after += lines[position:start]
        position = start
        for line, behind in zip(hunk.lines, [*hunk.lines[1:], ""], strict=True):
            sign, content = line[:1], line[1:] + ("" if behind.startswith("\\") else "\n")
            if sign in ("-", " "):
                if position >= len(lines) or lines[position].rstrip("\n") != content.rstrip("\n"):
                    return None
                content = lines[position]
                position += 1
            if sign in ("+", " "):
                after.append(content)
    return "".join(after + lines[position:])


def replaced(before: str, old: str, new: str, everywhere: bool) -> str | None:
    """`before` with `old` replaced as Claude Code does it; None where `old` is not there.

    An edit that replaces by nothing takes the end of the line with it, where `old` stops in front of one.
    """
    if not old or old not in before:
        return None
    if not new and not old.endswith("\n") and old + "\n" in before:
        old += "\n"
    return before.replace(old, new) if everywhere else before.replace(old, new, 1)


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
    if not plain or "'''" in text or text.endswith(("'", "\\")) or _FENCE_LINE.search(text) or "\n" not in text:
        return repr(text)
    return f"{'r' if chr(92) in text else ''}'''{text}'''"


def _in_patch(path: str) -> bool:
    return bool(_PLAIN_PATH.fullmatch(path)) and ".." not in path.split("/")


def _git_apply(path: str, lines: Sequence[str], prefix: str) -> str:
    command = f"git apply --directory={shlex.quote(prefix)}" if prefix else "git apply"
    header = [f"diff --git a/{path} b/{path}", f"--- a/{path}", f"+++ b/{path}"]
    return heredoc(command, "\n".join([*header, *lines]) + "\n")


def _hunks(before: str, after: str) -> Iterator[str]:
    old, new = _lines(before), _lines(after)
    # difflib, which is quadratic, sees only what differs and its context.
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    head, tail = max(start - CONTEXT_LINES, 0), max(end - CONTEXT_LINES, 0)
    old, new = old[head : len(old) - tail], new[head : len(new) - tail]
    if len(old) + len(new) > LARGEST_DIFF_LINES:
        lead, old_end, new_end = start - head, len(old) - (end - tail), len(new) - (end - tail)
        changed = ("replace", lead, old_end, lead, new_end)
        groups = [[("equal", 0, lead, 0, lead), changed, ("equal", old_end, len(old), new_end, len(new))]]
    else:
        matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
        groups = [[*group] for group in matcher.get_grouped_opcodes(CONTEXT_LINES)]
    for group in groups:
        lines: list[str] = []
        for tag, old_from, old_to, new_from, new_to in group:
            lines += [(" " if tag == "equal" else "-") + line for line in old[old_from:old_to]]
            lines += ["+" + line for line in new[new_from:new_to] if tag != "equal"]
        marked = [part for line in lines for part in ([line[:-1]] if line.endswith("\n") else [line, NO_NEWLINE])]
        yield from _render(head + group[0][1] + 1, head + group[0][3] + 1, marked)


def _render(old_start: int, new_start: int, lines: Sequence[str]) -> list[str]:
    old = sum(line[0] in " -" for line in lines)
    new = sum(line[0] in " +" for line in lines)
    # A side without lines is counted from the line before it.
    return [f"@@ -{old_start - (not old)},{old} +{new_start - (not new)},{new} @@", *lines]


def _lines(text: str) -> list[str]:
    """Lines with their newline; only "\\n" ends one, as for git."""
    parts = text.split("\n")
    return [part + "\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many first items are equal."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
