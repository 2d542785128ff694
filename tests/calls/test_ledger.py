"""The ledger: durable before used, never emptied, quick to read."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duel.calls import Reply, Request
from duel.calls.ledger import _FIND, Ledger
from duel.errors import WorkspaceError


def request(number: int = 0, **more: object) -> Request:
    return Request("king", f"item_{number}", "m", [{"role": "user", "content": f"question {number}"}], 10, **more)  # type: ignore[arg-type]


def fill(path: Path, count: int, text: str = "reply") -> None:
    with Ledger(path) as ledger:
        asyncio.run(_put_all(ledger, count, text))


async def _put_all(ledger: Ledger, count: int, text: str) -> None:
    await asyncio.gather(
        *(ledger.put(request(i), Reply(f"{text} {i}", usage={"prompt_tokens": i})) for i in range(count))
    )


def test_a_reply_is_found_again_by_its_request_alone(tmp_path: Path) -> None:
    fill(tmp_path / "l.sqlite", 3)
    with Ledger(tmp_path / "l.sqlite") as ledger:
        found = ledger.find(request(1))
        assert (
            found is not None and found.text == "reply 1" and found.from_ledger and found.usage == {"prompt_tokens": 1}
        )
        assert ledger.find(request(7)) is None
        assert ledger.find(request(1).again(1)) is None
        assert ledger.find(request(1, occurrence=1)) is None


def test_a_look_up_goes_through_the_index(tmp_path: Path) -> None:
    """2,000 look-ups take 30 ms so; without the index each would read the whole ledger."""
    with Ledger(tmp_path / "l.sqlite") as ledger:
        plan = ledger._database.execute(f"EXPLAIN QUERY PLAN {_FIND}", (b"", 0, 0, 0)).fetchall()
    assert "USING INDEX replies_by_request" in str(plan)


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=200), st.text(max_size=50))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, text: str, reasoning: str) -> None:
    path = tmp_path_factory.mktemp("ledger") / "l.sqlite"
    with Ledger(path) as ledger:
        asyncio.run(ledger.put(request(), Reply(text, reasoning=reasoning)))
        found = ledger.find(request())
    assert found is not None and (found.text, found.reasoning) == (text, reasoning)


def test_a_lone_surrogate_does_not_break_it(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite") as ledger:
        asyncio.run(ledger.put(request(), Reply("a \ud83d b")))
        assert ledger.find(request())


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "not-sqlite", "a-page"])
def test_a_damaged_ledger_is_set_aside_and_its_readable_rows_carried_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    path = tmp_path / "ledger.sqlite"
    fill(path, 400, "x" * 500)
    whole = path.read_bytes()
    damaged = {
        "cut": whole[: len(whole) // 2 + 100],
        "garbage": whole[:20000] + bytes(range(256)) * 100 + whole[45600:],
        "empty": b"",
        "not-sqlite": b"these are not the bytes" * 100,
        "a-page": whole[:40960] + b"\0" * 4096 + whole[45056:],
    }[damage]
    path.write_bytes(damaged)
    with Ledger(path) as ledger:
        kept = ledger.query("SELECT COUNT(*) FROM replies")[0][0]
    said = capsys.readouterr().err
    assert "set aside" in said and f"{kept:,} replies were carried over" in said
    assert (tmp_path / "ledger.sqlite.damaged-1").read_bytes()[: len(damaged)] == damaged
    if damage in ("cut", "a-page"):
        assert 0 < kept < 400
    with Ledger(path):
        assert "set aside" not in capsys.readouterr().err


def test_a_ledger_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    fill(path, 1)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(WorkspaceError, match="newer version"), Ledger(path):
        pass


def test_a_full_disk_is_said_and_the_reply_is_not_used(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger._writing.execute("PRAGMA max_page_count = 20")
        with pytest.raises(WorkspaceError, match="the disk is full"):
            asyncio.run(ledger.put(request(), Reply("x" * 1_000_000)))
        with pytest.raises(WorkspaceError, match="the disk is full"):
            asyncio.run(ledger.put(request(), Reply("short")))
        assert ledger.find(request()) is None


def test_two_stages_may_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    with Ledger(path) as one, Ledger(path) as two:
        asyncio.run(one.put(request(1), Reply("one")))
        asyncio.run(two.put(request(2), Reply("two")))
        found = [ledger.find(request(i)) for ledger in (one, two) for i in (1, 2)]
    assert all(found)
