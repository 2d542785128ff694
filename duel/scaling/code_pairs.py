"""Code pairs out of git repositories: what a comment asks for and the code that does it, a function and its test.

Blobs of one commit are read without a checkout, and nothing of them is run. Python, JavaScript, TypeScript, Go, Rust
and Java, by tree-sitter.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from duel.bookkeeping import LeftOut
from duel.errors import SourceError, UserError
from duel.records import Message
from duel.scaling import table
from duel.scaling.pair_rules import pattern, refusal
from duel.scaling.scaled_rows import RowSource, ScaledRow
from duel.sources.mining.own_commits import spdx_of

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

LARGEST_FILE = 400_000
_WRAPPERS = {"export_statement", "decorated_definition"}
_MARKS = {"attribute_item", "decorator", "annotation", "marker_annotation"}
_SPDX = re.compile(rb"SPDX-License-Identifier:\s*([\w.+() -]+?)\s*(?:\*/|-->|\r?\n|$)")
_DECLARED = re.compile(r"""(?m)^\s*"?license"?\s*[:=]\s*(?:\{\s*text\s*=\s*)?["']([\w.+() -]{2,60})["']""")


@dataclass(frozen=True)
class Definition:
    """A function, class, interface or error handler: where it stands, what its comment says, its code without that."""

    kind: str
    language: str
    name: str
    doc: str
    code: str
    path: str
    line: int


@dataclass(frozen=True)
class Blob:
    """A file of a commit."""

    path: str
    source: bytes

    @property
    def suffix(self) -> str:
        return self.path.rpartition(".")[2]


class Repository:
    """A git repository at its HEAD."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commit = self._git("rev-parse", "HEAD").decode().strip()
        remote = self._git("config", "--get", "remote.origin.url", may_fail=True).decode().strip()
        self.name = re.sub(r"^.*[:/]([^/:]+/[^/]+?)(?:\.git)?/?$", r"\1", remote) or f"local/{folder.resolve().name}"

    def _git(self, *words: str, may_fail: bool = False) -> bytes:
        done = subprocess.run(["git", "-C", self.folder, *words], capture_output=True, check=False)  # noqa: S603, S607
        if done.returncode and not may_fail:
            raise SourceError("not a git repository with a commit", where=self.folder, hint="`git init` and commit")
        return done.stdout

    def blobs(self) -> Iterator[Blob]:
        """The files that may hold pairs or tell the license, in the order of their paths."""
        listed = [
            line.split(None, 4) for line in self._git("ls-tree", "-rlz", "HEAD").decode("utf-8", "replace").split("\0")
        ]
        wanted = [(sha, path) for _, kind, sha, size, path in filter(None, listed)
                  if kind == "blob" and int(size) <= LARGEST_FILE and _is_wanted(path)]  # fmt: skip
        ids = b"\n".join(sha.encode() for sha, _ in wanted)
        command = ["git", "-C", str(self.folder), "cat-file", "--batch"]
        out = subprocess.run(command, input=ids, capture_output=True, check=False).stdout  # noqa: S603
        at = 0
        for _, path in wanted:
            head, _, _ = out[at : at + 120].partition(b"\n")
            size = int(head.split()[2])
            at += len(head) + 1
            yield Blob(path, out[at : at + size])
            at += size + 1


def _is_wanted(path: str) -> bool:
    if "/" not in path and re.match(r"(?i)(licen[sc]e|copying|package\.json$|pyproject\.toml$|cargo\.toml$)", path):
        return True
    return path.rpartition(".")[2] in suffixes() and not pattern("skipped").search(path)


@cache
def _kinds() -> dict[str, str]:
    """{type of a node: what it defines}."""
    return {node: kind for kind, nodes in table("code_pairs")["nodes"].items() for node in nodes.split()}


def rows(folder: Path, drops: LeftOut) -> Iterator[ScaledRow]:
    """The pairs of one repository as rows; what is left out is counted in `drops`. Raises SourceError, UserError."""
    repository = Repository(folder)
    blobs = list(repository.blobs())
    license = _license([blob for blob in blobs if "/" not in blob.path])
    seen: set[bytes] = set()
    licenses = {blob.path: _own_license(blob.source) or license for blob in blobs}
    for pair in _pairs(blobs, drops, repository.name):
        key = hashlib.sha256(re.sub(r"\W+", "", pair.code).encode()).digest()
        if key in seen:
            drops.drop(f"{pair.path}#{pair.line}", repository.name, "the same code again")
            continue
        seen.add(key)
        yield _row(pair, repository, licenses[pair.path])


def _pairs(blobs: list[Blob], drops: LeftOut, repository: str) -> Iterator[Definition]:
    functions: list[Definition] = []
    tests: list[Definition] = []
    for blob in blobs:
        if blob.suffix not in suffixes():
            continue
        if pattern("generated").search(blob.source[:2000].decode("latin-1")):
            drops.drop(blob.path, repository, "generated file")
            continue
        root = parse(blob.suffix, blob.source)
        if root.has_error:
            drops.drop(blob.path, repository, "file does not parse")
            continue
        found = list(definitions(root, blob))
        lines = [d for d in found if d.kind == "function" and d.name and 3 <= d.code.count("\n") + 1 <= 120]
        if pattern("test").search(blob.path):
            tests += lines
            continue
        functions += lines
        for definition in found:
            why = (
                refusal(definition.doc, definition.code, definition.name, definition.kind)
                if definition.doc
                else "no comment"
            )
            if why:
                drops.drop(f"{definition.path}#{definition.line}", repository, why, definition.name)
            else:
                yield definition
    yield from _tests(functions, tests)


def _tests(functions: list[Definition], tests: list[Definition]) -> Iterator[Definition]:
    """A test with the one function that both its name and its body name."""
    by_name: defaultdict[tuple[str, str], list[Definition]] = defaultdict(list)
    for function in functions:
        by_name[function.language, function.name.lower().replace("_", "")].append(function)
    for test in tests:
        wanted = re.sub(r"(?i)^test_?", "", test.name).lower().replace("_", "")
        for end in range(len(wanted), 3, -1):
            found = by_name.get((test.language, wanted[:end]), [])
            if len(found) == 1 and re.search(rf"\b{re.escape(found[0].name)}\b", test.code):
                yield Definition("test", test.language, found[0].name, found[0].code, test.code, test.path, test.line)
                break


def definitions(root: Node, blob: Blob) -> Iterator[Definition]:
    """Everything in a file that has a name or handles an error, with its comment; `doc` is "" where it has none."""
    language = suffixes()[blob.suffix][0]
    stack = [root]
    while stack:
        node = stack.pop()
        stack += reversed(node.named_children)
        kind = _kinds().get(node.type)
        if kind is None or (named := _named(node, kind)) is None:
            continue
        kind, name = named
        outer = node.parent if node.parent is not None and node.parent.type in _WRAPPERS else node
        doc, code = _doc_and_code(node, outer, kind, language, blob.source)
        yield Definition(kind, language, name, doc, code, blob.path, outer.start_point[0] + 1)


def _named(node: Node, kind: str) -> tuple[str, str] | None:
    """(kind, name) of a definition; None for a declaration that defines no function."""
    if node.type == "lexical_declaration":
        node = next((child for child in node.named_children if child.type == "variable_declarator"), node)
        value = node.child_by_field_name("value")
        if value is None or value.type not in {"arrow_function", "function_expression"}:
            return None
    if node.type == "type_declaration":
        node = node.named_children[0]
        inner = node.child_by_field_name("type")
        kind = "interface" if inner is not None and inner.type == "interface_type" else kind
    name = node.child_by_field_name("name")
    return kind, _text(name) if name is not None else ""


def _doc_and_code(node: Node, outer: Node, kind: str, language: str, source: bytes) -> tuple[str, str]:
    if kind == "error handler":
        body = node.child_by_field_name("body") or node.named_children[-1]
        within = [child for child in (*node.named_children, *body.named_children[:1]) if "comment" in child.type]
        return (_plain(_text(within[0])) if within else ""), _dedented(_text(node.parent or node), node)
    if language == "python" and (inside := _docstring(node)) is not None:
        raw = re.sub(r"^[rRuUbB]*(\"\"\"|'''|\"|')|(\"\"\"|'''|\"|')$", "", _text(inside))
        code = source[outer.start_byte : inside.start_byte].rstrip() + source[inside.end_byte : outer.end_byte]
        return inspect.cleandoc(raw), _dedented(code.decode("utf-8", "replace"), outer)
    return _comment_before(outer), _dedented(_text(outer), outer)


def _docstring(node: Node) -> Node | None:
    body = node.child_by_field_name("body")
    first = body.named_children[0] if body is not None and body.named_child_count else None
    if first is not None and first.type == "expression_statement" and first.named_child_count:
        first = first.named_children[0]
    return first if first is not None and first.type == "string" else None


def _comment_before(node: Node) -> str:
    """The comments that end on the line above, with nothing between; attributes and decorators are passed over."""
    while node.prev_named_sibling is not None and node.prev_named_sibling.type in _MARKS:
        node = node.prev_named_sibling
    found: list[str] = []
    line, before = node.start_point[0], node.prev_named_sibling
    while before is not None and "comment" in before.type:
        end = before.end_point[0] - (before.end_point[1] == 0)
        code = before.prev_sibling
        behind_code = code is not None and "comment" not in code.type and code.end_point[0] == before.start_point[0]
        if end < line - 1 or (behind_code and code is not None and code.end_point[1]):
            break
        found.insert(0, _text(before))
        line, before = before.start_point[0], before.prev_named_sibling
    return _plain("\n".join(found))


def _plain(comment: str) -> str:
    text = re.sub(r"(?m)^\s*(?:/\*\*?|\*/|///?!?|\*|#+!?)\s?", "", comment)
    return re.sub(r"[ \t]+", " ", re.sub(r"\*/\s*$", "", text)).strip()


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def _dedented(code: str, node: Node) -> str:
    """The code without the indentation that it has in its file."""
    return re.sub(rf"(?m)^[ \t]{{{node.start_point[1]}}}", "", code) if node.start_point[1] else code


def _license(top: list[Blob]) -> str:
    """What the repository says: license files, several joined by AND, else the field of its package."""
    files = [blob for blob in top if re.match(r"(?i)licen[sc]e|copying", blob.path)]
    named = sorted({found for blob in files if (found := spdx_of(blob.source.decode("utf-8", "replace")))})
    declared = [m[1] for blob in top if (m := _DECLARED.search(blob.source.decode("utf-8", "replace")))]
    if declared and (len(named) != 1):
        return declared[0].replace("/", " OR ")
    return " AND ".join(named)


def _own_license(source: bytes) -> str:
    found = _SPDX.search(source[:2000])
    return found[1].decode().strip() if found else ""


def _row(pair: Definition, repository: Repository, license: str) -> ScaledRow:
    place = f"{repository.name}/{pair.path}#{pair.line}"
    asks = table("code_pairs")["asked"][pair.kind]
    ask = asks[hashlib.sha256(place.encode()).digest()[0] % len(asks)]
    request = ask.format(language=pair.language, name=pair.name, doc=pair.doc)
    answer = f"```{pair.language}\n{pair.code}\n```"
    source = RowSource(
        kind="pairs",
        name=repository.name,
        revision=repository.commit,
        file=pair.path,
        row=pair.line,
        license=license,
    )
    return ScaledRow(
        id=f"pairs/{place}/{pair.kind.replace(' ', '-')}",
        messages=[Message(role="user", content=request), Message(role="assistant", content=answer)],
        source=source,
        group=[f"repository {repository.name}", f"commit {repository.commit}"],
        made={"by": "duel scale pairs", "kind": pair.kind, "language": pair.language},
    )


def suffixes() -> dict[str, list[str]]:
    """{suffix: its language, the module of the grammar, the function that gives it}."""
    found: dict[str, list[str]] = table("code_pairs")["suffixes"]
    return found


@cache
def _parser(suffix: str) -> Parser:
    import tree_sitter

    _, module, function = suffixes()[suffix]
    return tree_sitter.Parser(tree_sitter.Language(getattr(import_module(module), function)()))


def parse(suffix: str, source: bytes) -> Node:
    """The tree of a file. Raises UserError where the grammars are not installed."""
    try:
        return _parser(suffix).parse(source).root_node
    except ModuleNotFoundError as error:
        hint = "pip install 'duel-curation[pairs]'"
        raise UserError("the grammars are not installed", value=error.name, hint=hint) from None


def parses(label: str, source: bytes) -> bool | None:
    """Whether code parses in the language of its label; None where the language or its grammar is not there."""
    suffix = table("code_pairs")["labels"].get(label, label)
    if suffix not in suffixes():
        return None
    try:
        return not _parser(suffix).parse(source).root_node.has_error
    except ModuleNotFoundError:
        return None
