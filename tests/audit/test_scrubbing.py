"""What scrubbing takes for a secret or for personal data, at the very edge of each rule, and what it puts there."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import Counter

import pytest

from duel.audit import secrets
from duel.audit.secrets import TESTS, Scrubbed, formats, placeholder, rows, scrub

KEY = b"k" * 32


def test_a_placeholder_names_the_kind_and_forty_bits_of_a_keyed_hash() -> None:
    digest = hmac.new(KEY, b"jane@acme.com", hashlib.sha256).hexdigest()[:10]
    assert placeholder("email", "jane@acme.com", KEY) == f"<email:{digest}>"
    assert re.fullmatch(r"<secret:password:[0-9a-f]{10}>", placeholder("password", "x", KEY))
    assert (placeholder("email", "x"), placeholder("password", "x")) == ("<email>", "<secret:password>")
    assert placeholder("password", "\ud800", KEY) != placeholder("password", "\ud801", KEY)
    for kind in ("email", "user", "ip-address", "phone", "card", "iban"):
        assert placeholder(kind, "x") == f"<{kind}>"


def test_only_the_value_goes_and_what_stands_around_it_stays() -> None:
    found = scrub("postgres://app:s3cr8tZq9@db/shop and mailto:jane7@acme-works.com.", KEY)
    password, email = (
        placeholder(*told, KEY) for told in (("password", "s3cr8tZq9"), ("email", "jane7@acme-works.com"))
    )
    assert found.text == f"postgres://app:{password}@db/shop and mailto:{email}."
    assert found.counts == {"password": 1, "email": 1}
    assert scrub("nothing here", KEY) == Scrubbed("nothing here", Counter())


def test_one_value_is_one_placeholder_wherever_it_stands_and_each_is_counted() -> None:
    token = f"ghp_{'a1B2c3D4' * 4}wxYz"
    found = scrub(f"{token}\n{token}", KEY)
    assert found.text == "\n".join([placeholder("github-token", token, KEY)] * 2)
    assert found.counts == {"github-token": 2}
    assert scrub(token).text == "<secret:github-token>"


@pytest.mark.parametrize("around", ["_{}", "A{}", "9{}", "{}_", "x-{}"])
def test_a_token_inside_a_longer_word_is_none(around: str) -> None:
    token = f"ghp_{'a1B2c3D4' * 4}wxYz"
    text = around.format(token)
    assert scrub(text, KEY).text == text
    assert scrub(f"({token})", KEY).counts == {"github-token": 1}


@pytest.mark.parametrize(
    ("value", "random"),
    [
        ("k3y9Qz7Lw2Xr", True),
        ("k3y9Qz7Lw2Xrexample", False),
        ("abcdefghijkl", False),  # no digit
        ("384729105836", False),  # no letter
        ("a1a1a1a1a1a1", False),  # one bit a character
        ("a1b2c3d4", True),  # eight characters, three bits each
        ("a1b2c3da", False),
    ],
)
def test_what_looks_drawn_by_a_machine_is_random(value: str, random: bool) -> None:
    assert secrets._is_random(value) is random


@pytest.mark.parametrize(
    ("value", "credential", "password"),
    [
        ("wheelwright", True, False),
        ("wheelwr4ght", True, True),
        ("wheel!wright", True, True),
        ("changeme", False, False),
        ("my-password9", False, False),
        ("Postgres", False, False),
        ("$DB_PW99", False, False),
        ("<the-pw9>", False, False),
        ("{{ pw9 }}", False, False),
        ("%s9", False, False),
    ],
)
def test_a_credential_is_no_dummy_no_default_and_no_variable(value: str, credential: bool, password: bool) -> None:
    assert secrets._is_credential(value) is credential
    assert TESTS["password"](value) is password


@pytest.mark.parametrize(
    ("value", "drawn"),
    [
        ("ghq7", True),
        ("aBcQxYz", True),  # some issuers draw letters alone
        ("onlyOnehump", False),
        ("lower_case_words", False),
        ("x7exampleKEY", False),
        ("x7aaaaaaaa", False),
        ("x7aaaaaaa", True),
    ],
)
def test_a_value_in_an_issuers_format_is_drawn_unless_manuals_show_it(value: str, drawn: bool) -> None:
    assert secrets._is_drawn(value) is drawn


def test_a_manuals_word_counts_where_a_long_value_begins() -> None:
    unshown = TESTS["unshown"]
    assert not unshown("x" * 3 + "dummy")
    assert unshown("7q" * 100 + "dummy") and not unshown("7q" * 97 + "dummy7")


def test_rules_come_from_their_files_and_comments_are_none() -> None:
    kinds = [rule.kind for rule in secrets._rules()]
    assert kinds[0] == rows("secret_shapes.txt")[0][0] == "private-key"
    assert {"email", "github-token", "jwt"} <= set(kinds)
    for name in ("secret_shapes.txt", "secret_rules.txt", "secret_formats.txt"):
        assert rows(name) and not any(row[0].startswith("#") for row in rows(name))
    assert {len(row) for row in rows("secret_shapes.txt") + rows("secret_rules.txt")} == {4}
    kind, starts, rest = next(row for row in formats() if row[0] == "github-token")
    assert (kind, "ghp_" in starts, re.fullmatch(rest, "a1B2" * 9) is not None) == ("github-token", True, True)


@pytest.mark.parametrize(
    ("test", "value", "held"),
    [
        ("personal address", "jane@acme.COM", True),
        ("personal address", "jane@acme.notatld", False),
        ("personal address", "noreply@acme.com", False),
        ("personal address", "your.name@acme.com", False),
        ("personal address", "12@users.noreply.github.com", False),
        ("personal address", "jane@shop.example.com", False),
        ("escaped address", "jane%40acme.com", True),
        ("escaped address", "git%40acme.com", False),
        ("person", "jane", True),
        ("person", "Runner.", False),
        ("person", "1234", False),
        ("person", "yourself", False),
        ("person", "user7", False),
        ("person", "$USER", False),
        ("person", "<name>", False),
        ("person", "tester", False),
        ("public address", "93.184.216.34", True),
        ("public address", "10.11.12.13", False),
        ("public address", "8.8.4.4", False),
        ("public address", "208.67.222.222", False),
        ("public address", "14.2.3.42", False),  # six digits: a version
        ("public address", "14.2.33.42", True),
        ("public address", "314.15.92.65", False),
        ("public address", "2606:2800:220:1::1", True),
        ("public address", "2001:db8::17", False),
        ("phone", "415 867 5309", True),
        ("phone", "8675309", False),
        ("phone", "86753092", True),
        ("phone", "867530924681357", True),
        ("phone", "8675309246813579", False),
        ("phone", "1112 2233", False),  # three digits alone
        ("phone", "1112 2234", True),
        ("phone", "415 555 0123", False),
        ("phone", "81234567", False),
        ("phone", "123 0000000", False),
        ("long phone", "+49 170 2345", True),
        ("long phone", "+4917023456", False),  # eleven characters and no space: a number
        ("long phone", "+49170234568", True),
        ("card", "4539 1488 0343 6467", True),
        ("card", "4539 1488 0343 6468", False),
        ("card", "4111 1111 1111 1111", False),
        ("card", "4222222222222", True),
        ("card", "422222222226", False),
        ("card", "6304000000000000000", True),
        ("card", "63040000000000000000", False),
        ("account", "DE89 3704 0044 0532 0130 00", True),
        ("account", "DE88 3704 0044 0532 0130 00", False),
        ("account", "NO9386011117947", True),
        ("account", "MT501234567890", False),
        ("account", "MT2212345678901", True),
        ("account", "MT58123456789012345678901234567890", True),
        ("account", "MT051234567890123456789012345678901", False),
        ("account", "GB82WEST12345698765432", True),
    ],
)
def test_what_names_a_person_holds_its_own_check(test: str, value: str, held: bool) -> None:
    assert TESTS[test](value) is held
