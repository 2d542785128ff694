"""Anthropic's Messages shape: content as blocks, actions as `tool_use`, observations as `tool_result`.

Portable rows: the system prompt at the top, strict alternation, all results of a turn first in the next message, no
thinking blocks (they cannot be replayed without their signature).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from duel.conversation import dialogue
from duel.conversation.model import AgentCall, AgentReply, Entry, Said
from duel.errors import ItemError
from duel.exports import checks
from duel.exports.example import Example, Turns, calls_ending_on_turn
from duel.exports.formats.base import FORMATS, Format, Row, Shape, as_object, present


class Block(Shape):
    """A text, tool_use or tool_result block; which keys it has depends on `type`."""

    type: Literal["text", "tool_use", "tool_result"]
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: str | None = None


class BlockMessage(Shape):
    """A message of blocks."""

    role: Literal["user", "assistant"]
    content: list[Block]


class Tool(Shape):
    """A declared tool: `input_schema` is a JSON schema of type object."""

    name: str
    description: str = ""
    input_schema: dict[str, Any]


class Request(Shape):
    """A row like the body of a request, the answer as its last message."""

    system: str
    messages: list[BlockMessage]
    tools: list[Tool]


def write(example: Example) -> Row:
    """A row with `system`, `messages` and `tools`. Raises ItemError for what the shape cannot say."""
    entries = dialogue.parse(example.messages)
    system = entries[0].text if isinstance(entries[0], Said) and entries[0].role == "system" else ""
    messages: list[Row] = []
    for entry in entries[1:] if system else entries:
        if isinstance(entry, Said):
            if entry.role != "user":
                raise ItemError("late-system", "a system message stands inside the talk")
            _append(messages, "user", [{"type": "text", "text": entry.text}])
        else:
            if messages and messages[-1]["role"] == "assistant":
                raise ItemError("two-turns-in-a-row", "an agent turn follows another with nothing between")
            _append(messages, "assistant", _turn_blocks(entry))
            results = [{"type": "tool_result", "tool_use_id": r.id, "content": r.text} for r in entry.results]
            _append(messages, "user", results)
    return {"system": system, "messages": messages, "tools": _tools(entries, example)}


def read(row: Mapping[str, Any]) -> Turns:
    """The turns of a row."""
    entries: list[Entry] = [Said(row["system"], role="system")] if row["system"] else []
    for message in row["messages"]:
        blocks = message["content"]
        if message["role"] == "assistant":
            text = "".join(block["text"] for block in blocks if block["type"] == "text")
            calls = [
                AgentCall(block["id"], block["name"], as_object(block["input"]))
                for block in blocks
                if block["type"] == "tool_use"
            ]
            entries.append(AgentReply(text, calls))
            continue
        results = {b["tool_use_id"]: b.get("content") or "" for b in blocks if b["type"] == "tool_result"}
        if results and isinstance(last := entries[-1], AgentReply):
            for call in last.calls:
                call.result = results.get(call.id)
        entries += [Said(block["text"]) for block in blocks if block["type"] == "text"]
    return Turns(entries)


def request_of(row: Mapping[str, Any]) -> Row:
    """A row without what a columnar file filled with null, its objects as objects: what the API takes."""
    messages = [
        {"role": message["role"], "content": [_block(block) for block in message["content"]]}
        for message in row["messages"]
    ]
    tools = [{**tool, "input_schema": as_object(tool["input_schema"])} for tool in row["tools"]]
    return {**({"system": row["system"]} if row["system"] else {}), "messages": messages, "tools": tools}


def _block(block: Mapping[str, Any]) -> Row:
    kept = present(block, "type", "text", "id", "name", "input", "tool_use_id", "content")
    return {**kept, "input": as_object(kept["input"])} if "input" in kept else kept


def _append(messages: list[Row], role: str, blocks: Iterable[Row]) -> None:
    """Add blocks to the last message where the role stays the same, else as a new message."""
    blocks = list(blocks)
    if messages and messages[-1]["role"] == role:
        messages[-1]["content"] += blocks
    elif blocks:
        messages.append({"role": role, "content": blocks})


def _turn_blocks(entry: AgentReply) -> list[Row]:
    text: list[Row] = [{"type": "text", "text": entry.text}] if entry.text else []
    calls = [{"type": "tool_use", "id": c.id, "name": c.name, "input": dict(c.arguments)} for c in entry.calls]
    if not text and not calls:
        raise ItemError("empty-turn", "a turn says and does nothing")
    return [*text, *calls]


def _tools(entries: list[Entry], example: Example) -> list[Row]:
    functions = [tool["function"] for tool in dialogue.tools_for(entries, example.tools)]
    return [
        {
            "name": function["name"],
            "description": function.get("description") or "",
            "input_schema": {"type": "object", **(function.get("parameters") or {})},
        }
        for function in functions
    ]


ANTHROPIC = Format(
    name="anthropic",
    summary="Anthropic Messages: `system`, `tool_use` and `tool_result` blocks",
    schema=Request,
    rows_of=calls_ending_on_turn,
    write=write,
    read=read,
    check=checks.anthropic_chat,
    caution="TRL takes this file without complaint and renders its blocks as nothing",
    purpose="the Messages API and tools that speak it",
)
FORMATS.add(ANTHROPIC.name, ANTHROPIC)
