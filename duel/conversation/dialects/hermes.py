"""Hermes: `<think>`, then JSON in `<tool_call>`; results as JSON or text in `<tool_response>`."""

import re
from typing import Any

from duel.conversation.model import AgentCall, AgentReply
from duel.conversation.values import loaded, table, text

_CALL = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)
_RESPONSE = re.compile(r"<tool_response>\s*(.*?)\s*</tool_response>", re.DOTALL)


def find(content: str, number: int) -> AgentReply | None:
    """Every `<tool_call>` that holds an object with a name is a call; one that does not stays where it stands."""
    calls: list[AgentCall] = []

    def take(found: re.Match[str]) -> str:
        call = table(loaded(found[1]))
        arguments = loaded(call.get("arguments", {}))
        if not text(call, "name") or not isinstance(arguments, dict):
            return found[0]
        calls.append(AgentCall(f"call_{number}_{len(calls)}", text(call, "name"), arguments))
        return ""

    prose = _CALL.sub(take, content).strip()
    return AgentReply(prose, calls) if calls else None


def results(content: str) -> list[tuple[str, bool]]:
    """One result a `<tool_response>`; an exit code other than 0 and an `error` in it say that the call failed."""
    return [_result(loaded(found[1]), found[1]) for found in _RESPONSE.finditer(content)] or [(content, False)]


def _result(value: Any, raw: str) -> tuple[str, bool]:
    import orjson

    held = table(value).get("content", value)
    failed = bool(table(held).get("error")) or table(held).get("exit_code", 0) not in (0, None)
    if set(table(held)) <= {"output", "exit_code", "error"} and isinstance(table(held).get("output"), str):
        return table(held)["output"] + (f"\n{held['error']}" if isinstance(held.get("error"), str) else ""), failed
    return held if isinstance(held, str) else orjson.dumps(held).decode() if held is not None else raw, failed
