"""Where a turn goes: the thresholds are inclusive, what the audit finds keeps a turn out, one near-duplicate stays."""

from __future__ import annotations

import pytest

from duel.placement import Placement, Representatives, obstacle, place
from duel.records import Audit, BrokenRule, Leak, ProtocolCheck
from duel.sections import AuditSection
from duel.settings import Settings

STRICT, LAX = Settings(), Settings(audit=AuditSection(enforce=False))
BROKEN = ProtocolCheck(ok=False, problems=[BrokenRule(rule="cd"), BrokenRule(rule="cd"), BrokenRule(rule="comment")])
LEAKS = [Leak(kind="path", value=f"src/secret_{n}.py" + "x" * 80) for n in range(5)]


@pytest.mark.parametrize(
    ("score", "bucket"),
    [
        (100.0, "final"),
        (80.0, "final"),
        (79.9, "refined"),
        (66.0, "refined"),
        (65.9, "defeat"),
        (0.0, "defeat"),
        (None, None),
    ],
)
def test_the_score_decides_and_each_threshold_belongs_to_the_better_bucket(score: float | None, bucket: str) -> None:
    assert place(score, None, STRICT).bucket == bucket
    assert place(score, Audit(), STRICT).bucket == bucket
    assert place(score, None, STRICT).slug == ("unparsed" if score is None else "")


@pytest.mark.parametrize(
    ("audit", "slug", "whatever_is_enforced"),
    [
        (Audit(contaminated="instance of lite"), "contaminated", True),
        (Audit(license_refused="license GPL-2.0 is refused"), "license", True),
        (Audit(leaking=True, leaks=LEAKS), "leak", False),
        (Audit(attempts=["verdict"]), "attempt", False),
        (Audit(protocol=BROKEN), "protocol", False),
    ],
)
def test_what_the_audit_finds_keeps_a_turn_out_whatever_its_score(
    audit: Audit, slug: str, whatever_is_enforced: bool
) -> None:
    found = place(100.0, audit, STRICT)
    assert (found.bucket, found.slug) == (None, slug)
    lax = place(100.0, audit, LAX)
    assert (lax.bucket, lax.slug) == ((None, slug) if whatever_is_enforced else ("final", ""))


def test_the_reason_names_what_was_found_and_stays_short() -> None:
    leaking = obstacle(Audit(leaking=True, leaks=LEAKS), STRICT)
    assert leaking is not None
    assert "src/secret_0.py" in leaking.reason and "src/secret_2.py" in leaking.reason
    assert "src/secret_3.py" not in leaking.reason
    assert len(leaking.reason) < 260
    broken = obstacle(Audit(protocol=BROKEN), STRICT)
    assert broken is not None and broken.reason.count("cd") == 1 and "comment" in broken.reason


@pytest.mark.parametrize(
    ("audit", "reason"),
    [
        (Audit(contaminated="instance of lite"), "contaminated: instance of lite"),
        (Audit(license_refused="GPL-2.0"), "license: GPL-2.0"),
        (
            Audit(leaking=True, leaks=[Leak(kind="path", value="x" * 61), Leak(kind="path", value="b.py")]),
            f"the challenger leaks the pull request: {'x' * 60}, b.py",
        ),
        (Audit(attempts=["verdict", "role-line"]), "the challenger tries to sway the judges: verdict, role-line"),
        (Audit(minded={"spelling": "two typos"}), "spelling: two typos"),
        (Audit(protocol=BROKEN), "the challenger breaks the protocol: cd, comment"),
    ],
)
def test_the_reason_is_a_sentence_of_its_own_for_each_kind(audit: Audit, reason: str) -> None:
    found = obstacle(audit, STRICT)
    assert found is not None and (found.bucket, found.reason) == (None, reason)


def test_what_a_check_of_another_package_minds_goes_by_its_name() -> None:
    found = place(100.0, Audit(minded={"spelling": "two typos"}), STRICT)
    assert (found.bucket, found.slug) == (None, "spelling")
    assert place(100.0, Audit(minded={"spelling": "two typos"}), LAX).bucket == "final"


def test_a_turn_that_was_not_audited_or_is_clean_has_no_obstacle() -> None:
    assert obstacle(None, STRICT) is None
    assert obstacle(Audit(protocol=ProtocolCheck(ok=True), leaks=LEAKS[:1], leak_score=0.5), STRICT) is None


def test_a_second_look_can_only_take_a_turn_out_of_final() -> None:
    assert place(90.0, None, STRICT, confirmed=80.0).bucket == "final"
    assert place(90.0, None, STRICT, confirmed=79.0) == Placement("refined", "not confirmed: a second look gave 79.0")
    assert place(50.0, None, STRICT, confirmed=0.0).bucket == "defeat"
    assert place(90.0, Audit(contaminated="x"), STRICT, confirmed=100.0).bucket is None


def test_of_near_duplicates_the_first_stays_in_final() -> None:
    finals, final, refined = Representatives(), Placement("final", ""), Placement("refined", "")
    assert finals.place("two", final, "one") is final  # the best of its group, whichever stands for the group
    dropped = finals.place("one", final, "")
    assert (dropped.bucket, dropped.slug) == (None, "near-duplicate")
    assert "two" in dropped.reason
    assert finals.place("one", refined, "one") is refined
    assert finals.place("other", final, "") is final
    assert finals.place("two", final, "one") is final
    alone = Representatives()
    assert [alone.place(stem, final, "").bucket for stem in "abc"] == ["final"] * 3
