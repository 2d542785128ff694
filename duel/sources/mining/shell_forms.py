"""The shell form of a tool call: the command that does in a shell what the tool did, or the reason why there is none.

What changes a file gives, byte for byte, what the recorded tool wrote. No line of the block may open with three
backticks, which would end the bash block that it stands in: content that has such lines gets a prefix that `sed` takes
off again.
"""

import difflib
import posixpath
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count, islice
from typing import Any

from duel.conversation.model import AgentCall
from duel.conversation.values import tables, text
from duel.errors import ItemError, require

SUBMIT = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
# Calls that only keep the agent's own list of things to do: they change nothing that a later turn could observe, so
# they are left out and counted instead of ending what can be learned from.
BOOKKEEPING = frozenset(
    "TodoWrite TodoRead TaskCreate TaskUpdate TaskList TaskGet task_tracker think update_plan ToolSearch".split()
)
HAND_OVER = frozenset({"submit", "finish"})  # calls that hand the turn back to the person
LARGEST_DIFF_LINES = 20_000  # difflib is quadratic at worst: a longer file is changed by an exact replacement
_PREFIX = "|"
_PLAIN_PATH = re.compile(r"[\w.@%+=,-][\w.@%+=,/-]*")  # paths that a patch header holds without quoting
_FENCE_LINE = re.compile(r"^```", re.MULTILINE)
_NO_SHELL_TEXT = re.compile(r"[\0\ud800-\udfff]")  # NUL, and halves of surrogate pairs


def shell_form(call: AgentCall) -> str:
    """The command. Raises ItemError, whose reason is counted, where the call has no faithful form."""
    require(not call.obstacle, call.obstacle)
    require(not call.images, "returns an image")
    if (form := FORMS.get(call.name)) is None:
        raise ItemError(f"no shell form: {'MCP tool' if call.name.startswith('mcp__') else call.name[:40]}")
    command = _writable(form(call).strip("\n"))
    require(command.strip(), "empty command")
    require(not _FENCE_LINE.search(command), "code fence in the command")
    return command


def _writable(content: str) -> str:
    require(not _NO_SHELL_TEXT.search(content), "bytes that a shell cannot hold")
    return content


def _text(arguments: Mapping[str, Any], *names: str) -> str:
    """The first of these arguments; a call without it was refused by its own tool and has no form."""
    for name in names:
        if isinstance(value := arguments.get(name), str):
            return value
    raise ItemError("malformed call")


def _number(call: AgentCall, name: str) -> int | None:
    value = call.arguments.get(name)
    with suppress(ValueError, OverflowError):  # words, more digits than a number has, no number at all
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            return int(value)
    return None


def _path(call: AgentCall, default: str | None = None) -> str:
    """The path a call names, relative where it lies in the call's working directory."""
    names = ("file_path", "path")
    if default is not None and not any(isinstance(call.arguments.get(name), str) for name in names):
        return default
    path = _text(call.arguments, *names)
    require(path and "\n" not in path, "malformed call")
    folder = posixpath.normpath(call.folder).rstrip("/")
    if call.folder.startswith("/") and path.startswith("/"):
        if posixpath.normpath(path).rstrip("/") == folder:
            return "."
        if path.startswith(f"{folder}/") and ".." not in path.split("/"):
            return path[len(folder) + 1 :].lstrip("/") or "."
    return path


def _word(path: str) -> str:
    """A path as a shell word that no command takes for an option."""
    return quoted(f"./{path}" if path.startswith("-") else path)


def _bash(call: AgentCall) -> str:
    require(call.arguments.get("is_input") not in (True, "true"), "types into a running command")
    behind = call.arguments.get("background") is True or call.arguments.get("pty") is True
    require(not behind, "runs in the background")
    folder = call.arguments.get("workdir")
    command = _text(call.arguments, "command", "cmd")
    return f"cd {quoted(folder)} && {command}" if isinstance(folder, str) and folder and command else command


def _read(call: AgentCall) -> str:
    """The lines from `offset` (1-based), at most `limit` of them; Claude Code shows them with their numbers."""
    numbered, path = call.name == "Read", _word(_path(call))
    first, count = max(_number(call, "offset") or 1, 1), _number(call, "limit")
    if first == 1 and count is None:
        return f"{'cat -n' if numbered else 'cat'} {path}"
    lines = f"sed -n '{first},{'$' if count is None else first + count - 1}p'"
    return f"cat -n {path} | {lines}" if numbered else f"{lines} {path}"


