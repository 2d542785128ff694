"""Every real log converts, and what the readers count is what stands in the files, counted in the plainest way."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from duel.conversation.model import Said
from duel.sources.mining.mined import normalize
from duel.sources.sessions import session_formats

# file: user turns, tool calls, results, errors. The plain count of user turns also finds what the reader leaves out and
# notes (local commands and their output: 2 in tool_heavy, 4 in 0ccf1a04) and what was rewound (2 in 0ccf1a04).
TABLE = {
    "claude_code/marot_spotter/258c7280-ae70-4798-800f-63464d01a85d.jsonl": (5, 186, 186, 7),
    "claude_code/marot_spotter/258c7280-ae70-4798-800f-63464d01a85d/subagents/agent-a881341.jsonl": (1, 2, 2, 0),
    "claude_code/marot_spotter/short.jsonl": (2, 2, 2, 2),
    "claude_code/marot_spotter/subagent.jsonl": (3, 16, 16, 0),
    "claude_code/marot_spotter/tool_heavy.jsonl": (6, 6, 6, 0),
    "claude_code/moredip_session-share/0ccf1a04-1b4c-43b6-8aa5-79e41db43a68.jsonl": (13, 7, 7, 1),
    "claude_code/moredip_session-share/0ccf1a04-1b4c-43b6-8aa5-79e41db43a68/subagents/agent-a5bdbc1.jsonl": (
        1,
        1,
        1,
        0,
    ),
    "claude_code/moredip_session-share/0ccf1a04-1b4c-43b6-8aa5-79e41db43a68/subagents/agent-a9cad17.jsonl": (
        1,
        1,
        1,
        0,
    ),
    "claude_code/moredip_session-share/0ccf1a04-1b4c-43b6-8aa5-79e41db43a68/subagents/agent-aa5ef13.jsonl": (
        1,
        1,
        1,
        0,
    ),
    "claude_code/moredip_session-share/0ccf1a04-1b4c-43b6-8aa5-79e41db43a68/subagents/agent-ac27727.jsonl": (
        1,
        1,
        1,
        0,
    ),
    "claude_code/moredip_session-share/0ccf1a04-1b4c-43b6-8aa5-79e41db43a68/subagents/agent-afbbf75.jsonl": (
        1,
        1,
        1,
        0,
    ),
    "claude_code/moredip_session-share/4b2030ed-5563-49ea-b703-6a002f2d3cc8.jsonl": (1, 1, 1, 0),
    "claude_code/moredip_session-share/4b2030ed-5563-49ea-b703-6a002f2d3cc8/subagents/agent-a2018e5.jsonl": (
        1,
        1,
        1,
        0,
    ),
    "claude_code/simonw_sample_session.jsonl": (2, 2, 2, 0),
    "openclaw_pi/pi_large-session.jsonl": (88, 391, 373, 19),
    "github_issue.traj.json": (1, 10, 10, 2),
    "local.traj.json": (1, 2, 2, 0),
}


def counted_in(file: Path) -> tuple[int, int, int, int]:
    """User turns, tool calls, results and errors of a file, by nothing but its lines."""
    if file.name.endswith(".traj.json"):
        return counted_in_fences(json.loads(file.read_text("utf-8")))
    count: Counter[str] = Counter()
    for line in file.read_text("utf-8").splitlines():
        record = json.loads(line)
        message = record.get("message") or {}
        content = message.get("content")
        blocks = [{"type": "text"}] if isinstance(content, str) else content or []
        kinds = [block["type"] for block in blocks]
        if message.get("role") == "user" and "text" in kinds:
            count["user"] += not record.get("isMeta") and not record.get("isCompactSummary")
        count["calls"] += kinds.count("tool_use") + kinds.count("toolCall")
        count["results"] += kinds.count("tool_result") + (message.get("role") == "toolResult")
        count["errors"] += sum(block.get("is_error") is True for block in blocks) + (message.get("isError") is True)
    return count["user"], count["calls"], count["results"], count["errors"]


def counted_in_fences(messages: list[dict[str, Any]]) -> tuple[int, int, int, int]:
    replies = [m for m in messages if m["role"] == "assistant" and "```mswea_bash_command" in m["content"]]
    observations = [m["content"] for m in messages if m["role"] == "user"][1:]
    failed = [text for text in observations if re.match(r"<returncode>[^0]", text)]
    return 1, len(replies), len(observations), len(failed)


@pytest.mark.parametrize("name", TABLE)
def test_counts_equal_a_count_made_straight_from_the_file(shared: Path, name: str) -> None:
    folder = shared / ("mini_swe_agent" if name.endswith(".traj.json") else "sessions")
    (log,) = session_formats.logs([str(folder / name)])
    active, *rewound = session_formats.reader_of(log).read(log, True)
    told = Counter(entry.text for entry in active.entries if isinstance(entry, Said))
    others = [Counter(entry.text for entry in branch.entries if isinstance(entry, Said)) for branch in rewound]
    left_out = log.notes["local command"] + log.notes["output of a local command"]
    counted = (
        active.counts["user turns"] + left_out + sum((other - told).total() for other in others),
        active.counts["tool calls"],
        active.counts["tool results"],
        active.counts["tool errors"],
    )
    assert counted == counted_in(folder / name) == TABLE[name]
    assert not [note for note in log.notes if note.startswith(("broken", "unknown"))]


def test_the_table_names_every_real_log(shared: Path) -> None:
    logs = [*session_formats.logs([str(shared / "sessions")]), *session_formats.logs([str(shared / "mini_swe_agent")])]
    names = {log.name for log in logs if log.name not in ("train-00000.parquet", "resolved.json")}
    assert names == set(TABLE)


def test_the_38_runs_in_the_datasets_columns_read_as_they_are(shared: Path) -> None:
    (log,) = session_formats.logs([str(shared / "mini_swe_agent" / "train-00000.parquet")])
    count: Counter[str] = Counter()
    for session, row in zip(session_formats.reader_of(log).read(log), log.values(), strict=True):
        trajectory = normalize(session)
        assert trajectory.messages == row["messages"]
        assert (trajectory.exit_status, session.instance_id, session.repo) == (
            "Submitted",
            row["instance_id"],
            row["repo"],
        )
        count.update(rows=1, turns=trajectory.turns, calls=session.counts["tool calls"])
    assert count == {"rows": 38, "turns": 1250, "calls": 1219}  # 31 turns hold two or more blocks, which ran nothing
