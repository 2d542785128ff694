"""Anthropic's Messages shape: content as blocks, actions as `tool_use`, observations as `tool_result`.

Portable rows: the system prompt at the top, strict alternation, all results of a turn first in the next message, no
thinking blocks (they cannot be replayed without their signature).
"""

from collections.abc import Mapping
from typing import Any, Literal

from duel.conversation import dialogue
from duel.conversation.model import AgentCall, AgentReply, Entry, Said
from duel.errors import ItemError
from duel.exports import checks
from duel.exports.example import Example, Turns, calls_ending_on_turn
from duel.exports.formats.base import Format, Row, add, as_object, shape

ROW = {
    "system": str,
    "messages": [
        {
            "role": Literal["user", "assistant"],
            "content": [
                {  # which keys it has depends on `type`
                    "type": Literal["text", "tool_use", "tool_result"],
                    "text?": str,
                    "id?": str,
                    "name?": str,
                    "input?": dict[str, Any],
                    "tool_use_id?": str,
                    "content?": str,
                }
            ],
        }
    ],
    "tools": [{"name": str, "description": (str, ""), "input_schema": dict[str, Any]}],
}
"""Like the body of a request, the answer as its last message."""


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
    functions = [tool["function"] for tool in dialogue.tools_for(entries, example.tools)]
    return {"system": system, "messages": messages, "tools": [_tool(function) for function in functions]}


def read(row: Mapping[str, Any]) -> Turns:
    entries: list[Entry] = [Said(row["system"], role="system")] if row["system"] else []
    for message in row["messages"]:
        of: dict[str, list[Mapping[str, Any]]] = {"text": [], "tool_use": [], "tool_result": []}
        for block in message["content"]:
            of[block["type"]].append(block)
        if message["role"] == "assistant":
            calls = [AgentCall(block["id"], block["name"], as_object(block["input"])) for block in of["tool_use"]]
            entries.append(AgentReply("".join(block["text"] for block in of["text"]), calls))
            continue
        results = {block["tool_use_id"]: block.get("content") or "" for block in of["tool_result"]}
        if results and isinstance(last := entries[-1], AgentReply):
            for call in last.calls:
                call.result = results.get(call.id)
        entries += [Said(block["text"]) for block in of["text"]]
    return Turns(entries)


def _append(messages: list[Row], role: str, blocks: list[Row]) -> None:
    """Add blocks to the last message where the role stays the same, else as a new message."""
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


def _tool(function: Mapping[str, Any]) -> Row:
    return {
        "name": function["name"],
        "description": function.get("description") or "",
        "input_schema": {"type": "object", **(function.get("parameters") or {})},
    }


add(
    Format(
        "anthropic",
        "Anthropic Messages: `system`, `tool_use` and `tool_result` blocks",
        shape("MessagesRow", ROW),
        calls_ending_on_turn,
        write,
        read,
        checks.anthropic_chat,
        caution="TRL takes this file without complaint and renders its blocks as nothing",
        purpose="the Messages API and tools that speak it",
    )
)
