"""The shell form of a tool call: the command that does in a shell what the tool did, or the reason why there is none.

The table at the end names every tool that is known, of all harnesses: Claude Code (`Read`), pi and OpenClaw (`read`),
OpenHands, SWE-agent and SWE-smith (`str_replace_editor`), mini-swe-agent (`bash`).
"""

import posixpath
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from duel.conversation.model import AgentCall
from duel.conversation.values import tables
from duel.sources.mining import edit_forms
from duel.sources.mining.edit_forms import quoted

SUBMIT = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
# Calls that only keep the agent's own list of things to do: they change nothing that a later turn could observe, so
# they are left out and counted instead of ending what can be learned from.
BOOKKEEPING = frozenset(
    "TodoWrite TodoRead TaskCreate TaskUpdate TaskList TaskGet task_tracker think update_plan ToolSearch".split()
)
# Calls that hand the turn back to the person.
HAND_OVER = frozenset({"submit", "finish"})
_FENCE_LINE = re.compile(r"^```", re.MULTILINE)


class NoShellForm(Exception):
    """The call has no faithful shell form, or a turn no place in a trajectory; the text, which is counted, says why."""


def shell_form(call: AgentCall) -> str:
    """The command of a call. Raises NoShellForm."""
    if obstacle := call.obstacle or ("returns an image" if call.images else ""):
        raise NoShellForm(obstacle)
    form = FORMS.get(call.name)
    if form is None or call.name.startswith("mcp__"):
        raise NoShellForm(f"no shell form: {'MCP tool' if call.name.startswith('mcp__') else call.name[:40]}")
    command = form(call).strip("\n")
    if not command.strip():
        raise NoShellForm("empty command")
    _need_writable(command)
    if _FENCE_LINE.search(command):
        raise NoShellForm("code fence in the command")
    return command


def _need_writable(content: str) -> None:
    if not edit_forms.writable(content):
        raise NoShellForm("bytes that a shell cannot hold")


def _text(arguments: Mapping[str, Any], *names: str) -> str:
    """The first of these arguments; a call without it was refused by its own tool and has no form."""
    for name in names:
        if isinstance(value := arguments.get(name), str):
            return value
    raise NoShellForm("malformed call")


def _number(call: AgentCall, name: str) -> int | None:
    value = call.arguments.get(name)
    if isinstance(value, str) and value.strip().lstrip("-").isdigit():
        value = int(value)
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _path(call: AgentCall, *names: str, default: str | None = None) -> str:
    """The path a call names, relative where it lies in the call's working directory."""
    names = names or ("file_path", "path")
    if default is not None and not any(isinstance(call.arguments.get(name), str) for name in names):
        return default
    path = _text(call.arguments, *names)
    if not path or "\n" in path:
        raise NoShellForm("malformed call")
    if call.folder.startswith("/") and path.startswith("/"):
        folder = posixpath.normpath(call.folder)
        if posixpath.normpath(path) == folder:
            return "."
        if path.startswith(folder.rstrip("/") + "/") and ".." not in path.split("/"):
            return path[len(folder.rstrip("/")) + 1 :].lstrip("/") or "."
    return path


def _word(path: str) -> str:
    """A path as a shell word that no command takes for an option."""
    return quoted(f"./{path}" if path.startswith("-") else path)


def _bash(call: AgentCall) -> str:
    if call.arguments.get("is_input") in (True, "true"):
        raise NoShellForm("types into a running command")
    if call.arguments.get("background") is True or call.arguments.get("pty") is True:
        raise NoShellForm("runs in the background")
    folder = call.arguments.get("workdir")
    command = _text(call.arguments, "command", "cmd")
    return f"cd {quoted(folder)} && {command}" if isinstance(folder, str) and folder and command else command


def _window(call: AgentCall, reader: str = "") -> str:
    """The lines from `offset` (1-based), at most `limit` of them, as `reader` shows them."""
    path = _word(_path(call))
    first, count = max(_number(call, "offset") or 1, 1), _number(call, "limit")
    if first == 1 and count is None:
        return f"{reader or 'cat'} {path}"
    lines = f"sed -n '{first},{'$' if count is None else first + count - 1}p'"
    return f"{reader} {path} | {lines}" if reader else f"{lines} {path}"


