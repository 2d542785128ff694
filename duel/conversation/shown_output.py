"""Whether an observation shows an error: the return code first, the words of the tool that failed where there is none.

A text that merely contains "Error" shows none; words count only where the named tool wrote them, or a program was run.
"""

import re
from dataclasses import dataclass
from typing import Literal

from duel import shell

ErrorKind = Literal["not-found", "missing-file", "timeout", "usage", "test", "exception", "code", "format", "tool"]

# Harnesses write the code of a command in different places; each pattern has been seen in real trajectories.
_CODES = (
    re.compile(r"\A\s*<returncode>(-?\d+)</returncode>"),
    re.compile(r"\A\s*(?:Error: )?Exit code:? (-?\d+)\b"),
    re.compile(r"\[(?:Command finished with )?exit code:? (-?\d+)\.?\]\s*\Z"),
    re.compile(r"\(exit code:? (-?\d+)\)\s*\Z"),
)
_TIMED_OUT = re.compile(r"\A\s*(?:The last command <command>.*?</command> timed out|Command timed out\b)", re.DOTALL)
_REFUSED = re.compile(r"(?i)\A\s*(?:Please always provide EXACTLY ONE action|Format error\b|No bash block found)")
_TOOL_ERROR = re.compile(r"\A\s*(?:<tool_use_error>|Error:|User rejected tool use)")
_PREFIX = re.compile(r"\A\s*Observation: ?")
_NOT_FOUND = re.compile(r"command not found|: not found\s*$", re.MULTILINE)
_MISSING = re.compile(r"No such file or directory|cannot access|can't open file|file or directory not found|can't read")
_TESTS_FAILED = re.compile(
    r"(?m)^=+ .*\b\d+ (?:failed|errors?)\b.*=+\s*$|^FAILED \((?:failures|errors)=|^--- FAIL:|^test result: FAILED"
    r"|^Tests:\s+\d+ failed|^= \d+ (?:failed|errors?)\b|^\d+ failed\b"
)
_EXCEPTION = re.compile(
    r"^Traceback \(most recent call last\):|^(?:\w+\.)*\w*(?:Error|Exception)(?:: |$)|^npm ERR!|^error(?:\[E\d+\])?: "
    r"|^\S+:\d+:\d+: (?:fatal )?error: |^thread '.*' panicked at|^panic: |^Segmentation fault|^SyntaxError\b",
    re.MULTILINE,
)
_USAGE = re.compile(r"(?m)^usage: |unrecognized (?:arguments|option)|invalid option|unknown option|syntax error")
# By what a failed command is told apart, the first that fits.
_KINDS: dict[ErrorKind, re.Pattern[str]]
_KINDS = {"test": _TESTS_FAILED, "exception": _EXCEPTION, "missing-file": _MISSING, "usage": _USAGE}
# A return code of 1 from these says "no match" or "they differ", which is an answer and no error.
SEARCHES = frozenset("grep egrep fgrep zgrep rg ag ack".split())
_ANSWERS_BY_CODE = SEARCHES | {"diff", "cmp", "test", "[", "git diff", "git grep"}
# Filters at the end of a pipeline: the code is theirs and says nothing of the program before them.
_FILTERS = frozenset("tail head grep egrep tee cat sed awk sort uniq wc cut tr less true echo".split())
_SHELLS = frozenset({"bash", "sh", "dash", "zsh"})
# A tool complains in its first or last lines; a file that is printed may hold anything in between.
_EDGE_LINES = 6


@dataclass(frozen=True)
class Shown:
    """What an observation shows of its action. `kind` is "" where it shows no error."""

    kind: ErrorKind | Literal[""] = ""
    evidence: str = ""
    code: int | None = None

    @property
    def failed(self) -> bool:
        return bool(self.kind)


