"""Reading a judge: the last complete verdict of what it wrote after its reasoning, or the reason why there is none.

A verdict is a JSON object, fenced or not, with all five dimensions, each 1 (first shown), 2 (second shown) or 0 (draw).
Judges spell these in their own ways; the tables below are the whole list of what is understood. What is not in them is
no verdict: a guess would be a vote that nobody cast.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from duel.errors import ItemError
from duel.records import DIMENSIONS, Order

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
_DECODER = json.JSONDecoder(strict=False)  # judges write raw newlines into their reasons

MAX_REASON_CHARACTERS = 2000
# Where an object with a key may begin. One pass finds them all; a megabyte of bare braces has none.
_OBJECT_START = re.compile(r'\{(?=\s*+"[^"\\]{1,80}"\s*+:)')
# No verdict is longer, its reason included; a decoder that fails counts the lines before the place, so it is handed a
# slice: the same megabyte of broken objects took 119 s without and 0.2 s with it.
MAX_VERDICT_CHARACTERS = 32_768
# What reading one reply may cost, in characters looked at; an attempt costs at least what its slice does.
WORK = 4_000_000
WORK_PER_ATTEMPT = 400


class Unparsed(ItemError):
    """No verdict. `reason`: empty · no-json · no-verdict · bad-value · only-in-reasoning · too-tangled."""


@dataclass(frozen=True)
class Verdict:
    """What a judge chose for each dimension: 1 the reply shown first, 2 the one shown second, 0 a draw."""

    choices: Mapping[str, int]
    reason: str = ""

    def for_challenger(self, order: Order) -> dict[str, float]:
        """Each dimension from the challenger's side: 1.0 won, 0.5 drawn, 0.0 lost."""
        challenger = 2 if order == "king_first" else 1
        return {name: 0.5 if c == 0 else float(c == challenger) for name, c in self.choices.items()}


def parse(content: str) -> Verdict:
    """The last complete verdict in `content`. Raises Unparsed. The work is linear in the length of `content`."""
    if not content.strip():
        raise Unparsed("empty", "the judge wrote nothing")
    ends = [match.end() for match in _REASONING_END.finditer(content)]
    unclosed = not ends and _REASONING_START.match(content) is not None
    work = WORK
    problem = Unparsed("no-json", "no JSON object")
    for start in [match.start() for match in _OBJECT_START.finditer(content)][::-1]:
        found, end = _decode(content, start)
        work -= WORK_PER_ATTEMPT + end - start
        if work < 0:
            raise Unparsed("too-tangled", "too many nested or broken objects")
        if found is None:
            continue
        missing = _missing(found)
        if missing:
            problem = Unparsed("no-verdict", f"no verdict on {', '.join(missing)}")
            continue
        if unclosed or any(end <= place for place in ends):
            raise Unparsed("only-in-reasoning", "the only verdict stands inside the reasoning")
        return _verdict(found)
    raise problem


def _decode(content: str, start: int) -> tuple[dict[str, Any] | None, int]:
    """The JSON object at `start` (None where there is none) and how far it was looked at."""
    piece = content[start : start + MAX_VERDICT_CHARACTERS]
    try:
        found, length = _DECODER.raw_decode(piece)
    except json.JSONDecodeError as error:
        return None, start + error.pos
    except (RecursionError, ValueError):  # ValueError: an integer of more digits than Python converts
        return None, start + len(piece)
    return (found if isinstance(found, dict) else None), start + length


def _missing(found: Mapping[str, Any]) -> list[str]:
    named = {_DIMENSION_OF.get(_plain(key)) for key in found}
    return [name for name in DIMENSIONS if name not in named]


def _verdict(found: Mapping[str, Any]) -> Verdict:
    """The choices of an object that names all dimensions. One that cannot be read spoils it: no older one takes over,
    because that could be a verdict which the judge only quotes.
    """
    choices: dict[str, int] = {}
    for key, value in found.items():
        name = _DIMENSION_OF.get(_plain(key))
        if name is None:
            continue
        choice = _choice(value)
        if choice is None or choices.get(name, choice) != choice:
            raise Unparsed("bad-value", f"{name} is not one of 1, 2 and 0: {str(value)[:40]!r}")
        choices[name] = choice
    reason = next((value for key, value in found.items() if _plain(key) in {"reason", "reasoning", "rationale"}), "")
    return Verdict(choices, str(reason).strip()[:MAX_REASON_CHARACTERS] if isinstance(reason, str) else "")


def _choice(value: object) -> int | None:
    if isinstance(value, dict):
        value = next((value[key] for key in CHOICE_KEYS if key in value), None)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str):
        return _VALUE_OF.get(_plain(value.removesuffix(".0")))
    return int(value) if value in (0, 1, 2) else None


def _plain(text: str) -> str:
    return _NOISE.sub("", text).lower()
