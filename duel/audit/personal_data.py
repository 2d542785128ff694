"""Personal data in text: addresses of people and machines, phone numbers, and names in home folders and prompts."""

from __future__ import annotations

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


Rule = tuple[str, tuple[str, ...], str, Callable[[str], bool]]
RULES: tuple[Rule, ...] = (
    (
        "email",
        ("@", "%40"),
        r"(?<![\w.+%/:-])(?:(?<=mailto:))?[A-Za-z0-9][\w.+%-]{0,63}(?:@|%40)(?:[A-Za-z0-9-]{1,63}\.){1,5}[A-Za-z]{2,10}"
        r"(?![\w(:-]|\.[A-Za-z])",
        lambda address: _is_personal(address.replace("%40", "@")),
    ),
    (
        "email",
        ("mailto:", "email:", "mail:"),
        r"(?i)(?:mailto"
        r"|e?-?mail):(?P<value>[A-Za-z0-9][\w.+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,5}[A-Za-z]{2,10})(?![\w(-])",
        _is_personal,
    ),
    (
        "user",
        ("/home/", "/users/", "%2fhome%2f", "%2fusers%2f"),
        r"(?i:(?<![\w.])|(?<=/mnt/[a-z])|(?<=/var)|(?<=/usr)|(?<=/export)|(?<=/cygdrive/[a-z])|(?<=^/[a-z])"
        r"|(?<=\s/[a-z]))"
        r"(?:/(?:home|Users|users)/|%2F(?:home|Users)%2F)(?P<value>[A-Za-z0-9_][\w.-]{0,63})",
        _is_person,
    ),
    (
        "user",
        ("\\users\\", ":/users/", "\\home\\", "\\documents and settings\\"),
        r"(?i)(?:\b[a-z]:(?:\\{1,4}|/)(?:users|documents and settings)|wsl(?:\$"
        r"|\.localhost)\\{1,4}[\w.-]{1,40}\\{1,4}home)"
        r"(?:\\{1,4}|/)(?P<value>[a-z0-9_][\w.-]{0,63})",
        _is_person,
    ),
    (
        "user",
        ("-users-", "-home-"),
        r"(?<![\w.])-(?:Users|home)-(?P<value>[A-Za-z][A-Za-z0-9_.]{1,63})(?=-|/|\b)",
        _is_person,
    ),
    (
        "user",
        ("@",),
        r"^[ \t]*(?:\([\w.-]{1,40}\) )?\[?(?P<value>[a-z_][\w.-]{1,31})@(?!\d)[A-Za-z][\w.-]{0,63}"
        r"(?::[^\s$#%>]{0,200}|[ ][~/][^\s$#%>\]]{0,200}|[ ][\w~][\w./-]{0,60})?\]?[ ]?[$#%>❯](?= |$)",
        _is_person,
    ),
    (
        "user",
        ("ssh ", "scp ", "rsync ", "sftp ", "ssh://"),
        r"(?:\b(?:ssh|scp|rsync|sftp|ssh-copy-id)\b[^\n|;&]{0,100}?[ ]"
        r"|\bssh://)(?P<value>[a-z_][\w.-]{1,31})@(?=[\w.-]+)",
        _is_person,
    ),
    (
        "user",
        ("rw", "r-"),
        r"^[ \t]*[-bcdlps][-rwxsStT]{9}[.+@]? +\d+ +(?P<value>[A-Za-z_][\w.-]{1,31})(?= +\S+ +\d)",
        _is_person,
    ),
    (
        "ip-address",
        (".",),
        r"(?P<value>\d(?<![\w.=<>~^-].)(?<!version .)(?<!Version .)\d{0,2}(?:\.\d{1,3}){3})(?![\w.-]|/\d)",
        _is_public,
    ),
    (
        "ip-address",
        (":",),
        r"(?P<value>[23](?<![\w:.].)[0-9a-fA-F]{3}(?::[0-9a-fA-F]{0,4}){3,7})(?![\w:.])",
        _is_public,
    ),
    (
        "phone",
        ("+", "tel", "phone", "mobile", "call", "fax", "whatsapp", "cell"),
        r"(?P<value>\+(?<![\w+/.=-].)[1-9]\d{0,2}(?:[ .-]?\(?\d{1,4}\)?){2,5}(?<=\d))(?![\w.-]?\d|\w)",
        lambda number: _is_phone(number) and (len(number) > 11 or not number[1:].isdigit()),
    ),
    (
        "phone",
        ("tel", "phone", "mobile", "call", "fax", "whatsapp", "cell"),
        r"(?i)\b(?:tel|telephone|phone|mobile|cell|call(?: me)?(?: at)?|fax|whatsapp)(?: ?(?:no"
        r"|number)\.?)?['\"]?[ ]?[:=.]?[ ]?"
        r"['\"]?(?P<value>\(?0?\d{2,4}\)?(?:[ ./-]?\d{2,5}){2,4})(?![\w.-]?\d|\w)",
        _is_phone,
    ),
    (
        "phone",
        ("(", "-"),
        r"(?P<value>[(2-9](?<![\w(./-].)(?:(?<=\()[2-9]\d\d\) ?|(?<=\d)\d\d-)[2-9]\d\d-\d{4})(?![\w-])",
        _is_phone,
    ),
    (
        "card",
        ("card", "visa", "amex"),
        r"(?i)(?:card|visa|amex)\b[^\n\d]{0,30}"
        r"(?P<value>[3-6]\d{3}(?:[ -]?\d{2,6}){2,4})(?![\w.-]?\d|\w)",
        _is_card,
    ),
    (
        "iban",
        ("iban",),
        r"(?i:iban)\b[^\n]{0,20}?(?P<value>\b[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{2,4}){3,8})(?![A-Za-z0-9])",
        _is_account,
    ),
)
KINDS = frozenset(kind for kind, *_ in RULES)
"""Kinds that name a person or a machine of theirs; their placeholders are `<email:…>`, without `secret:`."""