def shown(observation: str, command: str = "", *, acted: bool = True) -> Shown:
    """What `observation` shows of `command`. `acted` is False where the turn held no action that was run."""
    if _REFUSED.match(observation) or (not acted and _TOOL_ERROR.match(observation)):
        return Shown("format", "the harness refused the turn")
    if _TIMED_OUT.match(observation):
        return Shown("timeout", "the command timed out")
    text, script = _PREFIX.sub("", observation, count=1), shell.parse(command)
    code = next((int(found[1]) for pattern in _CODES if (found := pattern.search(text))), None)
    if code is None:
        return _from_words(text, script)
    if code == 0 and script.commands:
        # It is believed, unless a filter at the end of a pipeline gave it.
        *before, last = script.commands
        ran = any(shell.style(shell.Script((command,))) == "run" for command in before)
        piped = script.operators & {"|", "||", ";"} and last.name in _FILTERS
        if ran and piped and (line := _line_of(_TESTS_FAILED, text)):
            return Shown("test", line, 0)
    if code == 0 or _is_answer(code, text, script):
        return Shown(code=code)
    kind = _kind_of(text, code)
    raised = re.findall(r"^(?:\w+\.)*\w*(?:Error|Exception)\b.*", text, re.MULTILINE) if kind == "exception" else []
    pattern = _NOT_FOUND if kind == "not-found" else _KINDS.get(kind)
    evidence = raised[-1].strip()[:200] if raised else _line_of(pattern, text) if pattern else ""
    return Shown(kind, evidence or f"return code {code}", code)


def program(command: shell.Command) -> str:
    """What a command really runs: `python3 -m pytest` goes by `pytest`, `python3 x.py` by `python`, and `git apply`."""
    words = command.words
    if command.name == "git" and len(words) > 1:
        return f"git {words[1]}"
    if re.fullmatch(r"python[\d.]*", command.name):
        return words[2] if words[1:2] == ("-m",) and len(words) > 2 else "python"
    return command.name


def _from_words(text: str, script: shell.Script) -> Shown:
    names = {command.name for command in script.commands if command.name} | _SHELLS
    lines = text.strip().split("\n")
    # The line in which one of the script's own tools, or the shell, says what it could not do.
    for line in lines if len(lines) <= 2 * _EDGE_LINES else lines[:_EDGE_LINES] + lines[-_EDGE_LINES:]:
        name, colon, rest = line.partition(":")
        if colon and rest.startswith(" ") and name.rsplit("/", 1)[-1].strip() in names:
            return Shown(_kind_of(line[:200], None), line.strip()[:200])
    style = shell.style(script)
    kinds: tuple[ErrorKind, ...] = ("test", "exception") if style == "run" or not script.commands else ()
    if kind := next((kind for kind in kinds if _KINDS[kind].search(text)), None):
        return Shown(kind, _line_of(_KINDS[kind], text))
    if style == "version control" and (found := re.search(r"^(?:fatal|error): .*", text, re.MULTILINE)):
        return Shown("code", found[0])
    if not script.commands and _TOOL_ERROR.match(text):
        return Shown("tool", text.strip().split("\n")[0])
    return Shown()


def _is_answer(code: int, text: str, script: shell.Script) -> bool:
    names = [program(command) for command in script.commands] or [""]
    if "pylint" in names[-1]:  # a bit mask: 1 fatal, 2 error, 32 usage; the others are remarks
        return not code & 0b100011
    silent = not re.sub(r"</?(?:returncode|output|output_tail)>|\A\s*<returncode>\d+|\s", "", text).strip("1")
    return code == 1 and (names[-1] in _ANSWERS_BY_CODE or (silent and bool(SEARCHES & set(names))))


def _kind_of(text: str, code: int | None) -> ErrorKind:
    if code == 127 or _NOT_FOUND.search(text[:400]):
        return "not-found"
    if code in {124, 137}:
        return "timeout"
    return next((kind for kind, pattern in _KINDS.items() if pattern.search(text)), "code")


def _line_of(pattern: re.Pattern[str], text: str) -> str:
    if not (found := pattern.search(text)):
        return ""
    start = text.rfind("\n", 0, found.start()) + 1
    return (text[start : found.start()] + text[found.start() :].partition("\n")[0]).strip()[:200]
