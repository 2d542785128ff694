"""mine, export and prompt read the same rows alike; rows of single turns; guesses; licenses of datasets."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from duel.conversation import dialogue, message_rows, tasks
from duel.errors import SourceError, UserError
from duel.exports import formats, loading, recovery
from duel.exports.example import each_turn
from duel.sources import rollouts
from duel.sources.mining.sweep import Mine
from duel.sources.sessions import session_formats
from tests.sessions.logs import write_lines

USE = {"id": "same", "type": "function", "function": {"name": "bash", "arguments": '{"command": "cat a.py"}'}}
ANSWERS = [{"role": "tool", "tool_call_id": "same", "content": text} for text in ("of a", "of b")]
NATIVE: list[dict[str, Any]] = [
    {"role": "user", "content": "Fix it."},
    {"role": "assistant", "content": "Two looks", "tool_calls": [USE, USE]},
    *ANSWERS,
    {"role": "assistant", "content": "Done."},
]
SHARED = [
    {"messages": NATIVE},
    {"trajectory": json.dumps(NATIVE)},
    {
        "conversations": [
            {"from": "human", "value": "Fix it."},
            {"from": "function_call", "value": json.dumps({"name": "bash", "arguments": {"command": "ls"}})},
            {"from": "observation", "value": "a.py"},
            {"from": "gpt", "value": "Done."},
        ]
    },
]


def turn(command: str) -> str:
    return f"THOUGHT: So.\n\n```bash\n{command}\n```"


def test_the_same_three_rows_are_three_for_mine_and_for_export(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", SHARED)
    mine = Mine([str(path)], commits=False)
    sessions = [found.trajectory.session for found in mine.sessions()]
    [loaded] = loading.trajectories(str(path), tmp_path)
    assert (len(sessions), len(loaded.examples), loaded.dropped) == (3, 3, [])
    for session, example in zip(sessions, loaded.examples, strict=True):
        steps = recovery.examine(example).steps
        assert [step.observation for step in steps if step.tool] == [call.result for call in session.calls]
    for example in loaded.examples:
        assert len(formats.FORMATS["openai-tools"].rows(example)) == 1


CONVERSATION = [
    {"role": "user", "content": "Fix it."},
    {"role": "assistant", "content": turn("ls")},
    {"role": "user", "content": "a.py"},
    {"role": "assistant", "content": turn("cat a.py")},
]
JSON_TEXT = pa.json_(pa.string())


def json_column(values: list[str]) -> pa.Array:
    return pa.ExtensionArray.from_storage(JSON_TEXT, pa.array(values))


@pytest.mark.parametrize(
    "column",
    [
        pa.ListArray.from_arrays([0, 4], json_column([json.dumps(message) for message in CONVERSATION])),
        json_column([json.dumps(CONVERSATION)]),
        pa.array([json.dumps(CONVERSATION).encode()], pa.large_binary()),
        pa.array([json.dumps(CONVERSATION)]).dictionary_encode(),
        pa.array([CONVERSATION], pa.large_list(pa.struct([("role", pa.large_string()), ("content", pa.binary())]))),
    ],
    ids=["list of JSON", "JSON", "bytes", "dictionary", "large list of bytes"],
)
def test_prompt_mine_and_export_read_what_todays_libraries_write(column: pa.Array, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    ids = pa.array(["acme__tool-1"]).dictionary_encode()
    pq.write_table(pa.table({"instance_id": ids, "repo": pa.array([b"acme/tool"]), "messages": column}), path)
    [rollout] = rollouts.read(path, path.name)
    assert (rollout.instance_id, rollout.repo) == ("acme__tool-1", "acme/tool")
    assert [message.content for message in rollout.messages()] == [message["content"] for message in CONVERSATION]
    [found] = Mine([str(path)], commits=False).sessions()
    assert found.trajectory.turns == 2
    [loaded] = loading.trajectories(str(path), tmp_path)
    assert [m.content for m in loaded.examples[0].messages] == [message["content"] for message in CONVERSATION]


def called(arguments: Any, *results: Any) -> list[Any]:
    use = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    said = {"role": "assistant", "content": "So.", "tool_calls": [{**use, "id": str(n)} for n in range(len(results))]}
    return [NATIVE[0], said, *results]


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param("[{[]: 1}]", id="a literal that Python cannot hold"),
        pytest.param(called("{1: {2, 3}}", {"role": "tool", "content": "a"}), id="arguments that JSON cannot hold"),
        pytest.param(called("{}", {"role": "tool", "content": "[{1: 2}, {3: b''}]"}, {}), id="results likewise"),
        pytest.param(called("{}", {"role": "tool", "tool_call_ids": 5, "content": "a"}), id="no list of ids"),
        pytest.param(
            [
                NATIVE[0],
                {"role": "assistant", "content": '<tool_call>{"name": "f", "arguments": {}}</tool_call>'},
                {"role": "user", "content": "<tool_response>[...]</tool_response>"},
            ],
            id="a result that is an ellipsis",
        ),
    ],
)
def test_an_odd_row_costs_no_other_row_of_its_file(odd: Any, tmp_path: Path) -> None:
    rows = [{"messages": [m for m in odd if m] if isinstance(odd, list) else odd}, {"messages": NATIVE}]
    mine = Mine([str(write_lines(tmp_path / "rows.jsonl", rows))], commits=False)
    read = list(mine.sessions())
    assert read[-1].trajectory.session.calls[0].result == "of a"
    assert "unknown-shape" not in str(mine.account.left)
    written = [json.dumps(dialogue.native_chat(found.trajectory.session)) for found in read]
    assert all("Fix it." in text for text in written)


def test_talk_is_never_drawn_as_a_turn_of_an_agent(tmp_path: Path) -> None:
    rows = {"instance_id": ["a", "b"], "repo": ["", ""], "messages": [CONVERSATION] * 2}
    pq.write_table(pa.table({**rows, "trajectory_format": ["chat", "mini-swe-agent-1"]}), tmp_path / "rows.parquet")
    read = list(rollouts.read(tmp_path / "rows.parquet", "rows"))
    assert [rollout.problem for rollout in read] == ["another-task", ""]


def run(commands: list[str]) -> Any:
    messages: list[dict[str, str]] = [{"role": "user", "content": "Fix it."}]
    for command in commands:
        messages += [{"role": "assistant", "content": turn(command)}, {"role": "user", "content": "seen"}]
    return loading.example_of({"messages": messages, "outcome_guess": "success"}, "rows#0")


def test_a_completion_is_made_of_every_well_formed_turn_and_not_of_the_last_alone() -> None:
    submit = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
    example = run(["ls", "cat a.py", "python a.py", submit])
    rows = formats.FORMATS["sft-completion"].rows(example)
    assert [row["completion"][0]["content"] for row in rows] == [
        turn(c) for c in ("ls", "cat a.py", "python a.py", submit)
    ]
    assert [len(row["prompt"]) for row in rows] == [1, 3, 5, 7]
    assert len({row["id"] for row in rows}) == 4
    broken = run(["ls", "cat a.py"])
    messages = list(broken.messages)
    messages[1] = messages[1].model_copy(update={"content": "No block."})
    from dataclasses import replace

    assert len(each_turn(replace(broken, messages=tuple(messages)))) == 1


def test_no_style_and_no_part_of_a_run_fills_the_rows() -> None:
    example = run(["grep x a.py"] * 30 + ["python a.py"] * 3)
    kept = each_turn(example, cap=4)
    thirds = [(len(part.messages) // 2 - 1) * 3 // 33 for part in kept]
    assert sum("grep" in part.accepted for part in kept) == 4  # of thirty
    assert all(thirds.count(third) <= 4 for third in range(3))
    assert len(kept) > 4
    assert kept == each_turn(example, cap=4)


def test_rows_of_single_turns_are_refused_where_a_format_is_whole_conversations() -> None:
    [sft] = formats.per_turn(formats.named("sft"), everywhere=True, cap=8)
    assert len(sft.rows(run(["ls", "cat a.py"]))) == 2
    with pytest.raises(UserError, match="single turns"):
        formats.per_turn(formats.named("atif"), everywhere=True, cap=8)


def test_a_guess_is_no_outcome() -> None:
    assert recovery.outcome_of(run(["ls"])) == ("unknown", "a guess alone: success")


def test_each_task_says_what_a_well_formed_reply_is() -> None:
    assert tasks.of_format("mini-swe-agent-1") is tasks.of_format("anything else") is tasks.BASH_BLOCK
    assert (tasks.BASH_BLOCK.problem("talk"), tasks.of_format("chat").problem("talk")) == ("no-block", "")


@pytest.mark.parametrize(
    ("license", "accepted", "taken"),
    [("apache-2.0", False, True), ("cc-by-nc-4.0", False, False), (None, False, False), ("cc-by-nc-4.0", True, True)],
)
def test_a_dataset_that_is_not_for_everybody_has_to_be_accepted(
    license: str | None, accepted: bool, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    card = SimpleNamespace(license=license)
    asked = SimpleNamespace(card_data=card, sha="abc")
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda self, name: asked)
    found = session_formats.logs(["owner/name"], accept_license=accepted)
    if taken:
        [log] = found
        assert (log.license, log.revision) == (license, "abc")
    else:
        with pytest.raises(SourceError, match="license"):
            list(found)


def test_a_hub_that_cannot_be_reached_is_told_and_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match="the Hub cannot be reached"):
        list(session_formats.logs(["owner/name"]))


@pytest.mark.parametrize(
    ("instance_id", "repository"),
    [
        ("acme__shop-12", "acme/shop"),
        ("acme__my-shop-12", "acme/my-shop"),
        ("acme__shop-s0123456789ab", "acme/shop"),
        ("acme__shop.1a2b3c4d.combine_file__x", "acme/shop"),
        ("acme-shop-12", ""),
    ],
)
def test_an_instance_id_names_its_repository(instance_id: str, repository: str) -> None:
    assert message_rows.repository_of(instance_id) == repository
