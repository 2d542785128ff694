"""The protocol check: whether a turn keeps the rules that its own history's system prompt states."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any, NamedTuple, TypeAlias

from duel import shell, turn
from duel.records import BrokenRule, Message, ProtocolCheck

_NEGATION = r"(?:do not|don't|never|must not|may not|cannot|no use of|avoid|without)"
# What prompts mean by a group of tools.
GROUPS = {
    r"interpreters?": "python python2 python3 ipython node deno bun ruby perl php lua rscript julia irb java scala",
    r"build tools?": "make cmake ninja gcc g++ cc clang cargo rustc go javac mvn gradle ant npm npx yarn pnpm pip tsc",
    r"test runners?": "pytest py.test tox nox unittest jest mocha vitest rspec phpunit ctest",
    r"package managers?": "pip pip3 npm yarn pnpm apt apt-get brew conda gem yum dnf",
    r"interactive (?:tools?|editors?|programs?|commands?)": "vi vim nano emacs less more top htop",
    r"network(?: access| tools?)": "curl wget ssh scp nc telnet ftp",
}
_SENTENCE = re.compile(r"[^.\n]*(?:\.(?!\s|$)[^.\n]*|\n(?![ \t]*(?:[-*#]|\d+\.|\n))[^.\n]*)*")
_TOOL = re.compile(r"(?<![\w./-])[a-z][a-z0-9_+-]*(?:\.[a-z0-9]+)?(?:3|2)?(?: -c)?(?![\w./-]*[/(])")
_LISTED = re.compile(
    r"(?i)(?:try to (?:use|invoke|run|call)|use|invoke|run|try|call|execute)\s+(?:to\s+)?((?:`[^`\n]+`|[\w.+-]+)"
    r"(?:\s*(?:,|/|\bor\b|\band\b|, or|, and)\s*(?:or |and )?(?:`[^`\n]+`|[\w.+-]+))*)"
)
_ALLOWED = re.compile(
    r"(?is)(?:^|\n)[ \t]*(?:[-*] )?(?:only )?(?:allowed|available|permitted) (?:tools?|commands?)[^:\n]{0,40}:\s*(.*?)"
    r"(?=\n[ \t]*[-*#]|\n\s*\n|\Z)"
)
_ENGLISH = frozenset(
    "or and try use run invoke verify execute call the a an any other to it them this that these such all of in on for"
    " your you tool tools command commands".split()
)
PROMPT = 20_000  # characters of a system prompt that are read. The real ones have 1,000 to 3,000
TASK = 12_000  # characters at the end of a task in which the way to submit is looked for
# Words of the shell itself: no list of allowed tools means to forbid them.
_SHELL_WORDS = frozenset(["", *": [ true false test exit set export local read return shift".split()])
_FENCE_LABELS = frozenset("bash sh shell zsh console mswea_bash_command".split())
# Commands of git that change nothing: repeating one shows nothing new.
_LOOKING_GIT = frozenset("diff log show status grep blame ls-files branch rev-parse describe".split())


@dataclass(frozen=True)
class PromptRules:
    """What a conversation demands. Whatever its prompt does not speak of is not demanded."""

    labels: frozenset[str] = frozenset({"bash"})  # labels of the fence that the prompt shows
    thought: bool = False
    one_command: bool = False
    operators: frozenset[str] | None = None  # how commands may be joined; None where the prompt does not say
    no_cd: bool = False
    no_comment: bool = False
    forbidden: frozenset[str] = frozenset()  # names of tools, or `name -c` where only that use is forbidden
    allowed: frozenset[str] = frozenset()  # likewise, `git diff`; empty: every tool is
    sentinels: frozenset[str] = frozenset(shell.SENTINELS)
    submit_alone: bool = False


def read_rules(messages: Sequence[Message]) -> PromptRules:
    """The rules of the system prompt, or of the first message; of the task, a stranger's text, only how to submit."""
    if not messages:
        return PromptRules()
    task = next((message.content for message in messages[:2] if message.role == "user"), "")
    rules = _read((messages[0].content if messages[0].role == "system" else task)[:PROMPT])
    named, alone = _way_to_submit(task[-TASK:])
    return replace(rules, sentinels=rules.sentinels | named, submit_alone=rules.submit_alone or alone)


