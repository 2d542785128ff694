"""Stages by batches: rounds, retries, votes, prices, limits, files."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from duel.calls.batches.batch_steps import Passage
from duel.workspace import Workspace
from tests.batches.conftest import live, replies
from tests.batches.shapes import Shapes
from tests.conftest import Finished
from tests.scaling.rows import put, row

Script = Callable[..., Finished]
Work = Callable[..., Workspace]
Row = dict[str, Any]


def content(result: Row) -> Row:
    """The first choice of a result in the shape of OpenAI."""
    choice: Row = result["response"]["body"]["choices"][0]
    return choice


@pytest.mark.parametrize("shape", ["openai", "openrouter", "anthropic"])
def test_a_whole_duel_goes_by_batches_in_each_shape(script: Script, work: Work, provider: Shapes, shape: str) -> None:
    workspace = work(6)
    for stage in ("king.py", "ch.py", "validate.py"):
        said = script(stage, "--workspace", workspace.root, "--batch", shape, code=0).err
    assert workspace.duel.exists()
    assert "6 done" in said
    assert live(provider) == 0
    assert set(provider.run.values()) == {1}
    assert len(replies(workspace)) == len(provider.run)


def test_a_run_by_batches_leaves_the_files_of_a_live_one(script: Script, work: Work, provider: Shapes) -> None:
    def texts(workspace: Workspace) -> list[tuple[str, str, str]]:
        return [(path.stem, answer.king, answer.challenger) for path, answer in workspace.answers([])]

    apart, together = work(4, folder="apart"), work(4, folder="together")
    for stage in ("king.py", "ch.py"):
        script(stage, "--workspace", apart.root, code=0)
        script(stage, "--workspace", together.root, "--batch", code=0)
    assert texts(apart) == texts(together)


def test_a_run_without_batches_after_one_with_them_asks_nothing(script: Script, work: Work, provider: Shapes) -> None:
    workspace = work(4)
    script("king.py", "--workspace", workspace.root, "--batch", code=0)
    assert "4 finished before" in script("king.py", "--workspace", workspace.root, code=0).err
    assert live(provider) == 0


def test_a_stage_by_batches_leaves_its_ledger_closed_so_that_no_start_checks_the_whole_file(
    script: Script, work: Work, provider: Shapes
) -> None:
    workspace = work(2)
    script("king.py", "--workspace", workspace.root, "--batch", code=0)
    status = workspace.ledger.stat()
    assert Path(f"{workspace.ledger}.closed").read_text() == f"{status.st_size} {status.st_mtime_ns}"


def test_a_reply_costs_half_in_the_plan_and_in_the_ledger(script: Script, work: Work, provider: Shapes) -> None:
    dear, cheap = work(4, folder="dear"), work(4, folder="cheap")
    plan = script("king.py", "--workspace", cheap.root, "--batch", "--plan", code=0).out
    assert "by batch: at most $" in plan and "24 h a round" in plan
    script("king.py", "--workspace", dear.root, code=0)
    said = script("king.py", "--workspace", cheap.root, "--batch", code=0).err
    full, half = (sum(cost for _, cost, _ in replies(workspace)) for workspace in (dear, cheap))
    assert half == pytest.approx(full / 2)
    assert "4 from batches" in said


def test_replies_without_one_bash_block_are_asked_again_in_the_next_round(
    script: Script, work: Work, provider: Shapes
) -> None:
    def play(asked: Row, result: Row) -> Row:
        if asked["custom_id"].endswith("-0-0"):
            content(result)["message"]["content"] = "I would rather not."
        return result

    provider.play = play
    workspace = work(4)
    script("king.py", "--workspace", workspace.root, "--batch", code=0)
    assert [len(batch.requests) for batch in provider.batches] == [4, 4]
    assert len(workspace.answer_paths()) == 4
    assert set(provider.run.values()) == {1}


def test_a_model_that_never_keeps_the_form_is_told_after_one_round(
    script: Script, work: Work, provider: Shapes
) -> None:
    def play(asked: Row, result: Row) -> Row:
        content(result)["message"]["content"] = "I would rather not."
        return result

    provider.play = play
    said = script("king.py", "--workspace", work(24).root, "--batch", code=2).err
    assert "the model does not keep the form" in said
    assert len(provider.batches) == 1


def test_a_few_bad_replies_among_many_do_not_condemn_the_model(script: Script, work: Work, provider: Shapes) -> None:
    """Those that wait for a third try are met in every round; each reply counts once."""

    def play(asked: Row, result: Row) -> Row:
        issue = re.search(r"Fix issue (\d+)", json.dumps(asked["body"]["messages"]))
        if issue and int(issue[1]) % 3 == 0:
            content(result)["message"]["content"] = "I would rather not."
        return result

    provider.play = play
    workspace = work(60)
    script("king.py", "--workspace", workspace.root, "--batch", code=0)
    assert len(workspace.answer_paths()) == 40
    assert [len(batch.requests) for batch in provider.batches] == [60, 20, 20]


def test_a_cut_reply_is_asked_again_with_twice_the_budget(script: Script, work: Work, provider: Shapes) -> None:
    def play(asked: Row, result: Row) -> Row:
        if asked["body"]["max_tokens"] == 1024:
            content(result)["finish_reason"] = "length"
        return result

    provider.play = play
    workspace = work(2)
    script("king.py", "--workspace", workspace.root, "--batch", code=0)
    budgets = [{row["body"]["max_tokens"] for row in batch.requests} for batch in provider.batches]
    assert budgets == [{1024}, {2048}]
    assert len(workspace.answer_paths()) == 2


def test_the_screens_second_round_goes_by_batches_as_well(script: Script, work: Work, provider: Shapes) -> None:
    workspace = work(8, "\n[report]\ndefeat_min = 10\nfinal_min = 20\n")
    chain = workspace.root / "chain.toml"
    chain.write_text(chain.read_text().replace("[judge]", '[judge]\nstrategy = "screen"'))
    for stage in ("king.py", "ch.py"):
        script(stage, "--workspace", workspace.root, "--batch", code=0)
    before = len(provider.batches)
    script("validate.py", "--workspace", workspace.root, "--batch", code=0)
    assert workspace.duel.exists()
    assert sum(len(batch.requests) for batch in provider.batches[before:]) > 8
    assert live(provider) == 0


def test_batches_are_split_by_model_and_at_the_limits(script: Script, work: Work, provider: Shapes) -> None:
    workspace = work(5, "\n[batch.x]\n".replace("\n[batch.x]\n", ""))
    chain = workspace.root / "chain.toml"
    chain.write_text(chain.read_text().replace("[batch]", "[batch]\nmax_requests = 2"))
    script("king.py", "--workspace", workspace.root, "--batch", code=0)
    assert [len(batch.requests) for batch in provider.batches] == [2, 2, 1]
    size = len(provider.files["file-0"]) + 10
    chain.write_text(chain.read_text().replace("max_requests = 2", f"max_bytes = {size}"))
    script("king.py", "--workspace", workspace.root, "--batch", "--again", code=0)
    assert all(len(data) <= size for name, data in provider.files.items() if name.startswith("file"))
    assert len(provider.batches) == 6


def test_a_budget_holds_for_batches_with_their_own_price(script: Script, work: Work, provider: Shapes) -> None:
    workspace = work(6)
    at_most = 6 * 1024 * 2.0 / 1e6 / 2
    said = script("king.py", "--workspace", workspace.root, "--batch", "--budget", f"{at_most / 2:.6f}", code=None)
    assert len(provider.batches[0].requests) < 6
    assert sum(cost for _, cost, _ in replies(workspace)) <= at_most / 2
    assert said.code in (0, 3)
    none = script("king.py", "--workspace", work(6, folder="none").root, "--batch", "--budget", "0.00001", code=3)
    assert "the budget is spent" in none.err


def test_a_budget_is_one_for_all_contests_and_all_rounds(script: Script, work: Work, provider: Shapes) -> None:
    """What the duel's round has cost is gone, whichever contest the last round was of."""
    workspace = work(6, more='"some/judge-a" = { input = 1000.0, output = 0.0 }\n')
    for stage in ("king.py", "ch.py"):
        script(stage, "--workspace", workspace.root, code=0)
    plan = script("validate.py", "--workspace", workspace.root, "--batch", "--plan", code=0).out
    found = re.search(r"by batch: at most \$([\d.]+)", plan)
    assert found
    budget = 1.05 * float(found[1])
    options = ("--batch", "--noise-floor", "6", "--budget", f"{budget:.4f}")
    script("validate.py", "--workspace", workspace.root, *options, code=3)
    assert sum(cost for _, cost, _ in replies(workspace)) <= budget


