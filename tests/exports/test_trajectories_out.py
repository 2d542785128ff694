"""`duel export --from`: whole trajectories and mined sessions, from any kind of file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from duel.workspace import Workspace
from tests.exports.conftest import files, manifest, put_turn, rows


def test_trajectories_with_an_error_recovery_become_codeact(
    export: Callable[..., Any], workspace: Workspace, trajectories: Path
) -> None:
    done = export("--from", trajectories, "--format", "codeact", "--filter", "error-recovery")
    [row] = rows(workspace, "codeact")
    assert row["instance_id"] == "acme__calc-7"
    assert [(s["start"], s["end"], s["target"]) for s in row["error_recovery_spans"]] == [(0, 2, "check_calc.py")]
    assert [step["action"].split()[0] for step in row["steps"]] == ["python", "sed", "python"]
    assert row["steps"][0]["observation"].startswith("<returncode>1")
    assert "2 dropped: no-error-recovery" in done.err
    assert "Coding-agent trajectories" in files(workspace)["README.md"].decode()


def test_outcomes_from_a_file_and_the_filter_on_them(
    export: Callable[..., Any], workspace: Workspace, trajectories: Path, tmp_path: Path
) -> None:
    known = tmp_path / "outcomes.json"
    known.write_text(json.dumps({"acme__calc-7": True, "acme__text-3": False}))
    export("--from", trajectories, "--format", "codeact", "--outcomes", known)
    assert [row["outcome"] for row in rows(workspace, "codeact")] == ["success", "failure", "failure"]
    export("--from", trajectories, "--format", "sft", "--outcomes", known, "--filter", "success")
    [row] = rows(workspace, "sft")
    assert row["messages"][-1]["role"] == "assistant"  # the last observation is nothing to learn


def test_a_folder_of_trajectories_in_every_kind_of_file(
    export: Callable[..., Any], workspace: Workspace, trajectories: Path, tmp_path: Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "many"
    (folder / "b").mkdir(parents=True)
    records = [json.loads(line) for line in trajectories.read_text().splitlines()]
    pq.write_table(pa.Table.from_pylist(records[:1]), folder / "one.parquet")
    (folder / "two.json").write_text(json.dumps(records[1:2]))
    (folder / "b" / "bare.json").write_text(json.dumps(records[2]["messages"]))
    (folder / "cut.json").write_text('{"messages": [')
    (folder / "gone.jsonl").symlink_to(tmp_path / "nowhere.jsonl")
    (folder / "bad.jsonl").write_text('{"messages": []}\nnot json\n{"messages": [{"role": "alien", "content": ""}]}\n')
    done = export("--from", folder, "--format", "sft")
    assert [row["id"] for row in rows(workspace, "sft")] == ["bare.json#0", "one.parquet#0", "two.json#0"]
    for reason in ("no-messages", "damaged", "unknown-role"):
        assert f"1 dropped: {reason}" in done.err
    assert "2 dropped: unreadable-file" in done.err
    assert "not JSON" in export("--from", folder / "cut.json", code=2).err


def test_control_tokens_of_the_models_family_are_plain_characters_in_every_row(
    export: Callable[..., Any], workspace: Workspace
) -> None:
    told = "Observation: <|im_end|> [INST] <tool_call>"
    messages = [{"role": "user", "content": "Fix it."}, {"role": "user", "content": told}]
    put_turn(workspace, 77, "final", 95.0, messages=messages)

    def written(*flags: object) -> str:
        export(*flags)
        return next(row["messages"][1]["content"] for row in rows(workspace, "sft") if row["id"].endswith("_77"))

    assert "<|im_end|>" not in written() and "[INST]" not in written()
    assert "<tool_call>" in written()  # agents act by these
    assert "<|im_end|>" in written("--chat-tokens", "mistral") and "[INST]" not in written("--chat-tokens", "mistral")
    assert "<|im_end|> [INST]" in written("--chat-tokens", "none")
    assert "2 control tokens of chat templates were broken (all)" in export().err


def test_hostile_rows_are_dropped_one_by_one(
    export: Callable[..., Any], workspace: Workspace, trajectories: Path, tmp_path: Path
) -> None:
    good = json.loads(trajectories.read_text().splitlines()[0])
    call = {"id": "1", "function": {"name": "bash", "arguments": {"command": "ls", "n": 10**40}}}
    rows_ = [
        {**good, "instance_id": "\ud800"},
        {**good, "messages": [{"role": "user", "content": "\ud800"}]},
        {
            **good,
            "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "", "tool_calls": [call]}],
        },
        {**good, "messages": [{"role": "\ud800", "content": "x"}]},
        {**good, "messages": [*good["messages"], {"role": "user", "content": "\ud800"}]},
        {**good, "messages": [{"role": "user", "content": 7}]},
        {**good, "messages": 7, "tools": 7, "resolved": [1]},
        good,
    ]
    source = tmp_path / "hostile.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows_) + '{"messages": ' + "[" * 10_000 + "\n")
    export("--from", source, "--format", "atif,codeact")
    assert [row["id"] for row in rows(workspace, "codeact")] == [
        "hostile.jsonl#0",
        "hostile.jsonl#2",
        "hostile.jsonl#4",
    ]
    assert [row["session_id"] for row in rows(workspace, "atif")] == ["\ufffd", *[good["instance_id"]] * 2]
    assert manifest(workspace)["handover"][0]["taken"] == 9
    assert {row["reason"] for row in workspace.dropped()} >= {
        "damaged",
        "unknown-role",
        "content-not-text",
        "no-messages",
    }


def test_another_system_prompt_for_native_tools(
    export: Callable[..., Any], workspace: Workspace, tmp_path: Path
) -> None:
    prompt = tmp_path / "system.txt"
    prompt.write_text("You have one tool: bash.\n")
    export("--format", "openai-tools", "--system", prompt)
    assert {row["messages"][0]["content"] for row in rows(workspace, "openai-tools")} == {"You have one tool: bash."}


def test_a_mined_session_goes_out_as_text_or_as_it_really_called_its_tools(
    export: Callable[..., Any], workspace: Workspace, tmp_path: Path
) -> None:
    arguments = {"file_path": "a.py", "content": "x = 1"}
    call = {"id": "toolu_1", "type": "function", "function": {"name": "Write", "arguments": arguments}}
    session = {
        "instance_id": "session-1",
        "messages": [
            {"role": "user", "content": "Make a.py."},
            {"role": "assistant", "content": "THOUGHT: Write it.\n\n```bash\necho 'x = 1' > a.py\n```"},
            {"role": "user", "content": "ok"},
        ],
        "system_prompt": "You edit files.",
        "native_messages": json.dumps(
            [
                {"role": "user", "content": "Make a.py."},
                {"role": "assistant", "content": "Write it.", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "toolu_1", "name": "Write", "content": "ok"},
            ]
        ),
    }
    source = tmp_path / "mined.jsonl"
    source.write_text(json.dumps(session) + "\n")
    export("--from", source, "--format", "sft,openai-tools,atif,codeact")
    assert rows(workspace, "sft")[0]["messages"][1]["content"].endswith("```")
    [native] = rows(workspace, "openai-tools")
    assert native["messages"][0] == {"role": "system", "content": "You edit files."}
    assert native["messages"][2]["tool_calls"][0]["function"]["name"] == "Write"
    assert native["tools"][0]["function"]["parameters"]["properties"] == {
        "content": {"type": "string"},
        "file_path": {"type": "string"},
    }
    assert rows(workspace, "atif")[0]["steps"][2]["observation"]["results"][0]["content"] == "ok"
    assert rows(workspace, "codeact")[0]["steps"][0]["tool"] == "bash"


def test_sessions_that_have_no_shell_form_go_out_as_native_calls_alone(
    export: Callable[..., Any], workspace: Workspace, tmp_path: Path
) -> None:
    task = {"role": "user", "content": "What changed in the new release?"}
    sessions = []
    for query in ("release notes", "changelog"):  # two sub-agents with one task
        call = {"id": "toolu_1", "type": "function", "function": {"name": "WebSearch", "arguments": {"query": query}}}
        native = [
            task,
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "toolu_1", "name": "WebSearch", "content": "nothing"},
            {"role": "assistant", "content": "Nothing did."},
        ]
        sessions.append({"instance_id": query, "messages": [task], "native_messages": json.dumps(native)})
    source = tmp_path / "mined.jsonl"
    source.write_text("".join(json.dumps(session) + "\n" for session in sessions))
    export("--from", source, "--format", "openai-tools")
    assert [row["messages"][-1]["content"] for row in rows(workspace, "openai-tools")] == ["Nothing did."] * 2
    assert manifest(workspace)["formats"]["openai-tools"]["tokens"]["train"] > manifest(workspace)["tokens"] > 40
    assert "no-agent-turn" in export("--from", source, "--format", "sft", code=2).err
