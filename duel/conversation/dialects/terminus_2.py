"""Terminus 2 (Terminal-Bench): a reply is a JSON object with `analysis`, `plan` and `commands` of keystrokes.

The keystrokes go to one terminal that stays open, and what it shows is the next user message.
"""

import json
import re

from duel.conversation.model import AgentCall, AgentReply
from duel.conversation.values import joined, tables, text

# What changes the terminal for all that follows, so that a later command by itself would do something else.
_STATEFUL = re.compile(
    r"^\s*(?:(?:cd|pushd|popd|export|source|\.|set|alias|unset|exec|su|ssh|conda|screen|tmux|vim?|nano|less|more|man|top)\b"
    r"|(?:python3?|node|bash|sh|psql|mysql|sqlite3)\s*$)",
    re.MULTILINE,
)
_KEY = re.compile(r"^(?:[CM]-.|Enter|Escape|Tab|Up|Down|Left|Right|BSpace|Space)$")


def find(content: str, number: int) -> AgentReply | None:
    """The batch of commands is one call, because one screen answers it; `task_complete` hands over."""
    start = content.find("{") if '"commands"' in content or '"task_complete"' in content else -1
    while start >= 0:
        try:
            value, end = json.JSONDecoder().raw_decode(content, start)
        except (ValueError, RecursionError):
            start = content.find("{", start + 1)
            continue
        if isinstance(value, dict) and (isinstance(value.get("commands"), list) or "task_complete" in value):
            break
        start = content.find("{", end)
    else:
        return None
    around = re.sub(r"```(?:json)?", "", f"{content[:start]}\n{content[end:]}").strip()
    prose = joined(around, text(value, "analysis").strip(), text(value, "plan").strip())
    calls = []
    if commands := tables(value.get("commands")):
        calls.append(AgentCall(f"call_{number}", "keystrokes", {"commands": commands}))
    if value.get("task_complete") is True:
        calls.append(AgentCall(f"call_{number}_end", "finish", {}))
    return AgentReply(prose, calls) if calls or "commands" in value else None


def settle(calls: list[AgentCall]) -> None:
    """Where the terminal is no longer as a fresh shell is, a command by itself says something else."""
    changed = ""
    for call in calls:
        keys = [text(command, "keystrokes") for command in tables(call.arguments.get("commands"))]
        if any(_KEY.match(key.strip()) or (key.strip() and not key.endswith("\n")) for key in keys):
            call.obstacle = "keys for a running program"
        if changed and call.name == "keystrokes":
            call.obstacle = call.obstacle or changed
        if call.obstacle or any(map(_STATEFUL.search, keys)):
            changed = "depends on what a terminal kept from an earlier command"
