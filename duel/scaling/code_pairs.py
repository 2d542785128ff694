"""Code pairs out of git repositories: what a comment asks for and the code that does it, a function and its test.

Blobs of one commit are read without a checkout; nothing of them is run. The rules follow CodeSearchNet (Husain et al.,
arXiv 1909.09436, section 2), The Vault (Nguyen et al., arXiv 2305.06156, section 3) and StarCoder2's docstring filters.
"""

import hashlib
import inspect
import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from tree_sitter import Language, Node, Parser

from duel.bookkeeping import LeftOut
from duel.errors import SourceError, UserError
from duel.records import Message
from duel.scaling import table
from duel.scaling.scaled_rows import RowSource, ScaledRow
from duel.sources.mining import own_commits

LARGEST_FILE = 400_000
LONGEST_CODE = 200, 12_000  # lines and characters
_FILLER = frozenset("the a an of and to for this".split())
_WRAPPERS = {"export_statement", "decorated_definition"}
_MARKS = {"attribute_item", "decorator", "annotation", "marker_annotation"}
_SPDX = re.compile(rb"SPDX-License-Identifier:\s*([\w.+() -]+?)\s*(?:\*/|-->|\r?\n|$)")
_DECLARED = re.compile(r"""(?m)^\s*"?license"?\s*[:=]\s*(?:\{\s*text\s*=\s*)?["']([\w.+() -]{2,60})["']""")
_TELLS_LICENSE = re.compile(r"(?i)(licen[sc]e|copying|package\.json$|pyproject\.toml$|cargo\.toml$)")


class Definition(NamedTuple):
    kind: str
    language: str
    name: str
    doc: str
    code: str
    path: str
    line: int


def rows(folder: Path, drops: LeftOut, called: str = "") -> Iterator[ScaledRow]:
    """The pairs of one repository; `called` is its name where it has no remote. Raises SourceError, UserError."""
    commit = _git(folder, "rev-parse", "HEAD").decode().strip()
    remote = _git(folder, "config", "--get", "remote.origin.url", may_fail=True).decode().strip()
    name = re.sub(r"^.*[:/]([^/:]+/[^/]+?)(?:\.git)?/?$", r"\1", remote) or f"local/{called or folder.resolve().name}"
    blobs = _blobs(folder, drops, name)
    # What the repository says: license files, several joined by AND, else the field of its package.
    top = {path: source.decode("utf-8", "replace") for path, source in blobs.items() if "/" not in path}
    files = [text for path, text in top.items() if re.match(r"(?i)licen[sc]e|copying", path)]
    named = sorted({found for text in files if (found := own_commits.spdx_of(text))})
    declared = [match[1] for text in top.values() if (match := _DECLARED.search(text))]
    license = declared[0].replace("/", " OR ") if declared and len(named) != 1 else " AND ".join(named)
    seen: set[bytes] = set()
    for pair in _pairs(blobs, drops, name):
        if (code := hashlib.sha256(re.sub(r"\W+", "", pair.code).encode()).digest()) in seen:
            drops.drop(f"{pair.path}#{pair.line}", name, "the same code again")
            continue
        seen.add(code)
        place = f"{name}/{pair.path}#{pair.line}"
        asks = _table()["asked"][pair.kind]
        ask = asks[hashlib.sha256(place.encode()).digest()[0] % len(asks)]
        request = Message(role="user", content=ask.format(language=pair.language, name=pair.name, doc=pair.doc))
        answer = Message(role="assistant", content=f"```{pair.language}\n{pair.code}\n```")
        own = _SPDX.search(blobs[pair.path][:2000])
        licensed = (own[1].decode().strip() if own else "") or license
        yield ScaledRow(
            id=f"pairs/{place}/{pair.kind.replace(' ', '-')}",
            messages=[request, answer],
            source=RowSource(kind="pairs", name=name, revision=commit, file=pair.path, row=pair.line, license=licensed),
            group=[f"repository {name}", f"commit {commit}"],
            made={"by": "duel scale pairs", "kind": pair.kind, "language": pair.language},
        )


