"""An export format: the last reply in capital letters, beside the conversation."""

from duel.conversation import dialogue
from duel.exports.example import Turns, text_only
from duel.exports.formats import Format, Provenance, TextMessage, as_messages, provenance


class Shouted(Provenance):
    messages: list[TextMessage]
    shouted: str


def write(example):
    messages = [{"role": message.role, "content": message.content} for message in example.messages]
    return {**provenance(example), "messages": messages, "shouted": messages[-1]["content"].upper()}


def read(row):
    return Turns(dialogue.parse(as_messages(row["messages"])))


SHOUTING = Format("shouting", "the last reply in capitals", Shouted, text_only, write, read, purpose="a toy")
