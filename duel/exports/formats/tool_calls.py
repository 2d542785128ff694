"""Formats of tool calls: three dialects of chat, and two of whole trajectories as steps, with the rules beyond types.

TRL's `arguments` are an object: with OpenAI's JSON text 7 of 13 chat templates fail and 3 encode it twice.
ATIF is the Agent Trajectory Interchange Format (Harbor RFC 0001): Harbor takes 1.0 to 1.8, the Agent Data Protocol only
1.7, and the two name a step's cost differently, so version 1.7 and no cost. CodeAct's steps are columns, for its action
is bash, where CodeActInstruct has Python in `<execute>` tags.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import count, groupby
from operator import itemgetter
from typing import Any

from duel.conversation import dialogue
from duel.conversation.model import AgentCall, AgentReply, Entry, Said, calls_made
from duel.errors import require
from duel.exports import recovery
from duel.exports.example import Example, Turns
from duel.exports.formats import Row, add, as_messages, as_object, present, provenance

# The narrower of the two vendors' rules (OpenAI: the same alphabet; Anthropic: at most 64, later 128).
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ANTHROPIC_ID = re.compile(r"[a-zA-Z0-9_-]+")


def write_openai(example: Example) -> Row:
    """A row for OpenAI: results follow their calls at once; of a duel's turn only the last message has weight 1."""
    entries, messages, tools = _native(example)
    for message in messages:
        message.pop("name", None)
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
    for message in () if example.recorded else messages[:-1]:
        if message["role"] == "assistant":
            message["weight"] = 0
    return {
        "messages": messages,
        "tools": tools,
        "parallel_tool_calls": any(isinstance(e, AgentReply) and len(e.calls) > 1 for e in entries),
    }


def write_trl(example: Example) -> Row:
    _, messages, tools = _native(example)
    return {**provenance(example), "messages": messages, "tools": json.dumps(tools, ensure_ascii=False)}


def _native(example: Example) -> tuple[list[Entry], list[Row], list[Row]]:
    """(entries, messages, tools) by OpenAI's rules: calls are answered at once, and only the last turn's may stay open.

    Arguments that are no object, and results that name no call, do not come through `dialogue.parse`.
    """
    entries = dialogue.parse(example.messages)
    tools = dialogue.tools_for(entries, example.tools)
    _declared([tool["function"] for tool in tools])
    roles = [entry.role if isinstance(entry, Said) else "assistant" for entry in entries]
    require("system" not in roles[roles.count("system") :], "late-system", "a system message inside the talk")
    require("user" in roles, "no-user", "there is no message of a user")
    *before, last = entries
    ended = isinstance(last, AgentReply) and not last.answered
    require(ended, "ends-without-turn", "no assistant message last")
    acted = all(isinstance(entry, Said) or entry.text or entry.calls for entry in entries)
    require(acted, "empty-turn", "a turn says and does nothing")
    answered = all(call.result is not None for call in calls_made(before))
    require(answered, "unanswered-tool-call", "a call is followed by something else than its result")
    return entries, [message.model_dump(exclude_unset=True) for message in dialogue.to_messages(entries)], tools


def read(row: Mapping[str, Any]) -> Turns:
    return Turns(dialogue.parse(as_messages(row["messages"])))


