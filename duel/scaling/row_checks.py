"""What a row must be to enter the set: each check raises ItemError with its reason, or counts what it only noticed."""

import ast
import re
import unicodedata
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from duel.audit.contamination import Benchmarks
from duel.audit.licenses import refused
from duel.audit.secrets import scrub
from duel.conversation.model import AgentCall
from duel.errors import ItemError
from duel.exports.quality import Scrubber
from duel.scaling import refused_commands
from duel.scaling.agent_tools import validators
from duel.scaling.scaled_rows import ScaledRow
from duel.settings import Settings

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
_COMPLEXITY = ((0, "no call"), (2, "1-2 calls"), (7, "3-7 calls"), (10**9, "8 calls and more"))


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
        calls = row.calls()
        self._rights(row)
        _floor(row, calls)
        for message in row.messages:
            self._text(message.role, message.content)
        self._calls(row, calls)
        # The code of the last reply alone: before it, a call that failed has its answer in the next message.
        for label, code in _FENCE.findall(row.messages[-1].content if row.messages[-1].role == "assistant" else ""):
            parses = parses_as(label.lower(), code)
            if parses is False:
                raise ItemError("code-does-not-parse", f"a block of {label} in the last reply")
            self.notes[f"block of code {'that parses' if parses else 'in a language without a check'}"] += 1
        if not scrub("\n".join(_leaves([message.model_dump() for message in row.messages]))).counts:
            return row, calls  # one search of all texts: eleven of the short ones took three times as long
        scrubber = Scrubber(self.key)  # of this row alone: it keeps every text that it has seen
        [clean] = scrubber.step([row.example()])
        self.scrubbed = scrubber.counts
        return row.model_copy(update={"messages": list(clean.messages)}), calls

    def _rights(self, row: ScaledRow) -> None:
        if why := refused(row.source.license, self.settings):
            raise ItemError("license", why)
        task = next((message.content for message in row.messages if message.role == "user"), "")
        why = self.benchmarks.reason(row.value("instance"), row.value("repository"), row.value("commit"), task)
        for message in row.messages:
            if not why and "def " in message.content:
                why = self.benchmarks.of_functions(message.content)
        if why:
            raise ItemError("contaminated", why)

    def _text(self, role: str, text: str) -> None:
        """Text that reads otherwise than it runs is out; code is never rewritten, so the rest is counted only."""
        if self.refused_words and (said := self.refused_words.intersection(re.findall(r"\w+", text.casefold()))):
            raise ItemError("refused-word", ", ".join(sorted(said)))
        if not text.isascii():
            if role == "assistant" and _BIDI.search(text):
                raise ItemError("bidi-control", "characters that reverse what is read")
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
        for command in refused_commands.commands_in(calls):
            if why := refused_commands.reason(command):
                raise ItemError("malicious-command", why)


def parses_as(label: str, code: str) -> bool | None:
    """Whether a block parses as its label says; None where no parser for it is installed."""
    if label in {"python", "py", "python3"} and ">>>" not in code:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return bool(ast.parse(code))
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                return False
    if label == "json":
        try:
            orjson.loads(code)
        except orjson.JSONDecodeError:
            return False
        return True
    from duel.scaling import code_pairs

    return code_pairs.parses(label, code.encode())


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _leaves(part)


def _floor(row: ScaledRow, calls: list[AgentCall]) -> None:
    replies = [message.content for message in row.messages if message.role == "assistant"]
    if not replies:
        raise ItemError("no-reply", "nobody answers in it")
    if not any(message.role == "user" and message.content.strip() for message in row.messages):
        raise ItemError("no-request", "nobody asks in it")
    if sum(len(message.content) for message in row.messages) > LONGEST:
        raise ItemError("too-long", f"over {LONGEST:,} characters")
    if not calls and len(" ".join(replies).split()) < FEWEST_WORDS:
        raise ItemError("too-short", f"fewer than {FEWEST_WORDS} words and no call")
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