def _glob(call: AgentCall) -> str:
    """`find` with the same meaning: `**/` is any depth, `*` stays within one folder name."""
    pattern = _text(call.arguments, "pattern")
    root = _path(call, "path", default=".")
    if pattern.startswith("/"):
        root, pattern = "/", pattern[1:]
    fixed = []
    parts = pattern.split("/")
    while len(parts) > 1 and not re.search(r"[*?\[{\\]", parts[0]):
        fixed.append(parts.pop(0))
    start = posixpath.join(root, *fixed) if fixed else root
    name = parts[-1]
    if len(parts) == 1 and not set("{[\\") & set(name) and "**" not in name:
        return f"find {_word(start)} -maxdepth 1 -type f -name {shlex.quote(name)}"
    if len(parts) == 2 and parts[0] == "**" and not set("{[\\") & set(name) and "**" not in name:
        return f"find {_word(start)} -type f -name {shlex.quote(name)}"
    expression = f"{_escaped(start.rstrip('/'))}/{_glob_expression('/'.join(parts))}"
    return f"find {_word(start)} -regextype posix-extended -type f -regex {shlex.quote(expression)}"


def _glob_expression(pattern: str) -> str:
    depth = 0

    def translated(found: re.Match[str]) -> str:
        nonlocal depth
        part = found[0]
        if found[1]:
            return f"[^{found[1][1:]}]" if found[1][0] == "!" else f"[{found[1]}]"
        depth += (part == "{") - (part == "}" and depth > 0)
        simple = {"**/": "(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(", "}": ")"}
        return "|" if part == "," and depth else simple.get(part) or _escaped(part)

    return re.sub(r"\*\*/?|\[(.[^\]]*)\]|.", translated, pattern, flags=re.DOTALL)


def _escaped(text: str) -> str:
    return re.sub(r"([.^$*+?()\[\]{}|\\])", r"\\\1", text)


def _grep(call: AgentCall) -> str:
    arguments = call.arguments
    mode = arguments.get("output_mode", "files_with_matches")
    options = {"files_with_matches": ["-l"], "count": ["-c"]}.get(str(mode), [])
    options += ["-n"] if mode == "content" and arguments.get("-n", True) else []
    options += ["-i"] if arguments.get("-i") else []
    for flag in ("-A", "-B", "-C") if mode == "content" else ():
        if (count := _number(call, flag)) is not None:
            options += [flag, str(count)]
    options += ["-U", "--multiline-dotall"] if arguments.get("multiline") else []
    for option, name in (("-g", "glob"), ("-t", "type")):
        if isinstance(arguments.get(name), str) and arguments[name]:
            options += [option, shlex.quote(arguments[name])]
    offset = _number(call, "offset") or 0
    return _ripgrep(call, options, f" | tail -n +{offset + 1}" if offset else "", _number(call, "head_limit"))


def _grep_of_pi(call: AgentCall) -> str:
    arguments, context = call.arguments, _number(call, "context")
    options = ["-n", *["-i"] * bool(arguments.get("ignoreCase")), *["-F"] * bool(arguments.get("literal"))]
    options += ["-C", str(context)] if context else []
    options += ["-g", shlex.quote(arguments["glob"])] if isinstance(arguments.get("glob"), str) else []
    return _ripgrep(call, options, "", _number(call, "limit"))


def _ripgrep(call: AgentCall, options: list[str], cut: str, limit: int | None) -> str:
    pattern = _text(call.arguments, "pattern")
    words = ["rg", *options, *["-e"] * pattern.startswith("-"), shlex.quote(pattern)]
    path = _path(call, "path", default="")
    return " ".join([*words, *[_word(path)] * bool(path)]) + cut + (f" | head -n {limit}" if limit else "")


def _written(call: AgentCall, path: str, content: str) -> str:
    _need_writable(content)
    return edit_forms.write_file(path, content, make_folder=call.before is None)


def _edit(call: AgentCall) -> str:
    return _replacements(
        call,
        [
            (
                _text(edit, "old_string", "oldText", "old_str"),
                _text(edit, "new_string", "newText", "new_str"),
                edit.get("replace_all") in (True, "true"),
            )
            for edit in tables(call.arguments.get("edits")) or [call.arguments]
        ],
    )


