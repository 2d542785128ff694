"""Rows of public sets in their shapes: each converts to known figures, or is left out with the right reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.sessions.logs import figures, mined, write_lines


def talk(*said: tuple[str, str], **row: Any) -> dict[str, Any]:
    return {"conversations": [{"from": role, "value": value} for role, value in said], **row}


CALL = '{"name": "get_order", "arguments": {"id": "W1"}}'
KEYS = {"analysis": "a", "plan": "p", "commands": [{"keystrokes": "ls -la\n", "duration": 0.1}]}
MOVED = {**KEYS, "commands": [{"keystrokes": "cd /app\n"}]}
DONE = {"analysis": "a", "plan": "p", "commands": [], "task_complete": True}
XML = "Look.\n\n<function=bash>\n<parameter=command>ls</parameter>\n</function>"
TEXT = [{"type": "text", "value": "hm"}, {"type": "reasoning", "value": "so"}]

SHAPES: dict[str, tuple[list[Any], tuple[int, ...]]] = {
    "codeact": (
        [
            talk(
                ("system", "Use <execute>."),
                ("human", "Add."),
                ("gpt", "So.\n<execute>\n1/0\n</execute>"),
                ("human", "Observation:\nZeroDivisionError: division by zero"),
                ("gpt", "<solution> 2 </solution>"),
            )
        ],
        (1, 0, 2, 1, 1, 0),
    ),
    "terminus-2": (
        [
            talk(
                ("human", "Task Description:\nList."),
                ("gpt", json.dumps(KEYS)),
                ("human", "New Terminal Output:\na.py"),
                ("gpt", f"```json\n{json.dumps(DONE)}\n```"),
            )
        ],
        (1, 2, 2, 1, 0, 1),
    ),
    "terminus-2 after a change of folder": (
        [
            talk(
                ("human", "List."),
                ("gpt", json.dumps(MOVED)),
                ("human", "$"),
                ("gpt", json.dumps(KEYS)),
                ("human", "a.py"),
                ("gpt", json.dumps(DONE)),
            )
        ],
        (1, 1, 3, 2, 0, 0),
    ),
    "sharegpt": (
        [talk(("human", "Order?"), ("function_call", CALL), ("observation", '{"is": "late"}'), ("gpt", "It is late."))],
        (1, 0, 1, 1, 0, 0),
    ),
    "hermes": (
        [
            talk(
                ("human", "Lines?"),
                (
                    "gpt",
                    '<think>\nCount.\n</think>\n<tool_call>\n{"name": "terminal", "arguments": {"command": "wc a"}}'
                    "\n</tool_call>",
                ),
                (
                    "tool",
                    '<tool_response>\n{"name": "terminal", "content": {"output": "no a", "exit_code": 1}}'
                    "\n</tool_response>",
                ),
                ("gpt", "<think>\n0\n</think>\nThere is no file."),
            )
        ],
        (1, 2, 1, 1, 1, 1),
    ),
    "toolace": (
        [
            talk(
                ("user", "Trends?"),
                ("assistant", '[Market Trends API(kind="A (b)", n=2), other()]'),
                ("tool", '[{"name": "a", "content": "x"}, {"name": "b", "content": "y"}]'),
                ("assistant", "Here."),
                system="You compose.",
            )
        ],
        (1, 0, 2, 2, 0, 0),
    ),
    "dolci": (
        [
            {
                "messages": [
                    {"role": "system", "content": "s", "functions": '[{"name": "f"}]'},
                    {"role": "user", "content": "Go."},
                    {"role": "assistant", "content": "", "function_calls": "f(x=1)"},
                    {"role": "environment", "content": "2"},
                    {"role": "assistant", "content": "2."},
                ]
            }
        ],
        (1, 0, 1, 1, 0, 0),
    ),
    "toucan": (
        [
            {
                "messages": json.dumps(
                    [
                        {"role": "user", "content": "Find."},
                        {"role": "assistant", "content": "I look."},
                        {
                            "role": "assistant",
                            "content": "",
                            "function_call": "{'name': 's', 'arguments': '{\"q\": 1}'}",
                        },
                        {"role": "function", "name": "s", "content": "found"},
                        {"role": "assistant", "content": "Found."},
                    ]
                )
            }
        ],
        (1, 0, 1, 1, 0, 0),
    ),
    "results of parallel calls in one text": (
        [
            {
                "messages": [
                    {"role": "user", "content": "Both."},
                    {"role": "assistant", "content": "", "function_call": '{"name": "f", "arguments": {}}'},
                    {"role": "assistant", "content": "", "function_call": '{"name": "g", "arguments": {}}'},
                    {"role": "function", "content": "one and two"},
                    {"role": "assistant", "content": "Done."},
                ]
            }
        ],
        (1, 0, 2, 0, 0, 0),
    ),
    "parts": (
        [
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "value": "Order?"}]},
                    {"role": "assistant", "content": [*TEXT, {"type": "tool_call", "value": CALL}]},
                    {"role": "tool", "content": [{"type": "text", "value": "late"}]},
                    {"role": "assistant", "content": TEXT},
                ]
            }
        ],
        (1, 0, 1, 1, 0, 0),
    ),
    "swe-smith xml": (
        [
            talk(
                ("human", "Fix."),
                ("gpt", XML),
                ("human", "OBSERVATION:\nERROR:\nno"),
                ("gpt", "<function=submit>\n</function>"),
            )
        ],
        (1, 2, 2, 1, 1, 1),
    ),
    "code contests": (
        [
            {
                "description": "Sum.",
                "name": "A",
                "solutions": {"language": [2, 2, 3], "solution": ["int x;", "y", "x = 1"]},
            }
        ],
        (2, 2, 0, 0, 0, 0),
    ),
    "docstrings": (
        [{"func_documentation_string": "Adds.", "func_code_string": "def f(): ...", "language": "Python"}],
        (1, 1, 0, 0, 0, 0),
    ),
    "oasst rows": (
        [
            {"message_id": "1", "parent_id": None, "message_tree_id": "1", "role": "prompter", "text": "Why?"},
            {
                "message_id": "2",
                "parent_id": "1",
                "message_tree_id": "1",
                "role": "assistant",
                "text": "No.",
                "rank": 1,
            },
            {
                "message_id": "3",
                "parent_id": "1",
                "message_tree_id": "1",
                "role": "assistant",
                "text": "So.",
                "rank": 0,
            },
            {"message_id": "4", "parent_id": "3", "message_tree_id": "1", "role": "prompter", "text": "And?"},
        ],
        (1, 1, 0, 0, 0, 0),
    ),
    "turn tables": (
        [
            {"session_id": "s", "turn_number": 1, "turn_type": "user_prompt", "content": "Fix."},
            {"session_id": "s", "turn_number": 2, "turn_type": "assistant_response", "content": "Look."},
            {
                "session_id": "s",
                "turn_number": 3,
                "turn_type": "tool_use",
                "tool_name": "Bash",
                "tool_call_id": "c",
                "tool_input_json": '{"command": "ls"}',
            },
            {"session_id": "s", "turn_number": 4, "turn_type": "tool_result", "tool_call_id": "c", "content": "a.py"},
            {"session_id": "s", "turn_number": 5, "turn_type": "assistant_response", "content": "Done."},
        ],
        (1, 2, 1, 1, 0, 1),
    ),
    "atif": (
        [
            {
                "schema_version": "ATIF-v1.7",
                "session_id": "x",
                "agent": {"name": "a", "version": "1", "model_name": "m"},
                "steps": [
                    {"step_id": 1, "source": "system", "message": "Be."},
                    {"step_id": 2, "source": "user", "message": "Fix."},
                    {
                        "step_id": 3,
                        "source": "agent",
                        "message": "Look.",
                        "tool_calls": [{"tool_call_id": "c", "function_name": "bash", "arguments": {"command": "ls"}}],
                        "observation": {"results": [{"source_call_id": "c", "content": "a.py"}]},
                    },
                    {"step_id": 4, "source": "agent", "message": "Done."},
                ],
            }
        ],
        (1, 2, 1, 1, 0, 1),
    ),
    "codex": (
        [
            {"type": "session_meta", "timestamp": "2026-01-02T03:04:05Z", "payload": {"id": "x", "cwd": "/srv/app"}},
            *[
                {"type": "response_item", "payload": payload}
                for payload in (
                    {
                        "type": "message",
                        "role": "user",
                        "content": [{"type": "input_text", "text": "<environment_context>"}],
                    },
                    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Fix."}]},
                    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
                    {
                        "type": "function_call",
                        "name": "shell",
                        "call_id": "c",
                        "arguments": '{"command": ["bash", "-lc", "ls"]}',
                    },
                    {
                        "type": "function_call_output",
                        "call_id": "c",
                        "output": '{"output": "no", "metadata": {"exit_code": 2}}',
                    },
                    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Done."}]},
                )
            ],
        ],
        (1, 2, 1, 1, 1, 1),
    ),
    "opencode export": (
        [
            {
                "info": {"id": "ses_1", "directory": "/srv/app"},
                "messages": [
                    {"info": {"role": "user"}, "parts": [{"type": "text", "text": "Fix."}]},
                    {
                        "info": {"role": "assistant", "modelID": "m"},
                        "parts": [
                            {"type": "text", "text": "Look."},
                            {
                                "type": "tool",
                                "tool": "bash",
                                "callID": "c",
                                "state": {"status": "completed", "input": {"command": "ls"}, "output": "a.py"},
                            },
                        ],
                    },
                    {"info": {"role": "assistant"}, "parts": [{"type": "text", "text": "Done."}]},
                ],
            }
        ],
        (1, 2, 1, 1, 0, 1),
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_converts_to_its_figures(shape: str, tmp_path: Path) -> None:
    """Sessions, turns, calls, results, errors, submissions; what has no shell form is kept for exports with tools."""
    rows, expected = SHAPES[shape]
    assert figures(*mined(write_lines(tmp_path / "rows.jsonl", rows))) == expected


REFUSED: dict[str, tuple[list[Any], str, str]] = {
    "a dialect that nobody knows": (
        [
            talk(
                ("human", "Count."),
                ("gpt", 'Think.\nAction: sql\nAction Input: "SELECT 1"'),
                ("human", "1"),
                ("gpt", "One."),
            )
        ],
        "no-known-action",
        "Think. Action: sql",
    ),
    "talk": ([talk(("human", "Why?"), ("gpt", "Because."))], "no-known-action", "Because."),
    "an unknown role": (
        [{"messages": [{"role": "user", "content": "x"}, {"role": "critic", "content": "y"}]}],
        "unknown-role",
        "critic",
    ),
    "no reply": ([talk(("human", "Hello?"))], "no-reply", "nobody answers"),
    "no conversation": ([{"question": [], "function": []}], "not-a-session", "question, function"),
}


@pytest.mark.parametrize("shape", REFUSED)
def test_what_cannot_be_known_is_left_out_with_its_reason(shape: str, tmp_path: Path) -> None:
    rows, reason, detail = REFUSED[shape]
    mine, found = mined(write_lines(tmp_path / "rows.jsonl", rows))
    assert (found, dict(mine.account.left)) == ([], {reason: 1})
    assert detail in mine.account.left.rows[0]["detail"]


def test_an_action_of_another_kind_among_known_ones_ends_the_turns_and_is_never_a_thought(tmp_path: Path) -> None:
    row = talk(
        ("human", "Fix."),
        ("gpt", XML),
        ("human", "a.py"),
        ("gpt", XML),
        ("human", "a.py"),
        ("gpt", "Now\n<execute>\nprint(1)\n</execute>"),
    )
    _, [one] = mined(write_lines(tmp_path / "rows.jsonl", [row]))
    assert (one.trajectory.turns, one.trajectory.ended_by) == (2, "an action of an unknown kind")


# -- the real rows ----------------------------------------------------------------------------------------------------

REAL = {
    "BFCL_v4_irrelevance": "not-a-session",
    "BFCL_v4_multi_turn_base": "not-a-session",
    "BFCL_v4_parallel": "not-a-session",
    "codeactinstruct": (5, 1, 18, 13, 1, 1),
    "hammer_masking_example": "not-a-session",
    "llamafactory_dpo": "no-known-action",
    "llamafactory_reason_tool_use": (3, 0, 8, 8, 0, 0),
    "nebius_SWE-agent-trajectories": (3, 3, 25, 22, 0, 0),
    "oasst_message": (5, 7, 0, 0, 0, 0),
    "oasst_tree": (5, 7, 0, 0, 0, 0),
    "orca_agentinstruct": "no-known-action",
    "shape_apigen_mt": (1, 0, 1, 1, 0, 0),
    "shape_code_contests": (1, 1, 0, 0, 0, 0),
    "shape_hermes": (1, 2, 1, 1, 0, 1),
    "shape_terminal_toolace": (1, 0, 1, 1, 0, 0),
    "shape_terminus2": (1, 2, 2, 1, 0, 1),
    "swe-gym_openhands_sampled_trajectories": (1, 23, 21, 20, 5, 3),
    "swe-smith": (2, 38, 38, 36, 0, 4),
    "toucan_1_5m": (1, 0, 1, 1, 0, 0),
}


@pytest.mark.parametrize("name", REAL)
def test_real_rows_of_public_sets(name: str, shared: Path) -> None:
    """The submissions are what the rows hold: `submit`, `finish`, `<solution>`, what an agent told its user."""
    mine, found = mined(shared / "public" / f"{name}.jsonl")
    assert (next(iter(mine.account.left), "") if not found else figures(mine, found)) == REAL[name]


def test_every_real_file_stands_in_the_table(shared: Path) -> None:
    assert {path.stem for path in (shared / "public").glob("*.jsonl")} == set(REAL)


def test_two_results_in_one_message_that_name_the_same_id_go_to_their_calls_in_order(tmp_path: Path) -> None:
    use = [{"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": command}} for command in ("ls", "pwd")]
    results = [{"type": "tool_result", "tool_use_id": "t", "content": content} for content in ("a.py", "/srv")]
    said = [("user", "Look."), ("assistant", use), ("user", results), ("assistant", "Done.")]
    row = {"messages": [{"role": role, "content": content} for role, content in said]}
    _, [found] = mined(write_lines(tmp_path / "rows.jsonl", [row]))
    assert [call.result for call in found.trajectory.session.calls] == ["a.py", "/srv"]
