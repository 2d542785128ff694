"""Edits that real agents made, as shell text, run by bash on the file before: the file after is the log's."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from duel import turn
from duel.conversation.model import AgentCall, Session
from duel.sources.mining import shell_forms
from duel.sources.mining.mined import normalize
from duel.sources.sessions import session_formats
from tests.sessions.shell import ShellCase, wrong


def sessions(folder: Path) -> Iterator[Session]:
    for log in session_formats.logs([str(folder)]):
        yield from session_formats.reader_of(log).read(log)


def outcomes(folder: Path) -> dict[str, dict[str, Any]]:
    """What Claude Code itself noted of each tool's run, read here without the project's reader."""
    found = {}
    for file in folder.rglob("*.jsonl"):
        for line in file.read_text("utf-8").splitlines():
            record = json.loads(line)
            content = record.get("message", {}).get("content") if record["type"] == "user" else None
            if isinstance(content, list) and isinstance(record.get("toolUseResult"), dict):
                found[content[0].get("tool_use_id", "")] = record["toolUseResult"]
    return found


def applied(before: str, hunks: list[dict[str, Any]]) -> str:
    """`before` with Claude Code's own hunks applied, the plainest way."""
    lines = before.split("\n")
    last_has_newline = before.endswith("\n")
    for hunk in reversed(hunks):
        kept = [line[1:] for line in hunk["lines"] if line[0] in "+ "]
        start = hunk["oldStart"] - 1
        assert lines[start : start + hunk["oldLines"]] == [line[1:] for line in hunk["lines"] if line[0] in "- "]
        lines[start : start + hunk["oldLines"]] = kept
        if hunk["lines"][-1].startswith("\\"):
            last_has_newline = not last_has_newline if hunk["lines"][-2][0] == "+" else last_has_newline
    return "\n".join(lines).removesuffix("\n") + ("\n" if last_has_newline else "")


def command_in_the_turn(call: AgentCall) -> str:
    """What a harness would take out of the finished turn: the block survives its own fence."""
    command = shell_forms.shell_form(call)
    text = f"THOUGHT: edit\n\n```bash\n{command}\n```"
    assert turn.format_ok(text), turn.format_problem(text)
    assert turn.command(text) == command
    return command


def test_all_35_edits_and_14_writes_of_claude_code_give_the_recorded_file(shared: Path, tmp_path: Path) -> None:
    noted = outcomes(shared / "sessions" / "claude_code")
    cases, kinds = [], Counter[str]()
    for session in sessions(shared / "sessions" / "claude_code"):
        for call in session.calls:
            outcome = noted.get(call.id, {})
            if call.name not in ("Edit", "Write") or "filePath" not in outcome:
                continue
            before = outcome["originalFile"]
            file = outcome["filePath"].removeprefix(call.folder).lstrip("/")
            after = applied(before, outcome["structuredPatch"]) if call.name == "Edit" else outcome["content"]
            command = command_in_the_turn(call)
            kinds[f"{call.name}: {command.split(None, 2)[0]}"] += 1
            # A path outside of the session's folder is absolute: it is run inside the case's own folder here.
            command = command.replace(outcome["filePath"], file)
            cases.append(ShellCase(f"{call.name} {file}", command, file, before, after))
    assert Counter(case.name.split()[0] for case in cases) == {"Edit": 35, "Write": 14}
    assert kinds["Edit: git"] == 35
    assert wrong(cases, tmp_path, in_repositories=True) == []


def pieces(diff: str, signs: str) -> list[str]:
    """The runs of lines that pi's numbered diff shows of one side ("- " the file before, "+ " after)."""
    runs: list[list[str]] = [[]]
    for line in diff.split("\n"):
        if found := re.fullmatch(r"([ +-]) *(\d+) (.*)", line):
            runs[-1] += [found[3]] if found[1] in signs else []
        else:
            assert line.strip() == "..."
            runs.append([])
    return ["\n".join(run) for run in runs if run]


def stretched(text: str, diff: str, signs: str) -> str:
    """`text` with what the log shows around it, and made-up lines beyond that, which no edit may touch."""
    for piece in pieces(diff, signs):
        if piece in text:
            continue
        behind = max((n for n in range(len(piece)) if text.endswith(piece[:n])), default=0)
        before = max((n for n in range(len(piece)) if text.startswith(piece[len(piece) - n :])), default=0)
        if text in piece:
            text = piece
        elif behind >= before:
            text += piece[behind:]
        else:
            text = piece[: len(piece) - before] + text
    filler = "(a line that the log does not show)\n" * 8
    starts, ends = (filler if diff.split("\n")[at].strip() == "..." else "" for at in (0, -1))
    return f"{starts}{text}\n{ends}"


def test_pis_edits_give_what_its_log_shows(shared: Path, tmp_path: Path) -> None:
    """Of 146 edits 128 have a result with a diff. Where the whole file is known (it was written, or read in full), the
    edit runs on the whole file; else on the part that the diff shows.
    """
    cases, kinds, files = [], Counter[str](), dict[str, str]()
    entries = (shared / "sessions" / "openclaw_pi" / "pi_large-session.jsonl").read_text("utf-8").splitlines()
    diffs = {
        message["toolCallId"]: message["details"]["diff"]
        for message in (json.loads(line).get("message", {}) for line in entries)
        if message.get("role") == "toolResult" and "diff" in message.get("details", {})
    }
    edits = 0
    for call in next(sessions(shared / "sessions" / "openclaw_pi")).calls:
        path = str(call.arguments.get("path", ""))
        if call.name == "bash":
            files.clear()  # a command may have changed any file
        elif call.name == "write" and call.result is not None:
            files[path] = call.arguments["content"]
        elif (
            call.name == "read" and set(call.arguments) == {"path"} and call.result and "\n[" not in call.result[-200:]
        ):
            files[path] = call.result
        edits += call.name == "edit"
        if call.name != "edit" or call.id not in diffs:
            continue
        old, new = call.arguments["oldText"], call.arguments["newText"]  # as it was written, also where it said "$$"
        if files.get(path, "").count(old) == 1:
            kind, before = "whole file", files[path]
            after = files[path] = before.replace(old, new)
        else:
            kind, diff = "shown part", diffs[call.id]
            before, after = stretched(old, diff, "- "), stretched(new, diff, "+ ")
        command = command_in_the_turn(call)
        kinds[f"{kind}, {command.split()[0]}"] += 1
        if path.startswith("~/"):  # a file of the person's home: here it lies in the case's own folder
            command = command.replace(f"Path({path!r}).expanduser()", f"Path({path[2:]!r})")
        cases.append(ShellCase(f"{kind} {call.id} {path}", command, path.removeprefix("~/"), before, after))
    assert edits == 146
    assert kinds == {"whole file, python3": 18, "shown part, python3": 110}
    assert wrong(cases, tmp_path) == []


def test_every_turn_of_the_real_sessions_is_one_bash_block(shared: Path) -> None:
    turns = 0
    for session in sessions(shared / "sessions"):
        for message in normalize(session).messages:
            if message["role"] == "assistant":
                turns += 1
                assert turn.format_ok(message["content"]), message["content"]
    assert turns > 400
