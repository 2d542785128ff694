"""Models that are out, slow, limited or gone: what is waited for, what is given up, and that the others go on."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from duel.calls import Ask, Provider, Reply, Request, client, ledger, run_summary, runner
from duel.errors import EndpointError
from tests.calls.faulty import Asked, Faulty, Said, good, refusal
from tests.calls.jobs import House, Question
from tests.conftest import ended, forked

JUDGES = ("judge/a", "judge/b", "judge/c")
OUT: dict[str, Callable[[Asked], Said]] = {
    "500": lambda asked: refusal(500, "oh"),
    "502": lambda asked: Said(b"<html>Bad Gateway</html>", 502),
    "503": lambda asked: refusal(503, "No instances available"),
    "504": lambda asked: refusal(504, "upstream timed out"),
    "429": lambda asked: refusal(429, "slow down"),
    "529": lambda asked: refusal(529, "overloaded"),
    "reset": lambda asked: Said(end="reset"),
    "an error in a good status": lambda asked: Said(b'{"error": {"message": "internal"}}'),
    "HTML in a good status": lambda asked: Said(b"<html>Maintenance</html>"),
}
DOWN = OUT | {
    "400": lambda asked: refusal(400, "bad request"),
    "401": lambda asked: refusal(401, "invalid key"),
    "402": lambda asked: refusal(402, "pay"),
    "404": lambda asked: refusal(404, "no such model"),
}


@dataclass
class Panel:
    """One item before three judges: its votes are saved with whoever voted."""

    item: str
    house: House
    votes: dict[str, str] = field(default_factory=dict)

    def question(self, model: str) -> Request:
        return Request("judge", self.item, model, [{"role": "user", "content": f"REPLY 1 of {self.item}"}], 200)

    def requests(self) -> list[Request]:
        return [self.question(model) for model in JUDGES]

    async def work(self, ask: Ask) -> None:
        found = await asyncio.gather(*(ask(question) for question in self.requests()), return_exceptions=True)
        for model, reply in zip(JUDGES, found, strict=True):
            self.votes[model] = reply.text if isinstance(reply, Reply) else "missing"
        errors = [reply for reply in found if isinstance(reply, BaseException)]
        if errors:
            raise errors[0]


def panels(house: House, count: int) -> list[Panel]:
    return [Panel(f"turn_{number}", house) for number in range(count)]


@pytest.mark.parametrize("shape", OUT)
def test_an_outage_after_good_replies_is_waited_through_with_few_calls(house: House, shape: str) -> None:
    began: list[float] = []

    def play(asked: Asked) -> Said:
        if asked.number == 30:
            began.append(time.monotonic())
        out = bool(began) and time.monotonic() - began[0] < 0.25
        return OUT[shape](asked) if out else good(asked)

    with Faulty(play) as server:
        summary = house.drive(house.questions(100), server.base_url, outage_s=20, concurrency=16)
    assert (summary.done, summary.exit_code) == (100, 0)
    assert summary.faults.total() < 16 + 50


def test_a_silence_after_good_replies_is_waited_through(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LOOK_EVERY_S", 0.05)

    def play(asked: Asked) -> Said:
        return Said(end="hang") if 30 <= asked.number < 42 else good(asked)

    with Faulty(play) as server:
        summary = house.drive(house.questions(60), server.base_url, concurrency=8, hung_s=0.1)
    assert (summary.done, summary.exit_code) == (60, 0)
    assert summary.faults["hung"] == 12


def test_a_closed_port_after_good_replies_is_waited_through(house: House) -> None:
    def play(asked: Asked) -> Said:
        if asked.number == 20:
            server.shut_for(0.4)
        # A closed connection is all that a reply leaves behind: the next call finds the port closed.
        return Said(good(asked).body, headers={"Connection": "close"}, end="last")

    with Faulty(play) as server:
        summary = house.drive(house.questions(60), server.base_url, concurrency=4, outage_s=20)
    assert (summary.done, summary.exit_code) == (60, 0) and summary.faults["connection"] > 0


def test_a_model_that_stays_out_ends_the_run_after_the_time_that_was_set(house: House) -> None:
    with Faulty(lambda asked: good(asked) if asked.number < 10 else OUT["502"](asked)) as server:
        began = time.monotonic()
        with pytest.raises(EndpointError, match="no call to some/writer is answered") as raised:
            house.drive(house.questions(50), server.base_url, outage_s=0.5)
        assert 0.5 < time.monotonic() - began < 60
    assert "http-502" in str(raised.value)
    assert len(house.saved) == 10


@pytest.mark.parametrize("variables", [{}, {"http_proxy": "127.0.0.1:9"}, {"ALL_PROXY": "socks5://u:p@127.0.0.1:9"}])
def test_an_address_that_never_answers_is_reported_at_once(
    house: House, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    began = time.monotonic()
    with pytest.raises(EndpointError) as raised:
        house.drive(house.questions(50), "http://nobody.invalid/v1", retry_initial_backoff_s=1.5, outage_s=300)
    assert time.monotonic() - began < 60
    if variables:
        assert "127.0.0.1:9" in raised.value.hint and "u:p" not in str(raised.value)


@pytest.mark.parametrize("shape", DOWN)
@pytest.mark.parametrize("from_the_start", [True, False])
def test_one_judge_that_is_down_stops_no_other(house: House, shape: str, from_the_start: bool) -> None:
    def play(asked: Asked) -> Said:
        sick = asked.body["model"] == "judge/b" and (from_the_start or asked.number > 30)
        return DOWN[shape](asked) if sick else good(asked)

    jobs = panels(house, 40)
    with Faulty(play) as server:
        summary = house.drive(jobs, server.base_url, models=JUDGES, needed=2, outage_s=0.3)
        assert summary.exit_code == 1 and "judge/b" in summary.down
        for model in ("judge/a", "judge/c"):
            assert all(job.votes[model] != "missing" for job in jobs)
        missing = [job for job in jobs if job.votes["judge/b"] == "missing"]
        asked = len(server.asked)
        server.play = good
        assert house.drive(panels(house, 40), server.base_url, models=JUDGES, needed=2).done == 40
        assert len(server.asked) - asked == len(missing) > 0
    assert all("judge/b" in what for _, reason, what in summary.failures if reason == "model-down")


def test_a_judge_that_hangs_from_the_start_is_given_up_and_named(house: House) -> None:
    def play(asked: Asked) -> Said:
        return Said(end="hang") if asked.body["model"] == "judge/b" else good(asked)

    jobs = panels(house, 30)
    with Faulty(play) as server:
        summary = house.drive(jobs, server.base_url, models=JUDGES, needed=2, outage_s=1.0, hung_s=0.2, timeout_s=60)
    assert list(summary.down) == ["judge/b"] and summary.exit_code == 1
    assert all(job.votes["judge/a"] != "missing" for job in jobs)


def test_too_few_judges_end_the_run(house: House) -> None:
    with Faulty(lambda asked: good(asked) if asked.body["model"] == "judge/a" else DOWN["401"](asked)) as server:
        with pytest.raises(EndpointError, match="invalid key"):
            house.drive(panels(house, 200), server.base_url, models=JUDGES, needed=2)
        assert len(server.asked) < 100


def test_an_answer_that_concerns_one_prompt_is_its_items_failure(house: House) -> None:
    def play(asked: Asked) -> Said:
        return refusal(403, "your input was flagged") if "number 7" in asked.question else good(asked)

    with Faulty(play) as server:
        summary = house.drive(house.questions(30), server.base_url, concurrency=2)
    assert (summary.done, dict(summary.failed), summary.exit_code) == (29, {"http-403": 1}, 1)


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_several_of_them_in_a_row_end_the_run(house: House, status: int) -> None:
    with Faulty(lambda asked: good(asked) if asked.number < 20 else refusal(status, "no more")) as server:
        with pytest.raises(EndpointError, match="no more"):
            house.drive(house.questions(500), server.base_url, concurrency=4)
        assert len(server.asked) < 40


@pytest.mark.parametrize(
    "spent",
    [
        refusal(429, "come back later", {"Retry-After": "43200"}),
        refusal(429, "Rate limit exceeded: free-models-per-day"),
        refusal(429, "You exceeded your current quota", code="insufficient_quota"),
    ],
)
def test_a_spent_quota_ends_the_run_and_says_when_it_can_go_on(house: House, spent: Said) -> None:
    with Faulty(lambda asked: good(asked) if asked.number < 5 else spent) as server:
        with pytest.raises(EndpointError) as raised:
            house.drive(house.questions(50), server.base_url, concurrency=2)
        assert len(server.asked) < 15
    assert "run the same command again" in raised.value.hint
    assert ("it can go on at" in raised.value.hint) == ("Retry-After" in spent.headers)


def test_calls_that_hang_are_given_up_and_asked_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LOOK_EVERY_S", 0.05)

    def play(asked: Asked) -> Said:
        return Said(end="hang") if asked.number > 10 and asked.number % 3 == 0 else good(asked)

    with Faulty(play) as server:
        summary = house.drive(house.questions(120), server.base_url, hung_s=0.1, timeout_s=300)
    assert (summary.done, summary.exit_code) == (120, 0)
    assert summary.faults["hung"] > 20 and summary.calls < 200


def test_headers_of_a_response_keep_the_next_call_back(house: House) -> None:
    """How well many calls keep to such a limit is shown on virtual time (`test_liveness.py`)."""
    asked_at: list[float] = []

    def play(asked: Asked) -> Said:
        asked_at.append(time.monotonic())
        said = good(asked)
        said.headers = {"x-ratelimit-limit": "1", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "0.3"}
        return said

    with Faulty(play) as server:
        summary = house.drive(house.questions(3), server.base_url, concurrency=1)
    assert (summary.done, summary.calls) == (3, 3)
    assert all(later - earlier >= 0.3 for earlier, later in pairwise(asked_at))


def test_the_second_provider_takes_over_whatever_keeps_the_first_from_answering(house: House) -> None:
    for shape in ("401", "402", "500", "502", "503", "reset", "closed"):
        questions = [Question(f"{shape}_{n}", f"{shape} {n}", house.workspace) for n in range(12)]
        with Faulty(DOWN.get(shape, good)) as first, Faulty(good) as second:
            address = "http://127.0.0.1:9/v1" if shape == "closed" else first.base_url
            summary = house.drive(questions, address, fallback=Provider(second.base_url, "cpk_other_key"))
        assert (summary.done, summary.exit_code) == (12, 0), shape
        assert {job.replies[0].provider for job in questions} == {second.base_url}


@pytest.mark.parametrize("files", [256, 1024])
def test_a_low_limit_on_open_files_costs_no_reply(house: House, files: int) -> None:
    told = house.workspace.root / "told"

    def work() -> None:
        most = files + sum(1 for _ in Path("/proc/self/fd").iterdir())  # what the tests hold open does not count
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        summary = house.drive(panels(house, 300), server.base_url, models=JUDGES, needed=2)
        told.write_text(f"{summary.done} {summary.calls} {dict(summary.faults)}")

    with Faulty(lambda asked: Said(good(asked).body, after_s=0.15)) as server:
        assert ended(forked(work)) == 0
        assert told.read_text().startswith("300 900")
        assert 40 < server.most_in_flight < files


def test_a_kill_on_a_slow_disk_pays_no_more_than_the_level_twice(house: House) -> None:
    """Syncs of 150 ms. Where a slot was free before the commit, 150 requests were asked twice."""
    enough = threading.Event()
    write = ledger.Ledger._write

    def play(asked: Asked) -> Said:
        if asked.number == 40:
            enough.set()
        return good(asked)

    def late(self: ledger.Ledger, batch: Any) -> None:
        write(self, batch)
        time.sleep(0.15)

    def work() -> None:
        ledger.Ledger._write = late  # type: ignore[method-assign]
        house.drive(house.questions(400), server.base_url, concurrency=8)

    with Faulty(play) as server:
        process = forked(work)
        assert enough.wait(60)
        process.kill()
        assert ended(process) == -signal.SIGKILL
        assert house.drive(house.questions(400), server.base_url).done == 400
        assert len(server.asked) - 400 <= 8


def test_healthy_judges_never_wait_for_a_sick_one(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MOST_JOBS", 20)

    def play(asked: Asked) -> Said:
        sick = asked.body["model"] == "judge/b" and asked.number > 40
        return OUT["503"](asked) if sick and not healthy_are_done() else good(asked)

    def healthy_are_done() -> bool:
        return len([asked for asked in server.asked if asked.body["model"] != "judge/b"]) >= 2 * 100

    jobs = panels(house, 100)
    with Faulty(play) as server:
        summary = house.drive(jobs, server.base_url, models=JUDGES, needed=2, outage_s=1000)
    assert all(job.votes["judge/a"] != "missing" != job.votes["judge/c"] for job in jobs)
    assert summary.exit_code == 1 and summary.failed["model-out"] > 20 and not summary.down


class Terminating(Question):
    """Is told to end as soon as its reply has come."""

    async def work(self, ask: Ask) -> None:
        await super().work(ask)
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_that_is_told_to_end_does_so_whatever_hangs(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "DRAIN_S", 0.05)
    jobs = [*house.questions(4), Terminating("last", "the last", house.workspace)]
    with Faulty(lambda asked: good(asked) if "the last" in asked.question else Said(end="hang")) as server:
        summary = house.drive(jobs, server.base_url)
    assert (summary.exit_code, summary.dropped, summary.done) == (130, 4, 1)


def test_the_progress_line_says_what_is_out_and_what_hangs(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_summary, "PLAIN_EVERY_S", 0.1)
    out = [0.0]

    def play(asked: Asked) -> Said:
        out[0] = out[0] or (time.monotonic() if asked.number == 30 else 0.0)
        return OUT["502"](asked) if out[0] and time.monotonic() - out[0] < 1.5 else good(asked)

    with Faulty(play) as server:
        house.drive(house.questions(60), server.base_url, outage_s=20)
    assert "some/writer is out for" in (said := capsys.readouterr().err) and "(http-502)" in said
