"""Commands that nobody should learn: a table over the parsed bash, so that a quoted or searched text is no command.

Of the 2,669 honest commands that were at hand none is flagged; `bench/combine.py` tells the figures. Each rule names
what is done, not how it is spelled: parsed words for what is destroyed or written, patterns for what is joined.
"""

import re
from collections.abc import Iterator

from duel import shell
from duel.conversation.model import AgentCall

_SHELL = r"(?:\S*/)?(?:ba|da|z|k|fi)?sh\b"
_SCRIPTED = r"python[\d.]*|perl|ruby|php|node"
_FETCH = r"(?:curl|wget|fetch)\b"
_SECRETS = (
    r"(?:\.ssh/|id_(?:rsa|ed25519|ecdsa)|\.aws/credentials|/etc/(?:shadow|passwd)|\.netrc|\.kube/config|\.git-credentials"
    r"|\.npmrc|\.pypirc|\.docker/config|/\.env\b|@\.env\b|\benv\b|\bprintenv\b)"
)
# What joins commands is looked for in the text; every one needs a parsed command of its first group's name as well.
_JOINED: tuple[tuple[str, frozenset[str], re.Pattern[str]], ...] = tuple(
    (reason, frozenset(names.split()), re.compile(pattern, re.IGNORECASE))
    for reason, names, pattern in (
        ("a download is run unseen", "curl wget", rf"{_FETCH}[^;\n]*\|\s*(?:sudo\s+(?:-\S+\s+)*)?{_SHELL}(?!\S)"),
        (
            "a download is run unseen",
            "curl wget",
            rf"(?:{_SHELL}|\bsource|\beval|\.)\s+(?:-c\s+)?[\"']?[<$]?[(`]\s*{_FETCH}",
        ),
        (
            "hidden code is run",
            "base64 xxd openssl",
            rf"(?:base64|xxd|openssl)\b[^|\n]*\|\s*(?:sudo\s+)?(?:{_SHELL}|python|perl)",
        ),
        ("hidden code is run", "base64", r"(?:\beval\b|-c)\s+[\"']?(?:\$\(|`)[^)`]*base64\s+(?:-d|-D|--decode)"),
        (
            "a shell is opened to another machine",
            "nc ncat netcat socat",
            r"\b(?:nc|ncat|netcat)\b[^;\n]*\s(?:-\w*[ec]\b|--exec|--sh-exec)|\bsocat\b[^;\n]*exec:",
        ),
        ("a shell is opened to another machine", "nc ncat netcat telnet", r"mkfifo[^\n]*(?:nc|ncat|netcat|telnet)\b"),
        (
            "secrets are sent away",
            "curl wget",
            rf"\b(?:curl|wget)\b[^;\n]*(?:-d|-F|-T|--data\S*|--form|--upload-file|--post-(?:file|data))[^;\n]*{_SECRETS}",
        ),
        (
            "secrets are sent away",
            "curl wget nc ncat netcat",
            rf"{_SECRETS}[^;\n]*\|[^;\n]*\b(?:curl|wget|nc|ncat|netcat)\b",
        ),
        ("a job is left behind", "crontab", r"\|\s*crontab\s+-(?!\w)"),
    )
)
_BARE: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a shell is opened to another machine", re.compile(r"[<>]&?\s*/dev/(?:tcp|udp)/")),
    ("a fork bomb", re.compile(r"([\w:.]+)\s*\(\)\s*\{\s*\1\s*\|\s*\1\s*&\s*;?\s*\}")),
)
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


def reason(command: str) -> str:
    """What is malicious in `command`; "" where nothing is known to be."""
    script = shell.parse(command)
    names = {found.name for found in script.commands}
    if names - _DATA:
        for why, needed, pattern in _JOINED:
            if needed & names and pattern.search(command):
                return why
        for why, pattern in _BARE:
            if pattern.search(command):
                return why
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