def _way_to_submit(text: str) -> tuple[frozenset[str], bool]:
    """The lines that a text says to print at the end, and whether nothing else may go with them."""
    named = frozenset(re.findall(r"\becho ['\"]?([A-Z][A-Z0-9_]{9,})\b", text))
    alone = "without any other command" in text or re.search(r"[Nn]o[tn]?\w* combine (?:it|this) with any", text)
    return named, bool(alone)


@lru_cache(maxsize=256)
def _read(prompt: str) -> PromptRules:
    """The rules of one prompt. The prompts of a data set are few, and reading one takes up to 10 ms."""

    def says(pattern: str, text: str = prompt) -> bool:
        return re.search(pattern, text, re.IGNORECASE) is not None

    operators: frozenset[str] | None = None
    forbidden: set[str] = set()
    for sentence in _SENTENCE.findall(prompt):
        negated = says(_NEGATION, sentence)
        if operators is None and says(r"\b(?:connected|chained?|combined?|joined)\b", sentence):
            found = frozenset(re.findall(r"&&|\|\||(?<!\|)\|(?!\|)|;", sentence))
            operators = (frozenset() if negated else found) if found else None
        if says(rf"\b{_NEGATION}\b|\bno\b|not installed|not available", sentence):
            for group, tools in GROUPS.items():
                if says(rf"\b(?:no|any other|any|not|never|avoid)\b[^.]{{0,60}}\b{group}\b", sentence):
                    forbidden.update(tools.split())
            for listed in _LISTED.findall(sentence) if negated else ():
                forbidden.update(_TOOL.findall(listed.replace("`", " ")))
    allowed: set[str] = set()
    listing = _ALLOWED.search(prompt)
    for entry in re.sub(r"\([^)]*\)", "", listing[1]).replace("`", "").split(",") if listing else ():
        words = entry.split()
        if words and re.fullmatch(r"[A-Za-z][\w.+-]*", words[0]):
            uses = words[1].split("/") if len(words) > 1 and "/" in words[1] else []
            allowed.update([f"{words[0]} {use.strip('.')}" for use in uses] or [words[0].rstrip(".")])
    labels = re.findall(r"^```(bash|sh|shell|mswea_bash_command)\s*$", prompt, re.MULTILINE)
    sentinels, alone = _way_to_submit(prompt)
    single = r"(?:exactly|only|just|a) (?:one|1|single)(?: bash| shell)? (?:command|action)\b|\bone (?:bash )?command\b"
    return PromptRules(
        labels=frozenset(labels) or PromptRules.labels,
        thought=says(r"\bTHOUGHT (?:section|before)|\bTHOUGHT:|reasoning and analysis here|explain your reasoning"),
        one_command=says(single),
        operators=operators,
        no_cd=says(rf"{_NEGATION} (?:use )?`?cd`?\b"),
        no_comment=says(rf"{_NEGATION}[^.\n]{{0,60}}(?:prefix|start|begin)[^.]{{0,60}}#"),
        forbidden=frozenset(forbidden - {"cd"} - _ENGLISH - allowed),
        allowed=frozenset(allowed),
        sentinels=frozenset(shell.SENTINELS) | sentinels,
        submit_alone=alone,
    )


class FencedBlock(NamedTuple):
    label: str
    text: str
    line: int  # where it opens in the reply, 1-based
    closed: bool


# The name of a rule, a detail, and the line of the reply (1-based, 0: the whole reply) where it is broken.
Broken: TypeAlias = tuple[str, str, int]


