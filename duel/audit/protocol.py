"""The protocol check: whether a turn keeps the rules that its own history states."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from duel import shell, turn
from duel.audit.prompt_rules import PromptRules, read_rules
from duel.records import BrokenRule, Message, ProtocolCheck

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

# Words of the shell itself: no list of allowed tools means to forbid them.
_SHELL_WORDS = frozenset(["", *": [ true false test exit set export local read return shift".split()])
_FENCE_LABELS = frozenset("bash sh shell zsh console mswea_bash_command".split())
# Commands of git that change nothing: repeating one shows nothing new.
_LOOKING_GIT = frozenset("diff log show status grep blame ls-files branch rev-parse describe".split())


@dataclass(frozen=True)
class FencedBlock:
    """A fenced block of a reply: its label, its text, the line where it opens (1-based), whether it is closed."""

    label: str
    text: str
    line: int
    closed: bool


def check(reply: str, messages: Sequence[Message]) -> ProtocolCheck:
    """Check `reply` against the rules that `messages` state. Never raises."""
    rules = read_rules(messages)
    blocks = fenced_blocks(reply)
    actions = [block for block in blocks if block.label in rules.labels] or _harness_blocks(reply, rules)
    line = actions[0].line if actions else 0
    command = actions[0].text.strip("\n") if actions else turn.command(reply)
    script = shell.parse(command)
    submits = shell.submits(script, rules.sentinels)
    problems = [*_form(reply, blocks, actions, rules)]
    if command.strip():
        problems += [*_commands(script, line, rules), *_submission(command, script, submits, rules)]
        if not submits and is_repetition(command, messages):
            problems.append(_broken("repetition", command.strip().split("\n")[0][:80], line))
    return ProtocolCheck(
        ok=not problems,
        problems=problems,
        blocks=len(actions),
        commands=list(script.names),
        style="submit" if submits else shell.script_style(script),
        submits=submits,
    )


def _broken(rule: str, detail: str = "", line: int = 0) -> BrokenRule:
    """A broken rule, and the line of the reply (1-based, 0: the whole reply) where it is broken."""
    return BrokenRule(rule=rule, detail=detail, place={"line": line})


def fenced_blocks(text: str) -> list[FencedBlock]:
    lines = text.split("\n")
    found = []
    for token in _markdown().parse(text):
        if token.type == "fence" and token.map:
            first, end = token.map
            closing = lines[end - 1].strip() if 0 < end <= len(lines) else ""
            closed = end - first >= 2 and closing.startswith(token.markup) and not closing.strip("`~")
            found.append(FencedBlock(token.info.strip().split(" ")[0], token.content, first + 1, closed))
    return found


def _harness_blocks(reply: str, rules: PromptRules) -> list[FencedBlock]:
    """What the harness's own pattern finds where CommonMark sees no block, such as behind a fence never closed."""
    label = min(rules.labels)
    return [
        FencedBlock(label, command, reply[: reply.find(command)].count("\n"), closed=True)
        for command in turn.blocks(reply)
    ]


@cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("zero").enable(["fence"])
    markdown.core.ruler.enableOnly(["normalize", "block"])
    return markdown


def _form(
    reply: str, blocks: list[FencedBlock], actions: list[FencedBlock], rules: PromptRules
) -> Iterator[BrokenRule]:
    if not actions:
        other = next((block for block in blocks if block.label in _FENCE_LABELS | {""}), None)
        if other and other.label:
            yield _broken("fence-label", f"`{other.label}` instead of `{min(rules.labels)}`", other.line)
        else:
            yield _broken("no-block")
    elif len(actions) > 1:
        yield _broken("several-blocks", f"{len(actions)} blocks", actions[1].line)
    for block in actions[:1]:
        if not block.closed:
            yield _broken("open-block", line=block.line)
        elif not block.text.strip():
            yield _broken("empty-block", line=block.line)
    if turn.format_problem(reply) == "leaked-tool-tokens":
        yield _broken("leaked-tool-tokens")
    if rules.thought and actions and not "\n".join(reply.split("\n")[: actions[0].line - 1]).strip():
        yield _broken("no-thought", line=1)


def _commands(script: shell.Script, line: int, rules: PromptRules) -> Iterator[BrokenRule]:
    if not script.valid:
        yield _broken("syntax", line=line + script.error)
    if rules.no_comment and script.leading_comment:
        yield _broken("comment", line=line + 1)
    if rules.no_cd and any(name in {"cd", "pushd"} for name in script.names):
        yield _broken("cd", line=line)
    if rules.one_command and script.statements > 1:
        yield _broken("several-commands", f"{script.statements} commands", line)
    if rules.operators is not None:
        for operator in sorted(script.operators - rules.operators - {"|", "|&", ";", "&"}):
            yield _broken("chaining", operator, line)
    named: set[str] = set()
    for command in script.commands:
        problem = _tool_problem(command, rules)
        if problem and command.name not in named:
            named.add(command.name)
            yield _broken(problem, command.name, line)


def _tool_problem(command: shell.Command, rules: PromptRules) -> str:
    name = command.name
    uses = {f"{name} {word}" for word in command.words[1:3]}
    if name in rules.forbidden or uses & rules.forbidden:
        return "forbidden-tool"
    if not rules.allowed or name in _SHELL_WORDS or name in rules.allowed or not re.fullmatch(r"[\w.+-]+", name):
        return ""
    return "" if name == "cd" or uses & rules.allowed else "tool-not-allowed"


def _submission(command: str, script: shell.Script, submits: bool, rules: PromptRules) -> Iterator[BrokenRule]:
    if submits and rules.submit_alone and len(script.commands) > 1:
        yield _broken("submit-not-alone")
    if not submits and any(re.search(rf"\becho ['\"]?{sentinel}\b", command) for sentinel in rules.sentinels):
        yield _broken("submit-not-first", "the line that ends the task is not the first that is printed")


def is_repetition(command: str, messages: Sequence[Message]) -> bool:
    """True where the same command was given before and nothing can have changed its output since."""
    wanted = command.split()
    if shell.style(command) == "edit":
        return False
    for message in reversed(messages):
        if message.role != "assistant" or len(turn.blocks(message.content)) != 1:
            continue  # the harness refused it, so nothing ran
        earlier = turn.command(message.content)
        if earlier.split() == wanted:
            return bool(wanted)
        if _changes(earlier):
            return False
    return False


def _changes(command: str) -> bool:
    """True where a command may have changed what others print."""
    script = shell.parse(command)
    if shell.script_style(script) in {"edit", "run"}:
        return True
    return any(c.name == "git" and len(c.words) > 1 and c.words[1] not in _LOOKING_GIT for c in script.commands)
