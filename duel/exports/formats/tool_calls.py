"""Native tool calls in two dialects: OpenAI's (`arguments` is JSON text) and TRL's (`arguments` is an object).

TRL's chat templates need the object: with JSON text seven of the thirteen tried fail and three encode it twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from duel.conversation import dialogue
from duel.conversation.model import AgentReply
from duel.exports import checks
from duel.exports.example import Example, Turns, calls_ending_on_turn
from duel.exports.formats.base import FORMATS, Format, Provenance, Row, Shape, as_object, present, provenance
from duel.records import Message


class Function(Shape):
    """A declared tool: `parameters` is a JSON schema."""

    name: str
    description: str = ""
    parameters: dict[str, Any]


class Tool(Shape):
    """A declared tool in its envelope."""

    type: Literal["function"]
    function: Function


class TextCall(Shape):
    """A called function whose arguments are JSON text."""

    name: str
    arguments: str


class ObjectCall(Shape):
    """A called function whose arguments are an object."""

    name: str
    arguments: dict[str, Any]


class TextToolCall(Shape):
    """A tool call as OpenAI writes it."""

    id: str
    type: Literal["function"]
    function: TextCall


class ObjectToolCall(Shape):
    """A tool call as TRL's templates read it."""

    id: str
    type: Literal["function"]
    function: ObjectCall


class OpenAIMessage(Shape):
    """A message of OpenAI's fine-tuning file. `weight` 0: in context, not trained."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: list[TextToolCall] | None = None
    tool_call_id: str | None = None
    weight: Literal[0, 1] | None = None


class TRLMessage(Shape):
    """A message of TRL's conversational shape with tools."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: list[ObjectToolCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None


class OpenAIRow(Shape):
    """A line of OpenAI's supervised fine-tuning file; the endpoint takes no further keys."""

    messages: list[OpenAIMessage]
    tools: list[Tool]
    parallel_tool_calls: bool


class TRLRow(Provenance):
    """TRL's `messages` + `tools`; the tools are JSON text, which every reader of Arrow files keeps as it is."""

    messages: list[TRLMessage]
    tools: str


def write_openai(example: Example) -> Row:
    """A row for OpenAI: results follow their calls at once; of a duel's turn only the last message has weight 1."""
    entries = dialogue.parse(example.messages)
    messages = [_openai_message(message) for message in dialogue.to_messages(entries)]
    if not example.recorded:
        for message in messages[:-1]:
            if message["role"] == "assistant":
                message["weight"] = 0
    return {
        "messages": messages,
        "tools": dialogue.tools_for(entries, example.tools),
        "parallel_tool_calls": any(isinstance(e, AgentReply) and len(e.calls) > 1 for e in entries),
    }


def write_trl(example: Example) -> Row:
    """A row for TRL's trainers."""
    entries = dialogue.parse(example.messages)
    return {
        **provenance(example),
        "messages": [message.model_dump(exclude_unset=True) for message in dialogue.to_messages(entries)],
        "tools": json.dumps(dialogue.tools_for(entries, example.tools), ensure_ascii=False),
    }


def read(row: Mapping[str, Any]) -> Turns:
    """The turns of a row of either dialect."""
    messages = [
        Message.model_validate(present(message, "role", "content", "tool_calls", "tool_call_id", "name"))
        for message in row["messages"]
    ]
    return Turns(dialogue.parse(messages))


def _openai_message(message: Message) -> Row:
    row = present(message.model_dump(exclude_unset=True), "role", "content", "tool_calls", "tool_call_id")
    for call in row.get("tool_calls", ()):
        call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
    return row


def tools_of(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The declared tools of a row, whichever way the file holds them."""
    return list(as_object(row["tools"]))


def _check(row: Mapping[str, Any]) -> None:
    checks.tool_chat(row["messages"], tools_of(row))


OPENAI_TOOLS = Format(
    name="openai-tools",
    summary="OpenAI fine-tuning: the bash action as a tool call, `arguments` as JSON text",
    schema=OpenAIRow,
    rows_of=calls_ending_on_turn,
    write=write_openai,
    read=read,
    check=_check,
    recipes={"llamafactory": "sft"},
    caution="made for OpenAI's endpoint; in TRL many chat templates encode the arguments twice or fail on them: take"
    " `trl-tools`",
)
TRL_TOOLS = Format(
    name="trl-tools",
    summary="TRL with tools: the bash action as a tool call, `arguments` as an object",
    schema=TRLRow,
    rows_of=calls_ending_on_turn,
    write=write_trl,
    read=read,
    check=_check,
    recipes={"trl": "sft", "axolotl": "sft"},
    trl_flags={"assistant_only_loss": True, "packing": False},
    caution="a chat template that knows no tools (llama3's in TRL) drops the calls without a word",
    reasoning=True,
)
FORMATS.add(OPENAI_TOOLS.name, OPENAI_TOOLS)
FORMATS.add(TRL_TOOLS.name, TRL_TOOLS)