def _git(folder: Path, *words: str, given: bytes = b"", may_fail: bool = False) -> bytes:
    command = ["git", *own_commits.NOTHING_RUNS, "-C", str(folder), *words]
    env = os.environ | {"GIT_NO_LAZY_FETCH": "1"}
    try:
        done = subprocess.run(command, input=given, env=env, capture_output=True, check=False)  # noqa: S603 - no shell
    except OSError as error:
        raise SourceError("git cannot be run", value=error.strerror, hint="install it: pairs are read by it") from None
    if done.returncode and not may_fail:
        raise SourceError("not a git repository with a commit", where=folder, hint="`git init` and commit")
    return done.stdout


def _blobs(folder: Path, drops: LeftOut, repository: str) -> dict[str, bytes]:
    """The files at HEAD that may hold pairs or tell the license, in the order of their paths."""
    wanted: dict[str, bytes] = {}
    for line in filter(None, _git(folder, "ls-tree", "-rlz", "HEAD").decode("utf-8", "replace").split("\0")):
        _, kind, sha, size, path = line.split(None, 4)
        code = path.rpartition(".")[2] in _table()["suffixes"] and not pattern("skipped").search(path)
        if kind == "blob" and (code or ("/" not in path and _TELLS_LICENSE.match(path))):
            if not size.isdigit():
                drops.drop(path, repository, "file is missing in the repository")
            elif int(size) <= LARGEST_FILE:
                wanted[path] = sha.encode()
    out = BytesIO(_git(folder, "cat-file", "--batch", given=b"\n".join(wanted.values()), may_fail=True))
    return {path: out.read(int(out.readline().split()[2]) + 1)[:-1] for path in wanted}


def _pairs(blobs: dict[str, bytes], drops: LeftOut, repository: str) -> Iterator[Definition]:
    functions: defaultdict[tuple[str, str], list[Definition]] = defaultdict(list)
    tests: list[Definition] = []
    for path, source in blobs.items():
        suffix = path.rpartition(".")[2]
        if suffix not in _table()["suffixes"]:
            continue
        generated = pattern("generated").search(source[:2000].decode("latin-1"))
        if generated or (root := parse(suffix, source)).has_error:
            drops.drop(path, repository, "generated file" if generated else "file does not parse")
            continue
        found = list(definitions(root, path, source))
        lines = [d for d in found if d.kind == "function" and d.name and 3 <= d.code.count("\n") + 1 <= 120]
        if pattern("test").search(path):
            tests += lines
            continue
        for function in lines:
            functions[function.language, function.name.lower().replace("_", "")].append(function)
        for one in found:
            if why := refusal(one.doc, one.code, one.name, one.kind) if one.doc else "no comment":
                drops.drop(f"{path}#{one.line}", repository, why, one.name)
            else:
                yield one
    for test in tests:  # with the one function that both its name and its body name
        wanted = re.sub(r"(?i)^test_?", "", test.name).lower().replace("_", "")
        for end in range(len(wanted), 3, -1):
            named = functions.get((test.language, wanted[:end]), [])
            if len(named) == 1 and re.search(rf"\b{re.escape(named[0].name)}\b", test.code):
                yield test._replace(kind="test", name=named[0].name, doc=named[0].code)
                break


def definitions(root: Node, path: str, source: bytes) -> Iterator[Definition]:
    """Everything in a file that has a name or handles an error, with its comment; `doc` is "" where it has none."""
    language = _table()["suffixes"][path.rpartition(".")[2]][0]
    stack = [root]
    while stack:
        node = stack.pop()
        stack += reversed(node.named_children)
        kind = _table()["kinds"].get(node.type)
        if kind is None or (named := _named(node, kind)) is None:
            continue
        kind, name = named
        outer = node.parent if node.parent is not None and node.parent.type in _WRAPPERS else node
        whole, code = outer, _text(outer)
        if kind == "error handler":
            body = node.child_by_field_name("body") or node.named_children[-1]
            within = [child for child in (*node.named_children, *body.named_children[:1]) if "comment" in child.type]
            doc = _plain(_text(within[0])) if within else ""
            whole, code = node, _text(node.parent or node)
        elif language == "python" and (inside := _docstring(node)):
            doc = inspect.cleandoc(re.sub(r"^[rRuUbB]*(\"\"\"|'''|\"|')|(\"\"\"|'''|\"|')$", "", _text(inside)))
            parts = source[outer.start_byte : inside.start_byte].rstrip(), source[inside.end_byte : outer.end_byte]
            code = b"".join(parts).decode("utf-8", "replace")
        else:
            doc = _comment_before(outer)
        if indent := whole.start_point[1]:  # the code without the indentation that it has in its file
            code = re.sub(rf"(?m)^[ \t]{{{indent}}}", "", code)
        yield Definition(kind, language, name, doc, code, path, outer.start_point[0] + 1)


