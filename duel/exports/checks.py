"""The rules that vendors enforce and types do not: order of roles, pairing of calls and results, ids, names.

Each check raises ItemError whose reason is a short slug. They work on rows as they are written, so that a file from
elsewhere can be checked as well.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from duel.errors import ItemError

# The narrower of the two vendors' rules (OpenAI: the same alphabet; Anthropic: at most 64, later 128).
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ANTHROPIC_ID = re.compile(r"[a-zA-Z0-9_-]+")


def text_chat(messages: Sequence[Mapping[str, Any]]) -> None:
    """System messages first, then a user message; an assistant message last."""
    roles = [message["role"] for message in messages]
    spoken = [role for role in roles if role != "system"]
    _require(bool(spoken), "empty-conversation", "there is no message of a user")
    _require(spoken == roles[len(roles) - len(spoken) :], "late-system", "a system message stands inside the talk")
    _require(spoken[0] == "user", "starts-with-assistant", "the first message is not the user's")
    _require(spoken[-1] == "assistant", "ends-without-turn", "the last message is not the assistant's")
    _require(bool(messages[-1]["content"].strip()), "empty-turn", "the last message is empty")


def tool_chat(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> None:
    """OpenAI's order: each turn's calls are answered at once, one tool message an id; only the last may stay open."""
    declared = _names([tool["function"] for tool in tools])
    _require(len(declared) == len(tools), "tool-name", "a tool is declared twice")
    ids: set[str] = set()
    waiting: list[str] = []
    for position, message in enumerate(messages):
        role = message["role"]
        if role == "tool":
            _require(message.get("tool_call_id") in waiting, "orphan-tool-result", "a result names no open call")
            waiting.remove(message["tool_call_id"])
            continue
        _require(not waiting, "unanswered-tool-call", "a call is followed by something else than its result")
        calls = message.get("tool_calls") or []
        _require(not calls or role == "assistant", "misplaced-tool-call", "only the assistant calls tools")
        empty = role == "assistant" and not calls and not message.get("content")
        _require(not empty, "empty-turn", "a turn says and does nothing")
        late = role == "system" and any(before["role"] != "system" for before in messages[:position])
        _require(not late, "late-system", "a system message inside the talk")
        waiting = [call["id"] for call in calls]
        _require(len(set(waiting)) == len(waiting) and not ids & set(waiting), "repeated-call-id", "a call id repeats")
        ids.update(waiting)
        for call in calls:
            _require(call["function"]["name"] in declared, "undeclared-tool", "a tool is called and not declared")
            _arguments(call["function"]["arguments"])
    _require(bool(messages) and messages[-1]["role"] == "assistant", "ends-without-turn", "no assistant message last")
    _require(any(message["role"] == "user" for message in messages), "no-user", "there is no message of a user")


def anthropic_chat(row: Mapping[str, Any]) -> None:
    """The rules of the Messages API: strict alternation from the user on, results first and complete, no empty text."""
    messages = row["messages"]
    roles = [message["role"] for message in messages]
    expected = ["user" if order % 2 == 0 else "assistant" for order in range(len(roles))]
    _require(bool(roles) and roles == expected, "roles-not-alternating", "user and assistant do not alternate")
    _require(roles[-1] == "assistant", "ends-without-turn", "the last message is not the assistant's")
    declared = _names(row["tools"])
    ids: set[str] = set()
    waiting: list[str] = []
    for message in messages:
        kinds = [block["type"] for block in message["content"]]
        _require(bool(kinds), "empty-turn", "a message holds no block")
        for block in message["content"]:
            _require(block["type"] != "text" or bool(block["text"].strip()), "empty-text", "a text block is empty")
        results = [block["tool_use_id"] for block in message["content"] if block["type"] == "tool_result"]
        _require(kinds[: len(results)] == ["tool_result"] * len(results), "result-after-text", "results come first")
        if message["role"] == "user":
            _require(sorted(results) == sorted(waiting), "unanswered-tool-call", "calls and results do not match")
        waiting = []
        for block in message["content"]:
            if block["type"] == "tool_use":
                _require(message["role"] == "assistant", "misplaced-tool-call", "only the assistant calls tools")
                _require(block["id"] not in ids, "repeated-call-id", "a call id repeats")
                _require(bool(_ANTHROPIC_ID.fullmatch(block["id"])), "bad-call-id", "a call id has other characters")
                _require(block["name"] in declared, "undeclared-tool", "a tool is called and not declared")
                ids.add(block["id"])
                waiting.append(block["id"])


def _names(functions: Sequence[Mapping[str, Any]]) -> set[str]:
    names = {function["name"] for function in functions}
    for name in names:
        _require(bool(_TOOL_NAME.fullmatch(name)), "tool-name", "a tool's name is longer or wider than vendors take")
    return names


def _arguments(arguments: object) -> None:
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = None
    _require(isinstance(arguments, Mapping), "bad-arguments", "the arguments are no JSON object")


def _require(held: bool, reason: str, what: str) -> None:
    if not held:
        raise ItemError(reason, what)
