"""Driving many jobs: every item is done or named with its reason, and no reply is paid for twice."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import weakref
from collections.abc import Iterator

import pytest

from duel.calls import Ask, Reply, Request, ledger_file, runner
from duel.calls.ledger import Ledger
from duel.errors import EndpointError, ItemError, WorkspaceError
from tests.calls.jobs import House, Question
from tests.offline.faults import Faults, endpoint

# Every fault of the stand-in that says nothing about the request itself and that a retry can overcome.
PASSING = (
    "429", "429-date", "429-bare", "408", "409", "500", "502", "503", "reset", "truncated", "malformed", "error-200",
    "empty", "length", "reasoning-length", "hang", "stall",
)  # fmt: skip


def test_every_item_is_answered_and_saved(house: House) -> None:
    with endpoint() as stand_in:
        summary = house.drive(house.questions(50), stand_in.base_url, total=50)
        stats = stand_in.stats()
    assert (summary.done, summary.calls, summary.exit_code) == (50, 50, 0)
    assert len(house.saved) == stats["unique_ok"] == 50
    assert summary.tokens_in > 0 and summary.tokens_out > 0


@pytest.mark.parametrize("is_frozen", [True, False])
def test_what_the_caller_has_frozen_stays_frozen_and_nothing_else(house: House, is_frozen: bool) -> None:
    """A notebook's own heap: a search for garbage that looks at all of it again takes long."""
    before = gc.get_freeze_count()
    gc.unfreeze()
    try:
        if is_frozen:
            gc.freeze()
        held = gc.get_freeze_count()
        with endpoint() as stand_in:
            house.drive(house.questions(2), stand_in.base_url)
        assert (gc.get_freeze_count() > held // 2) is is_frozen
    finally:
        if before:
            gc.freeze()


def test_a_rerun_makes_no_call(house: House) -> None:
    with endpoint() as stand_in:
        first = house.questions(20)
        house.drive(first, stand_in.base_url)
        again = house.questions(20)
        summary = house.drive(again, stand_in.base_url)
        assert stand_in.stats()["requests"] == 20
    assert (summary.calls, summary.from_ledger, summary.done) == (0, 20, 20)
    assert [job.replies[0].text for job in again] == [job.replies[0].text for job in first]
    assert all(job.replies[0].from_ledger for job in again)


def test_a_changed_parameter_asks_anew(house: House) -> None:
    with endpoint() as stand_in:
        house.drive(house.questions(3), stand_in.base_url)
        for more in ({"temperature": 0.5}, {"max_tokens": 300}, {"parameters": {"top_p": 0.9}}, {"attempt": 1}):
            assert house.drive(house.questions(3, more=more), stand_in.base_url).calls == 3
        assert house.drive(house.questions(3, model="other/model"), stand_in.base_url).calls == 3


def test_again_asks_anew_and_is_gone_on_with_after_an_interruption(house: House) -> None:
    with endpoint() as stand_in:
        house.drive(house.questions(4), stand_in.base_url)
        with pytest.raises(RuntimeError, match="power cut"):
            house.drive([*house.questions(4)[:2], Broken(RuntimeError("power cut"))], stand_in.base_url, again=True)
        asked_again = stand_in.stats()["requests"] - 4
        assert 0 < asked_again <= 2
        assert house.drive(house.questions(4), stand_in.base_url, again=True).calls == 4 - asked_again
        assert house.drive(house.questions(4), stand_in.base_url, again=True).calls == 4
        assert house.drive(house.questions(4), stand_in.base_url).calls == 0


def test_deliberate_duplicates_both_get_replies(house: House) -> None:
    twins = [Question(f"prompts_2_{i}", "the same", house.workspace, more={"occurrence": i}) for i in range(2)]
    with endpoint() as stand_in:
        assert house.drive(twins, stand_in.base_url).calls == 2


class Broken:
    """A job with a mistake in it, or on a full disk."""

    item = "broken"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def requests(self) -> list[Request]:
        return []

    async def work(self, ask: Ask) -> None:
        raise self.error


def test_a_full_disk_ends_the_run_and_keeps_what_is_in_flight(house: House) -> None:
    jobs = [*house.questions(8), Broken(WorkspaceError("the disk is full", where="answer_0"))]
    with endpoint(latency_s=0.05) as stand_in:
        with pytest.raises(WorkspaceError, match="disk is full"):
            house.drive(jobs, stand_in.base_url)
        sent = stand_in.stats()["requests"]
        assert house.drive(house.questions(8), stand_in.base_url).from_ledger == sent


@pytest.mark.parametrize("room", [0, 2])
def test_nothing_is_asked_for_whose_reply_the_disk_has_no_room(
    house: House, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """Room is kept before a call goes out, so a full disk costs no reply that was paid for."""

    def fallocate(number: int, start: int, size: int) -> None:
        if size > room * ledger_file.BYTES_PER_CALL:
            raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(ledger_file, "CALLS_A_STEP", 1)
    monkeypatch.setattr(ledger_file.os, "posix_fallocate", fallocate)
    with endpoint(latency_s=0.05) as stand_in:
        with pytest.raises(WorkspaceError, match="disk is full"):
            house.drive(house.questions(8), stand_in.base_url)
        assert stand_in.stats()["requests"] == room
        monkeypatch.undo()
        assert house.drive(house.questions(8), stand_in.base_url).from_ledger == room


def test_a_source_of_jobs_that_breaks_lets_no_further_call_out(house: House) -> None:
    def jobs() -> Iterator[Question]:
        yield from house.questions(5)
        raise WorkspaceError("a prompt file cannot be read")

    with endpoint(latency_s=0.05) as stand_in:
        with pytest.raises(WorkspaceError):
            house.drive(jobs(), stand_in.base_url, concurrency=1)
        assert stand_in.stats()["requests"] == 2
        assert house.drive(house.questions(5), stand_in.base_url).from_ledger == 2


def test_one_bad_item_does_not_stop_the_others(house: House) -> None:
    jobs = [*house.questions(5), Broken(ItemError("two-blocks", "the reply has two bash blocks"))]
    with endpoint() as stand_in:
        summary = house.drive(jobs, stand_in.base_url)
    assert (summary.done, dict(summary.failed), summary.exit_code) == (5, {"two-blocks": 1}, 1)
    assert summary.failures == [("broken", "two-blocks", "the reply has two bash blocks")]


def test_a_soak_with_every_fault_loses_nothing_and_doubles_nothing(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    """200 turns, each of the 17 faults at 5 % of the calls: seven calls a turn."""
    faults = Faults(dict.fromkeys(PASSING, 0.05), seed=3, retry_after_s=0.02, hang_s=0.3, most_per_request=8)
    limits = {"retry_max": 20, "max_429_retries": 20, "timeout_s": 0.2, "max_tokens_cap": 400}
    with endpoint(faults) as stand_in:
        summary = house.drive(house.questions(200), stand_in.base_url, **limits)
        stats = stand_in.stats()
    assert (summary.done, summary.failed.total(), len(house.saved)) == (200, 0, 200)
    # On a busy machine a call may be given up before the server has read it.
    assert 0 <= summary.calls - stats["requests"] <= summary.faults["timeout"]
    kept = {"empty", "length", "reasoning-length"}  # delivered in full; the client asks once more on purpose
    assert stats["requests_after_ok"] <= sum(stats["outcomes"].get(name, 0) for name in kept)
    assert set(PASSING) <= set(stats["outcomes"])
    summary.say()
    said = capsys.readouterr().err
    for kind in summary.faults:
        assert f"{kind} ×" in said
    with Ledger(house.workspace.ledger) as ledger:
        rows = ledger.query("SELECT item, COUNT(*) FROM replies WHERE rejected = '' GROUP BY item")
        counted = ledger.query("SELECT kind, SUM(calls) FROM faults GROUP BY kind")
    assert len(rows) == summary.done and all(count == 1 for _, count in rows)
    assert dict(counted) == dict(summary.faults)


class Interrupting(Question):
    """Presses Ctrl-C when its reply has come."""

    async def work(self, ask: Ask) -> None:
        await super().work(ask)
        os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_keeps_the_replies_in_flight_and_the_rerun_goes_on(house: House) -> None:
    jobs = [Interrupting("first", "the first", house.workspace), *house.questions(300)]
    with endpoint(latency_s=0.02) as stand_in:
        summary = house.drive(jobs, stand_in.base_url, total=301)
        delivered = stand_in.stats()["unique_ok"]
        assert summary.interrupted and summary.exit_code == 130
        assert summary.replies == delivered < 301
        rest = house.drive([Question("first", "the first", house.workspace), *house.questions(300)], stand_in.base_url)
        assert stand_in.stats()["requests_after_ok"] == 0
    assert rest.calls == 301 - delivered and rest.done == 301


def test_who_is_canceled_waits_for_jobs_to_save_their_replies(house: House) -> None:
    """As Ctrl-C in a notebook cancels: a job that is left behind saves nothing, and asyncio complains of it."""
    running: list[asyncio.Task[object]] = []

    class Saving(Question):
        async def work(self, ask: Ask) -> None:
            reply = await ask(self.request())
            running[0].cancel()
            for _ in range(20):  # a file is written meanwhile
                await asyncio.sleep(0)
            self.replies.append(reply)

    async def cell(url: str) -> int:
        told = {"workspace": house.workspace, "settings": house.settings, "route": house.route(url)}
        running.append(asyncio.ensure_future(runner.drive([job], stage="king", **told)))
        with pytest.raises(asyncio.CancelledError):
            await running[0]
        return len(asyncio.all_tasks()) - 1

    job = Saving("first", "the first", house.workspace)
    with endpoint() as stand_in:
        left = asyncio.run(cell(stand_in.base_url))
    assert (left, len(job.replies)) == (0, 1)


def test_a_rejected_reply_is_kept_with_its_reason(house: House) -> None:
    class Picky(Question):
        async def work(self, ask: Ask) -> None:
            reply: Reply = await ask(self.request())
            self.replies.append(reply)
            ask.reject(reply, "two-blocks")

    with endpoint() as stand_in:
        house.drive([Picky("one", "a question", house.workspace)], stand_in.base_url)
        second = Picky("one", "a question", house.workspace)
        assert house.drive([second], stand_in.base_url).calls == 0
    assert second.replies[0].rejected == "two-blocks"


@pytest.mark.parametrize(("bound", "value"), [("MOST_JOBS", 40), ("MOST_OPEN_BYTES", 40 * 10_000)])
def test_few_jobs_and_few_bytes_are_in_memory_at_a_time(
    house: House, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    """Also where the level would take all of them at once; the bytes are looked at before every few jobs."""
    monkeypatch.setattr(runner, bound, value)
    alive: set[int] = set()
    most = 0

    class Counted(Question):
        async def work(self, ask: Ask) -> None:
            nonlocal most
            most = max(most, len(alive))
            await super().work(ask)

    def pending() -> Iterator[Question]:
        for i in range(200):
            job = Counted(f"prompts_200_{i}", f"question {i} {'x' * 10_000}", house.workspace)
            alive.add(i)
            weakref.finalize(job, alive.discard, i)
            yield job

    with endpoint() as stand_in:
        assert house.drive(pending(), stand_in.base_url, concurrency=200).done == 200
    assert most <= 40 + (runner.JOBS_A_LOOK if bound == "MOST_OPEN_BYTES" else 0)


def test_a_wrong_address_stops_the_run(house: House) -> None:
    with pytest.raises(EndpointError, match="no call to some/writer is answered") as raised:
        house.drive(house.questions(500), "http://127.0.0.1:9/v1", retry_max=1)
    assert "base URL" in str(raised.value)


def test_a_ledger_that_fails_in_an_unforeseen_way_ends_the_run(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread may not end with replies that wait for it."""

    def fails(*_: object) -> None:
        raise OverflowError("an integer that no column can hold")

    monkeypatch.setattr(Ledger, "_write", fails)
    with endpoint() as stand_in, pytest.raises(WorkspaceError, match="an integer that no column can hold"):
        house.drive(house.questions(20), stand_in.base_url)
