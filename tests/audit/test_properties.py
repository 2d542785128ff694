"""No reply, patch or history, however odd, raises; and what is said of it can be saved."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duel import shell
from duel.audit.duplicates import near_duplicates
from duel.audit.leaks import find_leaks
from duel.audit.protocol import check
from duel.audit.pull_facts import WORD
from duel.audit.rarity import Rarity
from duel.audit.secrets import scrub
from duel.records import Commit, Message
from tests.audit.test_leaks import COMMIT, HISTORY

RARITY = Rarity.from_commits([COMMIT])
PIECES = [
    *("```bash\n", "```\n", "\n```", "diff --git a/x b/x\n", "@@ -1,2 +3,4 @@ def f\n", "@@ -99999999999,1 +1 @@\n"),
    *("--- a/x\n", "+++ b/y\n", "+foo_bar = 'a b c'\n", "-x\n", "index 0..1\n", "line 118 of shop/basket.py", "\x00"),
    *(
        "\\",
        "'",
        '"',
        "$(",
        "<<EOF\n",
        "EOF\n",
        "#8642",
        "resolve_loyalty_discount",
        "sed -n '118,120p' ",
        "\u202e",
        "İ",
    ),
    *("the PR", "jane@acme.com", "/home/jane/", "-----BEGIN PRIVATE KEY-----", "://a:b@c", "٣٤", "²", "{}", "%s"),
]
ODD = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=12)), max_size=25).map("".join)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(reply=ODD, seen=ODD, patch=ODD, description=ODD)
def test_nothing_that_can_be_read_raises(reply: str, seen: str, patch: str, description: str) -> None:
    commit = Commit(instance_id="a__b-1", pull_number=8642, patch=patch, test_patch=patch, description=description)
    messages = [Message(role="system", content=seen), Message(role="assistant", content=reply)]
    for pull in (commit, COMMIT):
        find_leaks(reply, messages, pull, RARITY).model_dump_json()
    check(reply, messages).model_dump_json()
    near_duplicates([("a", reply), ("b", seen)], 0.85)
    Rarity.of(RARITY, reply)


@QUICK
@given(text=ODD)
def test_scrubbing_twice_is_scrubbing_once(text: str) -> None:
    once = scrub(text)
    assert scrub(once.text).text == once.text
    assert once.counts.total() == 0 or once.text != text


@QUICK
@given(command=ODD)
def test_every_command_has_a_style(command: str) -> None:
    assert shell.style(command) in shell.STYLES


@QUICK
@given(seen=st.sampled_from(sorted(set(WORD.findall(COMMIT.patch + COMMIT.test_patch)))))
def test_what_was_seen_is_never_a_leak(seen: str) -> None:
    history = [*HISTORY, Message(role="user", content=f"... {seen} ...")]
    assert not find_leaks(f"Now {seen}.", history, COMMIT, RARITY).leaks


@pytest.mark.parametrize(
    "odd",
    [
        "a" * 200_000,
        "a_b " * 50_000,
        "(" * 50_000,
        "```bash\n" + "$(" * 20_000 + "\n```",
        "```bash\necho '" + "x" * 100_000,
        "\x00" * 1000,
        "\ud800 lone \udfff surrogates ```bash\nls \ud800\n```",
        "@" * 100_000,
        "a@" * 50_000,
        "/home/" * 33_000,
        "password=" * 30_000,
        "-----BEGIN PRIVATE KEY-----" * 2_000,
        "line 1 " * 30_000,
        "1,1p" * 50_000,
    ],
    ids=lambda odd: repr(odd[:20]),
)
def test_monsters_are_read_in_their_stride(odd: str) -> None:
    history = [Message(role="user", content="x")]
    assert find_leaks(odd, history, COMMIT, RARITY).leak_score >= 0
    check(odd, history)
    scrub(odd)
    near_duplicates([("a", odd)], 0.9)
    patched = COMMIT.model_copy(update={"patch": f"@@ -1 +1 @@\n+{odd}", "description": odd})
    find_leaks("Let me look at line 1.", history, patched, RARITY)


@pytest.mark.parametrize(
    "command", ["{\U00031860", "${\U0010e693x}", "echo '√ñ' > naïve.txt && {\U000f7105+foo_bar = 'a b'"]
)
def test_characters_beyond_ascii_do_not_end_the_parser(command: str) -> None:
    assert shell.style(command) in shell.STYLES


def test_words_beyond_ascii_are_read_as_they_stand() -> None:
    (command,) = shell.parse("cat 'straße 😀.txt' größe > über.log").commands
    assert command.words == ("cat", "straße 😀.txt", "größe")
    assert command.writes == ("über.log",)
