# ruff: noqa: E501 - refusals word for word
"""Budgets of tokens and of dollars: what is asked for, what it costs, and that both are told right."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duel.calls import Summary
from duel.calls.failures import fitting_tokens
from duel.calls.ledger import Ledger
from duel.errors import EndpointError
from duel.synchronous import synchronous
from tests.calls.faulty import TURN, Asked, Faulty, Said, chunk, completion, good, refusal, stream
from tests.calls.jobs import House, Question
from tests.calls.jobs import house as make_house
from tests.calls.test_outages import JUDGES, Panel, panels

PRICES = '[prices]\n"*" = { input = 1, output = 2 }\n'


def dollars(tokens: list[int]) -> float:
    return (tokens[0] + 2 * tokens[1]) / 1e6


@pytest.fixture
def priced(tmp_path: Path) -> House:
    return make_house(tmp_path, PRICES)


def thinks(enough: int) -> Callable[[Asked], Said]:
    """Thinking eats every budget below `enough`."""

    def play(asked: Asked) -> Said:
        budget = asked.body["max_tokens"]
        return good(asked, None, "length", budget, reasoning="hm") if budget < enough else good(asked)

    return play


def test_a_budget_that_thinking_eats_is_raised_until_an_answer_comes(house: House) -> None:
    questions = house.questions(6)
    with Faulty(thinks(700)) as server:
        summary = house.drive(questions, server.base_url)
        assert {asked.body["max_tokens"] for asked in server.asked} == {200, 400, 800}
    assert summary.done == 6 and all(job.replies[0].text == TURN for job in questions)


def test_a_repeated_asking_starts_from_the_raised_budget(house: House) -> None:
    class Twice(Question):
        async def work(self, ask: Any) -> None:
            for attempt in (0, 1):
                self.replies.append(await ask(self.request().again(attempt, "Keep to the form.")))

    with Faulty(thinks(700)) as server:
        house.drive([Twice("one", "a question", house.workspace)], server.base_url)
        assert [asked.body["max_tokens"] for asked in server.asked] == [200, 400, 800, 800]
        assert server.asked[-1].body["messages"][-1]["content"] == "a question\n\nKeep to the form."


def test_a_model_that_only_thinks_ends_the_run_with_the_setting_to_change(house: House) -> None:
    with Faulty(thinks(10**6)) as server:
        with pytest.raises(EndpointError, match="thinks until every reply is cut") as raised:
            house.drive(house.questions(50), server.base_url, concurrency=2)
        assert len(server.asked) < 30
    assert "max_tokens" in raised.value.hint


def test_a_raised_budget_beyond_the_window_is_asked_again_at_what_fits(house: House) -> None:
    words = (
        "Requested token count exceeds the model's maximum context length of 510 tokens. You requested a total of "
        "600 tokens: 200 tokens from the input messages and 400 tokens for the completion."
    )

    def play(asked: Asked) -> Said:
        return refusal(400, words) if asked.body["max_tokens"] > 310 else thinks(300)(asked)

    questions = house.questions(1)
    with Faulty(play) as server:
        assert house.drive(questions, server.base_url).done == 1
        assert [asked.body["max_tokens"] for asked in server.asked] == [200, 400, 310]
    assert questions[0].replies[0].text == TURN


def test_where_nothing_larger_fits_the_cut_reply_is_the_last_word(house: House) -> None:
    def play(asked: Asked) -> Said:
        if asked.body["max_tokens"] > 200:
            return refusal(400, "maximum context length exceeded")
        return good(asked, "half of", "length", 200)

    questions = house.questions(1)
    with Faulty(play) as server:
        house.drive(questions, server.base_url)
        asked = len(server.asked)
        assert house.drive(house.questions(1), server.base_url).from_ledger == 1
        assert len(server.asked) == asked <= 6
    assert (questions[0].replies[0].text, questions[0].replies[0].finish_reason) == ("half of", "length")


@pytest.mark.parametrize(
    ("words", "fits"),
    [
        ("maximum context length is 8192 tokens. However, you requested 9000 tokens (8000 in the messages, 1000 in the completion)", 192),
        ("'max_tokens' is too large: 1000. maximum context length is 2560 tokens and your request has 2002 input tokens (1000 > 2560 - 2002)", 558),
        ("input length and `max_tokens` exceed context limit: 199500 + 1000 > 200000, decrease either", 500),
        ("max_tokens is too large: 1000. This model supports at most 640 completion tokens", 640),
        ("the prompt is too long", None),
    ],
)  # fmt: skip
def test_what_fits_is_read_from_the_words_of_the_refusal(words: str, fits: int | None) -> None:
    assert fitting_tokens(words, 1000) == fits


def test_a_reply_that_fills_the_models_window_counts_as_cut(house: House) -> None:
    questions = house.questions(1)
    with Faulty(lambda asked: good(asked, TURN + " and then", "model_length")) as server:
        assert house.drive(questions, server.base_url).calls == 1
    assert questions[0].replies[0].finish_reason == "length"


def test_failed_calls_cost_what_the_endpoint_billed(priced: House) -> None:
    def play(asked: Asked) -> Said:
        return good(asked) if asked.before else good(asked, "", out=4000)

    with Faulty(play) as server:
        summary = priced.drive(priced.questions(10), server.base_url)
        assert summary.cost == pytest.approx(dollars(server.billed))
    with Ledger(priced.workspace.ledger) as ledger:
        assert ledger.spent() == pytest.approx(summary.cost)


def test_reasoning_that_is_billed_beside_the_completion_is_counted(priced: House) -> None:
    usage = {"prompt_tokens": 10120, "completion_tokens": 1499, "total_tokens": 14428}
    whole = {**completion(TURN), "usage": {**usage, "completion_tokens_details": {"reasoning_tokens": 2809}}}
    with Faulty(lambda asked: Said(json.dumps(whole).encode())) as server:
        summary = priced.drive(priced.questions(1), server.base_url)
    assert (summary.tokens_in, summary.tokens_out) == (10120, 4308)


def test_a_failed_call_of_which_nobody_tells_counts_as_its_worst_case(
    priced: House, capsys: pytest.CaptureFixture[str]
) -> None:
    def play(asked: Asked) -> Said:
        return good(asked) if asked.before else Said(good(asked).body, end="cut")

    with Faulty(play) as server:
        summary = priced.drive(priced.questions(1), server.base_url)
    assert summary.unsure_cost >= 2 * 200 / 1e6 and summary.cost > summary.unsure_cost
    summary.say()
    assert "for failed calls whose usage nobody told" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("field", "words", "sent"),
    [
        ("max_tokens", "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "max_completion_tokens"),
        ("temperature", "Unsupported value: 'temperature' does not support 0 with this model.", ""),
        ("temperature", "invalid temperature: only 1 is allowed for this model", ""),
        ("seed", "Unrecognized request argument supplied: seed", ""),
        ("response_format", "response_format of type json_schema is not available", ""),
    ],
)  # fmt: skip
def test_a_parameter_that_a_model_refuses_is_adapted_once(house: House, field: str, words: str, sent: str) -> None:
    def play(asked: Asked) -> Said:
        return refusal(400, words) if field in asked.body else good(asked)

    more = {"response_format": {"type": "json_object"}, "parameters": {"seed": 1}}
    with Faulty(play) as server:
        summary = house.drive(house.questions(20, more=more), server.base_url)
        assert all(field in asked.body for asked in server.asked[:1])
        assert not sent or server.asked[-1].body[sent] == 200
    assert summary.done == 20 and len(summary.adapted) == 1 and field in summary.adapted[0]
    assert summary.calls <= 20 + 8


def test_what_a_router_quotes_from_behind_it_is_read_and_shown(house: House) -> None:
    raw = json.dumps({"detail": "temperature is not supported"})
    bad = refusal(400, "Provider returned error", code=400, metadata={"raw": raw, "provider_name": "X"})
    with Faulty(lambda asked: bad if "temperature" in asked.body else good(asked)) as server:
        assert house.drive(house.questions(3), server.base_url).done == 3
    with (
        Faulty(lambda asked: refusal(403, "Provider returned error", metadata={"raw": "no such luck"})) as server,
        pytest.raises(EndpointError, match="no such luck"),
    ):
        house.drive(house.questions(9), server.base_url)


def test_the_key_is_printed_nowhere_however_an_endpoint_echoes_it(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "cpk_very_secret"

    def play(asked: Asked) -> Said:
        if asked.number == 0:
            return refusal(500, "x" * 290 + f"you sent {key}")
        if asked.number == 1:
            return good(asked, f"THOUGHT: {key}")
        if asked.number == 2:
            return stream(chunk("THOUGHT: " + key[:7]), chunk(key[7:], "stop"))
        return refusal(401, f"bad key {key}")

    with Faulty(play) as server, pytest.raises(EndpointError) as raised:
        house.drive(house.questions(40), server.base_url, concurrency=1)
    said = capsys.readouterr()
    assert key not in f"{raised.value}{vars(raised.value)}{said}" and "cpk_very" not in str(raised.value)
    for path in house.workspace.root.rglob("*"):
        assert not path.is_file() or key.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("listed", "path", "hint"),
    [
        ({"data": [{"id": "some/writer-2"}]}, "/v1/models", "nearest: some/writer-2"),
        ({"models": [{"name": "some/writer-3"}]}, "/models", "nearest: some/writer-3"),
        (["some/writer-4"], "/api/v1/models", "nearest: some/writer-4"),
        (None, "", "lists no models"),
    ],
)
def test_an_unknown_model_is_told_with_what_there_is(house: House, listed: Any, path: str, hint: str) -> None:
    for status, words in ((404, "not found"), (400, "Invalid model name passed in model=some/writer")):
        said = refusal(status, words)
        with Faulty(lambda asked, said=said: said, listed, path) as server, pytest.raises(EndpointError) as raised:  # type: ignore[misc]
            house.drive(house.questions(5), server.base_url)
        assert hint in raised.value.hint


def soak_play(seed: int) -> Callable[[Asked], Said]:
    """Every shape at 3 % of the calls; a call of which nobody tells is billed to the last token of its budget."""
    dice = random.Random(seed)
    shapes: list[Callable[[Asked], Said]] = [
        lambda a: refusal(429, "slow down", {"Retry-After": "0.01"}),
        lambda a: refusal(500, "oh"),
        lambda a: Said(b"<html>", 502),
        lambda a: refusal(503, "no instances"),
        lambda a: Said(end="reset"),
        lambda a: good(a, a.text[:-3], "error"),
        lambda a: good(a, a.text[:9], "content_filter"),
        lambda a: good(a, "", out=50),
        lambda a: good(a, None, "length", 200, reasoning="hm"),
        lambda a: good(a, a.text.replace("I look", "I \ud83d look")),
        lambda a: stream(chunk(a.text[:9]), b'data: {"choices":[{"del\n\n', chunk(a.text[9:]), chunk("", "stop")),
        lambda a: stream(chunk(a.text[:9]), chunk(a.text[9:])),
        lambda a: Said(good(a).body, end="cut", billed=(1000, a.body["max_tokens"])),
        lambda a: Said(end="hang", billed=(1000, a.body["max_tokens"])),
        lambda a: Said(b"\xef\xbb\xbf" + good(a).body, billed=(1000, 100)),
    ]

    def play(asked: Asked) -> Said:
        drawn = dice.random() / 0.03
        return shapes[int(drawn)](asked) if drawn < len(shapes) else good(asked)

    return play


def test_a_soak_of_every_shape_loses_nothing_doubles_nothing_and_costs_what_was_billed(priced: House) -> None:
    jobs = panels(priced, 200)
    limits = {"models": JUDGES, "needed": 2, "hung_s": 0.5, "retry_max": 12, "max_429_retries": 20}
    with Faulty(soak_play(7)) as server:
        summary = priced.drive(jobs, server.base_url, **limits)
        assert (summary.done, summary.failed.total()) == (200, 0)
        assert summary.calls == len(server.asked)
        assert summary.cost == pytest.approx(dollars(server.billed), rel=0.01)
        again: list[Panel] = panels(priced, 200)
        assert priced.drive(again, server.base_url, **limits).calls == 0
    assert [job.votes for job in again] == [job.votes for job in jobs]
    with Ledger(priced.workspace.ledger) as ledger:
        rows = ledger.query("SELECT item, asked_model, COUNT(*) FROM replies WHERE rejected = '' GROUP BY 1, 2")
        assert ledger.spent() == pytest.approx(summary.cost)
    assert len(rows) == 600 and all(count == 1 for *_, count in rows)


def test_local_models_need_no_key_and_one_price_does_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from duel.calls import drive, route_for

    chain = '[endpoint]\nbudget_usd = 1\n[prices]\n"*" = { input = 0, output = 0 }\n[generate]\ntop_p = 0.9\n'
    made = make_house(tmp_path, chain + 'reasoning_effort = "low"\nextra_body = { seed = 3 }\n')
    parameters = made.settings.generate.parameters
    with Faulty(good) as server:
        monkeypatch.setenv("CHUTES_BASE_URL", f"{server.base_url}?api-version=2026-01-01")
        route = route_for(made.settings, made.workspace, "writer")
        jobs = made.questions(2, more={"parameters": parameters})
        given: dict[str, Any] = {"workspace": made.workspace, "settings": made.settings, "route": route}
        summary: Summary = synchronous(drive)(jobs, stage="king", **given)
        asked = server.asked[0]
    assert summary.done == 2 and "authorization" not in asked.headers
    assert asked.path == "/v1/chat/completions?api-version=2026-01-01"
    assert (asked.body["top_p"], asked.body["reasoning_effort"], asked.body["seed"]) == (0.9, "low", 3)
    assert jobs[0].replies[0].provider == server.base_url
