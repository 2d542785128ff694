"""The ledger: durable before used, never emptied, quick to read."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duel.calls import Reply, Request
from duel.calls.ledger import _FIND, Ledger
from duel.calls.ledger_file import LedgerFile, cannot_use
from duel.errors import ItemError, WorkspaceError


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


def test_a_reply_that_was_handed_on_outlives_a_power_cut(tmp_path: Path) -> None:
    """FULL waits for the disk at every commit; NORMAL in a write-ahead log would lose the last ones."""
    full = 2
    with Ledger(tmp_path / "l.sqlite") as ledger:
        for connection in (ledger._database, ledger._writing):
            assert connection.execute("PRAGMA synchronous").fetchone() == (full,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_look_up_goes_through_the_index(tmp_path: Path) -> None:
    """2,000 look-ups take 30 ms so; without the index each would read the whole ledger."""
    with Ledger(tmp_path / "l.sqlite") as ledger:
        plan = ledger._database.execute(f"EXPLAIN QUERY PLAN {_FIND}", (b"", 0, 0, 0)).fetchall()
    assert "USING INDEX replies_by_request" in str(plan)


def test_any_text_survives(tmp_path: Path) -> None:
    numbers = itertools.count()

    @settings(max_examples=30, deadline=None)
    @given(st.text(max_size=200), st.text(max_size=50))
    def survives(text: str, reasoning: str) -> None:
        asked = request(next(numbers))
        asyncio.run(ledger.put(asked, Reply(text, reasoning=reasoning)))
        found = ledger.find(asked)
        assert found is not None and (found.text, found.reasoning) == (text, reasoning)

    with Ledger(tmp_path / "l.sqlite") as ledger:
        survives()


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


def test_a_salvage_that_is_cut_short_leaves_the_damaged_ledger_for_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.sqlite"
    fill(path, 400, "x" * 500)
    path.write_bytes(path.read_bytes()[:-60_000])

    def full(file: LedgerFile, damaged: Path) -> str:
        file.open().execute("CREATE TABLE half_done (a)")
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(LedgerFile, "_carry_over", full)
        with pytest.raises(WorkspaceError, match="the disk is full"), Ledger(path):
            pass
    assert path.exists() and not list(tmp_path.glob("*.damaged-*"))
    with Ledger(path) as ledger:
        assert 200 < ledger.query("SELECT COUNT(*) FROM replies")[0][0] < 400
        assert not ledger.query("SELECT 1 FROM sqlite_master WHERE name = 'half_done'")
    assert not [file for file in tmp_path.iterdir() if ".new" in file.name or ".copy" in file.name]


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


def damage(path: Path, old: bytes, new: bytes) -> None:
    """Change bytes of a closed ledger so that neither its size nor its time tells of it."""
    status = path.stat()
    data = path.read_bytes()
    assert old in data and len(old) == len(new)
    path.write_bytes(data.replace(old, new))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("new", [b"\0" * 7, b"xxxxx 1"])
def test_a_reply_that_was_changed_on_disk_is_no_reply_and_the_others_stand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], new: bytes
) -> None:
    path = tmp_path / "l.sqlite"
    fill(path, 3)
    damage(path, b"reply 1", new)
    with Ledger(path) as ledger:
        assert ledger.find(request(1)) is None
        assert ledger.find(request(0)) and ledger.find(request(2))
    assert "1 replies in the ledger are damaged" in capsys.readouterr().err


@pytest.mark.parametrize("cut", [1, 100, 5000])
def test_a_ledger_that_was_cut_is_never_the_end_of_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cut: int
) -> None:
    path = tmp_path / "l.sqlite"
    fill(path, 60, "x" * 500)
    path.write_bytes(path.read_bytes()[:-cut])
    with Ledger(path) as ledger:
        found = [ledger.find(request(number)) for number in range(60)]
        asyncio.run(ledger.put(request(99), Reply("new")))
        assert ledger.spent() == 0
    assert sum(reply is not None for reply in found) > 40
    with Ledger(path) as ledger:
        assert ledger.find(request(99))


def test_the_whole_file_is_checked_only_after_an_unclean_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "l.sqlite"
    checked: list[Path] = []

    def check(file: LedgerFile) -> str:
        checked.append(file.path)
        return ""

    monkeypatch.setattr(LedgerFile, "_check", check)
    fill(path, 3)
    fill(path, 3)
    assert not checked
    os.utime(path, ns=(1, 1))  # "now" may be the very tick of the last write
    fill(path, 3)
    assert len(checked) == 1


def test_a_disk_that_does_not_answer_sets_nothing_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "l.sqlite"
    fill(path, 3)
    os.utime(path, ns=(1, 1))  # "now" may be the very tick of the last write

    class Failing:
        def execute(self, *_: object) -> object:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error

        def close(self) -> None:
            pass

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *_, **__: Failing())
        with pytest.raises(WorkspaceError, match="disk I/O error"), Ledger(path):
            pass
    assert [file.name for file in tmp_path.iterdir() if "damaged" in file.name] == []
    with Ledger(path) as ledger:
        with monkeypatch.context() as patch:
            patch.setattr(ledger, "_database", Failing())
            with pytest.raises(ItemError) as raised:
                ledger.find(request(1))
            assert raised.value.reason == "ledger-unreadable"
        assert ledger.find(request(1))


def test_what_is_in_flight_on_a_full_disk_finds_the_room_that_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.keep_room(23)
        assert (tmp_path / "l.sqlite.room").stat().st_size >= 23 * 64 * 1024
        ledger._writing.execute("PRAGMA max_page_count = 20")
        give_back = ledger._room.give_back

        def grow() -> None:  # what the room gave up is there for the ledger
            give_back()
            ledger._writing.execute("PRAGMA max_page_count = 100000")

        monkeypatch.setattr(ledger._room, "give_back", grow)
        asyncio.run(_put_all(ledger, 23, "x" * 20_000))
        assert all(ledger.find(request(number)) for number in range(23))
        with pytest.raises(WorkspaceError, match="the disk is full"):
            ledger.keep_room(1)
    assert not (tmp_path / "l.sqlite.room").exists()


def test_a_ledger_of_the_first_version_is_read_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    fill(path, 2)
    with contextlib.closing(sqlite3.connect(path)) as old, old:
        old.execute("ALTER TABLE replies DROP COLUMN proof")
        for column in ("tokens_in", "tokens_out", "cost"):
            old.execute(f"ALTER TABLE faults DROP COLUMN {column}")
        old.execute("PRAGMA user_version = 1")
    fill(path, 3)
    with Ledger(path) as ledger:
        assert ledger.find(request(1))
        ledger.count_fault(request(1), "empty", {"prompt_tokens": 10, "completion_tokens": 5}, 0.25)
    with Ledger(path) as ledger:
        assert ledger.spent() == 0.25


def test_a_ledger_in_a_folder_that_nobody_may_write_in_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda folder, how: False)
    error = cannot_use(Path("/archive/.duel/ledger.sqlite"), sqlite3.OperationalError("unable to open"))
    assert "copy the workspace to where you may write" in str(error.hint)
