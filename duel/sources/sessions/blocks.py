"""Replies that carry their action as text: a bash fence, an unlabelled fence, or `<function=…>` tags."""

from __future__ import annotations

import re
import shlex
from typing import Any

from duel import turn
from duel.sources.sessions.session import Call, Reply

_FUNCTION = re.compile(r"<function=([\w.-]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([\w.-]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_TICKS = re.compile(r"^```\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)
EDITOR = "str_replace_editor"
# The commands of SWE-agent's first interface. They act on a window that the tool keeps open, not on files as a shell
# sees them, so no shell command does the same.
WINDOW_COMMANDS = frozenset(
    "open goto scroll_up scroll_down create edit append insert undo_edit set_cursors"
    " search_file search_dir find_file exit_forfeit exit_context exit_cost exit_format exit_error exit_api".split()
)


def reply_of(content: str, number: int) -> Reply:
    """A reply whose action stands in its text, with that action as a call; a reply without one has no call.

    mini-swe-agent's own fence is already the project's protocol, so such a reply also stays verbatim.
    """
    if turn.blocks(content):
        command = turn.command(content)
        calls = [Call(f"call_{number}", "bash", {"command": command})] if len(turn.blocks(content)) == 1 else []
        return Reply(turn.thought(content), calls=calls, verbatim=content)
    if function := _FUNCTION.search(content):
        arguments: dict[str, Any] = dict(_PARAMETER.findall(function[2]))
        return Reply(content[: function.start()].strip(), calls=[Call(f"call_{number}", function[1], arguments)])
    if fences := list(_TICKS.finditer(content)):
        last = fences[-1]
        call = command_line_call(last[1].strip("\n"), f"call_{number}")
        return Reply(content[: last.start()].strip(), calls=[call])
    return Reply(content.strip())


def command_line_call(command: str, key: str) -> Call:
    """A SWE-agent action as a call: its editor's and its submit command by name, anything else is bash."""
    first = command.split(None, 1)[0] if command.strip() else ""
    if first == "submit":
        return Call(key, "submit", {})
    if first == EDITOR:
        try:
            words = shlex.split(command)
        except ValueError:
            return Call(key, EDITOR, {}, obstacle="the editor's command line cannot be read")
        return Call(key, EDITOR, _options(words[1:]))
    obstacle = f"`{first}` is a command of SWE-agent's window" if first in WINDOW_COMMANDS else ""
    return Call(key, "bash", {"command": command}, obstacle=obstacle)


def _options(words: list[str]) -> dict[str, Any]:
    """`view PATH --view_range 1 20` as {command, path, view_range}."""
    arguments: dict[str, Any] = dict(zip(("command", "path"), words, strict=False))
    option = ""
    for word in words[2:]:
        if word.startswith("--") and word[2:].isidentifier():
            option = word[2:]
        elif option == "view_range":
            arguments.setdefault(option, []).append(int(word) if word.lstrip("-").isdigit() else 0)
        elif option:
            arguments[option] = word
    return arguments
