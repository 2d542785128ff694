"""Guided runs on their way to a trainer: which rows each format makes of proposals, replacements and approvals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from duel.guiding.rounds import save_rows as save
from duel.records import Guided, GuidedStep, Message, Ran
from tests.conftest import Finished
from tests.guiding.conftest import SUBMIT, block

Script = Callable[..., Finished]


def step(proposal: str, action: str = "", ruling: str = "approve") -> GuidedStep:
    outcome = Ran(exit=0, shown=f"Observation: of {action[-12:]}", submits=SUBMIT in action) if action else None
    told = {"proposal": proposal, "ruling": ruling, "action": action, "outcome": outcome, "reason": "ASIDE"}
    return GuidedStep.model_validate(told)


RECORD = Guided(
    task="owner__repo-1",
    repo="owner/repo",
    license="MIT",
    agent_model="small/agent",
    opening=[Message(role="system", content="rules"), Message(role="user", content="an issue")],
    steps=[
        step(block("ls"), block("ls")),
        step(block("rm a"), ruling="reject"),
        step(block("rm b"), ruling="reject"),
        step("", block("cat a"), "replace"),
        step(block("cat a"), block("sed -i s/1/2/ a"), "replace"),
        step(block(SUBMIT), block(SUBMIT)),
    ],
    outcome="submitted",
    resolved=True,
)


@pytest.fixture
def exported(tmp_path: Path, script: Script) -> Callable[..., dict[str, list[dict[str, Any]]]]:
    """The rows of each format."""

    def export(formats: str, *more: object) -> dict[str, list[dict[str, Any]]]:
        rows = tmp_path / "round_1.parquet"
        opening = [message for message in RECORD.opening if message.role == "user" or "--system" not in more]
        assert save(rows, [RECORD.model_copy(update={"opening": opening})]) == 1
        call = ("export", "--workspace", tmp_path / "work", "--offline", "--from", rows, "--format", formats)
        script(*call, *more, code=0)
        files = {name: tmp_path / "work" / "export" / name / "train.jsonl" for name in formats.split(",")}
        return {name: [orjson.loads(line) for line in file.read_bytes().splitlines()] for name, file in files.items()}

    return export


def test_every_proposal_that_did_not_run_is_a_pair_with_what_did(exported: Callable[..., Any]) -> None:
    (rows,) = exported("dpo").values()  # also where tests told that the run is good: it is no pair of runs
    pairs = [(row["rejected"][0]["content"], row["chosen"][0]["content"], len(row["prompt"])) for row in rows]
    assert pairs == [
        (block("rm a"), block("cat a"), 4),
        (block("rm b"), block("cat a"), 4),
        (block("cat a"), block("sed -i s/1/2/ a"), 6),
    ]
    assert [row["style"] for row in rows] == ["read", "read", "edit"]
    assert rows[0]["prompt"][-1] == {"role": "user", "content": f"Observation: of {block('ls')[-12:]}"}


def test_labels_hold_each_wanted_turn_once(exported: Callable[..., Any]) -> None:
    rows = exported("kto,lf-dpo")
    labels = [(row["completion"][0]["content"], row["label"]) for row in rows["kto"]]
    assert labels == [
        (block("cat a"), True),
        (block("rm a"), False),
        (block("rm b"), False),
        (block("sed -i s/1/2/ a"), True),
        (block("cat a"), False),
    ]
    assert [row["rejected"]["content"] for row in rows["lf-dpo"]] == [block("rm a"), block("rm b"), block("cat a")]


def test_whole_runs_hold_what_ran_and_no_word_of_the_overseer(exported: Callable[..., Any]) -> None:
    rows = exported("sft,sft-completion,chatml")
    (whole,) = rows["sft"]
    ran = [block("ls"), block("cat a"), block("sed -i s/1/2/ a"), block(SUBMIT)]
    assert [m["content"] for m in whole["messages"] if m["role"] == "assistant"] == ran
    assert [row["completion"][0]["content"] for row in rows["sft-completion"]] == ran
    for name in rows:
        text = orjson.dumps(rows[name]).decode()
        assert "ASIDE" not in text
        assert "rm a" not in text and "rm b" not in text


def test_another_system_prompt_moves_no_pair(exported: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "system.txt").write_text("other rules")
    (rows,) = exported("dpo", "--system", tmp_path / "system.txt").values()
    chosen = [row["chosen"][0]["content"] for row in rows]
    assert chosen == [block("cat a"), block("cat a"), block("sed -i s/1/2/ a")]
    assert {row["prompt"][0]["content"] for row in rows} == {"other rules"}


@pytest.mark.parametrize("marks", ["", "{}", "5", "[1]", '[{"message": "2"}]', '[{"message": 99, "proposal": "x"}]'])
def test_marks_of_a_stranger_are_no_crash(tmp_path: Path, script: Script, marks: str) -> None:
    said = [("user", "an issue"), ("assistant", block("ls"))]
    messages = [{"role": role, "content": text} for role, text in said]
    (tmp_path / "runs.jsonl").write_bytes(orjson.dumps({"messages": messages, "interventions": marks}))
    call = ("export", "--workspace", tmp_path / "work", "--offline", "--from", tmp_path / "runs.jsonl")
    script(*call, "--format", "sft", code=0)
    assert "no-pair" in script(*call, "--format", "dpo", code=2).err
