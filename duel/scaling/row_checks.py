"""The rows of all sources: parsed, checked one by one and described; in several processes where they are many.

Each check raises ItemError with the reason that keeps its row out of the set, or counts what it only noticed.
"""

import ast
import hashlib
import re
import unicodedata
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import orjson
import yara_x

from duel import shell
from duel.audit import duplicates, licenses, secrets
from duel.audit.contamination import Benchmarks
from duel.conversation.model import AgentCall
from duel.errors import ItemError, require
from duel.exports.example import Dropped
from duel.exports.quality import scrubber
from duel.history import estimate_tokens
from duel.processes import spread
from duel.scaling import code_pairs, table
from duel.scaling.agent_tools import validators
from duel.scaling.likeness import HASHES, ROWS
from duel.scaling.scaled_rows import Kind, ScaledRow
from duel.settings import Settings

BATCH_BYTES = 2_000_000
ALONE = 30_000_000  # bytes of rows that one process reads; from there on it pays to start others
MOST_PROCESSES = 8
FACETS = ("source", "type", "license", "language", "tool", "complexity")
LONGEST = 2_000_000  # characters of a row; what is longer is a log, no example
FEWEST_WORDS = 5  # words that all replies of a row without a call must have together
LEAST_ENTROPY = 0.03
"""Share of its size to which a reply of 2,000 characters may shrink: loops do so below 0.02, code at 0.15 and more."""
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_ZERO_WIDTH = re.compile("[\u200b\u200c\u2060\ufeff\u00ad]")
_FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```\s*$", re.DOTALL | re.MULTILINE)
_SUFFIX = re.compile(r"[\w/-]\.(py|js|jsx|mjs|ts|tsx|go|rs|java|rb|php|c|cc|cpp|h|hpp|cs|swift|kt|scala|sh)\b")
_OF_SUFFIX = {"py": "python", "js": "javascript", "jsx": "javascript", "mjs": "javascript", "ts": "typescript"} | {
    "tsx": "typescript", "rs": "rust", "rb": "ruby", "cc": "cpp", "hpp": "cpp", "h": "c", "sh": "bash"
}  # fmt: skip
# YARA's patterns know no name that comes again.
_FORK_BOMB = re.compile(r"([\w:.]+)\s*\(\)\s*\{\s*\1\s*\|\s*\1\s*&\s*;?\s*\}")
_ROOTS = re.compile(
    r"(?:/|~|\$HOME|\$\{HOME\}|/(?:etc|usr|var|bin|lib|boot|home|root|opt|sys|dev)/?|/\*|~/\*?|\$HOME/\*?)"
)
_RECURSIVE = re.compile(r"-\w*[rR]\w*|--recursive")
# They print or search their words: nothing in them is run.
_DATA = frozenset("echo printf grep egrep fgrep rg ag cat sed awk".split())
_SHELL_KEYS = ("command", "cmd", "script", "keystrokes", "commands")
_COMPLEXITY = ((0, "no call"), (2, "1-2 calls"), (7, "3-7 calls"), (10**9, "8 calls and more"))


@dataclass(slots=True)
class RowFacts:
    """What later steps ask of a row that passed its checks."""

    id: str
    tokens: int
    facets: tuple[str, ...]
    origin: tuple[str, str]  # name and revision of its source
    keys: list[str]  # what ties it to other rows
    digest: bytes
    start: int = 0  # where its line begins in the spool's file


class ReadRow(NamedTuple):
    facts: RowFacts
    line: bytes
    words: duplicates.Hashed


RowBatch: TypeAlias = tuple[Kind, str, int, list[bytes]]  # source, file, number of the first line, lines


class ReadBatch(NamedTuple):
    """Rows of one file, or why they are none, the bands of each, and what was noticed and replaced in them."""

    kind: Kind
    file: str
    rows: list[ReadRow | Dropped]
    bands: duplicates.BandHashes
    noticed: Counter[str]
    scrubbed: Counter[str]


def read(
    files: Sequence[tuple[Kind, Path]], settings: Settings, benchmarks: Benchmarks, key: bytes, refused: frozenset[str]
) -> Iterator[ReadBatch]:
    """The rows of `files` in their order; `key` is the workspace's secret, a word of `refused` costs a row."""
    make = partial(RowChecks, settings, benchmarks, key, refused)
    return spread(_batch, _batches(files), MOST_PROCESSES if are_many(files) else 1, make)


def are_many(files: Sequence[tuple[Kind, Path]]) -> bool:
    return sum(path.stat().st_size for _, path in files) > ALONE


def _batches(files: Sequence[tuple[Kind, Path]]) -> Iterator[RowBatch]:
    for kind, path in files:
        number = 1
        with path.open("rb") as file:
            while (lines := file.readlines(BATCH_BYTES)) or number == 1:
                yield kind, path.name, number, lines
                number += len(lines) or 1


def _batch(checks: "RowChecks", batch: RowBatch) -> ReadBatch:
    kind, file, first, lines = batch
    found: list[ReadRow | Dropped] = []
    noticed, scrubbed = Counter[str](), Counter[str]()
    for number, line in enumerate(lines, first):
        name = f"{kind}/{file}:{number}"
        try:
            row = ScaledRow.parse(line)
            name = row.id
            require(row.source.kind == kind, "damaged", f"a row of {row.source.kind} among those of {kind}")
            row, calls = checks(row)
        except ItemError as error:
            found.append(Dropped(name, kind, error.reason, error.what))
            continue
        text, origin = row.text(), (row.source.name, row.source.revision)
        known = digest(text.encode("utf-8", "replace"))
        keys = [key for key in row.tied_by() if key != f"row {row.id}"]
        facts = RowFacts(row.id, estimate_tokens(text), facets(row, calls), origin, keys, known)
        found.append(ReadRow(facts, row.line(), duplicates.hashed_words(text)))
        noticed.update(checks.notes)
        scrubbed.update(checks.scrubbed)
    nothing = duplicates.hashed_words("")
    words = [nothing if isinstance(one, Dropped) else one.words for one in found]
    return ReadBatch(kind, file, found, duplicates.bands_of(words, HASHES, ROWS), noticed, scrubbed)


def digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).digest()


@dataclass
class RowChecks:
    """The checks of one set. `notes` counts what was noticed and kept of the last row, `scrubbed` what was replaced."""

    settings: Settings
    benchmarks: Benchmarks
    key: bytes
    refused_words: frozenset[str]
    notes: Counter[str] = field(default_factory=Counter)
    scrubbed: Counter[str] = field(default_factory=Counter)

    def __call__(self, row: ScaledRow) -> tuple[ScaledRow, list[AgentCall]]:
        """The row without secrets and personal data, and its calls. Raises ItemError where it must not enter."""
        self.notes, self.scrubbed = Counter(), Counter()
        calls, said = row.calls(), row.messages
        if why := licenses.refused(row.source.license, self.settings):
            raise ItemError("license", why)
        texts = [message.content for message in said if "def " in message.content]
        known = row.value("instance"), row.value("repository"), row.value("commit"), row.request()
        if why := self.benchmarks.reason(*known) or next(filter(None, map(self.benchmarks.of_functions, texts)), ""):
            raise ItemError("contaminated", why)
        _floor(row, calls)
        for message in said:
            self._text(message.role, message.content)
        self._calls(row, calls)
        # The code of the last reply alone: before it, a call that failed has its answer in the next message.
        for label, code in _FENCE.findall(said[-1].content if said[-1].role == "assistant" else ""):
            parses = parses_as(label.lower(), code)
            require(parses is not False, "code-does-not-parse", f"a block of {label} in the last reply")
            self.notes[f"block of code {'that parses' if parses else 'in a language without a check'}"] += 1
        if not secrets.scrub("\n".join(_leaves([message.model_dump() for message in said]))).counts:
            return row, calls  # one search of all texts: eleven of the short ones took three times as long
        scrubbing = scrubber(self.key)  # of this row alone
        [clean] = scrubbing.step([row.example()])
        self.scrubbed = scrubbing.counts
        return row.model_copy(update={"messages": list(clean.messages)}), calls

    def _text(self, role: str, text: str) -> None:
        """Text that reads otherwise than it runs is out; code is never rewritten, so the rest is counted only."""
        if self.refused_words and (said := self.refused_words.intersection(re.findall(r"\w+", text.casefold()))):
            raise ItemError("refused-word", ", ".join(sorted(said)))
        if not text.isascii():
            reads_as_it_runs = role != "assistant" or not _BIDI.search(text)
            require(reads_as_it_runs, "bidi-control", "characters that reverse what is read")
            self.notes["zero-width character"] += bool(_ZERO_WIDTH.search(text))
            self.notes["not in NFC"] += not unicodedata.is_normalized("NFC", text)

    def _calls(self, row: ScaledRow, calls: list[AgentCall]) -> None:
        """Calls that their tools' schemas do not take are out, and commands that nobody should learn."""
        known = validators(orjson.dumps(row.tools)) if row.tools else {}
        for call in calls if row.tools else ():
            if call.name not in known:
                self.notes["call of an undeclared tool"] += 1
            elif (validator := known[call.name]) is None:
                self.notes["schema that is none"] += 1
            elif error := next(validator.iter_errors(call.arguments), None):
                raise ItemError("schema", f"{call.name}: {error.message[:200]}")
        for command in commands_in(calls):
            if why := refused_command(command):
                raise ItemError("malicious-command", why)


def commands_in(calls: list[AgentCall]) -> Iterator[str]:
    for value in (call.arguments.get(key) for call in calls for key in _SHELL_KEYS):
        yield from (part for part in (value if isinstance(value, list) else [value]) if isinstance(part, str))


@cache
def _scanner() -> Any:
    return yara_x.Scanner(yara_x.compile(resources.files(__package__).joinpath("commands.yar").read_text("utf-8")))


def refused_command(command: str) -> str:
    """Why nobody should learn this command; "" where it is none of a known kind.

    Of 2,669 honest ones none is flagged (`bench/combine.py`). A rule of `commands.yar` counts only where a command that
    it needs was parsed, so that a quoted or searched text is no command.
    """
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


def parses_as(label: str, code: str) -> bool | None:
    """Whether a block parses as its label says; None where no parser for it is installed."""
    try:
        if label == "json":
            orjson.loads(code)
        elif label in {"python", "py", "python3"} and ">>>" not in code:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ast.parse(code)
        else:
            return code_pairs.parses(label, code.encode())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _leaves(part)


def _floor(row: ScaledRow, calls: list[AgentCall]) -> None:
    replies = [message.content for message in row.messages if message.role == "assistant"]
    asked = any(message.role == "user" and message.content.strip() for message in row.messages)
    size = sum(len(message.content) for message in row.messages)
    says = calls or len(" ".join(replies).split()) >= FEWEST_WORDS
    require(replies, "no-reply", "nobody answers in it")
    require(asked, "no-request", "nobody asks in it")
    require(size <= LONGEST, "too-long", f"over {LONGEST:,} characters")
    require(says, "too-short", f"fewer than {FEWEST_WORDS} words and no call")
    for text in replies:
        if len(text) >= 2_000 and len(zlib.compress(text.encode("utf-8", "replace"), 1)) < LEAST_ENTROPY * len(text):
            raise ItemError("repeats-itself", "one reply says the same again and again")
    said = [(call.name, orjson.dumps(call.arguments, option=orjson.OPT_SORT_KEYS), call.result) for call in calls]
    if said and (most := max(Counter(said).values())) >= 5 and 4 * most >= len(said):
        raise ItemError("repeats-itself", f"one call with one result is made {most} of {len(said)} times")


def facets(row: ScaledRow, calls: list[AgentCall]) -> tuple[str, ...]:
    """By what a set is counted and balanced, in the order of FACETS; the language is that of most files named."""
    language = str(row.made.get("language") or "")
    if not language:
        text = "\n".join(message.content[:20_000] for message in row.messages[:12])
        named = Counter(_OF_SUFFIX.get(suffix, suffix) for suffix in _SUFFIX.findall(text))
        language = max(named, key=lambda name: (named[name], name)) if named else "none"
    used = Counter(call.name for call in calls)
    return (
        row.source.kind,
        str(row.made.get("kind") or ("tool use" if calls else "talk")),
        row.source.license or "unknown",
        language,
        used.most_common(1)[0][0] if used else "none",
        next(name for most, name in _COMPLEXITY if len(calls) <= most),
    )
