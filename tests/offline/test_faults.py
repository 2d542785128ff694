import email.utils
import http.client
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duel.errors import SettingsError
from duel.turn import format_problem
from tests.offline.asking import ask, question
from tests.offline.faults import KINDS, Faults, endpoint

STATUS = {
    **{name: int(name) for name in KINDS if name.isdecimal()},
    "429-date": 429,
    "429-bare": 429,
    "redirect": 307,
}


def heard_with(fault, streams=False, **options):
    with endpoint(Faults({fault: 1.0}, **options)) as stand_in:
        heard = ask(stand_in.port, question(stream=streams))
        assert stand_in.stats()["outcomes"] == {fault: 1}
        assert stand_in.stats()["unique_ok"] == (fault == "slow")
    return heard


def content(heard):
    return heard.json["choices"][0]["message"]["content"]


@pytest.mark.parametrize("fault", STATUS)
def test_a_status_fault_has_its_status(fault):
    assert heard_with(fault).status == STATUS[fault]


def test_retry_after_comes_in_seconds_as_a_date_or_not_at_all():
    assert heard_with("429", retry_after_s=3).headers["retry-after"] == "3"
    at = email.utils.parsedate_to_datetime(heard_with("429-date", retry_after_s=3600).headers["retry-after"])
    assert 3500 < (at - datetime.now(UTC)).total_seconds() <= 3600
    assert "retry-after" not in heard_with("429-bare").headers


def test_503_says_that_no_instance_is_available():
    assert b"No instances available" in heard_with("503").body


def test_a_redirect_names_another_host():
    heard = heard_with("redirect", redirect_to="http://other.example/v1/chat/completions")
    assert heard.headers["location"] == "http://other.example/v1/chat/completions"


@pytest.mark.parametrize("streams", [False, True])
def test_a_reset_leaves_no_byte(streams):
    with pytest.raises(ConnectionError):
        heard_with("reset", streams)


@pytest.mark.parametrize("streams", [False, True])
def test_a_truncated_body_is_shorter_than_promised(streams):
    with pytest.raises(http.client.IncompleteRead):
        heard_with("truncated", streams)


@pytest.mark.parametrize("fault", ["hang", "stall"])
@pytest.mark.parametrize("streams", [False, True])
def test_a_hanging_reply_never_ends(fault, streams):
    with endpoint({fault: 1.0}) as stand_in, pytest.raises(TimeoutError):
        ask(stand_in.port, question(stream=streams), timeout=0.05)


def test_a_hanging_reply_ends_in_a_broken_connection():
    with pytest.raises(ConnectionError):
        heard_with("hang", hang_s=0)


def test_a_malformed_body_is_no_json():
    with pytest.raises(ValueError, match="Unterminated"):
        _ = heard_with("malformed").json


@pytest.mark.parametrize(("fault", "streams"), [("error-200", False), ("error-200", True), ("sse-error", False)])
def test_an_error_can_come_with_status_200(fault, streams):
    heard = heard_with(fault, streams)
    assert heard.status == 200
    assert "choices" not in heard.json
    assert heard.json["error"]["message"]


def test_an_error_can_come_in_the_middle_of_a_stream():
    heard = heard_with("sse-error", streams=True)
    assert "choices" in heard.events[0]
    assert "error" in heard.events[-1]
    assert b"[DONE]" not in heard.body


def test_a_stream_can_end_without_a_finish_reason():
    heard = heard_with("no-finish", streams=True)
    assert all(event["choices"][0]["finish_reason"] is None for event in heard.events)
    assert heard_with("no-finish").json["choices"][0]["finish_reason"] is None


def test_empty_content():
    assert content(heard_with("empty")) == ""


def test_length_cuts_the_content():
    heard = heard_with("length")
    assert heard.json["choices"][0]["finish_reason"] == "length"
    assert format_problem(content(heard)) != ""


def test_reasoning_can_eat_the_budget():
    choice = heard_with("reasoning-length").json["choices"][0]
    assert choice["message"]["content"] is None
    assert choice["message"]["reasoning_content"]
    assert choice["finish_reason"] == "length"


def test_a_reply_of_thinking_only_has_nothing_behind_the_closing_tag():
    assert content(heard_with("think-only")).partition("</think>")[2].strip() == ""


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("tool-tokens", "leaked-tool-tokens"),
        ("several-blocks", "several-blocks"),
        ("no-block", "no-block"),
        ("unparsable", "no-block"),
    ],
)
def test_a_malformed_turn_has_its_problem(fault, problem):
    assert format_problem(content(heard_with(fault))) == problem


def test_a_huge_reply_is_as_large_as_asked():
    assert len(content(heard_with("huge", huge_bytes=300_000))) == 300_000


def test_a_slow_reply_is_a_good_reply():
    assert heard_with("slow", slow_s=0.01).status == 200


def test_faults_end_when_a_request_has_met_enough():
    with endpoint(Faults({"500": 1.0}, most_per_request=2)) as stand_in:
        assert [ask(stand_in.port, question()).status for _ in range(4)] == [500, 500, 200, 200]


@given(key=st.text(), attempt=st.integers(0, 9), seed=st.integers(0, 99))
def test_the_same_asking_meets_the_same_fault(key, attempt, seed):
    faults = Faults({"429": 0.3, "reset": 0.3}, seed=seed)
    assert faults.meets(key, attempt) == faults.meets(key, attempt) in {"", "429", "reset"}


def test_faults_come_as_often_as_asked():
    faults = Faults({"429": 0.1, "500": 0.05})
    met = [faults.meets(f"key {i}", 0) for i in range(4000)]
    assert 330 < met.count("429") < 470
    assert 150 < met.count("500") < 250


@pytest.mark.parametrize("wrong", [{"nope": 0.1}, {"429": 1.5}, {"429": -0.1}, {"429": 0.6, "500": 0.6}])
def test_impossible_faults_are_refused(wrong):
    with pytest.raises(SettingsError):
        Faults(wrong)
