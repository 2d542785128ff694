"""Bash as a parser sees it: the simple commands of a script, whether it is valid, and what kind of action it is."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal

from duel import wordlists

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

Style = Literal["search", "read", "edit", "run", "version control", "submit", "other"]
# From the least decisive to the most: a list or pipeline is what its most decisive command is.
STYLES: tuple[Style, ...] = ("other", "read", "search", "version control", "run", "edit", "submit")
SENTINELS = ("COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT", "MINI_SWE_AGENT_FINAL_OUTPUT")

_NAMES = {style: frozenset(names.split()) for style, names in wordlists.table("commands").items()}
STYLE_OF: dict[str, Style] = {name: style for style in STYLES for name in _NAMES.get(style, ())}
"""What kind of action a command is by itself; whatever is not listed runs a program."""
_SILENT = frozenset({"", ":", "cd", "export", "false", "set", "shopt", "sleep", "true", "unset"})
_WRITING = frozenset({">", ">>", "&>", "&>>", ">|"})
_NO_FILES = frozenset({"/dev/null", "/dev/stdout", "/dev/stderr", "/dev/tty"})
_NO_WORDS = frozenset({"variable_assignment", "file_redirect", "herestring_redirect", "heredoc_redirect"})
_OPTION = re.compile(r"-|[A-Za-z_]\w*=|\d+(\.\d+)?[smhd]?$")
_HEREDOC = re.compile(r"<<(-?)[ \t]*(?:'([^'\n]+)'|\"([^\"\n]+)\"|\\?([A-Za-z_]\w*))")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_NOT_ASCII = re.compile(rb"[\x80-\xff]")


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command: its name without a folder, its words with the quotes taken off, and the files it writes."""

    name: str
    words: tuple[str, ...]
    writes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Script:
    commands: tuple[Command, ...]  # in order of appearance, inside substitutions, loops and wrappers (`sudo`) as well
    valid: bool = True
    statements: int = 1  # that stand side by side at the top (separated by newlines, `;` or `&`)
    operators: frozenset[str] = frozenset()  # that join commands anywhere
    leading_comment: bool = False
    error: int = 0  # the line of the first syntax error, from 1


@cache
def _parser() -> Parser:
    import tree_sitter
    import tree_sitter_bash

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))


@lru_cache(maxsize=1024)
def parse(command: str) -> Script:
    """Parse `command`. Never raises: what is no bash comes back with `valid` False."""
    source = command.encode("utf-8", "replace")
    root = _tree(source)
    if root.has_error and (without := _without_heredocs(command)) != command:
        # The grammar takes a delimiter at the END of a heredoc line for its end (2 of 1,295 real commands).
        shorter = without.encode("utf-8", "replace")
        retry = _tree(shorter)
        root, source = (root, source) if retry.has_error else (retry, shorter)
    commands: list[Command] = []
    statements = sum(child.type != "comment" for child in root.named_children)
    operators = {";"} if statements > 1 else set()
    _collect(root, source, commands, operators)
    return Script(
        commands=tuple(unwrapped for found in commands for unwrapped in _unwrap(found)),
        valid=not root.has_error,
        statements=statements,
        operators=frozenset(operators),
        leading_comment=command.lstrip().startswith("#"),
        error=_error_line(root),
    )


def submits(script: Script, sentinels: Collection[str] = SENTINELS) -> bool:
    """True where the first line that the script prints, if all goes well, is one that ends a task."""
    for command in script.commands:
        if command.name in {"echo", "printf"} and not command.writes:
            printed = " ".join(word for word in command.words[1:] if not word.startswith("-"))
            return printed.replace("\\n", "\n").strip().split("\n")[0].strip() in sentinels
        is_silent = command.name in _SILENT or _command_style(command) == "edit"
        if command.name == "git":
            is_silent = command.words[1:2] in {("add",), ("rm",), ("mv",), ("config",)}
        if not is_silent:
            break
    return False


def style(of: str | Script) -> Style:
    """What kind of action a script is: its most decisive simple command decides."""
    script = parse(of) if isinstance(of, str) else of
    return "submit" if submits(script) else max(map(_command_style, script.commands), key=STYLES.index, default="other")


def _command_style(command: Command) -> Style:
    name, words = command.name, command.words
    in_place = any(word.startswith("--in-place") or re.match(r"-[A-Za-hj-z]*i", word) for word in words[1:])
    if (name in {"sed", "perl"} and in_place) or (name == "find" and "-delete" in words):
        return "edit"
    plain = STYLE_OF.get(name, "run") if name else "other"
    if plain not in {"run", "version control"} and any(path not in _NO_FILES for path in command.writes):
        return "edit"
    return plain


