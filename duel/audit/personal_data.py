"""What is personal data and what only looks like it: addresses, phone numbers, names in home folders and prompts."""

import ipaddress
import re
from collections.abc import Callable

# Addresses that belong to nobody, and hosts whose user is a role.
_NOBODY = re.compile(
    r"(?:@|\.)(?:example|test|invalid|localhost|local)(?:\.\w+)?$|@users\.noreply\.|^(?:no-?reply|do-?not-?reply|git"
    r"|root|hg"
    r"|svn|admin|user|username|nobody|someone|name|your[._-]?(?:name|email)|you|me|foo|bar|test(?:er)?)@",
    re.IGNORECASE,
)
_TOP_LEVEL = frozenset(
    (
        "com org net edu gov mil int info biz name pro dev app tech cloud online site email xyz me io ai co tv eu us "
        "uk de fr nl be ch at it es pt se no fi dk pl cz sk hu ro bg gr ru ua by tr il ir in pk cn jp kr tw hk sg my "
        "th vn ph id au nz za ng ke eg br ar cl mx pe ca ie is lt lv ee si hr rs lu fm"
    ).split()
)
# Accounts that machines and manuals have.
_ROLES = frozenset(
    (
        "user username users ubuntu runner vagrant docker node jovyan app circleci travis jenkins root admin shared "
        "public default me you name yourname test vscode codespace gitpod coder dev developer builder build ec2-user "
        "linuxbrew all foo bar example someone runneradmin your_username your-username agent sandbox work staff wheel "
        "daemon nobody www-data mysql postgres nginx apache systemd bin sys adm mail git hg svn cloud oracle centos "
        "fedora debian pi kali hadoop spark airflow jupyter colab content workspace server web home python conda rust "
        "go steam guide guest system localhost administrator ftp ssh ansible deploy ci buildbot github gitlab azure "
        "vsts actions appuser nonroot seluser gradle maven flutter ruby php logs data appveyor circle"
    ).split()
)


def _is_personal(address: str) -> bool:
    return address.rsplit(".", 1)[-1].lower() in _TOP_LEVEL and not _NOBODY.search(address)


def _is_person(name: str) -> bool:
    """True for an account that is no machine's: `jane`, not `runner`, a number or a placeholder."""
    plain = name.rstrip(".").lower()
    return plain not in _ROLES and not plain.isdigit() and not plain.startswith(("<", "$", "your", "user", "test"))


def _is_public(address: str) -> bool:
    """True for an address that the internet routes (RFC 6890 lists those it does not), no version number."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    octets = address.split(".")
    if found.version == 4 and sum(len(octet) for octet in octets) < 7:
        return False  # `1.2.3.4` is a version
    return found.is_global and address not in _RESOLVERS


_RESOLVERS = frozenset("8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1 9.9.9.9 208.67.222.222 208.67.220.220 168.63.129.16".split())


def _is_phone(number: str) -> bool:
    """True for 8 to 15 digits (ITU-T E.164) that are no fiction (555-01xx) and no row of one digit."""
    digits = re.sub(r"\D", "", number)
    return 8 <= len(digits) <= 15 and len(set(digits)) > 3 and not re.search(r"55501\d\d$|1234567|0000000", digits)


# Numbers that payment providers publish for tests.
_TEST_CARDS = frozenset("4111111111111111 4242424242424242 5555555555554444 378282246310005 4012888888881881".split())


def _is_card(number: str) -> bool:
    """True for 13 to 19 digits with the check digit of ISO/IEC 7812 (Luhn), but for published test numbers."""
    digits = re.sub(r"\D", "", number)
    doubled = [int(d) * (1 + place % 2) for place, d in enumerate(reversed(digits))]
    return 13 <= len(digits) <= 19 and digits not in _TEST_CARDS and sum(n // 10 + n % 10 for n in doubled) % 10 == 0


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
