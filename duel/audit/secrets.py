"""Secrets and personal data in text that leaves the workspace: found, replaced by stable placeholders, counted.

The rules follow the published formats of the issuers' keys. A placeholder names the kind and a short hash of the value
(`<secret:aws-key:3f2a9c>`, `<email:77b0e1>`), so that one value is the same placeholder everywhere. No rule matches a
placeholder, so scrubbing twice is scrubbing once; each pattern runs in linear time behind a search for a plain string.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple


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


_EDGE = r"(?<![A-Za-z0-9_])"
_TAIL = r"(?![A-Za-z0-9_])"
# Addresses that belong to nobody, and hosts whose user is a role.
_NOBODY = re.compile(
    r"(?:@|\.)(?:example|test|invalid|localhost|local)(?:\.\w+)?$|@users\.noreply\.|^(?:no-?reply|do-?not-?reply|git|root|hg"
    r"|svn|admin|user|username|nobody|someone|name|your[._-]?(?:name|email)|you|me|foo|bar|test(?:er)?)@",
    re.IGNORECASE,
)
_TOP_LEVEL = frozenset(
    [
        *["com", "org", "net", "edu", "gov", "mil", "int", "info", "biz", "name", "pro", "dev", "app", "tech", "cloud"],
        *[
            "online",
            "site",
            "email",
            "xyz",
            "me",
            "io",
            "ai",
            "co",
            "tv",
            "eu",
            "us",
            "uk",
            "de",
            "fr",
            "nl",
            "be",
            "ch",
        ],
        *[
            "at",
            "it",
            "es",
            "pt",
            "se",
            "no",
            "fi",
            "dk",
            "pl",
            "cz",
            "sk",
            "hu",
            "ro",
            "bg",
            "gr",
            "ru",
            "ua",
            "by",
            "tr",
        ],
        *[
            "il",
            "ir",
            "in",
            "pk",
            "cn",
            "jp",
            "kr",
            "tw",
            "hk",
            "sg",
            "my",
            "th",
            "vn",
            "ph",
            "id",
            "au",
            "nz",
            "za",
            "ng",
        ],
        *["ke", "eg", "br", "ar", "cl", "mx", "pe", "ca", "ie", "is", "lt", "lv", "ee", "si", "hr", "rs", "lu", "fm"],
    ]
)
# Accounts that machines and manuals have.
_ROLES = frozenset(
    [
        *["user", "username", "users", "ubuntu", "runner", "vagrant", "docker", "node", "jovyan", "app", "circleci"],
        *["travis", "jenkins", "root", "admin", "shared", "public", "default", "me", "you", "name", "yourname", "test"],
        *[
            "vscode",
            "codespace",
            "gitpod",
            "coder",
            "dev",
            "developer",
            "builder",
            "build",
            "ec2-user",
            "linuxbrew",
            "all",
        ],
        *[
            "foo",
            "bar",
            "example",
            "someone",
            "runneradmin",
            "your_username",
            "your-username",
            "agent",
            "sandbox",
            "work",
        ],
    ]
)
_DUMMY = re.compile(
    r"(?i)example|placeholder|change.?me|your|dummy|fake|sample|redacted|test|none|null|todo|password|passw|secret|foo|bar"
    r"|(.)\1{4}|1234|abcd|\*\*\*|\.\.\."
)


def _is_personal(address: str) -> bool:
    return address.rsplit(".", 1)[-1].lower() in _TOP_LEVEL and not _NOBODY.search(address)


def _is_random(value: str) -> bool:
    """True for what looks drawn by a machine: letters and digits mixed, and at least 3 bits a character."""
    if _DUMMY.search(value) or not (re.search(r"\d", value) and re.search(r"[A-Za-z]", value)):
        return False
    counts = Counter(value)
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values()) >= 3.0


def _is_credential(value: str) -> bool:
    return not _DUMMY.search(value) and value[:1] not in "$<{%"


def _token(kind: str, *prefixes: str, rest: str) -> _Rule:
    """A key that starts with one of `prefixes`."""
    return _Rule(
        kind, tuple(p.lower() for p in prefixes), f"{_EDGE}(?:{'|'.join(map(re.escape, prefixes))}){rest}{_TAIL}"
    )


_RULES: tuple[_Rule, ...] = (
    _Rule(
        "private-key",
        ("private key-----",),
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----[^-]{0,20000}(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----)?",
    ),
    _token("aws-key", "AKIA", "ASIA", "ABIA", "ACCA", rest="[A-Z0-9]{16}"),
    _token("github-token", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", rest="[A-Za-z0-9]{30,255}"),
    _token("github-token", "github_pat_", rest=r"\w{22,255}"),
    _token("gitlab-token", "glpat-", "gldt-", "glrt-", "glptt-", rest=r"[\w-]{20,64}"),
    _token("slack-token", "xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xapp-", rest=r"[\w-]{10,255}"),
    _Rule("slack-webhook", ("hooks.slack.com",), r"hooks\.slack\.com/(?:services|workflows)/[\w/-]{20,200}"),
    _token("google-key", "AIza", rest=r"[\w-]{35}"),
    _token("google-key", "GOCSPX-", "ya29.", rest=r"[\w-]{20,512}"),
    _token(
        "api-key",
        "sk-ant-",
        "sk-proj-",
        "sk-svcacct-",
        "sk-or-v1-",
        "sk-",
        rest=r"(?=[\w-]{0,255}\d)[A-Za-z0-9_-]{20,255}",
    ),
    _token("api-key", "cpk_", "gsk_", "xai-", "pplx-", "fw_", "r8_", "nvapi-", rest=r"[\w.-]{24,255}"),
    _token("huggingface-token", "hf_", "api_org_", rest="[A-Za-z0-9]{30,64}"),
    _token(
        "stripe-key", "sk_live_", "rk_live_", "pk_live_", "sk_test_", "rk_test_", "whsec_", rest="[A-Za-z0-9]{16,255}"
    ),
    _token("package-token", "npm_", rest="[A-Za-z0-9]{36}"),
    _token("package-token", "pypi-AgE", "rubygems_", "dckr_pat_", "cio", rest=r"[\w-]{30,255}"),
    _token("sendgrid-key", "SG.", rest=r"[\w-]{16,32}\.[\w-]{16,64}"),
    _token("cloud-token", "dop_v1_", "doo_v1_", "dapi", "shpat_", "shpss_", "shpca_", "shppa_", rest="[a-f0-9]{32,64}"),
    _token("cloud-token", "lin_api_", "PMAK-", "dp.pt.", "hvs.", "atlasv1.", "EAACEdEose0cBA", rest=r"[\w-]{24,255}"),
    _token("twilio-key", "SK", "AC", rest="[a-f0-9]{32}"),
    _Rule("telegram-token", (":aa",), r"(?<!\d)\d{8,10}:AA[\w-]{32,34}(?![\w-])"),
    _Rule("jwt", ("eyj",), _EDGE + r"eyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{10,2000}"),
    _Rule(
        "password",
        ("://",),
        r"[a-z][a-z0-9+.-]{1,20}://[^\s:/@'\"<>]{1,100}:(?P<value>[^\s:/@'\"<>]{3,200})@[\w.-]+",
        _is_credential,
    ),
    _Rule(
        "authorization",
        ("bearer ", "basic ", "token "),
        r"(?i)\bauthorization['\"]?\s?[:=]\s?['\"]?(?:bearer|basic|token) (?P<value>[\w.~+/=-]{16,2000})",
    ),
    _Rule(
        "secret",
        ("secret", "passw", "token", "api_key", "apikey", "api-key", "access_key", "accesskey", "credential"),
        r"(?i)(?:secret|passw(?:or)?d|token|api[_-]?key|access[_-]?key|credential)[\w-]{0,20}['\"]?"
        r"[ \t]{0,4}(?::|=>?|:=)[ \t]{0,4}(?:(?P<quote>['\"])(?P<value>[^\s'\"<>${}]{8,512})(?P=quote)"
        r"|(?P<bare>[A-Za-z0-9+/_~.=-]{16,512})(?![\w(\[]))",
        _is_random,
    ),
    _Rule(
        "email",
        ("@",),
        r"(?<![\w.+%/:-])[A-Za-z0-9][\w.+%-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,5}[A-Za-z]{2,10}(?![\w(:-]|\.[A-Za-z])",
        _is_personal,
    ),
    _Rule(
        "user",
        ("/home/", "/users/"),
        r"(?<![\w.])/(?:home|Users)/(?P<value>[A-Za-z0-9_][\w.-]{0,63})",
        lambda name: name.rstrip(".").lower() not in _ROLES,
    ),
    _Rule(
        "user",
        ("\\users\\",),
        r"(?i)\b[a-z]:\\{1,2}users\\{1,2}(?P<value>[a-z0-9_][\w.-]{0,63})",
        lambda name: name.rstrip(".").lower() not in _ROLES,
    ),
)
KINDS: Sequence[str] = tuple(dict.fromkeys(rule.kind for rule in _RULES))
"""Every kind that is counted."""
_PERSONAL = frozenset({"email", "user"})


def scrub(text: str) -> Scrubbed:
    """`text` with every secret and every personal name replaced, and how many there were of each kind."""
    counts: Counter[str] = Counter()
    folded = text.lower()
    for rule in _RULES:
        if any(needle in folded for needle in rule.needles):
            text = _replaced(rule, text, counts)
    return Scrubbed(text, counts)


def _replaced(rule: _Rule, text: str, counts: Counter[str]) -> str:
    pattern = _compiled(rule.pattern)

    def replace(match: re.Match[str]) -> str:
        group = next((name for name in ("value", "bare") if match.groupdict().get(name)), 0)
        value = match[group]
        if not rule.accepts(value):
            return match[0]
        counts[rule.kind] += 1
        start, end = match.span(group)
        return text[match.start() : start] + placeholder(rule.kind, value) + text[end : match.end()]

    return pattern.sub(replace, text)


def placeholder(kind: str, value: str) -> str:
    """What stands for `value`: its kind and 24 bits of a hash, the same wherever the value stands."""
    digest = hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=3, person=b"duel-scrub").hexdigest()
    return f"<{kind}:{digest}>" if kind in _PERSONAL else f"<secret:{kind}:{digest}>"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