def _glob(call: AgentCall) -> str:
    """`find` with the same meaning; bash's own `**`, which has it as well, where more than a name is told."""
    pattern, root = _text(call.arguments, "pattern"), _path(call, default=".")
    if pattern.startswith("/"):
        root, pattern = "/", pattern[1:]
    parts = pattern.split("/")
    while len(parts) > 1 and not re.search(r"[*?\[{\\]", parts[0]):
        root = posixpath.join(root, parts.pop(0))
    name = parts[-1]
    if parts in ([name], ["**", name]) and not set("{[\\") & set(name) and "**" not in name:
        within = " -maxdepth 1" if len(parts) == 1 else ""
        return f"find {_word(root)}{within} -type f -name {shlex.quote(name)}"
    told = re.sub(r"[^\w./*?\[\]{},!^-]", r"\\\g<0>", "/".join(parts))
    script = f'for file in {_word(root.rstrip("/"))}/{told}; do [ -f "$file" ] && echo "$file"; done; true'
    return f"bash -O globstar -O dotglob -c {shlex.quote(script)}"


def _grep(call: AgentCall) -> str:
    """ripgrep, which Claude Code's `Grep` and pi's `grep` run as well, each with arguments of its own."""
    arguments, of_pi = call.arguments, call.name == "grep"
    mode = "content" if of_pi else str(arguments.get("output_mode", "files_with_matches"))
    words = ["rg", *{"files_with_matches": ["-l"], "count": ["-c"]}.get(mode, [])]
    words += ["-n"] * (mode == "content" and bool(arguments.get("-n", True)))
    flags = {"-i": "-i", "ignoreCase": "-i", "literal": "-F", "multiline": "-U --multiline-dotall"}
    words += [option for name, option in flags.items() if arguments.get(name)]
    for option, name in (("-A", "-A"), ("-B", "-B"), ("-C", "-C"), ("-C", "context")) if mode == "content" else ():
        if (count := _number(call, name)) is not None:
            words += [option, str(count)]
    for option, name in (("-g", "glob"), ("-t", "type")):
        if isinstance(arguments.get(name), str) and arguments[name]:
            words += [option, shlex.quote(arguments[name])]
    pattern, path = _text(arguments, "pattern"), _path(call, default="")
    words += [*["-e"] * pattern.startswith("-"), shlex.quote(pattern), *[_word(path)] * bool(path)]
    offset, limit = _number(call, "offset"), _number(call, "limit" if of_pi else "head_limit")
    return " ".join(words) + (f" | tail -n +{offset + 1}" if offset else "") + (f" | head -n {limit}" if limit else "")


def _edit(call: AgentCall) -> str:
    olds, news = ("old_string", "oldText", "old_str"), ("new_string", "newText", "new_str")
    wanted = [
        (_writable(_text(edit, *olds)), _writable(_text(edit, *news)), edit.get("replace_all") in (True, "true"))
        for edit in tables(call.arguments.get("edits")) or [call.arguments]
    ]
    if not wanted[0][0] and len(wanted) == 1:  # Claude Code makes a file by replacing nothing
        return write_file(call, wanted[0][1])
    require(all(old for old, _, _ in wanted), "malformed call")
    path, command, after = _path(call), "", call.before
    if after is not None and not call.is_error:
        for old, new, everywhere in wanted:
            require(old in after, "an edit that does not fit its file")  # the tool took a text that is only like it
            after = replaced(after, old, new, everywhere)
        if not path.startswith(("/", "~")) and call.folder and call.prefix is not None:
            command = apply_patch(path, call.before or "", after, call.prefix)
    return command if command and not _NO_SHELL_TEXT.search(command) else _replacement(path, wanted)


def _editor(call: AgentCall) -> str:
    """The editor tool that OpenHands, SWE-agent and SWE-smith share: its first argument says what it does."""
    arguments = call.arguments
    match command := _text(arguments, "command"):
        case "view":
            path, limits = _word(_path(call)), arguments.get("view_range")
            if re.match(r"\s*Here('s| are) the files and directories", call.result or ""):
                return f"find {path} -maxdepth 2 -not -path '*/.*'"
            limits = [int(n) for n in re.findall(r"-?\d+", limits)] if isinstance(limits, str) else limits
            if not isinstance(limits, list) or len(limits) != 2 or not all(isinstance(n, int) for n in limits):
                return f"cat -n {path}"
            return f"cat -n {path} | sed -n '{limits[0]},{'$' if limits[1] == -1 else limits[1]}p'"
        case "create":
            return write_file(call, _text(arguments, "content", "file_text"))
        case "str_replace":
            new = arguments.get("new_str")
            return _edit(replace(call, arguments={**arguments, "new_str": new if isinstance(new, str) else ""}))
        case "insert":
            line, content = _number(call, "insert_line"), _writable(_text(arguments, "new_str"))
            require(line is not None and line >= 0, "malformed call")
            return _by_python(
                _path(call),
                'lines = file.read_bytes().decode().split("\\n")',
                f'lines[{line}:{line}] = {_literal(content)}.split("\\n")',
                'file.write_bytes("\\n".join(lines).encode())',
            )
    raise ItemError(f"no shell form: editor {command[:20]}")


def quoted(path: str) -> str:
    """`path` as one shell word; a leading `~/` still means the home folder."""
    return f"~/{shlex.quote(path[2:])}" if path.startswith("~/") and len(path) > 2 else shlex.quote(path)


