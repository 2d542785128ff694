"""OpenAssistant: message trees, as trees or a message a row; of each the branch that people ranked best.

Talk without tools: rows of the task `chat`, never turns of an agent.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from duel.conversation.message_rows import chat
from duel.conversation.model import Session
from duel.conversation.values import tables, text
from duel.sources.sessions.log import Log


def recognizes(sample: list[dict[str, Any]]) -> bool:
    return any(_root(record) or {"message_id", "parent_id", "message_tree_id"} <= record.keys() for record in sample)


def read(log: Log, all_branches: bool = False) -> Iterator[Session]:
    for tree, rows in groupby(log.values(), lambda row: text(row, "message_tree_id") or text(row, "message_id")):
        listed = list(rows)
        root = _root(listed[0]) or _grown(listed)
        yield chat("oasst", tree, list(_best(root)))


def _root(record: dict[str, Any]) -> dict[str, Any]:
    prompt = record.get("prompt")
    found = prompt if isinstance(prompt, dict) else record
    return found if "message_id" in found and isinstance(found.get("replies"), list) else {}


def _grown(rows: list[dict[str, Any]]) -> dict[str, Any]:
    nodes: dict[str, dict[str, Any]] = {text(row, "message_id"): {**row, "replies": []} for row in rows}
    for node in nodes.values():
        if (parent := nodes.get(text(node, "parent_id"))) and parent is not node:
            parent["replies"].append(node)
    return next((node for node in nodes.values() if not text(node, "parent_id")), {})


def _best(node: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(role, text) down the branch of the best rank; what was deleted or failed its review ends it."""
    seen: set[str] = set()
    while node and text(node, "message_id") not in seen:
        seen.add(text(node, "message_id"))
        yield ("user" if text(node, "role") == "prompter" else "assistant"), text(node, "text")
        fit = [r for r in tables(node.get("replies")) if not r.get("deleted") and r.get("review_result") is not False]
        node = min(fit, key=lambda r: (r.get("rank") is None, r.get("rank") or 0), default={})