def check(reply: str, messages: Sequence[Message]) -> ProtocolCheck:
    """Check `reply` against the rules that `messages` state. Never raises."""
    rules = read_rules(messages)
    blocks = _fenced_blocks(reply)
    # Where CommonMark sees no block, such as behind a fence never closed, what the harness's own pattern finds counts.
    actions = [block for block in blocks if block.label in rules.labels] or [
        FencedBlock(min(rules.labels), command, reply[: reply.find(command)].count("\n"), closed=True)
        for command in turn.blocks(reply)
    ]
    line = actions[0].line if actions else 0
    command = actions[0].text.strip("\n") if actions else turn.command(reply)
    script = shell.parse(command)
    submits = shell.submits(script, rules.sentinels)
    broken = list(_form(reply, blocks, actions, rules))
    if command.strip():
        broken += _commands(script, line, rules)
        if submits and rules.submit_alone and len(script.commands) > 1:
            broken.append(("submit-not-alone", "", 0))
        if not submits and any(re.search(rf"\becho ['\"]?{sentinel}\b", command) for sentinel in rules.sentinels):
            broken.append(("submit-not-first", "the line that ends the task is not the first that is printed", 0))
        if not submits and is_repetition(command, messages):
            broken.append(("repetition", command.strip().split("\n")[0][:80], line))
    return ProtocolCheck(
        ok=not broken,
        problems=[BrokenRule(rule=rule, detail=detail, place={"line": where}) for rule, detail, where in broken],
        blocks=len(actions),
        commands=[command.name for command in script.commands],
        style="submit" if submits else shell.style(script),
        submits=submits,
    )


def _fenced_blocks(text: str) -> list[FencedBlock]:
    lines = text.split("\n")
    found = []
    for token in _markdown().parse(text):
        if token.type == "fence" and token.map:
            first, end = token.map
            closing = lines[end - 1].strip() if 0 < end <= len(lines) else ""
            closed = end - first >= 2 and closing.startswith(token.markup) and not closing.strip("`~")
            found.append(FencedBlock(token.info.strip().split(" ")[0], token.content, first + 1, closed))
    return found


@cache
def _markdown() -> Any:
    from markdown_it import MarkdownIt  # 0.1 s

    markdown = MarkdownIt("zero").enable(["fence"])
    markdown.core.ruler.enableOnly(["normalize", "block"])
    return markdown


def _form(reply: str, blocks: list[FencedBlock], actions: list[FencedBlock], rules: PromptRules) -> Iterator[Broken]:
    if not actions:
        other = next((block for block in blocks if block.label in _FENCE_LABELS | {""}), None)
        if other and other.label:
            yield "fence-label", f"`{other.label}` instead of `{min(rules.labels)}`", other.line
        else:
            yield "no-block", "", 0
    elif len(actions) > 1:
        yield "several-blocks", f"{len(actions)} blocks", actions[1].line
    if actions and not (actions[0].closed and actions[0].text.strip()):
        yield "empty-block" if actions[0].closed else "open-block", "", actions[0].line
    if turn.format_problem(reply) == "leaked-tool-tokens":
        yield "leaked-tool-tokens", "", 0
    if rules.thought and actions and not "\n".join(reply.split("\n")[: actions[0].line - 1]).strip():
        yield "no-thought", "", 1


def _commands(script: shell.Script, line: int, rules: PromptRules) -> Iterator[Broken]:
    if not script.valid:
        yield "syntax", "", line + script.error
    if rules.no_comment and script.leading_comment:
        yield "comment", "", line + 1
    if rules.no_cd and any(command.name in {"cd", "pushd"} for command in script.commands):
        yield "cd", "", line
    if rules.one_command and script.statements > 1:
        yield "several-commands", f"{script.statements} commands", line
    if rules.operators is not None:
        for operator in sorted(script.operators - rules.operators - {"|", "|&", ";", "&"}):
            yield "chaining", operator, line
    named: set[str] = set()
    for command in script.commands:
        name, uses = command.name, {f"{command.name} {word}" for word in command.words[1:3]}
        free = not rules.allowed or name in _SHELL_WORDS or name == "cd" or not re.fullmatch(r"[\w.+-]+", name)
        problem = "" if free or (uses | {name}) & rules.allowed else "tool-not-allowed"
        if name in rules.forbidden or uses & rules.forbidden:
            problem = "forbidden-tool"
        if problem and name not in named:
            named.add(name)
            yield problem, name, line


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
        script = shell.parse(earlier)
        git = [c.words[1] for c in script.commands if c.name == "git" and len(c.words) > 1]
        if shell.style(script) in {"edit", "run"} or not _LOOKING_GIT.issuperset(git):
            return False
    return False
