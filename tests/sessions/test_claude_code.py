"""Claude Code's logs: responses spread over lines, parallel calls, trees, sub-agents, compactions, noise."""

from __future__ import annotations

from pathlib import Path

from duel.conversation.model import AgentReply, Said, Session
from duel.sources.mining.mined import normalize
from duel.sources.sessions import session_formats
from tests.sessions.logs import ClaudeCode, text_block, tool_use, write_lines


def read(path: Path, all_branches: bool = False) -> list[Session]:
    (log,) = session_formats.logs([str(path)])
    reader = session_formats.reader_of(log)
    assert reader is session_formats.reader("claude-code")
    return list(reader.read(log, all_branches))


def said(session: Session) -> list[str]:
    return [entry.text for entry in session.entries if isinstance(entry, Said)]


def test_a_response_whose_lines_lie_apart_is_one_reply_with_its_results_in_order(tmp_path: Path) -> None:
    log = ClaudeCode()
    log.says("Look at both files.")
    first = log.replies("msg", {"type": "thinking", "thinking": "both", "signature": ""}, text_block("Both at once."))
    one = log.replies("msg", tool_use("a", "Read", file_path="/home/ada/shop/a.py"), parent=first)
    log.line("progress", data={"type": "hook_progress"})
    log.result("a", "     1→a", parent=one)
    two = log.replies("msg", tool_use("b", "Read", file_path="/home/ada/shop/b.py", offset=3, limit=2), parent=one)
    log.result("b", "     3→b", parent=two)
    log.replies("msg-2", text_block("Seen."))
    (session,) = read(write_lines(tmp_path / "x.jsonl", log.lines))
    assert [len(reply.calls) for reply in session.replies] == [2, 0]
    assert [call.result for call in session.calls] == ["     1→a", "     3→b"]
    assert [message["content"] for message in normalize(session).messages[1:]] == [
        "Look at both files.",
        "THOUGHT: Both at once.\n\n```bash\ncat -n a.py\n```",
        "     1→a",
        "```bash\ncat -n b.py | sed -n '3,4p'\n```",
        "     3→b",
        "THOUGHT: Seen.\n\n```bash\necho COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT\n```",
    ]
    assert normalize(session, thinking=True).messages[2]["content"].startswith("THOUGHT: both\n\nBoth at once.")


def test_what_was_rewound_is_another_branch_that_one_can_ask_for(tmp_path: Path) -> None:
    log = ClaudeCode()
    log.says("Count the files.")
    log.runs("a", "ls | wc -l", "3")
    fork = log.parent
    log.says("No, stop.")
    log.runs("b", "true", "")
    log.says("Now count the lines.", parent=fork)
    log.runs("c", "wc -l *", "9 total")
    path = write_lines(tmp_path / "x.jsonl", log.lines)
    (active,) = read(path)
    assert said(active) == ["Count the files.", "Now count the lines."]
    assert [call.id for call in active.calls] == ["a", "c"]
    _, branch = read(path, all_branches=True)
    assert said(branch) == ["Count the files.", "No, stop."]
    assert branch.branch


def test_a_compaction_is_bridged_and_its_summary_left_out(tmp_path: Path) -> None:
    log = ClaudeCode()
    log.says("Start.")
    log.runs("a", "ls", "x")
    last = log.parent
    log.line(
        "system", parent=None, logicalParentUuid=last, subtype="compact_boundary", compactMetadata={"preTokens": 9}
    )
    log.says("This session is continued …", isCompactSummary=True, isVisibleInTranscriptOnly=True)
    log.runs("b", "pwd", "/")
    (session,) = read(write_lines(tmp_path / "x.jsonl", log.lines))
    assert said(session) == ["Start."]
    assert [call.id for call in session.calls] == ["a", "b"]
    assert session.compactions == 1


def test_sub_agents_are_sessions_of_their_own_in_their_own_file_or_inside(tmp_path: Path) -> None:
    own = ClaudeCode(isSidechain=True, agentId="a1b2")
    own.says("Find the tests.")
    own.runs("x", "ls tests", "test_a.py")
    write_lines(tmp_path / "s-1" / "subagents" / "agent-a1b2.jsonl", own.lines)
    log = ClaudeCode()
    log.says("Go on.")
    log.replies("msg", tool_use("t", "Task", prompt="Find the docs."))
    for number in (1, 2):
        log.line("user", parent=None, isSidechain=True, message={"role": "user", "content": f"Part {number}."})
        log.replies(f"side-{number}", tool_use(f"r{number}", "Bash", command="ls docs"), isSidechain=True)
        log.result(f"r{number}", "index.md", isSidechain=True)
    write_lines(tmp_path / "s-1.jsonl", log.lines)
    sessions = [s for one in session_formats.logs([str(tmp_path)]) for s in session_formats.reader_of(one).read(one)]
    assert [(s.id, said(s), len(s.calls)) for s in sessions] == [
        ("s-1", ["Go on."], 1),
        ("s-1", ["Part 1."], 1),
        ("s-1", ["Part 2."], 1),
        ("s-1", ["Find the tests."], 1),
    ]
    assert sessions[-1].agent == "a1b2"
    assert len({s.agent for s in sessions}) == 4


