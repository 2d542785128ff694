"""What is personal data and what only looks like it: addresses, phone numbers, names in home folders and prompts."""

import ipaddress
import re
from collections.abc import Callable
from functools import cache

from duel import wordlists

# Addresses that belong to nobody, and hosts whose user is a role.
_NOBODY = re.compile(
    r"(?:@|\.)(?:example|test|invalid|localhost|local)(?:\.\w+)?$|@users\.noreply\."
    r"|^(?:no-?reply|do-?not-?reply|git|root|hg|svn|admin|user|username|nobody|someone|name|your[._-]?(?:name|email)"
    r"|you|me|foo|bar|test(?:er)?)@",
    re.IGNORECASE,
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
    known = plain in _words("accounts") or plain.isdigit()
    return not known and not plain.startswith(("<", "$", "your", "user", "test"))


def _is_public(address: str) -> bool:
    """True for an address that the internet routes (RFC 6890 lists those it does not), no version number."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    octets = address.split(".")
    if found.version == 4 and sum(len(octet) for octet in octets) < 7:
        return False  # `1.2.3.4` is a version
    return found.is_global and address not in _words("resolvers")


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


KINDS = frozenset({"email", "user", "ip-address", "phone", "card", "iban"})
"""Kinds that name a person or a machine of theirs; their placeholders are `<email:…>`, without `secret:`."""
TESTS: dict[str, Callable[[str], bool]] = {
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
