"""OpenHands' events of both versions, in a list, in lines and in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.sessions.logs import contents, document, read, write_lines


def test_openhands_version_0_events(tmp_path: Path) -> None:
    command = {"function": {"name": "execute_bash", "arguments": '{"command": "ls"}'}, "id": "c1"}
    response = {"id": "r1", "choices": [{"message": {"tool_calls": [command]}}]}
    metadata = {"function_name": "execute_bash", "tool_call_id": "c1", "model_response": response}
    events = [
        {"id": 0, "source": "agent", "action": "system", "args": {"content": "Be good."}},
        {
            "id": 1,
            "source": "user",
            "action": "message",
            "args": {"content": "Fix."},
            "timestamp": "2026-01-02T03:04:05",
        },
        {
            "id": 2,
            "source": "agent",
            "action": "run",
            "args": {"command": "ls", "thought": "Look."},
            "tool_call_metadata": metadata,
        },
        {
            "id": 3,
            "source": "agent",
            "observation": "run",
            "content": "x",
            "cause": 2,
            "extras": {"metadata": {"exit_code": 2}},
        },
        {"id": 4, "source": "environment", "observation": "agent_state_changed", "content": ""},
        {"id": 5, "source": "agent", "action": "think", "args": {"thought": "Hm."}},
        {"id": 6, "source": "agent", "observation": "think", "content": "logged", "cause": 5},
        {"id": 7, "source": "agent", "action": "message", "args": {"content": "Done."}},
    ]
    (session,) = read(document(tmp_path / "x.json", events), "openhands")
    assert contents(session) == [
        "Fix.",
        "THOUGHT: Look.\n\n```bash\nls\n```",
        "x",
        "THOUGHT: Hm.\n\nDone.\n\n```bash\necho COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT\n```",
    ]
    assert (session.system, session.counts["tool errors"]) == ("Be good.", 1)


def version_1() -> list[dict[str, Any]]:
    text = lambda t: [{"type": "text", "text": t}]  # noqa: E731
    use = lambda n, c: {  # noqa: E731
        "kind": "ActionEvent",
        "id": f"e{n}",
        "source": "agent",
        "thought": text("Look.") if n == 1 else [],
        "action": {"kind": "ExecuteBashAction", "command": c},
        "tool_name": "terminal",
        "tool_call_id": f"c{n}",
        "tool_call": {"id": f"c{n}", "name": "terminal", "arguments": json.dumps({"command": c})},
        "llm_response_id": "r1",
    }
    seen = lambda n, t, code: {  # noqa: E731
        "kind": "ObservationEvent",
        "id": f"o{n}",
        "source": "environment",
        "tool_call_id": f"c{n}",
        "action_id": f"e{n}",
        "observation": {"kind": "ExecuteBashObservation", "content": text(t), "exit_code": code},
    }
    message = {
        "kind": "MessageEvent",
        "id": "m",
        "source": "user",
        "llm_message": {"role": "user", "content": text("Fix.")},
    }
    prompt = {
        "kind": "SystemPromptEvent",
        "id": "s",
        "source": "agent",
        "system_prompt": {"type": "text", "text": "Be."},
    }
    other = {"kind": "NewThing", "id": "n", "source": "agent"}
    return [prompt, message, use(1, "ls"), use(2, "pwd"), seen(1, "x", 0), seen(2, "/", 1), other]


def test_openhands_version_1_events_in_lines_and_in_a_folder(tmp_path: Path) -> None:
    expected = ["Fix.", "THOUGHT: Look.\n\n```bash\nls\n```", "x", "```bash\npwd\n```", "/"]
    (session,) = read(write_lines(tmp_path / "one" / "x.jsonl", version_1()), "openhands")
    assert contents(session) == expected
    assert (session.system, session.counts["tool errors"], len(session.replies)) == ("Be.", 1, 1)
    for number, event in enumerate(version_1()):
        document(tmp_path / "two" / "conversation-7" / "events" / f"event-{number:05}-abc.json", event)
    (session,) = read(tmp_path / "two", "openhands")
    assert contents(session) == expected
    assert session.id == "conversation-7"
