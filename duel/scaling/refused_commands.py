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
from duel.scaling import table

# YARA's patterns know no name that comes again.
_FORK_BOMB = re.compile(r"([\w:.]+)\s*\(\)\s*\{\s*\1\s*\|\s*\1\s*&\s*;?\s*\}")
_ROOTS = re.compile(
    r"(?:/|~|\$HOME|\$\{HOME\}|/(?:etc|usr|var|bin|lib|boot|home|root|opt|sys|dev)/?|/\*|~/\*?|\$HOME/\*?)"
)
_RECURSIVE = re.compile(r"-\w*[rR]\w*|--recursive")
# They print or search their words: nothing in them is run.
_DATA = frozenset("echo printf grep egrep fgrep rg ag cat sed awk".split())
_SHELL_KEYS = ("command", "cmd", "script", "keystrokes", "commands")


def commands_in(calls: list[AgentCall]) -> Iterator[str]:
    for value in (call.arguments.get(key) for call in calls for key in _SHELL_KEYS):
        parts = value if isinstance(value, list) else [value]
        yield from (part for part in parts if isinstance(part, str))


@cache
def _scanner() -> Any:
    import yara_x

    return yara_x.Scanner(yara_x.compile(resources.files(__package__).joinpath("commands.yar").read_text("utf-8")))


def reason(command: str) -> str:
    """Why nobody should learn this command; "" where it is none of a known kind."""
    script, refused = shell.parse(command), table("refused_commands")
    names = {found.name for found in script.commands}
    if names - _DATA:
        for rule in _scanner().scan(command.encode("utf-8", "replace")).matching_rules:
            told = dict(rule.metadata)
            if not told["needs"] or names.intersection(told["needs"].split()):
                return str(told["reason"])
        if _FORK_BOMB.search(command):
            return "a fork bomb"
    for found in script.commands:
        why = [known for known in refused["writes"] if any(re.search(known["file"], path) for path in found.writes)]
        if found.name not in _DATA - {"sed"}:
            recursive = any(map(_RECURSIVE.fullmatch, found.words)) and any(map(_ROOTS.fullmatch, found.words))
            if not why and recursive and found.name in {"rm", "chmod", "chown"}:
                return "a system is destroyed"
            named = [known for known in refused["words"] if re.fullmatch(known["name"], found.name)]
            why += [known for known in named if re.search(known["words"], " ".join(found.words), re.IGNORECASE)]
        if why:
            return str(why[0]["reason"])
    return ""
