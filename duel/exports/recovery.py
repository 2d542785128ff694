"""Error recovery: where an action failed and a later one on the same target succeeded.

A span runs from the step whose observation shows the error to the step that shows the success. "Same target" means the
same kind of action on the same file, test or command; after failed tests, a run of fewer tests is no success.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, zip_longest
from typing import NamedTuple

from duel import shell
from duel.conversation import dialogue, shown_output
from duel.conversation.model import AgentReply, Entry, RunOutcome, Said
from duel.conversation.shown_output import Shown
from duel.conversation.values import text
from duel.exports.example import Example

_PATH = re.compile(r"[\w.@~+-]*/[\w./@~+-]*|[\w@~+-]+(?:\.[\w@~+-]+)*\.[A-Za-z]\w{0,7}")
_NODE_ID = re.compile(r"^(?P<file>[^:\[\]]+\.\w+)(?P<node>::.*|:\d+)?$")
_FAILED_TEST = re.compile(r"^(?:FAILED|ERROR) ([\w./-]+\.\w+)", re.MULTILINE)
_TEST_RUNNERS = frozenset("pytest py.test unittest nosetests tox runtests.py".split())
# A command that is tried again is mostly the same words; half of them is where two different commands begin to meet.
_SAME_WORDS = 0.5
# Many folders have a file of this name: the name alone does not tell that it is the one that was meant.
_COMMON_NAMES = frozenset("main index mod lib __init__ setup conftest README Makefile root utils".split())
_SHELLS = frozenset({"bash", "shell", "execute_bash", "run", "exec", "terminal"})
# What a script is about: its most telling kind first.
_DECISIVE = ("run", "edit", "version control", "read")


@dataclass(frozen=True)
class ActionStep:
    """One action of an agent. `turn` counts agent turns from 0; parallel calls of one turn are steps of their own."""

    turn: int
    thought: str
    tool: str
    action: str  # the command of a bash action, the JSON of any other's arguments, "" where nothing was run
    observation: str | None
    command: str = ""  # the shell command, whichever way the tool takes it; "" for other tools
    shown: Shown = field(default_factory=Shown)
    path: str = ""  # the file that a tool was called on, by the names that file tools use for it


@dataclass(frozen=True)
class RecoverySpan:
    """A recovery: steps[start] shows the error, steps[end] the success, both on `target`."""

    start: int
    end: int
    kind: str
    target: str
    error: str
    success: str


class Recovery(NamedTuple):
    steps: list[ActionStep]
    spans: list[RecoverySpan]
    outcome: RunOutcome
    evidence: str


def examine(example: Example) -> Recovery:
    """The steps, recovery spans and outcome of an example. Raises ItemError where its calls cannot be matched."""
    steps = steps_of(dialogue.parse(example.messages))
    return Recovery(steps, spans_of(steps), *outcome_of(example))


def outcome_of(example: Example) -> tuple[RunOutcome, str]:
    """Success and failure are told by tests, or failure by a run that never submitted: to submit proves nothing.

    What mine.py guesses is no outcome, and a session that was left is no failure.
    """
    if not example.recorded:
        return "unknown", "a single turn of a run"
    if example.resolved is not None:
        told = example.evidence or ("resolved" if example.resolved else "not resolved")
        return ("success" if example.resolved else "failure"), told
    if example.guess:
        return "unknown", f"a guess alone: {example.guess}"
    if example.exit_status and not example.exit_status.lower().startswith("submitted"):
        return "failure", f"exit status {example.exit_status}"
    return "unknown", f"exit status {example.exit_status}" if example.exit_status else "nothing tells"


def steps_of(entries: Sequence[Entry]) -> list[ActionStep]:
    steps = []
    replies = [(entry, after) for entry, after in zip_longest(entries, entries[1:]) if isinstance(entry, AgentReply)]
    for turn, (entry, after) in enumerate(replies):
        if not entry.calls:
            told = after.text if isinstance(after, Said) and after.role == "user" else None
            seen = shown_output.shown(told, acted=False) if told is not None else Shown()
            steps.append(ActionStep(turn, entry.text, "", "", told, "", seen))
        for order, call in enumerate(entry.calls):
            observation, given = call.result, call.arguments.get("command")
            command = given if isinstance(given, str) and call.name.lower() in _SHELLS else ""
            plain = call.name == dialogue.BASH and set(call.arguments) == {"command"} and command
            action = command if plain else json.dumps(dict(call.arguments), ensure_ascii=False)
            seen = shown_output.shown(observation, command) if observation is not None else Shown()
            path = text(call.arguments, "file_path", "path", "notebook_path", "filename")
            thought = entry.text if order == 0 else ""
            steps.append(ActionStep(turn, thought, call.name, action, observation, command, seen, path))
    return steps


def spans_of(steps: Sequence[ActionStep]) -> list[RecoverySpan]:
    """All recoveries, in the order of their ends. Errors on one target before its success make one span."""
    deeds = [_deeds(step) for step in steps]
    spans: list[RecoverySpan] = []
    open_errors: list[int] = []
    for end, step in enumerate(steps):
        if step.shown.failed and step.shown.kind != "format":  # a refused turn ran nothing that could be set right
            open_errors.append(end)
        ended = step.tool and step.observation is not None
        if not ended or step.shown.failed or step.shown.code not in {0, None}:
            continue
        targets = {start: target for start in open_errors if (target := _met(steps[start], deeds[start], deeds[end]))}
        if targets:
            open_errors = [start for start in open_errors if start not in targets]
            start, target = next(iter(targets.items()))
            error = steps[start].shown
            success = "return code 0" if step.shown.code == 0 else "no error shown"
            spans.append(RecoverySpan(start, end, error.kind, target, error.evidence, success))
    return spans


class _Deed(NamedTuple):
    """What one kind of action was done on."""

    names: set[str]
    files: set[str]
    operands: set[str]
    selection: str = ""
    words: Sequence[str] = ()  # programs with all their arguments, options included


def _deeds(step: ActionStep) -> dict[str, _Deed]:
    """What a step acted on, by kind of action."""
    if not step.command:
        files = {_plain(step.path)} if step.path else set()
        return {step.tool: _Deed({step.tool}, files, {*re.findall(r"\w+", step.action)})} if step.tool else {}
    by_kind: dict[str, list[shell.Command]] = {}
    for command in shell.parse(step.command).commands:
        kind = shell.style(shell.Script((command,)))
        by_kind.setdefault("read" if kind == "search" else kind, []).append(command)
    return {kind: _deed(commands) for kind, commands in by_kind.items() if kind != "other"}


def _deed(commands: Sequence[shell.Command]) -> _Deed:
    names, operands, files, words = set[str](), set[str](), set[str](), list[str]()
    selected, narrowed = list[str](), list[str]()
    for command in commands:
        name, arguments = shown_output.program(command), command.words[3 if command.words[1:2] == ("-m",) else 1 :]
        own = _operands(arguments)
        names.add(name)
        operands.update(own)
        files.update(command.writes)
        words += [name, *arguments]
        for word in _file_words(command, own):
            if (found := _NODE_ID.match(word)) and _PATH.fullmatch(found["file"]):
                files.add(found["file"])
                selected += [found["node"]] if found["node"] else []
            elif "/" in word and _PATH.fullmatch(word):
                files.add(word)
        if name in _TEST_RUNNERS:
            narrowed += [f"-k {value}" for flag, value in pairwise(command.words) if flag == "-k"]
    return _Deed(names, {*map(_plain, files)}, operands, " ".join([*sorted(selected), *narrowed]), words)


def _met(failed: ActionStep, deeds: Mapping[str, _Deed], later: Mapping[str, _Deed]) -> str:
    """The target that `later` deeds have in common with those of a failed step; "" where they are about another.

    Of a script that does several things, the program that it runs is what failed. Of several files the one counts in
    which the observation names a failed test.
    """
    kind = next((kind for kind in (*_DECISIVE, *deeds) if kind in deeds), "")
    if kind not in later:
        return ""
    mine, other, error = deeds[kind], later[kind], failed.shown.kind
    tests = {"python", *_TEST_RUNNERS}
    both_test = kind == "run" and mine.names & tests and other.names & tests
    if kind not in {"read", "edit"} and not mine.names & other.names and not both_test:
        return ""  # another program
    narrower = other.selection not in {"", mine.selection}
    if mine.files:
        if narrower and error in {"test", "exception"}:
            return ""
        failing = [_plain(file) for file in _FAILED_TEST.findall(failed.observation or "") if failed.command]
        wanted = {file for file in mine.files if any(_same_file(file, name) for name in failing)} or mine.files
        by_name = error == "missing-file"
        return next((f for f in sorted(wanted) if any(_same_file(f, o, by_name) for o in other.files)), "")
    if error == "test" and (other.files or narrower):
        return ""  # fewer tests than those that failed
    if not mine.operands or not other.operands:  # a bare command: only the very same one is about the same
        return " ".join(mine.words) if mine.words == other.words else ""
    common = len(mine.operands & other.operands) / len(mine.operands | other.operands)
    return " ".join(sorted(mine.names)) if common >= _SAME_WORDS else ""


def _operands(arguments: Sequence[str]) -> list[str]:
    """The arguments that are no options. The text of inline programs counts word by word."""
    words: list[str] = []
    for word in arguments:
        if not word.startswith("-") or len(word) == 1:
            words += re.findall(r"\w+", word) if any(c.isspace() for c in word) else [word]
    return words


def _file_words(command: shell.Command, operands: list[str]) -> Sequence[str]:
    """The operands that can be files: not the pattern of a search, not what `find` looks for."""
    if command.name in {"find", "fd"}:
        options = [i for i, word in enumerate(command.words) if i and word.startswith("-")]
        return command.words[1 : options[0]] if options else operands
    return operands[1:] if command.name in shown_output.SEARCHES else operands


def _plain(path: str) -> str:
    return re.sub(r"^(?:\./)+|/+$", "", path)


def _same_file(one: str, other: str, by_name: bool = False) -> bool:
    """Equal, or one an absolute form of the other; `by_name` for a path that was mistaken: its last part decides."""
    if one == other or one.endswith(f"/{other}") or other.endswith(f"/{one}"):
        return True
    name = one.rsplit("/", 1)[-1]
    told = "." in name and name.split(".")[0] not in _COMMON_NAMES
    return by_name and told and name == other.rsplit("/", 1)[-1]