def write_anthropic(example: Example) -> Row:
    """A row with `system`, `messages` and `tools`. Raises ItemError for what the shape cannot say."""
    entries = dialogue.parse(example.messages)
    system = entries[0].text if isinstance(entries[0], Said) and entries[0].role == "system" else ""
    blocks: list[tuple[str, Row]] = []  # each with who says it
    for entry in entries[1:] if system else entries:
        if isinstance(entry, Said):
            require(entry.role == "user", "late-system", "a system message stands inside the talk")
            blocks.append(("user", {"type": "text", "text": entry.text}))
            continue
        twice = bool(blocks) and blocks[-1][0] == "assistant"
        require(not twice, "two-turns-in-a-row", "an agent turn follows another with nothing between")
        require(entry.text or entry.calls, "empty-turn", "a turn says and does nothing")
        said: list[Row] = [{"type": "text", "text": entry.text}] if entry.text else []
        said += [{"type": "tool_use", "id": c.id, "name": c.name, "input": dict(c.arguments)} for c in entry.calls]
        seen = [{"type": "tool_result", "tool_use_id": c.id, "content": c.result} for c in entry.answered]
        blocks += [*(("assistant", block) for block in said), *(("user", block) for block in seen)]
    messages = [
        {"role": role, "content": [block for _, block in said]} for role, said in groupby(blocks, key=itemgetter(0))
    ]
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
    blocks = [block for message in row["messages"] for block in message["content"]]
    results = {block["tool_use_id"]: block.get("content") or "" for block in _of("tool_result", blocks)}
    for message in row["messages"]:
        texts = [block["text"] for block in _of("text", message["content"])]
        if message["role"] == "user":
            entries += map(Said, texts)
            continue
        used = _of("tool_use", message["content"])
        entries.append(AgentReply("".join(texts), [_call(b["id"], b["name"], b["input"], results) for b in used]))
    return Turns(entries)