def heredoc(command: str, content: str) -> str:
    """`command` with `content`, which ends in a newline, as its input; the delimiter is no line of the content."""
    lines = set(content.split("\n"))
    delimiter = next(name for n in count() if (name := f"EOF_{n}" if n else "EOF") not in lines)
    return f"{command} <<'{delimiter}'\n{content}{delimiter}"


def write_file(call: AgentCall, content: str) -> str:
    """Shell text after which the file that the call names holds exactly `content`."""
    path, ends = _path(call), _writable(content).endswith("\n")
    target, folder = quoted(path), path.rpartition("/")[0]
    before = f"mkdir -p {quoted(folder)} && " if call.before is None and folder not in ("", "~", ".") else ""
    if not content:
        return f"{before}: > {target}"
    reader, body = "cat", content if ends else content + "\n"
    if _FENCE_LINE.search(content):
        reader = f"sed 's/^{_PREFIX}//'"
        body = "".join(f"{_PREFIX}{line}\n" for line in body[:-1].split("\n"))
    if ends:
        return heredoc(f"{before}{reader} > {target}", body)
    # $(…) takes off the newline that a heredoc ends with; content that ends without one has no other to lose.
    return f'{before}printf %s "$({heredoc(reader, body)}\n)" > {target}'


def apply_patch(path: str, before: str, after: str, prefix: str = "") -> str:
    """`git apply` of the change to a file that `prefix` leads to from the top; "" where no patch can hold it."""
    old, new = (re.findall(r"[^\n]*\n|[^\n]+", text) for text in (before, after))
    plain = _PLAIN_PATH.fullmatch(path) and ".." not in path.split("/")
    if not plain or before == after or len(old) + len(new) > LARGEST_DIFF_LINES:
        return ""
    patch = f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n"
    # difflib sees only what differs and its context: in long files it takes lines that are often there for no anchor.
    start = _common(old, new)
    head, tail = max(start - 3, 0), max(_common(old[start:][::-1], new[start:][::-1]) - 3, 0)
    for line in islice(difflib.unified_diff(old[head : len(old) - tail], new[head : len(new) - tail]), 2, None):
        if line.startswith("@@"):
            line = re.sub(r"(?<=[-+])\d+", lambda number: str(int(number[0]) + head), line)
        patch += line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
    # Below the top of a repository git passes over, in silence, what is not named from there.
    return heredoc("git apply" + (f" --directory={shlex.quote(prefix)}" if prefix else ""), patch)


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def replaced(before: str, old: str, new: str, everywhere: bool) -> str:
    """`before` with `old` replaced as Claude Code does: replacing by nothing takes the end of the line with it."""
    if not new and not old.endswith("\n") and old + "\n" in before:
        old += "\n"
    return before.replace(old, new, -1 if everywhere else 1)


def _replacement(path: str, replacements: Sequence[tuple[str, str, bool]]) -> str:
    """(old, new, everywhere) in order, by Python; it fails, as the edit tools do, where `old` is not just there."""
    lines = ["text = file.read_bytes().decode()"]
    for old, new, everywhere in replacements:
        missing = "old not in text" if everywhere else "text.count(old) != 1"
        lines += [f"old = {_literal(old)}", f"new = {_literal(new)}", f"if {missing}:"]
        lines += ['    raise SystemExit(f"found {text.count(old)} times in {file}")', "text = text.replace(old, new)"]
    return _by_python(path, *lines, "file.write_bytes(text.encode())")


def _by_python(path: str, *lines: str) -> str:
    file = f"file = Path({path!r})" + ".expanduser()" * path.startswith("~")
    return heredoc("python3 -", "\n".join(["from pathlib import Path", "", file, *lines]) + "\n")


def _literal(text: str) -> str:
    """A Python literal for `text`: readable lines where that is exact, escapes where it is not."""
    plain = all(character.isprintable() or character in "\n\t" for character in text)
    if not plain or "'''" in text or text.endswith(("'", "\\")) or _FENCE_LINE.search(text) or "\n" not in text:
        return repr(text)
    return f"{'r' if chr(92) in text else ''}'''{text}'''"


_TOOLS: dict[str, Callable[[AgentCall], str]] = {
    "Bash bash exec execute_bash terminal": _bash,
    # What was typed into a fresh terminal, command by command; `duel.conversation` marks one that is not fresh.
    "keystrokes": lambda call: "\n".join(text(t, "keystrokes").strip() for t in tables(call.arguments.get("commands"))),
    "Read read": _read,
    "Write write": lambda call: write_file(call, _text(call.arguments, "content", "file_text")),
    "Edit MultiEdit edit": _edit,
    "Glob find": _glob,
    "Grep grep": _grep,
    "LS ls": lambda call: f"ls -1Ap {_word(_path(call, default='.'))}",
    "str_replace_editor str_replace_based_edit_tool file_editor": _editor,
}
FORMS = {name: form for names, form in _TOOLS.items() for name in names.split()}
