"""Native tool calls in two dialects: OpenAI's (`arguments` is JSON text) and TRL's (`arguments` is an object).

TRL's chat templates need the object: with JSON text seven of the thirteen tried fail and three encode it twice.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

from duel.conversation import dialogue
from duel.conversation.model import AgentReply
from duel.exports import checks
from duel.exports.example import Example, Turns, calls_ending_on_turn
from duel.exports.formats.base import Format, Provenance, Row, add, as_messages, as_object, provenance, shape


def _messages(arguments: Any, **further: Any) -> list[Any]:
    """The shape of messages whose calls have such `arguments`."""
    call = {"id": str, "type": Literal["function"], "function": {"name": str, "arguments": arguments}}
    role = Literal["system", "user", "assistant", "tool"]
    return [{"role": role, "content": str, "tool_calls?": [call], "tool_call_id?": str, **further}]


# A line of OpenAI's supervised fine-tuning file; the endpoint takes no further keys. `weight` 0: not trained.
OPENAI_ROW = {
    "messages": _messages(str, **{"weight?": Literal[0, 1]}),
    "tools": [
        {
            "type": Literal["function"],
            "function": {"name": str, "description": (str, ""), "parameters": dict[str, Any]},
        }
    ],
    "parallel_tool_calls": bool,
}
# TRL's `messages` + `tools`; the tools are JSON text, which every reader of Arrow files keeps as it is.
TRL_ROW = {"messages": _messages(dict[str, Any], **{"name?": str}), "tools": str}


def write_openai(example: Example) -> Row:
    """A row for OpenAI: results follow their calls at once; of a duel's turn only the last message has weight 1."""
    entries = dialogue.parse(example.messages)
    messages = [message.model_dump(exclude_unset=True) for message in dialogue.to_messages(entries)]
    for message in messages:
        message.pop("name", None)
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
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
    entries = dialogue.parse(example.messages)
    return {
        **provenance(example),
        "messages": [message.model_dump(exclude_unset=True) for message in dialogue.to_messages(entries)],
        "tools": json.dumps(dialogue.tools_for(entries, example.tools), ensure_ascii=False),
    }


def read(row: Mapping[str, Any]) -> Turns:
    """The turns of a row of either dialect."""
    return Turns(dialogue.parse(as_messages(row["messages"])))


def tools_of(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The declared tools of a row, whichever way the file holds them."""
    return list(as_object(row["tools"]))


def _check(row: Mapping[str, Any]) -> None:
    checks.tool_chat(row["messages"], tools_of(row))


add(
    Format(
        "openai-tools",
        "OpenAI fine-tuning: the bash action as a tool call, `arguments` as JSON text",
        shape("OpenAIRow", OPENAI_ROW),
        calls_ending_on_turn,
        write_openai,
        read,
        _check,
        purpose="OpenAI's fine-tuning endpoint, and those that copy it",
        caution="LLaMA-Factory and many of TRL's chat templates encode the arguments twice, others fail on them: take"
        " `trl-tools`",
    )
)
add(
    Format(
        "trl-tools",
        "TRL with tools: the bash action as a tool call, `arguments` as an object",
        shape("TRLRow", TRL_ROW, Provenance),
        calls_ending_on_turn,
        write_trl,
        read,
        _check,
        recipes={"trl": "sft", "axolotl": "sft", "llamafactory": "sft"},
        trl_flags={"assistant_only_loss": True, "packing": False},
        caution="a chat template that knows no tools (llama3's in TRL) drops the calls without a word, LLaMA-Factory"
        " the thought before each call",
        reasoning=True,
    )
)
