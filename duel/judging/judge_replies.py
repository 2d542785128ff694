"""Reading a judge: the last complete verdict of what it wrote after its reasoning, or the reason why there is none.

A verdict is a JSON object, fenced or not, with all dimensions that were asked, each 1 (first shown), 2 (second shown)
or 0 (draw). Judges spell these in their own ways; the tables below are the whole list of what is understood. What is
not in them is no verdict: a guess would be a vote that nobody cast. Judges also quote shell in their reasons, which
then are no JSON: where the choices stand side by side in one object, they are read all the same.
"""

import contextlib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from duel.calls.wire import clean
from duel.errors import ItemError
from duel.records import DIMENSIONS, Order
from duel.records.record import further

KEYS = {
    "correctness": ("correctness", "correct", "accuracy"),
    "grounding": ("grounding", "grounded", "groundedness", "faithfulness"),
    "progress": ("progress", "progression", "advancement"),
    "protocol": ("protocol", "protocoladherence", "protocolcompliance", "format"),
    "efficiency": ("efficiency", "efficient", "economy"),
}
VALUES = {
    1: ("1", "a", "first", "1st", "one", "reply1", "replya", "candidate1", "response1", "thefirst", "reply1wins"),
    2: ("2", "b", "second", "2nd", "two", "reply2", "replyb", "candidate2", "response2", "thesecond", "reply2wins"),
    0: ("0", "draw", "tie", "tied", "equal", "same", "both", "neither", "none", "zero"),
}
# Where a judge answers a dimension with an object, the key that holds the choice.
CHOICE_KEYS = ("winner", "verdict", "choice", "value", "score")

_DIMENSION_OF = {alias: name for name, aliases in KEYS.items() for alias in aliases}
_VALUE_OF = {alias: value for value, aliases in VALUES.items() for alias in aliases}
_NOISE = re.compile(r"[\W_]+")
_REASONING_END = re.compile(r"</(?:think|thinking|reasoning|thought)>|◁/think▷", re.IGNORECASE)
_REASONING_START = re.compile(r"\s*(?:<(?:think|thinking|reasoning|thought)>|◁think▷)", re.IGNORECASE)

MAX_REASON_CHARACTERS = 2000
# Where an object with a key may begin. One pass finds them all; a megabyte of bare braces has none.
_OBJECT_START = re.compile(r'\{(?=\s*+["\'“”][^"\\\n]{1,80}?["\'“”]\s*+:)')
# No verdict is longer, its reason included; a decoder that fails counts the lines before the place, so it is handed a
# slice: the same megabyte of broken objects took 119 s without and 0.2 s with it.
MAX_VERDICT_CHARACTERS = 32_768
# What reading one reply may cost, in characters looked at; and what an attempt costs at least.
WORK, WORK_PER_ATTEMPT = 4_000_000, 400
LOOK_BACK = 40  # objects before the last verdict that are looked at: around it, and for an earlier verdict

# A choice in an object that is no JSON: a known key, a colon, a short value, and what may follow it.
_MEMBER = re.compile(
    r"""["'“”]([A-Za-z _-]{4,30})["'“”]\s*+:\s*+"""
    r"""("[^"\\\n]{0,30}"|'[^'\\\n]{0,30}'|[\d.]{1,4}|null|true|false)(?=\s*+(?:[,}\n]|//|\Z))"""
)
_BETWEEN = re.compile(r"(?:[\s,]|//[^\n]*\n)*+")
_REASON_BEFORE = re.compile(r"""\{\s*+["'“”]\w{3,30}["'“”]\s*+:\s*+["'“”].*["'“”]\s*+,?\s*+\Z""", re.DOTALL)
_BARE_BEFORE = re.compile(r"\{\s*+\Z")
_REASON_AFTER = re.compile(r"""\s*+,?\s*+(?:\}|["'“”]\w{3,30}["'“”]\s*+:)""")
# Two verdicts that disagree: words between them that take the first one back, and words that only quote the second.
_REVISES = re.compile(
    r"(?i)reflect|reconsider|revis|second thought|final|correct(?:ed|ion)|actually|instead|updated?\b"
)
_QUOTES = re.compile(
    r"(?i)\bformat|\bexample|\btemplate|\bschema|repl(?:y|ies)\b|candidate|respons|wrote|writes|prints?\b|quot|says?\b|contain|inject"
)
_REPLY_NAME = re.compile(
    r"(?i)(?:reply|candidate|response|answer|model|first|second|option)?[\W_]*(?:[12ab]|one|two|first|second)\W*\Z"
)
_LABEL = re.compile(r"(?i)(?:reply|candidate|response|answer|option)[\W_]*(?:[12ab]|one|two)\W*\Z|\A[\s,;\[\]]*\Z")


