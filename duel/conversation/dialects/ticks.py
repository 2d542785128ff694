"""SWE-agent's first interface: the last fence without a label holds a command line of its own tools or of bash."""

import re
import shlex
from typing import Any

from duel.conversation.model import AgentCall, AgentReply

_TICKS = re.compile(r"^```\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)
EDITOR = "str_replace_editor"
# The commands of SWE-agent's first interface. They act on a window that the tool keeps open, not on files as a shell
# sees them, so no shell command does the same.
WINDOW_COMMANDS = frozenset(
    "open goto scroll_up scroll_down create edit append insert undo_edit set_cursors"
    " search_file search_dir find_file exit_forfeit exit_context exit_cost exit_format exit_error exit_api".split()
)


def find(content: str, number: int) -> AgentReply | None:
    """The last fence is the action, what stands before it is prose."""
    fences = list(_TICKS.finditer(content))
    if not fences:
        return None
    last = fences[-1]
    return AgentReply(content[: last.start()].strip(), [command_line_call(last[1].strip("\n"), f"call_{number}")])


def command_line_call(command: str, key: str) -> AgentCall:
    """A SWE-agent action as a call: its editor's and its submit command by name, anything else is bash."""
    first = command.split(None, 1)[0] if command.strip() else ""
    if first == "submit":
        return AgentCall(key, "submit", {})
    if first == EDITOR:
        try:
            words = shlex.split(command)
        except ValueError:
            return AgentCall(key, EDITOR, {}, obstacle="the editor's command line cannot be read")
        return AgentCall(key, EDITOR, _options(words[1:]))
    obstacle = f"`{first}` is a command of SWE-agent's window" if first in WINDOW_COMMANDS else ""
    return AgentCall(key, "bash", {"command": command}, obstacle=obstacle)


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
