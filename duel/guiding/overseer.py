"""The overseer: what it is asked of a proposal, how its ruling is read, and what no training row may speak of."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from duel import chat_tokens, fence, prompts, turn
from duel.calls import Request
from duel.candidates import SLACK_TOKENS
from duel.errors import ItemError
from duel.history import estimate_tokens, fit
from duel.records import Message
from duel.settings import Settings

STAGE = "guide"
KINDS = ("loop", "redundant", "ungrounded", "wrong-file", "unsafe", "protocol", "stuck", "done", "other")
MAX_TOKENS = 4096
"""Budget of a ruling: short, but it may hold a whole turn, and a model that thinks first needs room for it."""
MOST_REASON = 2000
"""Characters of a reason that are kept."""
REMINDER = "Answer with the JSON object that is asked for, and the turn below it where you write one."
_TASKS = {"rule": ("approve", "reject", "replace"), "write": ("replace",), "suggest": ("suggest",)}
_RULING = re.compile(r"\{\s*\"ruling\"\s*:")


@dataclass(frozen=True)
class Ruling:
    """What the overseer said. `turn` is the turn that it wrote, "" where it wrote none."""

    word: str
    kind: str = ""
    reason: str = ""
    turn: str = ""


def prompt_hash() -> str:
    names = ("agent_aside", "overseer", *(f"overseer_{task}" for task in _TASKS))
    return hashlib.sha256("".join(prompts.load(name).hash for name in names).encode()).hexdigest()[:16]


def problem(text: str, finish_reason: str = "stop", *, after_aside: bool = True) -> str:
    """Why a turn can neither run nor be trained on, as a slug with its detail; "" where it can."""
    said = turn.aside(turn.thought(text), "overseer") if after_aside else ""
    return turn.format_problem(text, finish_reason) or (f"aside: {said}" if said else "")


def request(
    settings: Settings, item: str, mark: str, task: str, messages: Sequence[Message], proposals: Sequence[str]
) -> Request:
    """What the overseer is asked: `task` is "rule", "write" or "suggest", `proposals` what has not run."""
    asked = prompts.load(f"overseer_{task}").text
    fixed = estimate_tokens(prompts.load("overseer").text + asked + "".join(proposals)) + 2 * SLACK_TOKENS
    shown = fit(messages, settings.generate.max_model_len - MAX_TOKENS - fixed)
    history = "\n\n".join(f"[{message.role}]\n{chat_tokens.broken(message.content)}" for message in shown)
    content = prompts.load("overseer").render(
        mark=mark,
        conversation=fence.fence("CONVERSATION", history, mark),
        proposal="\n\n".join(fence.fence("PROPOSAL", chat_tokens.broken(text), mark) for text in proposals),
        task=asked,
    )
    messages_to_it = [{"role": "user", "content": content}]
    return Request(
        STAGE, item, settings.overseer_model, messages_to_it, MAX_TOKENS, parameters=settings.judge.parameters
    )


def read(reply: str, task: str) -> Ruling:
    """The last ruling in a reply that `task` allows. Raises ItemError (`unparsable`) where there is none.

    One that replaces has a turn that can run, one that rejects or suggests a reason.
    """
    for start in reversed([match.start() for match in _RULING.finditer(reply)][-20:]):
        try:
            told, end = json.JSONDecoder(strict=False).raw_decode(reply, start)
        except ValueError:
            continue
        word, kind, reason = (str(told.get(name) or "").strip() for name in ("ruling", "kind", "reason"))
        if word not in _TASKS[task]:
            continue
        if word in ("reject", "suggest") and not reason:
            raise ItemError("unparsable", "the overseer gives no reason")
        written = reply[end:].strip() if word == "replace" else ""
        if word == "replace" and (wrong := problem(written)):
            raise ItemError("unparsable", f"the overseer's turn cannot be taken: {wrong}", value=written[:200])
        kind = "" if word == "approve" else kind if kind in KINDS else "other"
        return Ruling(word, kind, reason[:MOST_REASON], written)
    raise ItemError("unparsable", f"the overseer's reply holds no ruling ({task})", value=reply[:200])
