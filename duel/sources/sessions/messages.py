"""Rows with a list of chat messages: plain JSONL, parquet, and the Hub's trajectory sets.

One row is one session. The list stands in `messages`, `trajectory` or `conversations`, as a list or as JSON text. Roles
and keys have many spellings (`ai`, `gpt`, `from`/`value`, `text`); actions are native tool calls (arguments an object
or JSON text), `<function=…>` tags, or a fenced block. Read so: nebius/SWE-rebench-openhands-trajectories,
SWE-bench/SWE-smith-trajectories (all three splits), SWE-Gym/OpenHands-Sampled-Trajectories,
nebius/SWE-agent-trajectories, nvidia/Open-SWE-Traces, and this project's own parquet files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from duel.sources.sessions import blocks
from duel.sources.sessions.log import Log
from duel.sources.sessions.session import Call, Reply, Said, Session, parts, seconds, table, tables, text

NAME = "messages"

_LISTS = ("messages", "trajectory", "conversations", "conversation")
_ROLES = {
    "ai": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "human": "user",
    "developer": "system",
    "function": "tool",
    "observation": "tool",
}
_IDS = ("session_id", "trajectory_id", "traj_id", "run_id", "id")
# SWE-Gym numbers the rollouts of one instance at the end of its id.
_ROLLOUT = re.compile(r"(.+__.+-\d+)_(\d+)")
# `owner__repo-123`, and SWE-smith's `owner__repo.<commit>.<bug>`.
_OWNER_REPO = re.compile(r"([^/\s]+?)__([^/\s]+?)(?:-\d+|\.[0-9a-f]{7,40}\..+)?$")
# How harnesses that keep no flag say that a command failed.
_FAILED = re.compile(r"\A\s*<returncode>(?!0<)-?\d+</returncode>|exit code:? (?!0\b)-?\d+\]?\s*\Z", re.IGNORECASE)


def recognises(sample: list[dict[str, Any]]) -> bool:
    """True for rows with a list of messages under one of its usual names."""
    return any(conversation(record) for record in sample)


def read(log: Log, all_branches: bool = False) -> Iterator[Session]:
    """One session a row; rows without messages are noted."""
    for number, row in enumerate(log.values()):
        if isinstance(row, dict) and conversation(row):
            yield session(row, NAME, log, f"row {number}")
        else:
            log.note("row without messages")


def conversation(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of a row, with the usual keys `role` and `content`; [] where it has none."""
    for name in _LISTS:
        value = row.get(name)
        if isinstance(value, str) and value.lstrip().startswith("["):
            import orjson

            try:
                value = orjson.loads(value)
            except ValueError:
                continue
        messages = [_usual(message) for message in tables(value)]
        if messages and all(message["role"] for message in messages):
            return messages
    return []


def _usual(message: dict[str, Any]) -> dict[str, Any]:
    role = text(message, "role", "from").lower()
    content = next((message[k] for k in ("content", "value", "text", "system_prompt") if message.get(k)), "")
    return {**message, "role": _ROLES.get(role, role), "content": content}


def session(row: dict[str, Any], format: str, log: Log, place: str = "") -> Session:
    """The session of one row."""
    result = Session(format, next((str(row[key]) for key in _IDS if row.get(key)), "") or f"{log.name} {place}".strip())
    _facts(row, result)
    messages = conversation(row)
    native = any(message.get("tool_calls") or message.get("function_call") for message in messages)
    native = native or any(message["role"] == "tool" for message in messages) or any(map(_has_tool_blocks, messages))
    for message in messages:
        _add(message, result, native, log)
    # Where the log's actions are bash fences, prompt and replies already speak the project's protocol.
    result.keeps_protocol = not native and any(reply.verbatim for reply in result.replies)
    if not native and not result.keeps_protocol and result.system:
        result.counts["system prompts replaced"] += 1
    return result.tally()


def _has_tool_blocks(message: dict[str, Any]) -> bool:
    return any(block.get("type") in ("tool_use", "tool_result") for block in tables(message.get("content")))