class Unparsed(ItemError):
    """No verdict. `reason`: empty · no-json · no-verdict · bad-value · only-in-reasoning · too-tangled."""


class Choices(NamedTuple):
    """What a judge chose for each dimension: 1 the reply shown first, 2 the one shown second, 0 a draw."""

    choices: Mapping[str, int]
    reason: str = ""

    def for_challenger(self, order: Order) -> dict[str, float]:
        """Each dimension from the challenger's side: 1.0 won, 0.5 drawn, 0.0 lost."""
        challenger = 2 if order == "king_first" else 1
        return {name: 0.5 if c == 0 else float(c == challenger) for name, c in self.choices.items()}


_Asked = Mapping[str, str]  # the dimensions that were asked, by all their spellings


class _Found:
    """One object of a reply, from `start` to `end`; `whole` if it is JSON."""

    def __init__(self, start: int, end: int, members: Mapping[str, Any], asked: _Asked, whole: bool = True) -> None:
        self.start, self.end, self.members, self.whole = start, end, members, whole
        told = ((asked.get(_plain(key)), value) for key, value in members.items())
        # What it says of each dimension: (the value, the choice that it is or None).
        self.said = [(name, value, _choice(value)) for name, value in told if name]
        self.named = {name: choice for name, _, choice in self.said}  # its last word where it names one twice
        self.missing = [name for name in dict.fromkeys(asked.values()) if name not in self.named]


