"""The auditor: a model that must quote, for each claim of a turn, the line of the conversation from which it follows.

A fix told in other words is found by no search. A quote must really stand in the conversation, a claim in the turn.
"""

import contextlib
import json
import math
import re
from collections.abc import Sequence

from duel import chat_tokens, fence, prompts, pull
from duel.audit.leaks import BASE
from duel.audit.pull_facts import PROSE_WORD, plain
from duel.audit.rarity import commonness
from duel.audit.turn_indexes import ReplyIndex
from duel.calls.request import Request
from duel.errors import ItemError
from duel.history import estimate_tokens, fit
from duel.records import Answer, Audit, Commit, Leak, Message
from duel.settings import Settings

STAGE = "auditor"
MAX_TOKENS = 4096  # budget of one reply: a turn makes few claims, but a model that thinks first needs room for it
SLACK_TOKENS = 256  # fence lines and role markers around what is counted
SHARE = 0.2  # share of the turns bound for `final/` that the auditor is shown
LEAST_QUOTE = 8  # characters that a quote must have; fewer stand in every conversation
_CONCLUDES = re.compile(
    r"\b(?:because|since|root cause|caused? by|culprit|the (?:problem|issue|bug|reason|fix|solution|error) (?:is|lies)"
    r"|should (?:be|have|use|return|only|not)|must (?:be|not|have)|needs? to|instead of|rather than|is missing|lacks?"
    r"|fails to|forgets? to|never|wrongly|incorrectly|actually)\b",
    re.IGNORECASE,
)


def suspicion(reply: str, messages: Sequence[Message], commit: Commit, leak_score: float) -> float:
    """How much a turn deserves a look, 0 and up: a rank and no proof.

    `leak_score`, words that the pull request has and the conversation has not, conclusions before much was shown.
    """
    prose = " ".join(reply[start:end] for start, end in ReplyIndex(reply).prose())
    seen = "\n".join([*(message.content for message in messages), commit.issue])
    pull_request = f"{commit.description}\n{commit.patch}\n{commit.test_patch}"
    shared = (_stems(prose) & _stems(pull_request)) - _stems(seen)
    overlap = sum(1 / (1 + math.log1p(commonness(word))) for word in sorted(shared))
    shown = sum(message.role == "assistant" for message in messages)
    concluding = len(_CONCLUDES.findall(prose)) / (1 + math.log1p(shown))
    return round(leak_score + overlap + 0.3 * concluding, 4)


def _stems(text: str) -> set[str]:
    words = (word for word in PROSE_WORD.findall(text.casefold()) if len(word) > 3)
    return {re.sub(r"(?:'s|ing|ies|ed|es|s)$", "", word) for word in words}


def chosen(turns: Sequence[tuple[str, float, bool]], share: float = SHARE) -> list[str]:
    """Which of (name, suspicion, words were taken out) the auditor is shown: `share` of all, marked ones first."""
    order = sorted(turns, key=lambda row: (not row[2], -row[1], row[0]))
    return [name for name, _, _ in order[: math.ceil(share * len(turns))]]


def question(settings: Settings, item: str, answer: Answer, commit: Commit, mark: str) -> Request:
    """The question about one turn. The history's oldest turns give way where the model's window is too small."""
    fixed = estimate_tokens(prompts.load("auditor").text + answer.challenger) + pull.tokens(commit) + SLACK_TOKENS
    shown = fit(answer.messages, settings.generate.max_model_len - MAX_TOKENS - fixed)
    history = "\n\n".join(f"[{message.role}]\n{message.content}" for message in shown)
    texts = {"CONVERSATION": history, "PULL REQUEST": pull.render(commit), "TURN": answer.challenger}
    fenced = [fence.fence(label, chat_tokens.broken(text), mark) for label, text in texts.items()]
    fields = dict(zip(("conversation", "pull", "turn"), fenced, strict=True))
    asked = [{"role": "user", "content": prompts.load("auditor").render(mark=mark, **fields)}]
    return Request(STAGE, item, settings.audit.auditor, asked, MAX_TOKENS)


def claims(reply: str) -> list[tuple[str, str]]:
    """(what the turn states, the line from which it follows, or "") of each claim. Raises ItemError (`unparsable`)."""
    for found in re.finditer(r"\{\s*\"claims\"", reply):
        with contextlib.suppress(ValueError, RecursionError):
            rows = json.JSONDecoder().raw_decode(reply, found.start())[0]["claims"]
            if isinstance(rows, list):
                told = [row for row in rows if isinstance(row, dict)]
                return [(str(row.get("said") or "").strip(), str(row.get("quote") or "").strip()) for row in told]
    raise ItemError("unparsable", "the auditor's reply holds no list of claims", value=reply[:200])


def findings(reply: str, answer: Answer, commit: Commit) -> list[Leak]:
    """A finding for each claim that stands in the turn and whose quote stands in no message. Raises ItemError."""
    read, text = ReplyIndex(answer.challenger), _comparable(answer.challenger)
    conversation = _comparable("\n".join([*(message.content for message in answer.messages), commit.issue]))
    told = {"pr_place": {"part": "record", "path": "", "line": 0}, "rarity": 1.0, "weight": BASE["claim"]}
    found = []
    for said, quote in claims(reply):
        # The parts of a quote are joined by dots of omission, and each must stand there.
        parts = [_comparable(part) for part in re.split(r"\s*(?:\.\.\.|…|\[\.\.\.\])\s*", quote)]
        stands = max(map(len, parts)) >= LEAST_QUOTE and all(part in conversation for part in parts)
        if len(stated := _comparable(said)) >= LEAST_QUOTE and stated in text and not stands:
            found.append(Leak(kind="claim", value=said, place=read.place(read.find(said)), **told))
    return found


def _comparable(text: str) -> str:
    """Without case, white space and quotation marks, which models change when they copy."""
    return re.sub(r"[\s`\"'“”‘’]+", " ", plain(chat_tokens.broken(text))).strip(" .,;:")


def with_claims(audit: Audit, findings: Sequence[Leak], settings: Settings, auditor: str) -> Audit:
    """`audit` with what `auditor` found, in place of what an earlier one did."""
    leaks = [*(leak for leak in audit.leaks if leak.kind != "claim"), *findings]
    score = round(sum(leak.weight for leak in leaks), 3)
    told = {"leaks": leaks, "leak_score": score, "leaking": score > settings.audit.leak_max, "auditor": auditor}
    return audit.model_copy(update=told)