def test_what_is_asked_at_once_does_not_wait_for_money_that_a_batch_may_take(
    script: Script, work: Work, provider: Shapes
) -> None:
    def play(asked: Row, result: Row) -> Row:
        if "issue 2:" in json.dumps(asked["body"]["messages"]):  # two batches fail it
            return {"custom_id": asked["custom_id"], "response": None, "error": {"code": "x", "message": "overloaded"}}
        content(result)["message"]["content"] = "I would rather not."  # a third batch asks it
        return result

    provider.play = play
    workspace = work(2)
    chain = workspace.root / "chain.toml"
    chain.write_text(chain.read_text().replace("input = 1.0, output = 2.0", "input = 0.0, output = 1000.0"))
    script("king.py", "--workspace", workspace.root, "--batch", "--budget", "1.33", code=0)
    assert [len(batch.requests) for batch in provider.batches] == [2, 2, 1]
    assert live(provider) == 1


def test_a_budget_that_is_too_small_for_what_is_asked_at_once_is_told(
    script: Script, work: Work, provider: Shapes
) -> None:
    failed = {"response": None, "error": {"code": "x", "message": "overloaded"}}
    provider.play = lambda asked, result: {"custom_id": asked["custom_id"], **failed}
    workspace = work(1)
    said = script("king.py", "--workspace", workspace.root, "--batch", "--budget", "0.0015", code=3).err
    assert "the budget is spent" in said and not live(provider)