def _tree(source: bytes) -> Node:
    """The tree of `source`, with a letter for each byte that is not ASCII.

    The grammar's scanner asks C's `isalpha` about whole characters, which reads any memory: `{` before U+31860 ends the
    process (tree-sitter-bash#337; 0.25.1 is the newest).
    """
    return _parser().parse(source if source.isascii() else _NOT_ASCII.sub(b"x", source)).root_node


def _collect(root: Node, source: bytes, commands: list[Command], operators: set[str]) -> None:
    """All simple commands below `root`, without recursion: a hostile script can be nested as deep as it is long."""
    stack: list[tuple[Node, tuple[str, ...]]] = [(root, ())]
    while stack:
        node, targets = stack.pop()
        kind, body = node.type, None
        if kind in {"&&", "||", "|", "|&", ";", "&"}:
            operators.add(kind)
            continue
        if kind in {"raw_string", "word", "heredoc_content", "string_content", "comment"}:
            continue
        if kind == "redirected_statement":
            targets = targets + tuple(_targets(node, source))
            if (body := node.child_by_field_name("body")) is None:
                commands.append(Command("", (), targets))
        elif kind == "command":
            words = tuple(_unquoted(word, source) for word in node.named_children if word.type not in _NO_WORDS)
            name = words[0].rsplit("/", 1)[-1] if words else ""
            commands.append(Command(name, words, targets + tuple(_targets(node, source))))
            targets = ()
        elif kind in {"declaration_command", "unset_command", "test_command"} and node.child_count:
            commands.append(Command(_text(node.children[0], source).strip("["), (_text(node, source),), ()))
        stack.extend(
            (child, targets if child == body or kind != "redirected_statement" else ())
            for child in reversed(node.children)
        )


def _targets(node: Node, source: bytes) -> Iterator[str]:
    """The files that the redirections of `node` write, those behind a heredoc's opening included."""
    for child in node.children:
        if child.type == "heredoc_redirect":
            yield from _targets(child, source)
        destination = child.child_by_field_name("destination") if child.type == "file_redirect" else None
        if destination and _WRITING.intersection(part.type for part in child.children):
            yield _unquoted(destination, source)


def _unquoted(node: Node, source: bytes) -> str:
    """The text of one word with its quotes taken off; what the shell would expand stays as it is written."""
    if node.type == "command_name" and node.named_child_count:
        return _unquoted(node.named_children[0], source)
    if node.type == "concatenation":
        return "".join(_unquoted(child, source) for child in node.children)
    text = _text(node, source)
    if node.type in {"raw_string", "string"}:
        return text[1:-1] if node.type == "raw_string" else re.sub(r'\\(["\\$`])', r"\1", text[1:-1])
    return _ESCAPED.sub(r"\1", text) if node.type == "word" else text


def _text(node: Node, source: bytes) -> str:
    return source[node.start_byte : node.end_byte].decode("utf-8", "replace")


def _error_line(root: Node) -> int:
    """The line of the first error in the tree, 1-based; 0 where there is none."""
    node = root
    while node.has_error:
        inner = next((child for child in node.children if child.has_error or child.is_error or child.is_missing), None)
        if inner is None or inner.is_error or inner.is_missing:
            return (inner or node).start_point[0] + 1
        node = inner
    return 0


def _unwrap(command: Command, depth: int = 3) -> Iterator[Command]:
    """The command itself, and the one that it starts (`xargs grep x`, `find -exec sed … ;`, `timeout 9 python x`)."""
    yield command
    words, start = command.words, len(command.words)
    if command.name in _NAMES["wrapper"]:  # the command is what follows the wrapper's options and their values
        start = 1
        while start < len(words) and _OPTION.match(words[start]):
            start += 2 if words[start] in {"-I", "-n", "-P", "-L", "-d", "-u", "-k", "-s"} else 1
    elif command.name in {"find", "fd"}:
        start = next((i for i, word in enumerate(words, 1) if word in {"-exec", "-execdir", "-ok", "-x"}), start)
    if depth and (inner := words[start:]):
        yield from _unwrap(Command(inner[0].rsplit("/", 1)[-1], inner, command.writes), depth - 1)


def _without_heredocs(command: str) -> str:
    """`command` with the bodies of its quoted heredocs emptied; their opening and closing lines stay."""
    kept: list[str] = []
    waiting: list[tuple[str, bool]] = []
    for line in command.split("\n"):
        if waiting:
            mark, indented = waiting[0]
            if (line.lstrip("\t") if indented else line) == mark:
                waiting.pop(0)
                kept.append(line)
            continue
        kept.append(line)
        waiting = [(a or b or c, dash == "-") for dash, a, b, c in _HEREDOC.findall(line)]
    return "\n".join(kept)