def test_noise_of_the_harness_is_no_turn_and_a_stored_command_is_its_text(tmp_path: Path) -> None:
    log = ClaudeCode()
    log.says("<local-command-caveat>Caveat: The messages below …</local-command-caveat>", isMeta=True)
    log.says("<command-name>/mcp</command-name>\n <command-message>mcp</command-message>")
    log.says("<local-command-stdout>Reconnected.</local-command-stdout>")
    log.says(
        "<command-message>fix</command-message>\n<command-name>/fix</command-name>\n<command-args>7</command-args>"
    )
    log.says([text_block("Fix the issue that the number names.")], isMeta=True)
    log.runs("a", "ls", "x")
    log.line(
        "assistant", message={"id": "e", "role": "assistant", "model": "<synthetic>", "content": [text_block("API")]}
    )
    log.line("attachment", attachment={"type": "hook_success"})
    log.line("brand-new-entry")
    path = write_lines(tmp_path / "x.jsonl", [*log.lines, '{"type": "user", "mess', "[1]"])
    (found,) = session_formats.logs([str(path)])
    (session,) = session_formats.reader_of(found).read(found)
    assert said(session) == ["/fix 7\n\nFix the issue that the number names."]
    assert session.counts["tool calls"] == 1
    assert found.notes["unknown entry type `brand-new-entry`"] == 1
    assert found.notes["attachment `hook_success`"] == 1
    assert {note for note in found.notes if note.startswith("broken")} == {"broken line 11", "broken line 12"}


def test_the_prompt_snapshot_gives_system_prompt_and_tools(tmp_path: Path) -> None:
    log = ClaudeCode()
    tools = [{"name": "Bash", "description": "runs", "schema": {"type": "object"}}]
    log.line(
        "attachment", attachment={"type": "prompt_snapshot", "systemPrompt": ["You code.", "Well."], "tools": tools}
    )
    log.says("Hi.")
    log.runs("a", "ls", "x")
    (session,) = read(write_lines(tmp_path / "x.jsonl", log.lines))
    assert session.system == "You code.\n\nWell."
    assert session.tools[0]["function"] == {"name": "Bash", "description": "runs", "parameters": {"type": "object"}}


def test_images_are_left_out_and_counted_and_end_the_eligible_part(tmp_path: Path) -> None:
    image = {"type": "image", "source": {"type": "base64", "data": "AAAA"}}
    log = ClaudeCode()
    log.says("Draw it.")
    log.replies("msg", tool_use("a", "Read", file_path="/home/ada/shop/plan.png"))
    log.result("a", [image])
    log.says([text_block("Like this?"), image])
    (session,) = read(write_lines(tmp_path / "x.jsonl", log.lines))
    assert session.counts["images"] == 2
    assert normalize(session).ended_by == "returns an image"
    session.entries = [entry for entry in session.entries if not isinstance(entry, AgentReply)]
    trajectory = normalize(session)
    assert trajectory.ended_by == "image from the person"
    assert trajectory.messages[-1]["content"].endswith("Like this?\n\n[an image is left out here]")


def test_what_a_person_refused_changed_or_sent_to_the_background_ends_the_eligible_part(tmp_path: Path) -> None:
    endings = {
        "rejected by the person": (tool_use("a", "Bash", command="rm -r ."), "User rejected tool use"),
        "changed by the person": (
            tool_use("a", "Edit", file_path="/home/ada/shop/x", old_string="a", new_string="b"),
            {"userModified": True, "originalFile": "a\n", "structuredPatch": []},
        ),
        "runs in the background": (tool_use("a", "Bash", command="serve", run_in_background=True), {"stdout": ""}),
        "no shell form: WebSearch": (tool_use("a", "WebSearch", query="news"), {"results": []}),
        "no shell form: MCP tool": (tool_use("a", "mcp__mail__send", to="x"), {}),
        "malformed call": (tool_use("a", "Read", path=7), "Error: no path"),
    }
    for number, (reason, (use, outcome)) in enumerate(endings.items()):
        log = ClaudeCode()
        log.says("Go.")
        log.runs("first", "ls", "x")
        log.replies("msg", text_block("Next."), use)
        log.result("a", "…", outcome)
        log.runs("later", "ls", "x")
        trajectory = normalize(read(write_lines(tmp_path / f"{number}.jsonl", log.lines))[0])
        assert (trajectory.ended_by, trajectory.turns, trajectory.exit_status) == (reason, 1, "")


def test_a_list_of_things_to_do_is_left_out_without_ending_anything(tmp_path: Path) -> None:
    log = ClaudeCode()
    log.says("Go.")
    log.replies("one", text_block("First a plan."), tool_use("t", "TodoWrite", todos=[{"content": "look"}]))
    log.result("t", "Todos have been modified")
    log.runs("a", "ls", "x")
    trajectory = normalize(read(write_lines(tmp_path / "x.jsonl", log.lines))[0])
    assert trajectory.messages[2]["content"].startswith("THOUGHT: First a plan.\n\nRunning a.\n\n```bash\nls")
    assert trajectory.left_out == {"bookkeeping: TodoWrite": 1}


def test_a_session_that_was_killed_ends_on_the_call_that_never_came_back(tmp_path: Path) -> None:
    log = ClaudeCode()
    log.says("Go.")
    log.replies("one", tool_use("a", "Bash", command="sleep 99", description="Wait for it"))
    trajectory = normalize(read(write_lines(tmp_path / "x.jsonl", log.lines))[0])
    assert trajectory.messages[-1]["content"] == "THOUGHT: Wait for it\n\n```bash\nsleep 99\n```"
    assert trajectory.ended_by == "call without a result"
