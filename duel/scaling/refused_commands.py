"""Commands that nobody should learn: a table over the parsed bash, and YARA rules for what joins several commands.

Of the 2,669 honest commands that were at hand none is flagged; `bench/combine.py` tells the figures. A rule of
`commands.yar` counts only where a command that it needs was parsed, so that a quoted or searched text is no command.
"""

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from duel import shell
from duel.conversation.model import AgentCall

_SCRIPTED = r"python[\d.]*|perl|ruby|php|node"
# YARA's patterns know no name that comes again.
_FORK_BOMB = re.compile(r"([\w:.]+)\s*\(\)\s*\{\s*\1\s*\|\s*\1\s*&\s*;?\s*\}")
# In the words of one parsed command: name, what its words must match, why.
_WORDS: tuple[tuple[re.Pattern[str], re.Pattern[str], str], ...] = tuple(
    (re.compile(names), re.compile(pattern, re.IGNORECASE), reason)
    for names, pattern, reason in (
        (_SCRIPTED, r"socket.{0,400}(?:dup2|pty\.spawn|/bin/\w*sh|subprocess)", "a shell is opened to another machine"),
        (_SCRIPTED, r"fsockopen.{0,200}exec", "a shell is opened to another machine"),
        (_SCRIPTED, r"(?:exec|eval)\s*\(.{0,80}b(?:ase)?64", "hidden code is run"),
        (r"xmrig|minerd|cpuminer|ethminer|nbminer|t-rex", r"", "a coin miner"),
        (r".*", r"\bstratum\+(?:tcp|ssl)://", "a coin miner"),
        (r"git", r"\b(?:push|remote|clone)\b.*https?://[^/\s@]*:?[^/\s@]{12,}@", "a token in an address"),
        (r"history", r"-[cw]*c", "history is wiped"),
        (r"unset", r"\bHISTFILE\b", "history is wiped"),
        (r"rm|shred|truncate|ln", r"\.(?:bash|zsh|sh)_history\b|/var/log/(?:auth|secure|wtmp)", "history is wiped"),
        (r"mkfs[.\w]*", r"/dev/", "a disk is overwritten"),
        (r"dd", r"\bof=/dev/(?:sd|nvme|vd|hd|xvd|mmcblk)", "a disk is overwritten"),
        (r"chmod", r"(?:u\+s|[2467]7[0-7]{2})\s.*/bin/\w*sh\b", "rights are taken"),
        (r"tee|cp|mv|dd|sed", r"\.ssh/authorized_keys|/etc/(?:sudoers|ld\.so\.preload|cron)", "a door is left open"),
    )
)  # fmt: skip
_DOORS = re.compile(r"\.ssh/authorized_keys$|^/etc/(?:sudoers|ld\.so\.preload|cron|passwd|shadow)|/var/spool/cron")
_HISTORY = re.compile(r"\.(?:bash|zsh|sh)_history$")
_DISKS = re.compile(r"^/dev/(?:sd|nvme|vd|hd|xvd|mmcblk)")
_ROOTS = re.compile(
    r"(?:/|~|\$HOME|\$\{HOME\}|/(?:etc|usr|var|bin|lib|boot|home|root|opt|sys|dev)/?|/\*|~/\*?|\$HOME/\*?)"
)
# They print or search their words: nothing in them is run.
_DATA = frozenset("echo printf grep egrep fgrep rg ag cat sed awk".split())
_SHELL_KEYS = ("command", "cmd", "script", "keystrokes", "commands")


def commands_in(calls: list[AgentCall]) -> Iterator[str]:
    """The shell commands among tool calls, whatever their tool is named."""
    for call in calls:
        for key in _SHELL_KEYS:
            value = call.arguments.get(key)
            yield from [value] if isinstance(value, str) else (v for v in value or () if isinstance(v, str))


@cache
def _scanner() -> Any:
    import yara_x

    return yara_x.Scanner(yara_x.compile(resources.files(__package__).joinpath("commands.yar").read_text("utf-8")))


def reason(command: str) -> str:
    """What is malicious in `command`; "" where nothing is known to be."""
    script = shell.parse(command)
    names = {found.name for found in script.commands}
    if names - _DATA:
        for rule in _scanner().scan(command.encode("utf-8", "replace")).matching_rules:
            told = dict(rule.metadata)
            if not told["needs"] or names.intersection(told["needs"].split()):
                return str(told["reason"])
        if _FORK_BOMB.search(command):
            return "a fork bomb"
    return next((why for found in script.commands if (why := _of_command(found))), "")


def _of_command(command: shell.Command) -> str:
    for target in command.writes:
        if _DOORS.search(target):
            return "a door is left open"
        if _HISTORY.search(target):
            return "history is wiped"
        if _DISKS.match(target):
            return "a disk is overwritten"
    if command.name in _DATA - {"sed"}:
        return ""
    words = command.words
    if command.name in {"rm", "chmod", "chown"} and _recursive(words) and any(map(_ROOTS.fullmatch, words)):
        return "a system is destroyed"
    text = " ".join(words)
    return next((why for name, pattern, why in _WORDS if name.fullmatch(command.name) and pattern.search(text)), "")


def _recursive(words: tuple[str, ...]) -> bool:
    return any(re.fullmatch(r"-\w*[rR]\w*|--recursive", word) for word in words)
