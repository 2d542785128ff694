"""How an agent without an editor changes a file: one shell command that turns the old text into the new."""

import difflib
import re

# Above this an agent would not type the whole file anew.
HEREDOC_LINES = 90


def command(path: str, old: str, new: str) -> str:
    """A command that changes file `path` from `old` to `new`: a substitution, else whole lines, else all of it."""
    before, after = old.splitlines(), new.splitlines()
    matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
    changes = [block for block in matcher.get_opcodes() if block[0] != "equal"]
    if len(changes) == 1:
        _, first, last, start, end = changes[0]
        if last - first == end - start == 1 and before.count(before[first]) == 1:
            return _substitute(path, before[first], after[start])
        if last > first and end > start:
            return _replace_lines(path, first + 1, last, after[start:end])
        if last == first and first:
            return _insert_after(path, first, after[start:end])
    return _write_anew(path, new)


def without_match(path: str, line: str) -> str:
    """A substitution that a careless agent would write: its pattern has the blanks of `line` wrong and fits nothing."""
    pattern = re.sub(r"\s+", "  ", line.strip())
    return f"sed -i {_quoted(f's/{_pattern(pattern)}/{_replacement(pattern)} /')} {path}"


def _substitute(path: str, old: str, new: str) -> str:
    old_core, new_core = old.strip(), new.strip()
    if old[: len(old) - len(old.lstrip())] != new[: len(new) - len(new.lstrip())]:
        old_core, new_core = old, new
    return f"sed -i {_quoted(f's/{_pattern(old_core)}/{_replacement(new_core)}/')} {path}"


def _replace_lines(path: str, first: int, last: int, lines: list[str]) -> str:
    span = f"{first},{last}" if last > first else f"{first}"
    script = f"{span}c\\\n{_text(lines)}"
    return f"sed -i {_quoted(script)} {path}"


def _insert_after(path: str, line: int, lines: list[str]) -> str:
    script = f"{line}a\\\n{_text(lines)}"
    return f"sed -i {_quoted(script)} {path}"


def _write_anew(path: str, text: str) -> str:
    return f"cat <<'EOF' > {path}\n{text}EOF"


def _text(lines: list[str]) -> str:
    """Lines as sed's `a` and `c` take them behind a backslash and a line break."""
    escaped = [line.replace("\\", "\\\\") for line in lines]
    return "\\\n".join(escaped)


def _pattern(text: str) -> str:
    return re.sub(r"[\\/.*\[\]^$]", lambda match: "\\" + match[0], text)


def _replacement(text: str) -> str:
    return re.sub(r"[\\/&]", lambda match: "\\" + match[0], text)


def _quoted(script: str) -> str:
    """In single quotes, as one types it."""
    return "'" + script.replace("'", "'\\''") + "'"
