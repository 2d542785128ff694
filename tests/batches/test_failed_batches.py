"""Batches that fail, expire, lose their results or never end: what comes back, and what is asked again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from duel.workspace import Workspace
from tests.batches.conftest import live, replies
from tests.batches.shapes import Held, Shapes
from tests.conftest import Finished

Script = Callable[..., Finished]
Work = Callable[..., Workspace]
Row = dict[str, Any]


def test_what_fails_once_goes_into_the_next_round_and_twice_is_asked_at_once(
    script: Script, work: Work, provider: Shapes
) -> None:
    def play(asked: Row, result: Row) -> Row:
        words = json.dumps(asked["body"]["messages"])
        if "issue 2:" in words:
            return {"custom_id": asked["custom_id"], "response": None, "error": {"code": "x", "message": "overloaded"}}
        return result

    provider.play = play
    workspace = work(4)
    script("king.py", "--workspace", workspace.root, "--batch", code=0)
    assert [len(batch.requests) for batch in provider.batches] == [4, 1]
    assert live(provider) == 1
    assert len(workspace.answer_paths()) == 4


def test_an_expired_batch_is_paid_for_and_what_it_did_is_kept(script: Script, work: Work, provider: Shapes) -> None:
    provider.end = lambda batch: "expired" if batch is provider.batches[0] else "completed"

    def play(asked: Row, result: Row) -> Row:
        first = len(provider.batches) == 1
        if first and "issue 1:" not in json.dumps(asked["body"]["messages"]):
            return {
                "custom_id": asked["custom_id"],
                "response": None,
                "error": {"code": "batch_expired", "message": "late"},
            }
        return result

    provider.play = play
    workspace = work(4)
    script("king.py", "--workspace", workspace.root, "--batch", code=0)
    assert [len(batch.requests) for batch in provider.batches] == [4, 3]
    assert len(replies(workspace)) == 4


def test_a_completed_batch_may_hold_nothing_but_errors(script: Script, work: Work, provider: Shapes) -> None:
    def play(asked: Row, result: Row) -> Row:
        body = {"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model."}}
        if "max_tokens" in asked["body"]:
            return {**result, "response": {"status_code": 400, "body": body}, "error": body["error"]}
        return result

    provider.play = play
    workspace = work(3)
    script("king.py", "--workspace", workspace.root, "--batch", code=0)
    assert [set(batch.requests[0]["body"]) & {"max_tokens", "max_completion_tokens"} for batch in provider.batches] == [
        {"max_tokens"},
        {"max_completion_tokens"},
    ]
    assert live(provider) == 0


@pytest.mark.parametrize("words", ["SCHEDULING", "pre_schedule", "", "🙂"])
def test_a_status_that_nobody_knows_means_that_it_runs(
    script: Script, work: Work, provider: Shapes, words: str
) -> None:
    provider.words, provider.looks = words, 4
    workspace = work(2)
    script("king.py", "--workspace", workspace.root, "--batch", code=0)
    assert len(workspace.answer_paths()) == 2


def test_a_full_queue_at_the_provider_is_waited_for(script: Script, work: Work, provider: Shapes) -> None:
    provider.end = lambda batch: "failed" if batch is provider.batches[0] else "completed"
    workspace = work(3)
    said = script("king.py", "--workspace", workspace.root, "--batch", code=0).err
    assert "Enqueued token limit reached" in said
    assert len(workspace.answer_paths()) == 3
    assert live(provider) == 0


def test_damaged_and_foreign_results_are_missing_ones(script: Script, work: Work, provider: Shapes) -> None:
    def play(asked: Row, result: Row) -> Row:
        words = json.dumps(asked["body"]["messages"])
        if len(provider.batches) == 1 and "issue 1:" in words:
            return {**result, "custom_id": "../../etc/passwd"}
        if len(provider.batches) == 1 and "issue 2:" in words:
            return {**result, "response": "not an object"}
        if len(provider.batches) == 1 and "issue 3:" in words:
            return {**result, "response": {"status_code": 200, "body": {"choices": [None]}}}
        return result

    provider.play = play
    workspace = work(4)
    said = script("king.py", "--workspace", workspace.root, "--batch", code=0).err
    assert "name no request of it and are left out" in said
    assert [len(batch.requests) for batch in provider.batches] == [4, 3]
    assert len(workspace.answer_paths()) == 4


def test_a_provider_that_loses_every_custom_id_is_paid_once_and_told(
    script: Script, work: Work, provider: Shapes
) -> None:
    provider.play = lambda asked, result: {**result, "custom_id": "lost"}
    said = script("king.py", "--workspace", work(4).root, "--batch", code=2).err
    assert "none of its 4 results names a request" in said
    assert len(provider.batches) == 1


def test_results_that_are_gone_past_the_deadline_are_asked_anew(
    script: Script, work: Work, provider: Shapes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duel.calls.batches.batch_steps.GRACE_S", 0.0)
    provider.looks, gone = 1, (404, {"error": {"message": "no such file"}})
    provider.refuse = lambda method, path, body: gone if "/content" in path and len(provider.batches) == 1 else None
    workspace = work(4)
    chain = workspace.root / "chain.toml"
    chain.write_text(chain.read_text().replace("[batch]", "[batch]\ndeadline_h = 0.0000001"))
    said = script("king.py", "--workspace", workspace.root, "--batch", code=0).err
    assert "4 requests of king, gone, 4 without a result" in said
    assert len(workspace.answer_paths()) == 4


def test_a_look_that_fails_ends_no_run(script: Script, work: Work, provider: Shapes) -> None:
    looks = iter([(500, {"error": {"message": "oops"}}), (200, b"<html>"), (429, {"error": {"message": "slow down"}})])
    provider.refuse = lambda method, path, body: next(looks, None) if path.startswith("/batches/") else None
    workspace = work(2)
    said = script("king.py", "--workspace", workspace.root, "--batch", code=0).err
    assert "it is looked at again" in said
    assert len(provider.batches) == 1


def test_a_batch_that_is_canceled_gives_what_it_did(script: Script, work: Work, provider: Shapes) -> None:
    def canceled(batch: Held) -> str:
        return "cancelled" if batch is provider.batches[0] else "completed"

    provider.end = canceled
    workspace = work(2)
    script("king.py", "--workspace", workspace.root, "--batch", code=0)
    assert len(workspace.answer_paths()) == 2


def test_past_its_deadline_a_batch_is_canceled_and_twice_it_is_asked_at_once(
    script: Script, work: Work, provider: Shapes
) -> None:
    provider.looks = 10**9
    workspace = work(2)
    chain = workspace.root / "chain.toml"
    chain.write_text(chain.read_text().replace("[batch]", "[batch]\ndeadline_h = 0.0000001"))
    said = script("king.py", "--workspace", workspace.root, "--batch", code=0).err
    assert "past `deadline_h`" in said
    assert [batch.canceled for batch in provider.batches] == [True, True]
    assert live(provider) == 2
