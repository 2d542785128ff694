"""What the endpoint does wrong, and what becomes of it: asked again, left out, the item's fault, the run's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from duel.calls import Provider
from duel.calls.failures import Meaning, from_error_object, from_status
from duel.calls.ledger import Ledger
from duel.calls.rates import retry_after
from duel.errors import EndpointError, SettingsError
from tests.calls.conftest import Script, answer
from tests.calls.jobs import House
from tests.calls.jobs import house as make_house
from tests.offline.faults import Faults, endpoint

SECRET = "cpk_very_secret"


def completion(text: str | None, finish_reason: str | None = "stop", **message: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish_reason}
    return answer(orjson.dumps({"model": "named/by-endpoint", "choices": [choice], "usage": {"prompt_tokens": 9}}))


def error(status: str, message: str, **fields: Any) -> bytes:
    return answer(orjson.dumps({"error": {"message": message, **fields}}), status)


GOOD = completion("fine")


@pytest.mark.parametrize(
    ("bad", "words", "hint"),
    [
        (error("401 Unauthorized", "invalid token"), "invalid token", "key"),
        (error("402 Payment Required", "balance is 0"), "balance is 0", "money"),
        (error("403 Forbidden", "not for you"), "not for you", "allowed"),
        (error("404 Not Found", "no such model"), "no such model", "base URL"),
        (error("429 Too Many Requests", "pay first", code="insufficient_quota"), "pay first", "quota"),
        (
            answer(b"", "307 Temporary Redirect", headers="Location: http://127.0.0.2:9/v1\r\n"),
            "127.0.0.2:9",
            "address",
        ),
    ],
)
def test_what_would_fail_everywhere_stops_the_run_at_once(
    house: House, scripted: Callable[..., Script], bad: bytes, words: str, hint: str
) -> None:
    server = scripted(bad)
    with pytest.raises(EndpointError) as raised:
        house.drive(house.questions(1000), server.base_url)
    assert words in str(raised.value) and hint in raised.value.hint
    assert len(server.requests) < 20
    assert SECRET not in f"{raised.value}{raised.value!r}{vars(raised.value)}"


def test_an_unknown_model_names_the_nearest_that_the_endpoint_lists(house: House) -> None:
    with endpoint(models=["other/thing", "some/writer-TEE"]) as stand_in, pytest.raises(EndpointError) as raised:
        house.drive(house.questions(5), stand_in.base_url)
    assert "nearest: some/writer-TEE" in raised.value.hint


def test_a_request_that_is_refused_everywhere_stops_the_run_and_a_single_one_does_not(
    house: House, scripted: Callable[..., Script]
) -> None:
    bad = error("400 Bad Request", "temperature must be below 1")
    with pytest.raises(EndpointError, match="temperature must be below 1"):
        house.drive(house.questions(500), scripted(bad).base_url)
    with pytest.raises(EndpointError):
        house.drive(house.questions(1), scripted(bad).base_url)
    summary = house.drive(house.questions(40), scripted(GOOD, bad, GOOD).base_url, concurrency=1)
    assert (summary.done, dict(summary.failed)) == (39, {"http-400": 1})


def test_contexts_that_are_too_long_are_items_that_fail(house: House, scripted: Callable[..., Script]) -> None:
    bad = error("400 Bad Request", "maximum context length is 32768 tokens")
    summary = house.drive(house.questions(30), scripted(*[bad] * 25, GOOD).base_url, concurrency=1)
    assert (summary.done, dict(summary.failed)) == (5, {"too-long": 25})


@pytest.mark.parametrize("parameter", ["response_format", "chat_template_kwargs"])
def test_an_optional_parameter_the_endpoint_does_not_know_is_dropped_for_good(
    house: House, scripted: Callable[..., Script], parameter: str
) -> None:
    server = scripted(error("400 Bad Request", f"unknown field: {parameter}"), GOOD)
    more = {"response_format": {"type": "json_object"}, "thinking": True}
    summary = house.drive(house.questions(5, more=more), server.base_url, concurrency=1)
    assert summary.done == 5 and len(server.requests) == 6
    assert parameter.encode() in server.requests[0]
    assert not any(parameter.encode() in request for request in server.requests[1:])


@pytest.mark.parametrize(
    "bad",
    [
        error("408 Request Timeout", "slow"),
        error("409 Conflict", "again"),
        error("500 Internal Server Error", "oh"),
        error("503 Service Unavailable", "No instances available"),
        answer(b"<html><h1>502 Bad Gateway</h1></html>", "502 Bad Gateway", "text/html"),
        answer(b'{"choices": [{"mess'),
        answer(b'"a string"'),
        answer(b'{"choices": []}'),
        answer(b'{"error": {"message": "overloaded", "code": 503}}'),
        GOOD.replace(b"Content-Length: ", b"Content-Length: 9"),
        completion(""),
        completion(None),
        completion("   \n"),
        completion("<think>all of it is thought</think>"),
        b"",
    ],
)
def test_what_passes_is_asked_again(house: House, scripted: Callable[..., Script], bad: bytes) -> None:
    server = scripted(bad, bad, GOOD)
    questions = house.questions(1)
    summary = house.drive(questions, server.base_url, max_429_wait_s=0.01)
    assert summary.done == 1 and questions[0].replies[0].tries == 3
    assert summary.faults.total() == 2


def test_retries_end(house: House, scripted: Callable[..., Script]) -> None:
    server = scripted(GOOD, error("500 Internal Server Error", "oh"))
    summary = house.drive(house.questions(2), server.base_url, concurrency=1, retry_max=3)
    assert (summary.done, dict(summary.failed), summary.exit_code) == (1, {"http-500": 1}, 1)
    assert len(server.requests) == 1 + 4


def test_a_cut_reply_is_asked_once_more_with_twice_the_budget(house: House, scripted: Callable[..., Script]) -> None:
    cut = completion(None, "length", reasoning_content="thinking, thinking")
    server = scripted(cut, completion("the answer", reasoning="thought"))
    question = house.questions(1)
    house.drive(question, server.base_url)
    assert [b'"max_tokens":200' in server.requests[0], b'"max_tokens":400' in server.requests[1]] == [True, True]
    assert (question[0].replies[0].text, question[0].replies[0].reasoning) == ("the answer", "thought")
    with Ledger(house.workspace.ledger) as ledger:
        assert ledger.query("SELECT rejected, reasoning FROM replies ORDER BY id") == [
            ("cut", "thinking, thinking"),
            ("", "thought"),
        ]


def test_a_reply_that_stays_cut_is_left_to_the_stage(house: House, scripted: Callable[..., Script]) -> None:
    server = scripted(completion("half of", "length"))
    question = house.questions(1)
    house.drive(question, server.base_url)
    assert question[0].replies[0].finish_reason == "length" and len(server.requests) == 2
    assert house.drive(house.questions(1), server.base_url).calls == 0


def test_the_fallback_takes_over_and_the_record_says_who_answered(house: House) -> None:
    with endpoint({"429": 1.0}) as full, endpoint() as other:
        question = house.questions(6)
        second = Provider(other.base_url, "cpk_other")
        summary = house.drive(question, full.base_url, fallback=second, model_map={"some/writer": "their/writer"})
        assert other.stats()["by_model"] == {"their/writer": 6}
        assert other.stats()["authorizations"] == {"Bearer cpk_other": 6}
    assert summary.done == 6
    assert {job.replies[0].provider for job in question} == {other.base_url}


def test_streams_are_read_and_an_unfinished_one_is_asked_again(house: House) -> None:
    with endpoint(Faults({"no-finish": 0.3, "sse-error": 0.2}, seed=2, most_per_request=2)) as stand_in:
        question = house.questions(30)
        summary = house.drive(question, stand_in.base_url, stream=True)
        assert all(seen.stream for seen in stand_in.seen)
    assert summary.done == 30 and summary.faults["incomplete"] > 0 and summary.tokens_out > 0
    assert all(job.replies[0].text.strip() for job in question)


def test_a_stalled_stream_is_noticed(house: House) -> None:
    with endpoint(Faults({"stall": 1.0}, most_per_request=1, hang_s=30)) as stand_in:
        summary = house.drive(house.questions(2), stand_in.base_url, stream=True, stall_timeout_s=0.1)
    assert summary.done == 2 and summary.faults["stalled"] == 2


def test_a_reply_without_end_is_cut_off(house: House) -> None:
    with endpoint(Faults({"huge": 1.0}, most_per_request=1, huge_bytes=40_000_000)) as stand_in:
        summary = house.drive(house.questions(1), stand_in.base_url, timeout_s=120)
    assert summary.done == 1 and summary.faults["too-large"] == 1


def test_the_key_reaches_no_file_and_no_message(
    house: House, capsys: pytest.CaptureFixture[str], scripted: Callable[..., Script]
) -> None:
    echo = error("500 Internal Server Error", "bad")
    house.drive(house.questions(3), scripted(echo, GOOD).base_url).say()
    captured = capsys.readouterr()
    assert SECRET not in captured.out + captured.err
    for path in house.workspace.root.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()
    assert SECRET not in repr(house.route("http://h/v1"))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2.0), ("0.5", 0.5), ("-3", 0.0), ("Sat, 21 Nov 2026 10:00:07 GMT", 7.0), ("soon", None), ("", None),
        (None, None), ("nan", None), ("inf", None), ("Sat, 99 Nov 2026", None),
    ],
)  # fmt: skip
def test_retry_after_is_read_in_seconds_and_as_a_date(value: str | None, seconds: float | None) -> None:
    now = 1795255200.0  # 2026-11-21 10:00:00 UTC
    headers = {} if value is None else {"Retry-After": value}
    assert retry_after(headers, now) == (None if seconds is None else pytest.approx(seconds))


def test_an_error_inside_a_good_status_means_what_it_says() -> None:
    assert from_error_object({"code": 429, "message": "slow down"}).meaning is Meaning.REFUSED
    assert from_error_object({"message": "No instances available"}).meaning is Meaning.REFUSED
    assert from_error_object({"code": "401"}).meaning is Meaning.RUN
    assert from_error_object("what").meaning is Meaning.FAULT
    assert from_status(529, b"").meaning is Meaning.REFUSED


def test_a_budget_is_kept_to_with_calls_in_flight_counted(tmp_path_factory: pytest.TempPathFactory) -> None:
    rich = make_house(tmp_path_factory.mktemp("w"), '[prices]\n"some/writer" = { input = 100, output = 1000 }\n')
    with endpoint(latency_s=0.01) as stand_in:
        summary = rich.drive(rich.questions(500), stand_in.base_url, budget=2.0)
        assert summary.budget_spent and summary.exit_code == 3
        assert 1.0 < summary.cost <= 2.0
        assert summary.replies == stand_in.stats()["unique_ok"]
        more = rich.drive(rich.questions(500), stand_in.base_url, budget=1.0)
        assert more.cost <= 1.0 and stand_in.stats()["requests_after_ok"] == 0


def test_a_budget_without_a_price_is_a_mistake_that_is_said_before_a_call(house: House) -> None:
    with endpoint() as stand_in:
        with pytest.raises(SettingsError, match="a budget needs a price"):
            house.drive(house.questions(5), stand_in.base_url, budget=1.0)
        assert stand_in.stats()["requests"] == 0
