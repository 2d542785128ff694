"""Logs as files: packed in every way, broken, in databases, and told by the name of their format."""

from __future__ import annotations

import gzip
import json
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from duel.conversation import text_actions
from duel.exports import loading
from duel.sources.sessions import session_formats
from tests.sessions.logs import ClaudeCode, figures, mined, write_lines
from tests.sessions.test_public_shapes import SHAPES

# -- files, packed and broken -----------------------------------------------------------------------------------------

ROWS = SHAPES["swe-smith xml"][0] * 3


@pytest.mark.parametrize("ending", ["rows.json", "rows.jsonl.gz", "rows.jsonl.zst", "rows.parquet"])
def test_one_set_reads_alike_however_it_is_packed_by_mine_and_by_export(ending: str, tmp_path: Path) -> None:
    path = tmp_path / ending
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    if ending == "rows.json":
        path.write_bytes(b"\xef\xbb\xbf" + json.dumps(ROWS, indent=1).encode())
    elif ending.endswith("gz"):
        path.write_bytes(gzip.compress(lines))
    elif ending.endswith("zst"):
        path.write_bytes(pa.compress(lines, codec="zstd", asbytes=True))
    else:
        import pyarrow.parquet as pq

        texts = pa.array([json.dumps(row["conversations"]).encode() for row in ROWS], pa.large_binary())
        pq.write_table(pa.table({"conversations": texts.dictionary_encode()}), path)
    mine, _ = mined(path)
    [loaded] = loading.trajectories(str(path), tmp_path)
    assert (mine.account.taken, len(loaded.examples)) == (3, 3)
    assert [call.name for call in mine_calls(path)] == [
        call["function"]["name"]
        for example in loaded.examples
        for message in example.native
        for call in (message.model_extra or {}).get("tool_calls", ())
    ]


def mine_calls(path: Path) -> list[Any]:
    return [call for one in mined(path)[1] for call in one.trajectory.session.calls]


def test_a_large_array_is_read_an_element_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from duel.conversation import record_files

    monkeypatch.setattr(record_files, "CHUNK", 64)
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"n": n, "text": "é" * n} for n in range(200)]))
    assert [row["n"] for row in record_files.array(path)] == list(range(200))
    path.write_text(path.read_text()[:-40])
    with pytest.raises(Exception, match="ends early"):
        list(record_files.array(path))


def session(turns: int = 3) -> list[Any]:
    log = ClaudeCode("/srv/app")
    log.says("The parser fails. Fix it.")
    for number in range(turns):
        log.runs(f"u{number}", f"cat {number}.py", f"{number}")
    log.replies("end", {"type": "text", "text": "Fixed."})
    return log.lines


def broken(line: int, change: Any) -> list[Any]:
    lines: list[Any] = [json.dumps(record) for record in session()]
    lines[line : line + 2] = change(lines[line], lines[line + 1])
    return lines


