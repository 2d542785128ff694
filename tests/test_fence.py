"""Fences: nobody who lacks the workspace's secret can close a block, and the same item is always asked the same way."""

from __future__ import annotations

from duel.fence import fence, nonce

SECRET = b"s" * 32


def test_a_mark_depends_on_the_secret_and_on_the_item() -> None:
    marks = {nonce(SECRET, "a"), nonce(SECRET, "b"), nonce(b"t" * 32, "a"), nonce(b"", "a")}
    assert len(marks) == 4
    assert nonce(SECRET, "a") == nonce(SECRET, "a")


def test_a_mark_is_sixteen_hexadecimal_digits_of_hmac_sha256() -> None:
    assert nonce(SECRET, "a") == "d24f6f5deecfbbcc"
    assert len(nonce(b"", "\ud800")) == 16


def test_both_lines_carry_label_and_mark() -> None:
    assert fence("TURN", "text\nmore", "f0") == "=== TURN f0 ===\ntext\nmore\n=== END OF TURN f0 ==="