def _members(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a key that stands there twice with different values has the value `Ellipsis`."""
    made: dict[str, Any] = {}
    for key, value in pairs:
        made[key] = ... if key in made and made[key] != value else value
    return made


_DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_members)  # judges write raw newlines into their reasons


def parse(content: str, dimensions: Sequence[str] = DIMENSIONS) -> Choices:
    """The last verdict in `content` on all `dimensions`. Raises Unparsed. The work is linear in the text's length."""
    if content.lstrip().startswith('"'):  # a verdict that came as a JSON string, its quotes escaped
        with contextlib.suppress(ValueError, RecursionError):
            inner = json.loads(content)
            content = inner if isinstance(inner, str) else content
    if not content.strip():
        raise Unparsed("empty", "the judge wrote nothing")
    ends = [match.end() for match in _REASONING_END.finditer(content)]
    unclosed = not ends and _REASONING_START.match(content) is not None
    asked = _DIMENSION_OF | {name: name for name in further(dimensions)}
    problem, objects = Unparsed("no-json", "no JSON object"), _objects(content, asked)
    for found in objects:
        if not found.missing:
            if unclosed or any(found.end <= place for place in ends):
                raise Unparsed("only-in-reasoning", "the only verdict stands inside the reasoning")
            after = max((place for place in ends if place <= found.start), default=0)
            return _verdict(_meant(content, found, objects, after))
        if found.whole:
            problem = Unparsed("no-verdict", f"no verdict on {', '.join(found.missing)}")
    raise problem


def _objects(content: str, asked: _Asked) -> Iterator[_Found]:
    """The objects of a reply, the last one first. Raises Unparsed (`too-tangled`) where that would take too long."""
    work = WORK
    for start in [match.start() for match in _OBJECT_START.finditer(content)][::-1]:
        piece = content[start : start + MAX_VERDICT_CHARACTERS]
        found = None
        try:
            found, looked = _DECODER.raw_decode(piece)
        except json.JSONDecodeError as error:
            looked = error.pos
        except (RecursionError, ValueError):  # ValueError: an integer of more digits than Python converts
            looked = len(piece)
        # An object that is no JSON is looked through once more, to its end or the end of the slice.
        work -= WORK_PER_ATTEMPT + (looked if isinstance(found, dict) else looked + len(piece))
        if work < 0:
            raise Unparsed("too-tangled", "too many nested or broken objects")
        if isinstance(found, dict):
            yield _Found(start, start + looked, found, asked)
        elif (broken := _choices_side_by_side(piece, start, asked)) is not None:
            yield broken


def _meant(content: str, found: _Found, objects: Iterator[_Found], after: int) -> _Found:
    """The verdict that counts, given the last one: the one around it, or of two that disagree the one that is meant.

    Objects before `after` are reasoning. Raises Unparsed where nobody can say.
    """
    try:
        for other in islice(objects, LOOK_BACK + 1):
            if other.start < after:
                break
            if other.end >= found.end:  # around it
                names = (key for key, value in other.members.items() if isinstance(value, dict))
                if not other.missing:
                    found = other
                elif any(map(_REPLY_NAME.match, names)):
                    raise Unparsed("bad-value", "a verdict for each reply is no choice between them")
            elif not other.missing and other.end <= found.start:
                return _of_two(content, other, found)
    except Unparsed as error:
        if error.reason != "too-tangled":  # else what was read so far counts
            raise
    return found


def _choices_side_by_side(piece: str, start: int, asked: _Asked) -> _Found | None:
    """An object that is no JSON, whose choices stand together, before or behind a reason that nobody can mistake.

    Which of several runs of choices is meant nobody can say, unless the first stands where the object begins.
    """
    runs: list[list[re.Match[str]]] = []
    for match in (one for one in _MEMBER.finditer(piece) if _plain(one[1]) in asked):
        if not runs or not _BETWEEN.fullmatch(piece, runs[-1][-1].end(), match.start()):
            runs.append([])
        runs[-1].append(match)
    for run in (run for run in runs if len(run) >= len({*asked.values()})):
        before, end = piece[: run[0].start()], run[-1].end()
        bare = _BARE_BEFORE.match(before)
        behind = _REASON_AFTER.match(piece, _BETWEEN.match(piece, end).end())  # type: ignore[union-attr]
        if not (bare or _REASON_BEFORE.match(before)) or not behind:
            continue
        members = _members((match[1], _value(match[2])) for match in run)
        others = [match for other in runs if other is not run and not bare for match in other]
        if any(_choice(_value(other[2])) != _choice(members.get(other[1])) for other in others):
            members |= dict.fromkeys((other[1] for other in others), ...)
        reason = before.partition(":")[2] if ":" in before else piece[behind.end() :]
        members.setdefault("reason", reason.strip(" \n\"'“”,}"))
        return _Found(start, start + behind.end(), members, asked, whole=False)
    return None


def _value(text: str) -> Any:
    return text[1:-1] if text[0] in "\"'" else {"null": None, "true": True, "false": False}.get(text, text)


def _of_two(content: str, first: _Found, second: _Found) -> _Found:
    """The one of two verdicts that counts. Raises Unparsed where they stand side by side and disagree."""
    if first.named == second.named:
        return second
    between = content[first.end : second.start]
    if _LABEL.search(between):
        raise Unparsed("bad-value", "two verdicts side by side disagree")
    revises, quotes = _REVISES.search(between), _QUOTES.search(between)
    if revises and quotes:
        raise Unparsed("bad-value", "two verdicts disagree, and which one counts is not said")
    return first if quotes else second


def _verdict(found: _Found) -> Choices:
    """The choices of an object that names all dimensions. One that cannot be read spoils it: no older one takes over,
    because that could be a verdict which the judge only quotes.
    """
    choices: dict[str, int] = {}
    for name, value, choice in found.said:
        if choice is None or choices.get(name, choice) != choice:
            raise Unparsed("bad-value", f"{name} is not one of 1, 2 and 0: {clean(str(value)[:40])!r}")
        choices[name] = choice
    reasons = (value for key, value in found.members.items() if _plain(key) in {"reason", "reasoning", "rationale"})
    reason = next(reasons, "")
    return Choices(choices, clean(reason).strip()[:MAX_REASON_CHARACTERS] if isinstance(reason, str) else "")


def _choice(value: object) -> int | None:
    if isinstance(value, dict):
        value = next((value[key] for key in CHOICE_KEYS if key in value), None)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str):
        return _VALUE_OF.get(_plain(value.removesuffix(".0")))
    return int(value) if value in (0, 1, 2) else None


def _plain(text: str) -> str:
    return _NOISE.sub("", unicodedata.normalize("NFKC", text)).lower()
