"""Session logs for tests, made here: small, and with every trap of their format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from duel.conversation.model import Session
from duel.sources.mining.mined import MinedSession, normalize
from duel.sources.mining.sweep import Mine
from duel.sources.sessions import session_formats


def write_lines(path: Path, records: list[Any]) -> Path:
    """A JSONL file; a text stands for itself, so that lines can be broken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


class ClaudeCode:
    """Builds the lines of one Claude Code session."""

    def __init__(self, folder: str = "/home/ada/shop", session: str = "s-1", **common: Any) -> None:
        self.common = {"sessionId": session, "cwd": folder, "version": "2.1.39", "isSidechain": False, **common}
        self.lines: list[Any] = []
        self.parent: str | None = None
        self.clock = 0

    def line(self, kind: str, parent: str | None = "", **fields: Any) -> str:
        """Append a line; returns its id. `parent` is the line before unless given."""
        self.clock += 1
        key = f"{self.common['sessionId']}-{len(self.lines)}"
        moment = f"2026-01-02T03:{self.clock // 60:02}:{self.clock % 60:02}.000Z"
        above = self.parent if parent == "" else parent
        self.lines.append(
            {"type": kind, "uuid": key, "parentUuid": above, "timestamp": moment, **self.common, **fields}
        )
        self.parent = key
        return key

    def says(self, text: Any, **fields: Any) -> str:
        return self.line("user", message={"role": "user", "content": text}, **fields)

    def replies(self, response: str, *blocks: dict[str, Any], **fields: Any) -> str:
        message = {"id": response, "role": "assistant", "model": "some-model", "content": list(blocks)}
        return self.line("assistant", message=message, **fields)

    def result(self, use: str, content: Any, outcome: Any = None, **fields: Any) -> str:
        error = {"is_error": True} if isinstance(outcome, str) else {}
        block = {"type": "tool_result", "tool_use_id": use, "content": content, **error}
        extra = {"toolUseResult": outcome} if outcome is not None else {}
        return self.line("user", message={"role": "user", "content": [block]}, **extra, **fields)

    def runs(self, use: str, command: str, output: str, outcome: Any = None) -> None:
        """A reply with one command, and its output."""
        self.replies(f"msg-{use}", {"type": "text", "text": f"Running {use}."}, tool_use(use, "Bash", command=command))
        self.result(use, output, outcome or {"stdout": output, "stderr": ""})

    def writes(self, use: str, path: str, content: str) -> None:
        """A reply that makes a file, and the file."""
        self.replies(f"msg-{use}", text_block("Writing."), tool_use(use, "Write", file_path=path, content=content))
        self.result(use, f"File created at: {path}", {"type": "create", "originalFile": None, "structuredPatch": []})


def text_block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def tool_use(use: str, name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": use, "name": name, "input": arguments}


SUBMIT = "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"


def mined(place: Path, format: str = "", **options: Any) -> tuple[Mine, list[MinedSession]]:
    mine = Mine([str(place)], min_turns=0, format=format, commits=False, **options)
    return mine, list(mine.sessions())


def figures(mine: Mine, found: list[MinedSession]) -> tuple[int, int, int, int, int, int]:
    """(sessions taken, turns, calls, results, errors, submissions)."""
    counts = mine.account.counts
    submits = sum(SUBMIT in m["content"] for one in found for m in one.trajectory.messages if m["role"] == "assistant")
    calls, results, errors = (counts[f"tool {kind}"] for kind in ("calls", "results", "errors"))
    return mine.account.taken, mine.account.turns, calls, results, errors, submits


def read(path: Path, format: str, all_branches: bool = False) -> list[Session]:
    (log,) = session_formats.logs([str(path)])
    reader = session_formats.reader_of(log)
    assert reader is session_formats.reader(format)
    return list(reader.read(log, all_branches))


def contents(session: Session) -> list[str]:
    return [message["content"] for message in normalize(session).messages[1:]]


def document(path: Path, value: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, **options), "utf-8")
    return path