def test_a_missing_route_is_told_and_nothing_stays_out(script: Script, work: Work, provider: Shapes) -> None:
    provider.refuse = lambda method, path, body: (404, {"error": {"message": "no route"}}) if "files" in path else None
    workspace = work(2)
    said = script("king.py", "--workspace", workspace.root, "--batch", code=2).err
    assert "the provider takes no such batch" in said and "no route" in said and "hint:" in said
    script("king.py", "--workspace", workspace.root, code=0)
    assert live(provider) == 2


def test_rows_of_the_larger_set_are_worded_in_batches_by_one_command(
    script: Script, work: Work, provider: Shapes
) -> None:
    """What a model words badly is asked again in the next round."""
    workspace = work(1)
    put(workspace.root, [row(f"topic{n}", request=f"Where is fn_{n} defined in src/topic{n}.py?") for n in range(3)])
    first = iter(range(1))

    def play(asked: Row, result: Row) -> Row:
        for _ in first:
            content(result)["message"]["content"] = "Where is it?"
        return result

    provider.play = play
    script("scale", "augment", "--batch", "--count", 3, "--workspace", workspace.root, code=0)
    assert [len(batch.requests) for batch in provider.batches] == [3, 1]
    children = workspace.root / "training-data/scaled/augmented/children.jsonl"
    assert len(children.read_text().splitlines()) == 3


def test_requests_that_are_out_are_not_asked_at_once(script: Script, work: Work, provider: Shapes) -> None:
    workspace = work(2)
    listed = script("batches", "--workspace", workspace.root, code=2)
    assert "no call was made in this workspace" in listed.err
    with pytest.MonkeyPatch.context() as patch:
        rounds = iter([None])

        async def stop_in_the_second_round(*_: object) -> None:
            if next(rounds, "ended") == "ended":
                raise KeyboardInterrupt

        patch.setattr(Passage, "bring_home", stop_in_the_second_round)
        script("king.py", "--workspace", workspace.root, "--batch", code=130)
    said = script("king.py", "--workspace", workspace.root, code=2).err
    assert "2 requests of king are out in batches" in said and "duel batches --cancel all" in said
    assert "written" in script("batches", "--workspace", workspace.root, code=0).out
    script("batches", "--workspace", workspace.root, "--cancel", "all", code=0)
    script("king.py", "--workspace", workspace.root, code=0)
    assert (live(provider), len(provider.batches)) == (2, 0)


