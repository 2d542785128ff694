"""`<function=NAME><parameter=KEY>…</parameter></function>`: SWE-smith's XML split, OpenHands without native calls."""

import re
from typing import Any

from duel.conversation.model import AgentCall, AgentReply
from duel.conversation.values import around

_FUNCTION = re.compile(r"(?:<tool_call>\s*)?<function=([\w.-]+)>(.*?)(?:</function>(?:\s*</tool_call>)?|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([\w.-]+)>\n?(.*?)\n?</parameter>", re.DOTALL)


def find(content: str, number: int) -> AgentReply | None:
    """Every function of the text is a call; what stands around them is prose."""
    calls = []
    for order, function in enumerate(_FUNCTION.finditer(content)):
        arguments: dict[str, Any] = dict(_PARAMETER.findall(function[2]))
        calls.append(AgentCall(f"call_{number}" + (f"_{order}" if order else ""), function[1], arguments))
    return AgentReply(around(_FUNCTION, content), calls) if calls else None