def _replacements(call: AgentCall, wanted: list[tuple[str, str, bool]]) -> str:
    """A patch where the file before, or the lines around the change, are in the log; else an exact replacement."""
    path = _path(call)
    if any(not old for old, _, _ in wanted):
        if len(wanted) == 1:  # Claude Code makes a file by replacing nothing
            return _written(call, path, wanted[0][1])
        raise NoShellForm("malformed call")
    for old, new, _ in wanted:
        _need_writable(old + new)
    inside = not path.startswith(("/", "~")) and bool(call.folder) and call.prefix is not None
    prefix = call.prefix or ""
    command = ""
    if call.before is not None and not call.is_error:
        after = edit_forms.patched(call.before, call.hunks) if call.hunks else call.before
        for replacement in () if call.hunks else wanted:
            after = edit_forms.replaced(after, *replacement) if after is not None else None
        command = edit_forms.apply_patch(path, call.before, after, prefix) if inside and after is not None else ""
    elif inside and not call.is_error and _tell_the_same(call, wanted):
        command = edit_forms.apply_hunks(path, call.hunks, prefix)
    return command if command and edit_forms.writable(command) else edit_forms.replace_text(path, wanted)


def _tell_the_same(call: AgentCall, wanted: list[tuple[str, str, bool]]) -> bool:
    """True where the changed lines of the recorded hunks are the call's: some harnesses show tabs as blanks in them."""
    changed = [(line[:1], line[1:]) for hunk in call.hunks for line in hunk.lines if line[:1] in ("+", "-")]
    # pi's first versions wrote "$" where a call said "$$" (JavaScript's replace); what was written is what counts.
    written = [text for _, new, _ in wanted for text in (new, new.replace("$$", "$"))]
    sides = {"-": [old for old, _, _ in wanted], "+": written}
    known = {sign: {line for text in texts for line in text.split("\n")} for sign, texts in sides.items()}
    return bool(changed) and all(
        content in known[sign] or any(_is_edge(content, text) for text in sides[sign]) for sign, content in changed
    )


def _is_edge(line: str, text: str) -> bool:
    first, last = text.split("\n")[0], text.split("\n")[-1]
    return text in line or bool(first and line.endswith(first)) or bool(last and line.startswith(last))


def _editor(call: AgentCall) -> str:
    """The editor tool that OpenHands, SWE-agent and SWE-smith share: its first argument says what it does."""
    arguments = call.arguments
    match command := _text(arguments, "command"):
        case "view":
            return _view(call)
        case "create":
            return _written(call, _path(call), _text(arguments, "file_text"))
        case "str_replace":
            new = arguments.get("new_str", "")
            return _replacements(call, [(_text(arguments, "old_str"), new if isinstance(new, str) else "", False)])
        case "insert":
            line, content = _number(call, "insert_line"), _text(arguments, "new_str")
            if line is None or line < 0:
                raise NoShellForm("malformed call")
            _need_writable(content)
            return edit_forms.insert_lines(_path(call), line, content)
    raise NoShellForm(f"no shell form: editor {command[:20]}")


def _view(call: AgentCall) -> str:
    path = _word(_path(call))
    shown = (call.result or "").lstrip()
    if re.match(r"Here('s| are) the files and directories", shown):
        return f"find {path} -maxdepth 2 -not -path '*/.*'"
    limits = call.arguments.get("view_range")
    limits = [int(n) for n in re.findall(r"-?\d+", limits)] if isinstance(limits, str) else limits
    if not isinstance(limits, list) or len(limits) != 2 or not all(isinstance(n, int) for n in limits):
        return f"cat -n {path}"
    last = "$" if limits[1] == -1 else limits[1]
    return f"cat -n {path} | sed -n '{limits[0]},{last}p'"


_TOOLS: dict[str, Callable[[AgentCall], str]] = {
    "Bash bash exec execute_bash terminal": _bash,
    # What was typed into a fresh terminal, command by command; `duel.conversation` marks one that is not fresh.
    "keystrokes": lambda call: "\n".join(
        str(typed.get("keystrokes", "")).strip() for typed in tables(call.arguments.get("commands"))
    ),
    "Read": lambda call: _window(call, "cat -n"),
    "read": _window,
    "Write write": lambda call: _written(call, _path(call), _text(call.arguments, "content", "file_text")),
    "Edit MultiEdit edit": _edit,
    "Glob find": _glob,
    "Grep": _grep,
    "grep": _grep_of_pi,
    "LS ls": lambda call: f"ls -1Ap {_word(_path(call, 'path', default='.'))}",
    "str_replace_editor str_replace_based_edit_tool file_editor": _editor,
}
FORMS = {name: form for names, form in _TOOLS.items() for name in names.split()}
