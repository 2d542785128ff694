"""The leak score: every finding adds to it, noise does not, and lines that an honest fix may hold are capped."""

from __future__ import annotations

import re

import pytest

from duel.audit import leak_words, leaks
from duel.audit.leaks import find_leaks, sentence
from duel.audit.pull_facts import Fact, Facts
from duel.audit.rarity import Rarity
from duel.audit.turn_indexes import HistoryIndex, ReplyIndex, Search, Told
from duel.records import Commit, Leak
from duel.settings import Settings
from tests.audit.test_leaks import COMMIT, HISTORY

REPLY = ReplyIndex(f"{' ' * 1000}\n```bash\n{' ' * 1000}\n```")


def finding(start: int, weight: float, value: str = "twelve chars", kind: str = "path", code: bool = False) -> Leak:
    place = {"offset": start + 1010 * code, "line": 1}
    return Leak(kind=kind, value=value, place=place, rarity=1.0, weight=weight)


def distinct(found: list[Leak]) -> list[Leak]:
    return leaks.distinct(found, REPLY)


def test_what_is_lighter_than_noise_is_left_out() -> None:
    assert [one.weight for one in distinct([finding(0, 0.25), finding(50, 0.24)])] == [0.25]


def test_of_findings_that_overlap_the_longest_stays_if_it_leaks_alone_else_the_heaviest() -> None:
    whole, part = finding(0, 1.1, "shop/basket.py"), finding(5, 1.5, "basket.py")
    assert distinct([part, whole]) == [whole]
    light, heavy = finding(0, 0.5, "shop/basket.py"), finding(5, 0.9, "basket.py")
    assert distinct([light, heavy]) == [heavy]
    early, long = finding(0, 1.0, "shop"), finding(2, 1.0, "op/basket.py")
    assert distinct([long, early]) == [early]  # a weight of one does not leak alone
    for first, second in ((0.9, 0.9), (0.9, 0.8), (0.8, 0.9)):
        assert len(distinct([finding(0, first), finding(12, second)])) == 2  # one ends where the other begins


def test_lines_that_do_not_leak_alone_weigh_together_less_than_a_leak() -> None:
    lines = [finding(100 * n, 0.6, kind="line") for n in range(5)]
    assert sum(one.weight for one in distinct(lines)) == pytest.approx(leaks.WEAK_LINES_MOST)
    in_code = [finding(100 * n, 1.3, kind="line", code=True) for n in range(3)]
    assert sum(one.weight for one in distinct(in_code)) < 1.0
    stated = [finding(100 * n, 1.3, kind="line") for n in range(2)]
    assert sum(one.weight for one in distinct(stated)) == pytest.approx(2.6)


def test_every_kind_of_evidence_leaks_alone_and_none_survives_two_doubts() -> None:
    doubts = (leak_words.IN_REPOSITORY, leak_words.UNCHANGED, leak_words.IN_CODE, leak_words.MADE_HERE)
    assert doubts == (0.85, 0.6, 0.75, 0.6)
    strong = {"test": 1.6, "path": 1.5, "identifier": 1.5, "hash": 1.5, "literal": 1.4, "number": 1.2}
    others = "line, line number, pull, talk, blind edit, window, other history, claim".split(", ")
    assert dict.fromkeys(others, 1.3) | strong == leaks.BASE
    assert all(weight * leak_words.UNCHANGED < 1.0 < weight for weight in leaks.BASE.values())
    assert Settings().audit.leak_max == 1.0


def searched(reply: str, commits: list[Commit] | None = None) -> Search:
    rarity = Rarity.from_commits(commits or [COMMIT])
    return Search(ReplyIndex(reply), HistoryIndex(HISTORY, COMMIT.issue), Facts(COMMIT), rarity)


def test_a_finding_weighs_its_kind_its_rarity_and_the_doubts() -> None:
    fact = Fact("identifier", "resolve_loyalty_discount", "patch", "shop/basket.py", 9, True)
    reply = "We call it.\nresolve_loyalty_discount\n\n```bash\nresolve_loyalty_discount\n```"
    found = leaks.finding(searched(reply), Told(fact, fact.value, 12, 0.5, "resolve_loyalty_discount"))
    assert (found.kind, found.value, found.place["offset"]) == ("identifier", "resolve_loyalty_discount", 12)
    assert found.place["line"] == 2 and found.pr_place == {"part": "patch", "path": "shop/basket.py", "line": 9}
    assert (found.rarity, found.elsewhere, found.weight) == (1.0, 0, 0.75)
    twice = [COMMIT, COMMIT.model_copy(update={"instance_id": "x__y-1"})]
    common = leaks.finding(searched(reply, twice), Told(fact, fact.value, 12, 1.0, "resolve_loyalty_discount"))
    assert common.elsewhere == 1 and common.rarity < 1.0 and common.weight == pytest.approx(1.5 * common.rarity)
    without_key = leaks.finding(searched(reply, twice), Told(fact, fact.value, 12, 1.0))
    assert (without_key.rarity, without_key.elsewhere, without_key.weight) == (1.0, 0, 1.5)