BREAKS = {
    "two records on a line": (lambda a, b: [a + b], 4, ""),
    "NUL behind": (lambda a, b: [a + "\x00" * 60, b], 4, ""),
    "NUL before": (lambda a, b: ["\x00" * 4096 + a, b], 4, ""),
    "a lone surrogate": (lambda a, b: [a.replace('"content": "1"', '"content": "\\ud83d"'), b], 4, ""),
    "a whole record behind a cut one": (lambda a, b: [a[: len(a) // 2] + b], 2, "call without a result"),
    "a line that is cut": (lambda a, b: [a[: len(a) // 2], b], 2, "call without a result"),
}


@pytest.mark.parametrize("fault", BREAKS)
def test_a_broken_line_costs_no_more_than_itself_and_no_rest_is_a_session(fault: str, tmp_path: Path) -> None:
    change, turns, ended_by = BREAKS[fault]
    _, [one] = mined(write_lines(tmp_path / "x.jsonl", broken(4, change)))
    assert one.trajectory.task == "The parser fails. Fix it."
    assert (one.trajectory.turns, one.trajectory.ended_by) == (turns, ended_by)


def test_a_lost_reply_ends_the_trajectory_and_the_followup_is_no_task(tmp_path: Path) -> None:
    lines = [json.dumps(record) for record in session()]
    lines[3] = lines[3][:40]
    _, [one] = mined(write_lines(tmp_path / "x.jsonl", lines))
    assert (one.trajectory.task, one.trajectory.turns) == ("The parser fails. Fix it.", 1)
    assert one.trajectory.ended_by == "a broken line in the log"
    mine, found = mined(write_lines(tmp_path / "y.jsonl", lines[4:]))  # and where the beginning is not there at all
    assert (found, dict(mine.account.left)) == ([], {"no-task": 1})


@pytest.mark.parametrize("named", [True, False])
def test_what_was_typed_while_the_agent_worked_is_the_persons(named: bool, tmp_path: Path) -> None:
    lines = session()
    queued = {"type": "attachment", "sessionId": "s-1", "attachment": {"type": "queued_command", "prompt": "And b.py."}}
    if named:
        queued |= {"uuid": "q", "parentUuid": lines[2]["uuid"]}
        lines[3]["parentUuid"] = "q"
    lines.insert(3, queued)
    _, [one] = mined(write_lines(tmp_path / "x.jsonl", lines))
    assert one.trajectory.messages[3]["content"] == "0\n\nAnd b.py."
    assert one.trajectory.turns == 4


def test_stream_json_and_a_linked_folder(tmp_path: Path) -> None:
    keep = ("type", "uuid", "message")
    lines = [{**{k: r[k] for k in keep if k in r}, "session_id": "s", "parent_tool_use_id": None} for r in session()]
    write_lines(tmp_path / "elsewhere" / "x.jsonl", [{"type": "system", "subtype": "init", "session_id": "s"}, *lines])
    (tmp_path / "projects").mkdir()
    (tmp_path / "projects" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "projects" / "round").symlink_to(tmp_path / "projects")
    mine, [one] = mined(tmp_path / "projects")
    assert (mine.account.files, one.trajectory.turns, one.trajectory.session.format) == (1, 4, "claude-code")


# -- databases --------------------------------------------------------------------------------------------------------


def test_openclaws_database_and_bundle_hold_the_active_branch(tmp_path: Path) -> None:
    entry = lambda key, parent, **message: {"type": "message", "id": key, "parentId": parent, "message": message}  # noqa: E731
    events = [
        {"type": "session", "version": 3, "id": "s", "timestamp": "2026-01-02T03:04:05Z", "cwd": "/srv/app"},
        entry("1", None, role="user", content="Fix."),
        entry("2", "1", role="assistant", content=[{"type": "text", "text": "A way that was left."}]),
        entry(
            "3",
            "1",
            role="assistant",
            content=[{"type": "toolCall", "id": "c", "name": "exec", "arguments": {"command": "ls"}}],
        ),
        entry("4", "3", role="toolResult", toolCallId="c", content=[{"type": "text", "text": "a.py"}]),
    ]
    path = tmp_path / "agents" / "openclaw-agent.sqlite"
    path.parent.mkdir()
    with sqlite3.connect(path) as base:
        base.execute("CREATE TABLE transcript_events (session_id, seq, event_json, event_zstd, event_utf8_bytes)")
        base.execute("CREATE TABLE session_transcript_active_events (session_id, active_position, event_seq)")
        for number, event in enumerate(events):
            raw = json.dumps(event)
            packed = pa.compress(raw.encode(), codec="zstd", asbytes=True) if number % 2 else None
            base.execute(
                "INSERT INTO transcript_events VALUES ('s', ?, ?, ?, ?)",
                (number, None if packed else raw, packed, len(raw.encode())),
            )
            if number != 2:
                base.execute("INSERT INTO session_transcript_active_events VALUES ('s', ?, ?)", (number, number))
    _, [stored] = mined(path)
    assert stored.trajectory.messages[1:] == [
        {"role": "user", "content": "Fix."},
        {"role": "assistant", "content": "```bash\nls\n```"},
        {"role": "user", "content": "a.py"},
    ]
    bundle = tmp_path / "bundle"
    write_lines(bundle / "events.jsonl", [{"traceSchema": "openclaw-trajectory", "schemaVersion": 1}])
    (bundle / "session-branch.json").write_text(
        json.dumps({"header": events[0], "entries": [events[i] for i in (1, 3, 4)]})
    )
    (bundle / "system-prompt.txt").write_text("Be.")
    (bundle / "tools.json").write_text('[{"name": "exec"}]')
    _, [exported] = mined(bundle)
    assert exported.trajectory.messages == stored.trajectory.messages
    assert (exported.trajectory.session.system, exported.trajectory.session.tools) == ("Be.", [{"name": "exec"}])


def test_opencodes_database_and_its_export_read_alike(tmp_path: Path) -> None:
    document = SHAPES["opencode export"][0][0]
    database = tmp_path / "opencode.db"
    with sqlite3.connect(database) as base:
        base.execute("CREATE TABLE session (id, directory)")
        base.execute("CREATE TABLE message (id, session_id, data)")
        base.execute("CREATE TABLE part (id, message_id, session_id, data)")
        base.execute("INSERT INTO session VALUES ('ses_1', '/srv/app')")
        for m, message in enumerate(document["messages"]):
            base.execute("INSERT INTO message VALUES (?, 'ses_1', ?)", (f"m{m}", json.dumps(message["info"])))
            for p, part in enumerate(message["parts"]):
                base.execute("INSERT INTO part VALUES (?, ?, 'ses_1', ?)", (f"p{p}", f"m{m}", json.dumps(part)))
    mine, [stored] = mined(database)
    _, [exported] = mined(write_lines(tmp_path / "export" / "x.json", [document]))
    assert stored.trajectory.messages == exported.trajectory.messages
    assert (stored.trajectory.turns, dict(mine.account.left)) == (2, {})


# -- names ------------------------------------------------------------------------------------------------------------


def test_a_format_that_is_asked_for_by_name_is_read_so_whatever_it_looks_like(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", SHAPES["codeact"][0])
    assert figures(*mined(path, "codeact"))[2] == 2
    mine, found = mined(path, "function-tags")
    assert (found, dict(mine.account.left)) == ([], {"no-known-action": 1})


def test_one_file_from_outside_adds_a_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "toy_format"
    (tmp_path / "toy_format-1.dist-info").mkdir()
    (tmp_path / "toy_format-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: toy-format\nVersion: 1\n"
    )
    (tmp_path / "toy_format-1.dist-info" / "entry_points.txt").write_text("[duel.session_reader]\ntoy = toy_format\n")
    package.mkdir()
    (package / "__init__.py").write_text(
        "from duel.conversation.model import AgentCall, AgentReply, Said, Session\n"
        "def recognizes(sample):\n    return any('toy' in record for record in sample)\n"
        "def read(log, all_branches=False):\n"
        "    for row in log.values():\n"
        "        reply = AgentReply('Look.', [AgentCall('c', 'bash', {'command': row['toy']}, result='x')])\n"
        "        yield Session('toy', 'x', [Said('Fix.'), reply]).tally()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    names = session_formats.names()
    for kept, value in (("_parts", dict(session_formats.READERS)), ("_outside", {}), ("_complete", False)):
        monkeypatch.setattr(session_formats.READERS, kept, value)
    for cached in (session_formats.names, session_formats.formats, session_formats.reader):
        cached.cache_clear()
    try:
        assert session_formats.names() == ("toy", *names)
        assert figures(*mined(write_lines(tmp_path / "x.jsonl", [{"toy": "ls"}]))) == (1, 1, 1, 1, 0, 0)
    finally:
        monkeypatch.undo()
        for cached in (session_formats.names, session_formats.formats, session_formats.reader):
            cached.cache_clear()


def test_every_dialect_finds_nothing_in_prose() -> None:
    for name, dialect in text_actions.DIALECTS.items():
        assert dialect.find("I think that [this] {is} fine; f(x) = 1.", 1) is None, name


def test_a_log_behind_many_broken_lines_is_still_told_by_its_format(tmp_path: Path) -> None:
    log = ClaudeCode()
    log.says("Fix it.")
    log.runs("u-1", "ls", "a.py")
    path = write_lines(tmp_path / "log.jsonl", ["{}", *["{broken"] * 60, *log.lines])
    mine, _ = mined(path)
    assert mine.account.formats == {"claude-code": 1}