def test_requests_go_through_files_without_a_network(script: Script, work: Work, provider: Shapes) -> None:
    workspace, out, results = work(4), work(1, folder="x").root / "in.jsonl", work(1, folder="y").root / "out.jsonl"
    said = script("king.py", "--workspace", workspace.root, "--batch-out", out, code=1).err
    assert "4 requests" in said and str(out) in said
    rows = [orjson.loads(line) for line in out.read_bytes().splitlines()]
    assert {row["url"] for row in rows} == {"/v1/chat/completions"}
    results.write_bytes(b"".join(orjson.dumps(provider.result(row)) + b"\n" for row in reversed(rows)) + b'{"cut')
    asked = len(provider.asked)
    said = script("king.py", "--workspace", workspace.root, "--absorb", results, code=0).err
    assert "4 results of requests that were written here, 4 new replies" in said
    assert len(workspace.answer_paths()) == 4
    assert script("batches", "--workspace", workspace.root, code=0).out == "no batch is out\n"
    said = script(
        "king.py", "--workspace", workspace.root, "--absorb", results, "--again", "--batch-out", out, code=1
    ).err
    assert len(replies(workspace)) == 4
    assert len(provider.asked) == asked


def test_a_file_of_requests_may_lie_on_another_disk_and_one_that_cannot_be_written_is_told(
    script: Script, work: Work, provider: Shapes, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, out = work(2), work(1, folder="x").root / "in.jsonl"
    told = script("king.py", "--workspace", workspace.root, "--batch-out", out.parent / "none" / "in.jsonl", code=2).err
    assert "cannot write" in told and "none/in.jsonl" in told and "Traceback" not in told

    for name, real in (("rename", os.rename), ("replace", os.replace)):

        def apart(source: Any, target: Any, *, real: Callable[..., None] = real) -> None:
            if Path(target) == out:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            real(source, target)

        monkeypatch.setattr(os, name, apart)
    script("king.py", "--workspace", workspace.root, "--batch-out", out, code=1)
    assert len(out.read_bytes().splitlines()) == 2


def test_absorbing_says_what_is_still_missing(script: Script, work: Work, provider: Shapes) -> None:
    workspace, out = work(3), work(1, folder="x").root / "in.jsonl"
    script("king.py", "--workspace", workspace.root, "--batch-out", out, code=1)
    rows = [orjson.loads(line) for line in out.read_bytes().splitlines()][:2]
    out.write_bytes(b"".join(orjson.dumps(provider.result(row)) + b"\n" for row in rows))
    said = script("king.py", "--workspace", workspace.root, "--absorb", out, code=1).err
    assert "2 done" in said and "1 wait for batches" in said
    assert "no such file" in script("king.py", "--workspace", workspace.root, "--absorb", "nowhere.jsonl", code=2).err


def test_a_wrong_file_that_is_absorbed_first_loses_nothing(script: Script, work: Work, provider: Shapes) -> None:
    workspace = work()
    asked, results = workspace.root / "in.jsonl", workspace.root / "results.jsonl"
    script("king.py", "--workspace", workspace.root, "--batch-out", asked, code=1)
    rows = [provider.result(orjson.loads(line)) for line in asked.read_bytes().splitlines()]
    results.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    said = script("king.py", "--workspace", workspace.root, "--absorb", asked, code=2).err
    assert "this file holds requests, not replies" in said and str(asked) in said
    assert "6 new replies" in script("king.py", "--workspace", workspace.root, "--absorb", results, code=0).err
    assert len(replies(workspace)) == 6


def test_a_provider_that_is_not_known_is_named(script: Script, work: Work) -> None:
    said = script("king.py", "--workspace", work(1).root, "--batch", "openay", code=2).err
    assert "unknown batch provider: openay" in said and "did you mean `openai`" in said


def test_the_stand_in_takes_no_batches(script: Script, work: Work) -> None:
    assert "takes no batches" in script("king.py", "--workspace", work(1).root, "--batch", "--offline", code=2).err
