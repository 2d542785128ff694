"""The rules of a conversation, read from its own system prompt: what it demands of a turn, allows and forbids."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from duel.records import Message
from duel.shell import SENTINELS

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
    r"(?:try to (?:use|invoke|run|call)|use|invoke|run|try|call|execute)\s+(?:to\s+)?((?:`[^`\n]+`|[\w.+-]+)"
    r"(?:\s*(?:,|/|\bor\b|\band\b|, or|, and)\s*(?:or |and )?(?:`[^`\n]+`|[\w.+-]+))*)",
    re.IGNORECASE,
)
_ALLOWED = re.compile(
    r"(?:^|\n)[ \t]*(?:[-*] )?(?:only )?(?:allowed|available|permitted) (?:tools?|commands?)[^:\n]{0,40}:\s*(.*?)"
    r"(?=\n[ \t]*[-*#]|\n\s*\n|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_ENGLISH = frozenset(["or", "and", "try", "use", "run", "invoke", "verify", "execute", "call", "it"]) | frozenset(
    "the a an any other to it them this that these such all of in on for your you tool tools command commands".split()
)


PROMPT = 20_000  # characters of a system prompt that are read. The real ones have 1,000 to 3,000
TASK = 12_000  # characters at the end of a task in which the way to submit is looked for


@dataclass(frozen=True)
class PromptRules:
    """What a conversation demands. Whatever its prompt does not speak of is not demanded."""

    labels: frozenset[str] = frozenset({"bash"})
    """Labels of the fence that the prompt shows."""
    thought: bool = False
    one_command: bool = False
    operators: frozenset[str] | None = None
    """How commands may be joined; None where the prompt does not say."""
    no_cd: bool = False
    no_comment: bool = False
    forbidden: frozenset[str] = frozenset()
    """Names of tools, or `name -c` where only that use is forbidden."""
    allowed: frozenset[str] = frozenset()
    """Names of tools, `git diff` where only that use is allowed; empty: every tool is."""
    sentinels: frozenset[str] = frozenset(SENTINELS)
    submit_alone: bool = False


def read_rules(messages: Sequence[Message]) -> PromptRules:
    """The rules in the system prompt, or in the first message where there is none.

    How to submit may stand in the task as well, which else is not read: its text comes from strangers.
    """
    if not messages:
        return PromptRules()
    task = next((message.content for message in messages[:2] if message.role == "user"), "")
    prompt = messages[0].content if messages[0].role == "system" else task[:PROMPT]
    rules = _read(prompt[:PROMPT])
    named, alone = _submission(task[-TASK:])
    return replace(rules, sentinels=rules.sentinels | named, submit_alone=rules.submit_alone or alone)


@lru_cache(maxsize=256)
def _read(prompt: str) -> PromptRules:
    """The rules of one prompt. The prompts of a data set are few, and reading one takes up to 10 ms."""
    labels = re.findall(r"^```(bash|sh|shell|mswea_bash_command)\s*$", prompt, re.MULTILINE)
    allowed = _allowed(prompt)
    named, alone = _submission(prompt)

    def says(pattern: str) -> bool:
        return re.search(pattern, prompt, re.IGNORECASE) is not None

    return PromptRules(
        labels=frozenset(labels) or PromptRules.labels,
        thought=says(r"\bTHOUGHT (?:section|before)|\bTHOUGHT:|reasoning and analysis here|explain your reasoning"),
        one_command=says(
            r"(?:exactly|only|just|a) (?:one|1|single)(?: bash| shell)? (?:command|action)\b|\bone (?:bash )?command\b"
        ),
        operators=_operators(prompt),
        no_cd=says(rf"{_NEGATION} (?:use )?`?cd`?\b"),
        no_comment=says(rf"{_NEGATION}[^.\n]{{0,60}}(?:prefix|start|begin)[^.]{{0,60}}#"),
        forbidden=_forbidden(prompt) - {"cd"} - allowed,
        allowed=allowed,
        sentinels=frozenset(SENTINELS) | named,
        submit_alone=alone,
    )


def _submission(text: str) -> tuple[frozenset[str], bool]:
    """The lines that a text says to print at the end, and whether nothing else may go with them."""
    named = frozenset(re.findall(r"\becho ['\"]?([A-Z][A-Z0-9_]{9,})\b", text))
    alone = "without any other command" in text or re.search(r"[Nn]o[tn]?\w* combine (?:it|this) with any", text)
    return named, bool(alone)


def _operators(prompt: str) -> frozenset[str] | None:
    for sentence in _sentences(prompt):
        if re.search(r"\b(?:connected|chained?|combined?|joined)\b", sentence, re.IGNORECASE):
            found = frozenset(re.findall(r"&&|\|\||(?<!\|)\|(?!\|)|;", sentence))
            if found:
                return found if not re.search(_NEGATION, sentence, re.IGNORECASE) else frozenset()
    return None


def _forbidden(prompt: str) -> frozenset[str]:
    names: set[str] = set()
    for sentence in _sentences(prompt):
        if not re.search(rf"\b{_NEGATION}\b|\bno\b|not installed|not available", sentence, re.IGNORECASE):
            continue
        for group, tools in GROUPS.items():
            if re.search(rf"\b(?:no|any other|any|not|never|avoid)\b[^.]{{0,60}}\b{group}\b", sentence, re.IGNORECASE):
                names.update(tools.split())
        if re.search(_NEGATION, sentence, re.IGNORECASE):
            for listed in _LISTED.findall(sentence):
                names.update(name for name in _TOOL.findall(listed.replace("`", " ")) if name not in _ENGLISH)
    return frozenset(names)


def _allowed(prompt: str) -> frozenset[str]:
    found = _ALLOWED.search(prompt)
    if not found:
        return frozenset()
    names: set[str] = set()
    for entry in re.sub(r"\([^)]*\)", "", found[1]).replace("`", "").split(","):
        words = entry.split()
        if words and re.fullmatch(r"[A-Za-z][\w.+-]*", words[0]):
            uses = words[1].split("/") if len(words) > 1 and "/" in words[1] else []
            names.update(f"{words[0]} {use.strip('.')}" for use in uses)
            if not uses:
                names.add(words[0].rstrip("."))
    return frozenset(names)


def _sentences(text: str) -> list[str]:
    return [sentence for sentence in _SENTENCE.findall(text) if sentence.strip()]