def _of(kind: str, blocks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [block for block in blocks if block["type"] == kind]


def _call(identity: str, name: str, arguments: Any, results: Mapping[str, str]) -> AgentCall:
    return AgentCall(identity, name, as_object(arguments), result=results.get(identity))


def anthropic_chat(row: Mapping[str, Any]) -> None:
    """The rules of the Messages API: strict alternation from the user on, results first and complete, no empty text."""
    messages = row["messages"]
    roles = [message["role"] for message in messages]
    expected = ["user" if order % 2 == 0 else "assistant" for order in range(len(roles))]
    require(roles and roles == expected, "roles-not-alternating", "user and assistant do not alternate")
    require(roles[-1] == "assistant", "ends-without-turn", "the last message is not the assistant's")
    declared = _declared(row["tools"])
    ids: set[str] = set()
    waiting: list[str] = []
    for message in messages:
        kinds = [block["type"] for block in message["content"]]
        require(kinds, "empty-turn", "a message holds no block")
        for block in message["content"]:
            require(block["type"] != "text" or block["text"].strip(), "empty-text", "a text block is empty")
        results = [block["tool_use_id"] for block in message["content"] if block["type"] == "tool_result"]
        require(kinds[: len(results)] == ["tool_result"] * len(results), "result-after-text", "results come first")
        if message["role"] == "user":
            require(sorted(results) == sorted(waiting), "unanswered-tool-call", "calls and results do not match")
        calls = [(block["id"], block["name"]) for block in _of("tool_use", message["content"])]
        names = dict(calls)
        require(not names or message["role"] == "assistant", "misplaced-tool-call", "only the assistant calls tools")
        require(len(names) == len(calls) and not ids & names.keys(), "repeated-call-id", "a call id repeats")
        require(declared.issuperset(names.values()), "undeclared-tool", "a tool is called and not declared")
        require(all(map(_ANTHROPIC_ID.fullmatch, names)), "bad-call-id", "a call id has other characters")
        ids.update(names)
        waiting = list(names)


def _declared(functions: Sequence[Mapping[str, Any]]) -> set[str]:
    names = {function["name"] for function in functions}
    wide = [name for name in names if not _TOOL_NAME.fullmatch(name)]
    require(not wide, "tool-name", "a tool's name is longer or wider than vendors take")
    return names


def write_atif(example: Example) -> Row:
    entries = dialogue.parse(example.messages)
    steps: list[Row] = []
    for number, entry in enumerate(entries, start=1):
        source = entry.role if isinstance(entry, Said) else "agent"
        steps.append({"step_id": number, "source": source, "message": entry.text})
        if isinstance(entry, AgentReply) and entry.calls:
            steps[-1]["tool_calls"] = [
                {"tool_call_id": call.id, "function_name": call.name, "arguments": dict(call.arguments)}
                for call in entry.calls
            ]
        if isinstance(entry, AgentReply) and entry.answered:
            results = [{"source_call_id": c.id, "content": c.result} for c in entry.answered]
            steps[-1]["observation"] = {"results": results}
    name, _, version = (example.agent or "unknown").rpartition("-")
    agent: Row = {"name": name or version, "version": version if name else "unknown"}
    if example.model:
        (agent if example.recorded else steps[-1])["model_name"] = example.model
    return {
        "schema_version": "ATIF-v1.7",
        "session_id": example.instance_id or example.id,
        "trajectory_id": example.id,
        "agent": {**agent, "tool_definitions": dialogue.tools_for(entries, example.tools)},
        "steps": steps,
        "extra": {**provenance(example), "learn": "every step" if example.recorded else "last step"},
    }


def read_atif(row: Mapping[str, Any]) -> Turns:
    entries: list[Entry] = []
    for step in row["steps"]:
        if step["source"] != "agent":
            entries.append(Said(step["message"], role=step["source"]))
            continue
        observed = (step.get("observation") or {}).get("results") or ()
        results = {result["source_call_id"]: result["content"] for result in observed}
        made = step.get("tool_calls") or ()
        calls = [_call(call["tool_call_id"], call["function_name"], call["arguments"], results) for call in made]
        entries.append(AgentReply(step["message"], calls))
    return Turns(entries)


def write_codeact(example: Example) -> Row:
    entries = dialogue.parse(example.messages)
    seen = recovery.examine(example)
    require(seen.steps, "no-agent-turn", "the conversation holds no agent turn")
    steps: list[Row] = [
        {
            "step": number,
            **present(vars(step), "turn", "thought", "tool", "action"),
            "observation": step.observation,
            "return_code": step.shown.code,
            "error": step.shown.kind,
            "said": [],
        }
        for number, step in enumerate(seen.steps)
    ]
    prompt: list[Row] = []
    turn, told = -1, False
    for entry in entries:
        if isinstance(entry, AgentReply):
            turn, told = turn + 1, not entry.calls
            continue
        if told and entry.role == "user":  # the observation of a turn that ran nothing
            told = False
            continue
        last = next((step for step in reversed(steps) if step["turn"] == turn), None)
        (last["said"] if last else prompt).append({"role": entry.role, "content": entry.text})
    return {
        **provenance(example),
        "prompt": prompt,
        "steps": steps,
        "outcome": seen.outcome,
        "outcome_evidence": seen.evidence,
        "has_error_recovery": bool(seen.spans),
        "error_recovery_spans": [asdict(span) for span in seen.spans],
    }


def read_codeact(row: Mapping[str, Any]) -> Turns:
    entries: list[Entry] = [Said(message["content"], role=message["role"]) for message in row["prompt"]]
    numbers = count(1)
    for _, turn in groupby(row["steps"], key=itemgetter("turn")):
        steps = list(turn)
        calls = [
            AgentCall(f"call_{next(numbers)}", step["tool"], _arguments(step), result=step["observation"])
            for step in steps
            if step["tool"]
        ]
        entries.append(AgentReply(steps[0]["thought"], calls))
        if not calls and steps[0]["observation"] is not None:
            entries.append(Said(steps[0]["observation"]))
        entries += [Said(message["content"], role=message["role"]) for message in steps[-1]["said"]]
    return Turns(entries)


def _arguments(step: Mapping[str, Any]) -> dict[str, Any]:
    """A bash action is the command itself; with further arguments, and of any other tool, it is their JSON."""
    if step["tool"] != dialogue.BASH:
        return dict(json.loads(step["action"]))
    try:
        given = json.loads(step["action"]) if step["action"].startswith("{") else None
    except ValueError:  # a group of commands, { like; this; }
        given = None
    return given if isinstance(given, dict) else {"command": step["action"]}


add("anthropic", write_anthropic, read_anthropic, anthropic_chat)
add("openai-tools", write_openai, read)
add("trl-tools", write_trl, read)
add("atif", write_atif, read_atif)
add("codeact", write_codeact, read_codeact)