@cache
def _table() -> dict[str, Any]:
    """The table, with the kind of each type of node."""
    known = table("code_pairs")
    return {**known, "kinds": {node: kind for kind, nodes in known["nodes"].items() for node in nodes.split()}}


def _named(node: Node, kind: str) -> tuple[str, str] | None:
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


def _docstring(node: Node) -> Node | None:
    first = node.child_by_field_name("body")
    while first and first.type in {"block", "expression_statement"}:
        first = first.named_children[0] if first.named_children else None
    return first if first and first.type == "string" else None


def _comment_before(node: Node) -> str:
    """The comments that end on the line above, with nothing between; attributes and decorators are passed over."""
    while node.prev_named_sibling and node.prev_named_sibling.type in _MARKS:
        node = node.prev_named_sibling
    found: list[str] = []
    line, before = node.start_point[0], node.prev_named_sibling
    while before and "comment" in before.type:
        end = before.end_point[0] - (before.end_point[1] == 0)
        code = before.prev_sibling
        behind = code and "comment" not in code.type and code.end_point[0] == before.start_point[0]
        if end < line - 1 or (behind and code and code.end_point[1]):
            break
        found.insert(0, _text(before))
        line, before = before.start_point[0], before.prev_named_sibling
    return _plain("\n".join(found))


def _plain(comment: str) -> str:
    text = re.sub(r"(?m)^\s*(?:/\*\*?|\*/|///?!?|\*|#+!?)\s?", "", comment)
    return re.sub(r"[ \t]+", " ", re.sub(r"\*/\s*$", "", text)).strip()


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


@cache
def pattern(name: str) -> re.Pattern[str]:
    return re.compile(table("pair_rules")[name])


def refusal(doc: str, code: str, name: str, kind: str) -> str:
    """Why a comment and its code are no pair; "" where they are one."""
    rules, first = table("pair_rules"), pattern("paragraph").split(doc, maxsplit=1)[0]
    words = re.findall(r"[A-Za-z][A-Za-z'-]+", first)
    told = {word.lower() for word in words} - _FILLER
    lines = sum(bool(line.strip()) for line in code.splitlines())
    named = (str(one["reason"]) for one in rules["in_comments"] if re.search(one["words"], doc[: one["within"]]))
    missing = (one for one in pattern("parameter").findall(doc) if not re.search(rf"\b{one}\b", code))
    reasons = {
        "comment too short": len(words) < (3 if kind == "error handler" else 5),
        "comment too long": len(doc.split()) > 500,
        "comment not in English letters": sum(not c.isascii() for c in doc) > 0.1 * len(doc),
        next(named, ""): True,
        "a link, no description": len(words) < 8 and "://" in first,
        "commented-out code": len(pattern("code_like").findall(doc)) > max(1, 0.4 * doc.count("\n")),
        "a parameter that is not there": next(missing, ""),
        "the name again": told <= {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)},
        "code under 3 lines": lines < 3,
        "code too long": lines > LONGEST_CODE[0] or len(code) > LONGEST_CODE[1],
        "a method that every class has": kind == "constructor" or re.fullmatch(rules["everywhere"], name),
        "getter or setter": kind == "function" and lines <= 3 and re.fullmatch(r"(?:get|set|is)(?:[A-Z_]\w*)", name),
        "a stub": lines <= 5 and pattern("stub").search(code),
    }
    return next((reason for reason, holds in reasons.items() if reason and holds), "")


@cache
def _parser(suffix: str) -> Parser:
    _, module, function = _table()["suffixes"][suffix]
    return Parser(Language(getattr(import_module(module), function)()))


def parse(suffix: str, source: bytes) -> Node:
    try:
        return _parser(suffix).parse(source).root_node
    except ModuleNotFoundError as error:
        hint = "pip install 'duel-curation[pairs]'"
        raise UserError("the grammars are not installed", value=error.name, hint=hint) from None


def parses(label: str, source: bytes) -> bool | None:
    """Whether code parses in the language of its label; None where the language or its grammar is not there."""
    suffix = _table()["labels"].get(label, label)
    try:
        return not parse(suffix, source).has_error if suffix in _table()["suffixes"] else None
    except UserError:
        return None