def _add(message: dict[str, Any], result: Session, native: bool, log: Log) -> None:
    role, (content, images) = message["role"], parts(message["content"])
    if role == "system":
        result.system = "\n\n".join(filter(None, (result.system, content)))
    elif role == "assistant":
        number = len(result.entries)
        reply = _native_reply(message, content, number) if native else blocks.reply_of(content, number)
        reply.thinking = text(message, "reasoning_content", "reasoning", "thinking")
        result.entries.append(reply)
    elif role in ("user", "tool"):
        _add_answer(message, role, content, images, result, native)
    elif role == "exit":  # mini-swe-agent 2 closes its list with one
        result.exit_status = text(table(message.get("extra")), "exit_status") or result.exit_status
    else:
        log.note(f"unknown message role `{role}`")


def _native_reply(message: dict[str, Any], content: str, number: int) -> Reply:
    reply = Reply(content.strip())
    raw = tables(message.get("tool_calls")) or ([{"function": f}] if (f := message.get("function_call")) else [])
    for order, call in enumerate(raw):
        function = table(call.get("function")) or call
        reply.calls.append(
            Call(text(call, "id") or f"call_{number}_{order}", text(function, "name"), _arguments(function))
        )
    for block in tables(message["content"]):
        if block.get("type") == "tool_use":
            reply.calls.append(Call(text(block, "id"), text(block, "name"), table(block.get("input"))))
    return reply


def _arguments(function: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call: an object, or the JSON text of one."""
    import orjson

    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = orjson.loads(arguments)
        except ValueError:
            return {}
    # Where rows were merged into one table, keys that this call never had stand there as null.
    return {key: value for key, value in table(arguments).items() if value is not None}


def _add_answer(message: dict[str, Any], role: str, content: str, images: int, result: Session, native: bool) -> None:
    """A user or tool message: the result of the call that it names, or of the one that waits, or something said."""
    calls = result.calls[-64:]
    waiting = [call for call in calls if call.result is None]
    answered = False
    for block in tables(message["content"]):
        if block.get("type") == "tool_result":
            named = [call for call in waiting if call.id == block.get("tool_use_id")]
            for call in named[:1]:
                call.result, call.images = parts(block.get("content"))
                call.is_error = block.get("is_error") is True
                answered = True
    if answered:
        content = parts([b for b in tables(message["content"]) if b.get("type") == "text"])[0]
        if content:
            result.entries.append(Said(content))
        return
    name = text(message, "tool_call_id")
    named = [call for call in waiting if call.id == name] if name else waiting
    last = result.entries[-1] if result.entries else None
    expects = role == "tool" or (not native and isinstance(last, Reply) and bool(last.calls))
    if expects and named:
        named[0].result, named[0].images = content, images
        named[0].is_error = bool(_FAILED.search(content))
    else:
        result.entries.append(Said(content, images))


def _facts(row: dict[str, Any], result: Session) -> None:
    """What a row says of its session, beside the messages."""
    instance = text(row, "instance_id")
    rollout = _ROLLOUT.fullmatch(instance)
    if rollout:
        result.id = f"{result.id}/{rollout[2]}" if result.id != instance else instance
    result.instance_id = rollout[1] if rollout else instance
    named = _OWNER_REPO.fullmatch(result.instance_id)
    result.repo = text(row, "repo") or (f"{named[1]}/{named[2]}" if named else "")
    result.base_commit = text(row, "base_commit")
    result.exit_status = text(row, "exit_status") or text(table(row.get("info")), "exit_status")
    result.model = text(row, "model_name", "model")
    duration = row.get("duration_sec")
    result.seconds = float(duration) if isinstance(duration, (int, float)) else None
    result.started = seconds(row.get("timestamp") or row.get("created_at"))
    result.tools = _tools(row.get("tools"))
    report = table(table(row.get("test_result")).get("report"))
    for name, value in (
        ("resolved", row.get("resolved")),
        ("target", row.get("target")),
        ("resolved", report.get("resolved")),
    ):
        if value in (0, 1) and result.verdict == "unknown":  # -1 and null: not known
            result.verdict = "success" if value else "failure"
            result.verdict_evidence = f"the source says {name} = {str(bool(value)).lower()}"


def _tools(value: Any) -> list[Any]:
    """Tool schemas: a list of objects, of JSON texts, or the JSON text of a list."""
    import orjson

    listed = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    tools: list[Any] = []
    for item in listed:
        try:
            read = orjson.loads(item) if isinstance(item, str) else item
        except ValueError:
            continue
        tools += read if isinstance(read, list) else [read]
    return [tool for tool in tools if isinstance(tool, dict)]
