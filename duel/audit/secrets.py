"""Secrets and personal data in text that leaves the workspace: found, replaced by stable placeholders, counted.

A placeholder names the kind and a keyed hash of the value (`<secret:aws-key:3f2a9c81d0>`, `<email:77b0e1440c>`), so
that one value is the same placeholder everywhere in a workspace, and nobody without the workspace's secret can try
candidates against it. No rule matches a placeholder, so scrubbing twice is scrubbing once; each pattern runs in linear
time behind a search for a plain string.
"""

import hashlib
import hmac
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import starmap
from typing import NamedTuple

from duel.audit import personal_data
from duel.audit.audit_tables import rows
from duel.audit.secret_formats import formats


@dataclass(frozen=True)
class Scrubbed:
    """A text without secrets, and how many of each kind were in it."""

    text: str
    counts: Counter[str] = field(default_factory=Counter)


class _Rule(NamedTuple):
    """A kind of secret: strings of which one must be there (lower case), the pattern, whether a match is meant.

    The group `value` (or `bare`) is replaced, or the whole match where there is none.
    """

    kind: str
    needles: tuple[str, ...]
    pattern: str
    accepts: Callable[[str], bool] = lambda value: True
    dense: bool = False
    """It is one run of at least 20 characters, so that its needles are looked for in such runs alone."""


_DENSE = re.compile(r"[\w.+/=~$-]{20,}")
_EDGE = r"(?<![A-Za-z0-9_])"
_TAIL = r"(?![A-Za-z0-9_])"
_DUMMY = re.compile(
    r"(?i)example|placeholder|change.?me|your|dummy|fake|sample|redacted|test|none|null|todo|password|passw|secret"
    r"|foo|bar"
    r"|(.)\1{4}|1234|abcd|\*\*\*|\.\.\."
)
_DEFAULTS = frozenset("pass postgres admin root guest user mysql rabbitmq minio redis mongo app docker".split())
# What documentation puts where a key goes. Fewer words than _DUMMY: a drawn value may hold `1234` by chance.
_SHOWN = re.compile(r"(?i)example|placeholder|your|dummy|redacted|(.)\1{7}|0123456789|abcdefgh|deadbeef")


def _is_random(value: str) -> bool:
    """True for what looks drawn by a machine: letters and digits mixed, and at least 3 bits a character."""
    if _DUMMY.search(value) or not (re.search(r"\d", value) and re.search(r"[A-Za-z]", value)):
        return False
    counts = Counter(value)
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values()) >= 3.0


def _is_credential(value: str) -> bool:
    return not _DUMMY.search(value) and value[:1] not in "$<{%" and value.lower() not in _DEFAULTS


def _is_drawn(value: str) -> bool:
    """True for a value in an issuer's format that no manual shows and no programmer names so."""
    mixed = re.search(r"[a-z][A-Z].*[a-z][A-Z]", value)  # some issuers draw letters alone
    return not _SHOWN.search(value) and (re.search(r"[0-9]", value) or mixed) is not None


def _is_unshown(value: str) -> bool:
    return not _SHOWN.search(value[:200])


def _format(kind: str, prefixes: tuple[str, ...], rest: str) -> _Rule:
    needles = tuple(dict.fromkeys(prefix.lower() for prefix in prefixes))
    starts = "|".join(map(re.escape, sorted(prefixes, reverse=True)))
    return _Rule(kind, needles, rf"{_EDGE}(?<![\w]-)(?:{starts}){rest}{_TAIL}", _is_drawn, dense=True)


def _is_password(value: str) -> bool:
    return _is_credential(value) and re.search(r"[\d!@#%^*]", value) is not None


_TESTS = personal_data.TESTS | {
    "unshown": _is_unshown,
    "credential": _is_credential,
    "password": _is_password,
    "random": _is_random,
}


@cache
def _rules() -> tuple[_Rule, ...]:
    return (*_of_file("secret_shapes.txt"), *starmap(_format, formats()), *_of_file("secret_rules.txt"))


def _of_file(name: str) -> list[_Rule]:
    columns = rows(name)
    return [_Rule(kind, tuple(needles.split("|")), pattern, _TESTS[test]) for kind, needles, test, pattern in columns]


def kinds() -> Sequence[str]:
    """Every kind that is counted."""
    return list(dict.fromkeys(rule.kind for rule in _rules()))


def scrub(text: str, key: bytes = b"") -> Scrubbed:
    """`text` with every secret and every personal name replaced, and how many there were of each kind.

    `key` is the workspace's secret. Without one a placeholder tells only the kind, so that nothing can be guessed.
    """
    counts: Counter[str] = Counter()
    folded = text.lower()
    dense = " ".join(_DENSE.findall(folded))
    for rule in _rules():
        if any(map((dense if rule.dense else folded).__contains__, rule.needles)):  # C throughout: most of the time
            text = _replaced(rule, text, key, counts)
    return Scrubbed(text, counts)


def _replaced(rule: _Rule, text: str, key: bytes, counts: Counter[str]) -> str:
    pattern = _compiled(rule.pattern)

    def replace(match: re.Match[str]) -> str:
        group = next((name for name in ("value", "bare") if match.groupdict().get(name)), 0)
        value = match[group]
        if not rule.accepts(value):
            return match[0]
        counts[rule.kind] += 1
        start, end = match.span(group)
        return text[match.start() : start] + placeholder(rule.kind, value, key) + text[end : match.end()]

    return pattern.sub(replace, text)


def placeholder(kind: str, value: str, key: bytes = b"") -> str:
    """What stands for `value`: its kind and, with a key, 40 bits of HMAC-SHA256, the same wherever the value stands."""
    digest = hmac.new(key, value.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:10] if key else ""
    name = kind if kind in personal_data.KINDS else f"secret:{kind}"
    return f"<{name}:{digest}>" if digest else f"<{name}>"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.MULTILINE)
