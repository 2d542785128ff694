"""pi, mini-swe-agent, SWE-agent, OpenHands and rows of messages, each in its own real shape."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duel.conversation.model import Said
from duel.conversation.record_files import FileRecord, Hole
from duel.errors import ItemError
from duel.sources.mining.mined import normalize
from duel.sources.sessions import session_formats
from duel.sources.sessions.session_formats import Log
from tests.sessions.logs import contents, document, read, write_lines
from tests.sessions.test_openhands import version_1

SUBMIT = "```bash\necho COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT\n```"


# -- pi and OpenClaw ---------------------------------------------------------------------------------------------------


def entry(key: str, parent: str | None, **message: Any) -> dict[str, Any]:
    return {"type": "message", "id": key, "parentId": parent, "timestamp": "2026-01-02T03:04:05Z", "message": message}


def call(name: str, key: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "toolCall", "id": key, "name": name, "arguments": arguments}


def tree() -> list[dict[str, Any]]:
    text = [{"type": "text", "text": "Looking."}]
    return [
        {"type": "session", "version": 3, "id": "p-1", "timestamp": "2026-01-02T03:04:05Z", "cwd": "/home/ada/shop"},
        entry("1", None, role="user", content="Tidy up."),
        entry("2", "1", role="assistant", content=[*text, call("read", "c1", path="a.py", offset=2, limit=3)]),
        entry("3", "2", role="toolResult", toolCallId="c1", toolName="read", content=[{"type": "text", "text": "x"}]),
        entry("4", "3", role="user", content="A wrong turn."),
        entry("5", "3", role="assistant", stopReason="aborted", content=[{"type": "text", "text": "So th"}]),
        {"type": "compaction", "id": "6", "parentId": "5", "summary": "…", "firstKeptEntryId": "3", "tokensBefore": 9},
        {"type": "custom_message", "id": "7", "parentId": "6", "customType": "hint", "content": "Mind the tests."},
        entry("8", "7", role="assistant", content=[call("exec", "c2", command="ls", workdir="docs")]),
        entry("9", "8", role="toolResult", toolCallId="c2", content=[], details={"status": "error"}),
        entry("10", "9", role="assistant", stopReason="stop", content=[{"type": "text", "text": "Tidy."}]),
        {"type": "label", "id": "11", "parentId": "10", "targetId": "3", "label": "here"},
    ]


def test_pis_active_branch_ends_on_the_last_entry(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "x.jsonl", tree())
    (session,) = read(path, "pi")
    assert contents(session) == [
        "Tidy up.",
        "THOUGHT: Looking.\n\n```bash\nsed -n '2,4p' a.py\n```",
        "x\n\nMind the tests.",
        "```bash\ncd docs && ls\n```",
        "",
        f"THOUGHT: Tidy.\n\n{SUBMIT}",
    ]
    assert session.compactions == 1
    assert session.counts["aborted replies"] == 1
    assert session.counts["tool errors"] == 1
    _, branch = read(path, "pi", all_branches=True)
    assert [e.text for e in branch.entries if isinstance(e, Said)] == ["Tidy up.", "A wrong turn."]


def test_pis_first_version_is_a_line_of_entries_without_ids(tmp_path: Path) -> None:
    lines = [
        {k: v for k, v in record.items() if k not in ("id", "parentId", "version") or record["type"] == "session"}
        for record in tree()
    ]
    (session,) = read(write_lines(tmp_path / "x.jsonl", lines), "pi")
    assert [e.text for e in session.entries if isinstance(e, Said)] == ["Tidy up.", "A wrong turn.", "Mind the tests."]


def test_a_circle_of_parents_ends_the_walk(tmp_path: Path) -> None:
    lines = tree()
    lines[1]["parentId"] = "9"
    (session,) = read(write_lines(tmp_path / "x.jsonl", lines), "pi")
    assert len(session.calls) == 2


# -- mini-swe-agent and SWE-agent --------------------------------------------------------------------------------------


def test_mini_swe_agent_1_keeps_its_own_protocol(tmp_path: Path) -> None:
    turn = "THOUGHT: look\n\n```bash\nls\n```"
    messages = [
        {"role": "system", "content": "One bash block."},
        {"role": "user", "content": "Fix it."},
        {"role": "assistant", "content": turn, "extra": {}},
        {"role": "user", "content": "<returncode>2</returncode>\n<output>\nno\n</output>"},
        {"role": "assistant", "content": "No block at all."},
        {"role": "user", "content": "Give one action."},
        {"role": "assistant", "content": "```bash\necho COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT\n```"},
    ]
    info = {"exit_status": "Submitted", "submission": "", "config": {"environment": {"cwd": "/testbed"}}}
    run = {"info": info, "messages": messages, "trajectory_format": "mini-swe-agent-1", "instance_id": "a__b-1"}
    (session,) = read(document(tmp_path / "x.traj.json", run, indent=1), "mini-swe-agent")
    trajectory = normalize(session)
    assert trajectory.messages == [{"role": m["role"], "content": m["content"]} for m in messages]
    assert (session.instance_id, trajectory.exit_status, session.counts["tool errors"]) == ("a__b-1", "Submitted", 1)


def test_mini_swe_agent_2_with_native_calls(tmp_path: Path) -> None:
    use = {"id": "c", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls"}'}}
    messages = [
        {"role": "system", "content": "Use the tool."},
        {"role": "user", "content": "Fix it."},
        {"role": "assistant", "content": "Look.", "tool_calls": [use], "extra": {"actions": []}},
        {"role": "tool", "tool_call_id": "c", "content": "<returncode>0</returncode>"},
        {"role": "exit", "content": "diff", "extra": {"exit_status": "Submitted", "submission": "diff"}},
    ]
    (session,) = read(document(tmp_path / "x.traj.json", {"info": {}, "messages": messages}), "mini-swe-agent")
    assert contents(session) == ["Fix it.", "THOUGHT: Look.\n\n```bash\nls\n```", "<returncode>0</returncode>"]
    assert session.exit_status == "Submitted"
    assert normalize(session).messages[0]["content"].startswith("You are a coding agent.")


def swe_agent(assistant: list[dict[str, Any]]) -> dict[str, Any]:
    observations = [{"role": "user", "content": f"OBSERVATION:\n{n}", "message_type": "observation"} for n in range(9)]
    history: list[dict[str, Any]] = [
        {"role": "system", "content": "You have commands.", "agent": "main"},
        {"role": "user", "content": "A demonstration …", "is_demo": True},
        {"role": "user", "content": "Solve the issue."},
    ]
    for message, observation in zip(assistant, observations, strict=False):
        history += [{"role": "assistant", "agent": "main", **message}, observation]
    info = {"exit_status": "submitted", "submission": "diff", "model_stats": {}}
    return {"environment": "main", "trajectory": [{"action": "ls"}], "history": history, "info": info}


def test_swe_agents_history_without_demonstrations(tmp_path: Path) -> None:
    edit = "str_replace_editor str_replace /r/a.py --old_str 'a b' --new_str 'c d'"
    replies = [
        {"content": "Look.\n\n```\nls -a\n```", "thought": "Look.", "action": "ls -a\n"},
        {"content": f"Edit.\n\n```\n{edit}\n```", "thought": "Edit.", "action": edit},
        {"content": "Done.\n\n```\nsubmit\n```", "thought": "Done.", "action": "submit"},
    ]
    (session,) = read(document(tmp_path / "owner__name-12.traj", swe_agent(replies)), "swe-agent")
    turns = contents(session)
    assert turns[:3] == ["Solve the issue.", "THOUGHT: Look.\n\n```bash\nls -a\n```", "OBSERVATION:\n0"]
    assert "old = 'a b'" in turns[3]
    assert turns[5:] == [f"THOUGHT: Done.\n\n{SUBMIT}"]
    assert (session.instance_id, session.repo, session.exit_status) == ("owner__name-12", "owner/name", "submitted")


def test_a_command_of_swe_agents_window_ends_what_can_be_learned_from(tmp_path: Path) -> None:
    replies = [
        {"content": "Look.\n\n```\nls\n```", "thought": "Look.", "action": "ls"},
        {"content": "Open.\n\n```\nopen src/a.py 12\n```", "thought": "Open.", "action": "open src/a.py 12"},
    ]
    (session,) = read(document(tmp_path / "owner__name-12.traj", swe_agent(replies)), "swe-agent")
    trajectory = normalize(session)
    assert trajectory.turns == 1
    assert "`open` is a command of SWE-agent's window" in trajectory.ended_by


# -- rows of messages --------------------------------------------------------------------------------------------------


def native(arguments: Any) -> list[dict[str, Any]]:
    use = {"id": "c1", "type": "function", "function": {"name": "execute_bash", "arguments": arguments}}
    think = {"id": "c2", "type": "function", "function": {"name": "think", "arguments": '{"thought": "Hm."}'}}
    end = {"id": "c3", "type": "function", "function": {"name": "finish", "arguments": {"message": "All done."}}}
    return [
        {"role": "system", "content": "You have tools.", "tool_calls": None},
        {"role": "user", "content": "Solve it."},
        {"role": "assistant", "content": "", "tool_calls": [think]},
        {"role": "tool", "name": "think", "tool_call_id": "c2", "content": "Your thought has been logged."},
        {"role": "assistant", "content": "Look.", "tool_calls": [use]},
        {"role": "tool", "name": "execute_bash", "tool_call_id": "c1", "content": "x\n[exit code: 1]"},
        {"role": "assistant", "content": None, "tool_calls": [end]},
    ]


@pytest.mark.parametrize("arguments", ['{"command": "ls"}', {"command": "ls", "is_input": None}])
@pytest.mark.parametrize("pack", [lambda m: m, json.dumps], ids=["list", "json"])
@pytest.mark.parametrize("column", ["messages", "trajectory"])
def test_openhands_rows_of_the_hub(tmp_path: Path, arguments: Any, pack: Callable[[Any], Any], column: str) -> None:
    row = {
        "trajectory_id": "t-9",
        "instance_id": "owner__name-5_3",
        "resolved": 1,
        column: pack(native(arguments)),
        "tools": [json.dumps({"type": "function", "function": {"name": "execute_bash"}})],
        "exit_status": "submit",
    }
    (session,) = read(write_lines(tmp_path / "rows.jsonl", [row]), "messages")
    assert contents(session) == [
        "Solve it.",
        "THOUGHT: Hm.\n\nLook.\n\n```bash\nls\n```",
        "x\n[exit code: 1]",
        f"THOUGHT: All done.\n\n{SUBMIT}",
    ]
    assert (session.instance_id, session.id, session.repo) == ("owner__name-5", "t-9/3", "owner/name")
    assert (session.verdict, session.counts["tool errors"]) == ("success", 1)
    assert session.tools[0]["function"]["name"] == "execute_bash"


@pytest.mark.parametrize(
    ("resolved", "verdict"), [(-1, "unknown"), (None, "unknown"), (0, "failure"), (True, "success")]
)
def test_resolved_is_known_only_where_it_is_0_or_1(tmp_path: Path, resolved: Any, verdict: str) -> None:
    row = {"messages": native({"command": "ls"}), "resolved": resolved}
    (session,) = read(write_lines(tmp_path / "rows.jsonl", [row]), "messages")
    assert session.verdict == verdict


def test_function_tags_and_role_names_of_other_trainers(tmp_path: Path) -> None:
    arguments = "<parameter=command>view</parameter>\n<parameter=path>/r/a.py</parameter>"
    view = f"<function=str_replace_editor>\n{arguments}\n</function>"
    row = {
        "conversations": [
            {"from": "system", "value": "Use tags."},
            {"from": "human", "value": "Fix."},
            {"from": "gpt", "value": f"See.\n\n{view}"},
            {"from": "human", "value": "OBSERVATION:\n     1\tx"},
            {"from": "gpt", "value": "<function=submit>\n</function>"},
        ],
        "instance_id": "owner__name.0123abcd.func_pm",
        "traj_id": "t",
    }
    (session,) = read(write_lines(tmp_path / "rows.jsonl", [row]), "messages")
    assert contents(session) == [
        "Fix.",
        "THOUGHT: See.\n\n```bash\ncat -n /r/a.py\n```",
        "OBSERVATION:\n     1\tx",
        SUBMIT,
    ]
    assert session.repo == "owner/name"


def test_rows_of_nebius_swe_agent(tmp_path: Path) -> None:
    rows = [
        {"role": "system", "system_prompt": "Be an agent.", "text": None, "mask": False},
        {"role": "user", "text": "Fix.", "system_prompt": None},
        {"role": "ai", "text": "Look.\n```\nls\n```", "system_prompt": None},
        {"role": "user", "text": "a.py"},
    ]
    row = {
        "instance_id": "a__b-1",
        "model_name": "m",
        "target": False,
        "trajectory": rows,
        "exit_status": "exit_context",
    }
    (session,) = read(write_lines(tmp_path / "rows.jsonl", [row]), "messages")
    assert contents(session) == ["Fix.", "THOUGHT: Look.\n\n```bash\nls\n```", "a.py"]
    assert (session.verdict, session.verdict_evidence) == ("failure", "the source says target = false")


# -- any rows ----------------------------------------------------------------------------------------------------------


def test_rows_of_a_dataset_are_streamed(tmp_path: Path) -> None:
    """By `datasets` itself, from a folder in the place of the Hub."""
    pytest.importorskip("datasets")
    write_lines(tmp_path / "train.jsonl", [{"messages": native('{"command": "ls"}'), "instance_id": "a__b-1"}] * 3)
    log = Log(tmp_path, "rows", partial(session_formats.hub_rows, str(tmp_path), "train", ""))
    sessions = list(session_formats.reader_of(log).read(log))
    assert [len(contents(session)) for session in sessions] == [4, 4, 4]


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to every value inside a JSON value."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*way, key)
        yield from places(value[key], (*way, key))


SEEDS = [tree(), version_1(), [{"messages": native({"command": "ls"})}], [swe_agent([{"content": "```\nls\n```"}])]]
JUNK = st.sampled_from('null;0;-1.5;true;"";"x";[];{};[1];["a"];{"a": 1};[[]];[{}];1000000000000000'.split(";"))


@settings(max_examples=150, deadline=None)
@given(data=st.data(), seed=st.sampled_from(SEEDS), format=st.sampled_from(["", *session_formats.formats()]))
def test_no_shape_of_a_log_stops_a_reader(data: st.DataObject, seed: list[Any], format: str) -> None:
    records = json.loads(json.dumps(seed))
    for _ in range(data.draw(st.integers(1, 3))):
        *way, key = data.draw(st.sampled_from(list(places(records))))
        holder = records
        for step in way:
            holder = holder[step]
        holder[key] = json.loads(data.draw(JUNK))
    log = Log(Path("x.jsonl"), "x.jsonl", partial(in_memory, records))
    with contextlib.suppress(ItemError):
        for session in session_formats.reader_of(log, format).read(log, True):
            normalize(session)


def in_memory(rows: list[Any]) -> Iterator[FileRecord]:
    for number, row in enumerate(rows):
        yield row if isinstance(row, dict) else Hole(number)


def test_what_no_reader_knows_is_said(tmp_path: Path) -> None:
    for name, text in {
        "a.json": '{"sessions": {}}',
        "b.jsonl": "not json\n",
        "c.json": "",
        "d.parquet": "PAR1 no",
    }.items():
        path = tmp_path / name
        path.write_text(text)
        (log,) = session_formats.logs([str(path)])
        with pytest.raises(ItemError):
            session_formats.reader_of(log)


def test_what_codex_did_behind_a_result_whose_call_is_gone_is_not_taken(tmp_path: Path) -> None:
    asked = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Fix it."}]}
    call = {"type": "function_call", "name": "shell", "call_id": "c", "arguments": '{"command": ["ls"]}'}
    outputs = [{"type": "function_call_output", "call_id": name, "output": "a.py"} for name in ("c", "gone")]
    done = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Done."}]}
    items = [{"type": "response_item", "payload": item} for item in (asked, call, *outputs, done)]
    [session] = read(write_lines(tmp_path / "rollout-1.jsonl", items), "codex")
    trajectory = normalize(session)
    assert (trajectory.turns, trajectory.ended_by) == (1, "result without a call")
