"""Native tool calls in three dialects, and the rules that their vendors enforce and types do not.

OpenAI's (`arguments` is JSON text), TRL's (an object: with JSON text seven of the thirteen chat templates tried fail
and three encode it twice) and Anthropic's (content as blocks: the system prompt at the top, strict
alternation, all results of a turn first in the next message, no thinking blocks, which need their signature).
Each rule raises ItemError whose reason is a short slug.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from duel.conversation import dialogue
from duel.conversation.model import AgentCall, AgentReply, Entry, Said
from duel.exports.example import Example, Turns
from duel.exports.formats import Row, add, as_messages, as_object, provenance, require

# The narrower of the two vendors' rules (OpenAI: the same alphabet; Anthropic: at most 64, later 128).
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ANTHROPIC_ID = re.compile(r"[a-zA-Z0-9_-]+")


def write_openai(example: Example) -> Row:
    """A row for OpenAI: results follow their calls at once; of a duel's turn only the last message has weight 1."""
    entries = dialogue.parse(example.messages)
    messages = [message.model_dump(exclude_unset=True) for message in dialogue.to_messages(entries)]
    for message in messages:
        message.pop("name", None)
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
    for message in () if example.recorded else messages[:-1]:
        if message["role"] == "assistant":
            message["weight"] = 0
    return {
        "messages": messages,
        "tools": dialogue.tools_for(entries, example.tools),
        "parallel_tool_calls": any(isinstance(e, AgentReply) and len(e.calls) > 1 for e in entries),
    }


def write_trl(example: Example) -> Row:
    entries = dialogue.parse(example.messages)
    return {
        **provenance(example),
        "messages": [message.model_dump(exclude_unset=True) for message in dialogue.to_messages(entries)],
        "tools": json.dumps(dialogue.tools_for(entries, example.tools), ensure_ascii=False),
    }


def read(row: Mapping[str, Any]) -> Turns:
    return Turns(dialogue.parse(as_messages(row["messages"])))


def tools_of(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(as_object(row["tools"]))


def write_anthropic(example: Example) -> Row:
    """A row with `system`, `messages` and `tools`. Raises ItemError for what the shape cannot say."""
    entries = dialogue.parse(example.messages)
    system = entries[0].text if isinstance(entries[0], Said) and entries[0].role == "system" else ""
    messages: list[Row] = []

    def append(role: str, blocks: list[Row]) -> None:
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += blocks
        elif blocks:
            messages.append({"role": role, "content": blocks})

    for entry in entries[1:] if system else entries:
        if isinstance(entry, Said):
            require(entry.role == "user", "late-system", "a system message stands inside the talk")
            append("user", [{"type": "text", "text": entry.text}])
            continue
        twice = bool(messages) and messages[-1]["role"] == "assistant"
        require(not twice, "two-turns-in-a-row", "an agent turn follows another with nothing between")
        text = [{"type": "text", "text": entry.text}] if entry.text else []
        calls = [{"type": "tool_use", "id": c.id, "name": c.name, "input": dict(c.arguments)} for c in entry.calls]
        require(bool(text or calls), "empty-turn", "a turn says and does nothing")
        append("assistant", [*text, *calls])
        append("user", [{"type": "tool_result", "tool_use_id": r.id, "content": r.text} for r in entry.results])
    tools = [
        {
            "name": function["name"],
            "description": function.get("description") or "",
            "input_schema": {"type": "object", **(function.get("parameters") or {})},
        }
        for function in (tool["function"] for tool in dialogue.tools_for(entries, example.tools))
    ]
    return {"system": system, "messages": messages, "tools": tools}


def read_anthropic(row: Mapping[str, Any]) -> Turns:
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


def tool_chat(row: Mapping[str, Any]) -> None:
    """OpenAI's order: each turn's calls are answered at once, one tool message an id; only the last may stay open."""
    messages, tools = row["messages"], tools_of(row)
    declared = _declared([tool["function"] for tool in tools])
    require(len(declared) == len(tools), "tool-name", "a tool is declared twice")
    ids: set[str] = set()
    waiting: list[str] = []
    for position, message in enumerate(messages):
        role = message["role"]
        if role == "tool":
            require(message.get("tool_call_id") in waiting, "orphan-tool-result", "a result names no open call")
            waiting.remove(message["tool_call_id"])
            continue
        require(not waiting, "unanswered-tool-call", "a call is followed by something else than its result")
        calls = message.get("tool_calls") or []
        require(not calls or role == "assistant", "misplaced-tool-call", "only the assistant calls tools")
        empty = role == "assistant" and not calls and not message.get("content")
        require(not empty, "empty-turn", "a turn says and does nothing")
        late = role == "system" and any(before["role"] != "system" for before in messages[:position])
        require(not late, "late-system", "a system message inside the talk")
        waiting = [call["id"] for call in calls]
        require(len(set(waiting)) == len(waiting) and not ids & set(waiting), "repeated-call-id", "a call id repeats")
        ids.update(waiting)
        for call in calls:
            require(call["function"]["name"] in declared, "undeclared-tool", "a tool is called and not declared")
            try:
                arguments = as_object(call["function"]["arguments"])
            except ValueError:
                arguments = None
            require(isinstance(arguments, Mapping), "bad-arguments", "the arguments are no JSON object")
    require(bool(messages) and messages[-1]["role"] == "assistant", "ends-without-turn", "no assistant message last")
    require(any(message["role"] == "user" for message in messages), "no-user", "there is no message of a user")


def anthropic_chat(row: Mapping[str, Any]) -> None:
    """The rules of the Messages API: strict alternation from the user on, results first and complete, no empty text."""
    messages = row["messages"]
    roles = [message["role"] for message in messages]
    expected = ["user" if order % 2 == 0 else "assistant" for order in range(len(roles))]
    require(bool(roles) and roles == expected, "roles-not-alternating", "user and assistant do not alternate")
    require(roles[-1] == "assistant", "ends-without-turn", "the last message is not the assistant's")
    declared = _declared(row["tools"])
    ids: set[str] = set()
    waiting: list[str] = []
    for message in messages:
        kinds = [block["type"] for block in message["content"]]
        require(bool(kinds), "empty-turn", "a message holds no block")
        for block in message["content"]:
            require(block["type"] != "text" or bool(block["text"].strip()), "empty-text", "a text block is empty")
        results = [block["tool_use_id"] for block in message["content"] if block["type"] == "tool_result"]
        require(kinds[: len(results)] == ["tool_result"] * len(results), "result-after-text", "results come first")
        if message["role"] == "user":
            require(sorted(results) == sorted(waiting), "unanswered-tool-call", "calls and results do not match")
        waiting = []
        for block in [block for block in message["content"] if block["type"] == "tool_use"]:
            require(message["role"] == "assistant", "misplaced-tool-call", "only the assistant calls tools")
            require(block["id"] not in ids, "repeated-call-id", "a call id repeats")
            require(bool(_ANTHROPIC_ID.fullmatch(block["id"])), "bad-call-id", "a call id has other characters")
            require(block["name"] in declared, "undeclared-tool", "a tool is called and not declared")
            ids.add(block["id"])
            waiting.append(block["id"])


def _declared(functions: Sequence[Mapping[str, Any]]) -> set[str]:
    names = {function["name"] for function in functions}
    wide = [name for name in names if not _TOOL_NAME.fullmatch(name)]
    require(not wide, "tool-name", "a tool's name is longer or wider than vendors take")
    return names


add("anthropic", write_anthropic, read_anthropic, anthropic_chat)
add("openai-tools", write_openai, read, tool_chat)
add("trl-tools", write_trl, read, tool_chat)