def test_a_name_is_met_once_whatever_its_case() -> None:
    found = list(leak_words.first_of_each(re.compile(r"\w+"), "Basket basket cart BASKET"))
    assert [(match[0], key) for match, key in found] == [("Basket", "basket"), ("cart", "cart")]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("path", "the path `v` (line 1 of the reply) stands nowhere in the conversation"),
        ("test", "the test `v` (line 1 of the reply) stands nowhere in the conversation"),
        ("line", "the line `v` (line 1 of the reply) stands nowhere in the conversation"),
        ("hash", "the commit hash `v` (line 1 of the reply) stands nowhere in the conversation"),
        ("pull", "the pull request number `v` (line 1 of the reply) stands nowhere in the conversation"),
        ("talk", '"v" (line 1 of the reply) speaks of what the agent was never told of'),
        ("blind edit", "the command (line 1 of the reply) edits `v`, of which the conversation has shown nothing"),
        ("window", "the command (line 1 of the reply) opens just the changed lines of `v`, which nobody has opened"),
    ],
)
def test_the_writer_is_told_what_leaked_and_where(kind: str, said: str) -> None:
    assert sentence(finding(0, 1.5, "v", kind)) == said
    assert sentence(finding(0, 1.5, "v" * 121, "path")).startswith(f"the path `{'v' * 119}…`")
    assert sentence(finding(0, 1.5, "v" * 120, "path")).startswith(f"the path `{'v' * 120}`")


def test_the_audit_of_a_reply_holds_its_findings_and_the_fingerprint_of_its_text() -> None:
    reply = "We call resolve_loyalty_discount."
    found = find_leaks(reply, HISTORY, COMMIT, Rarity.from_commits([COMMIT]))
    assert found.about(reply) and not found.reworded
    [leak] = found.leaks
    assert (leak.kind, leak.value, leak.place["line"]) == ("identifier", "resolve_loyalty_discount", 1)
    assert (leak.weight, leak.rarity, leak.elsewhere) == (round(leak.weight, 3), 1.0, 0)


def test_weak_lines_are_capped_in_the_order_of_their_weight_and_what_is_left_is_noise() -> None:
    lines = [finding(0, 0.5, kind="line"), finding(100, 0.7, kind="line"), finding(200, 1.0, kind="line")]
    assert [(one.place["offset"], one.weight) for one in distinct(lines)] == [(200, 0.9)]
    two = distinct([finding(0, 0.5, kind="line"), finding(100, 0.3, kind="line"), finding(200, 0.5, kind="path")])
    assert [(one.place["offset"], round(one.weight, 9)) for one in two] == [(0, 0.5), (200, 0.5), (100, 0.3)]
    alone = distinct([finding(0, 1.1, kind="line"), finding(50, 1.0, kind="path"), finding(100, 1.0, kind="line")])
    assert [(one.place["offset"], one.weight) for one in alone] == [(0, 1.1), (50, 1.0), (100, 0.9)]


def test_the_score_is_the_sum_of_all_weights() -> None:
    told = "We need resolve_loyalty_discount in shop/basket.py, as test_discount_never_exceeds_sum says."
    found = find_leaks(told, HISTORY, COMMIT, Rarity.from_commits([COMMIT]))
    assert len(found.leaks) > 1
    assert found.leak_score == pytest.approx(sum(one.weight for one in found.leaks), abs=0.001)
    assert found.leak_score > max(one.weight for one in found.leaks)


def test_findings_come_the_heaviest_first_and_talk_of_the_diff_is_one_of_them() -> None:
    told = "As the diff shows, test_discount_never_exceeds_sum is at 9c1d5e7fa0."
    found = find_leaks(told, HISTORY, COMMIT, Rarity.from_commits([COMMIT]))
    assert [one.kind for one in found.leaks] == ["test", "hash", "talk"]
    assert found.leaks[2].pr_place == {"part": "record", "path": "", "line": 0}
    assert found.leaks[2].weight == 1.3 and found.leaking and found.leak_score == 4.4
    alone = find_leaks("As the diff shows, this is small.", HISTORY, COMMIT, Rarity.from_commits([COMMIT]))
    assert (alone.leak_score, alone.leaking) == (1.3, True)  # one fact is enough, unless `leak_max` says otherwise
    rarity = Rarity.from_commits([COMMIT])
    assert not find_leaks("As the diff shows, this is small.", HISTORY, COMMIT, rarity, leak_max=1.3).leaking
    twice = Rarity.from_commits([COMMIT, COMMIT.model_copy(update={"instance_id": "x__y-1"})])
    less_rare = find_leaks("We call resolve_loyalty_discount.", HISTORY, COMMIT, twice)
    assert less_rare.leak_score == less_rare.leaks[0].weight == round(less_rare.leak_score, 3)
    assert not find_leaks("I look around.", HISTORY, COMMIT, Rarity.from_commits([COMMIT])).leaking


def test_a_changed_pull_request_is_read_anew() -> None:
    rarity = Rarity.from_commits([COMMIT])
    told, changed = "We call resolve_loyalty_discount.", COMMIT.model_copy(update={"patch": "", "test_patch": ""})
    for commit, found in ((COMMIT, True), (changed, False), (COMMIT, True)):
        assert find_leaks(told, HISTORY, commit, rarity).leaking is found
