"""What a judge is shown, the one place where its prompt is built, and which votes on a pair are asked.

The rubric comes first and is the same for all items; the conversation and the two candidates follow, the candidates
last, so that both orders and all retries of a turn share the longest possible prefix (and an endpoint's prompt cache
with it). Every part stands between lines with a nonce that no author of a reply can know.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import orjson

from duel import fence, prompts
from duel.calls.request import Request
from duel.dimensions import FURTHER
from duel.history import estimate_tokens, fit, history_tokens
from duel.records import DIMENSIONS, Answer, Message, Observed, Order, Side, Vote
from duel.records.executed import cut, same
from duel.records.record import further
from duel.settings import Settings
from duel.untrusted import visible

LAYOUT = "2"  # the shape of what stands around the rubric; a change of it makes another rubric
DEFAULT_TOKENS = 768
# A reply may take this share of the window at most: 1,024 tokens of 32,768 are the default, so only a reply that
# another tool made, or a hostile megabyte, is ever cut (in its middle, visibly, the same for every judge).
REPLY_SHARE = 4
# Characters of what a command printed, and of its diff. Two sides of both are at most 2,400 tokens a question.
PRINTED, CHANGED = 1500, 3000
# Facts about a reply. For any other reason (no repository, a broken sandbox) a side would look worse than it is.
OWN_FAULT = frozenset({"no-command", "several-blocks", "not-a-command"})
Key = tuple[str, Order]  # (judge, order): which vote of a pair


@dataclass(frozen=True)
class JudgedPair:
    """One turn as the judges compare it: the conversation, the challenger's reply and its opponent's."""

    item: str
    history: Sequence[Message]
    opponent: str
    challenger: str
    ids: tuple[str, str] = ("", "")  # of opponent and challenger, as the answer names its candidates
    observed: tuple[str, str] = ("", "")  # what came of their commands, as judges are shown it; "" without evidence
    same: bool = False  # both commands did the same: a draw in correctness by rule
    unobserved: str = ""  # why the turn has no evidence, "" where nothing was executed

    @property
    def has_evidence(self) -> bool:
        return self.observed != ("", "")


def pair_of(item: str, answer: Answer, mode: int, observed: bool = True) -> JudgedPair:
    """The two candidates of `answer`: against the king in mode 2, against the reference turn in mode 1.

    `observed` (`[judge] observed`) shows what their commands did, where both were executed. The reference turn is not.
    """
    opponent = answer.king if mode == 2 else answer.assistant
    ids = (candidate_id(answer, "king") if mode == 2 else "assistant", candidate_id(answer, "challenger"))
    pair = JudgedPair(item, answer.messages, opponent, answer.challenger, ids)
    chosen = (answer.chosen("king"), answer.chosen("challenger")) if observed and mode == 2 else (None, None)
    return with_evidence(pair, *(one.observed if one else None for one in chosen))


def with_evidence(pair: JudgedPair, opponent: Observed | None, challenger: Observed | None) -> JudgedPair:
    """`pair` with what its commands did, where both were executed and can be shown."""
    if not opponent or not challenger:
        return pair
    if not fair(opponent, challenger):  # the reason of a broken sandbox goes before that of a broken reply
        reasons = [one.reason for one in (opponent, challenger) if not one.ran]
        return replace(pair, unobserved=min(reasons, key=lambda reason: reason in OWN_FAULT, default=""))
    return replace(pair, observed=(told(opponent), told(challenger)), same=same(opponent, challenger))


def fair(*sides: Observed) -> bool:
    """True if both sides can be shown: one ran at least, and the other too or by its own fault not."""
    return any(one.ran for one in sides) and all(one.ran or one.reason in OWN_FAULT for one in sides)


def told(one: Observed) -> str:
    """One side in words. Nothing here says which side it is."""
    if not one.ran:
        return f"ran: no ({one.reason})"
    ended = f" (stopped: {one.ended_by})" if one.ended_by else ""
    printed = cut(one.printed.removeprefix("Observation: ").rstrip(), PRINTED) or "(nothing)"
    changed = cut(one.changed.rstrip(), CHANGED) or "(nothing)"
    whole = ", with all earlier commands, because this one ends the task" if one.submits else ""
    return f"ran: yes\nexit code: {one.exit}{ended}\nprinted:\n{printed}\nchanged{whole}:\n{changed}"


def candidate_id(answer: Answer, side: Side) -> str:
    chosen = answer.chosen(side)
    return chosen.id if chosen else f"{side}-1"


def fingerprint(pair: JudgedPair) -> str:
    """16 hexadecimal digits that change with any text the judges would see."""
    texts = [pair.opponent, pair.challenger, *(pair.observed if pair.has_evidence else ())]
    texts += [part for message in pair.history for part in (message.role, message.content)]
    raw = [text.encode("utf-8", "surrogatepass") for text in texts]
    return hashlib.blake2b(b"".join(b"%d:%b" % (len(one), one) for one in raw), digest_size=8).hexdigest()


def short_hash(value: Any) -> str:
    """16 hexadecimal digits for any JSON value."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def verdict_schema(dimensions: Sequence[str] = DIMENSIONS) -> dict[str, Any]:
    """The form of a verdict, for endpoints that hold a reply to one (`response_format`)."""
    choices: dict[str, Any] = {name: {"type": "integer", "enum": [1, 2, 0]} for name in dimensions}
    properties = {"reason": {"type": "string"}, **choices}
    form = {"type": "object", "properties": properties, "additionalProperties": False, "required": [*properties]}
    return {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": form}}


def instructions(dimensions: Sequence[str]) -> str:
    """The rubric: the five dimensions, and behind them a paragraph for each further one."""
    told, others = prompts.load("rubric_dimension"), ((name, FURTHER[name]) for name in further(dimensions))
    paragraphs = [told.render(name=name, ask=one.ask, high=one.high, low=one.low) for name, one in others]
    return "\n".join([prompts.load("rubric").render(), *paragraphs])


def rubric_hash(dimensions: Sequence[str] = DIMENSIONS, evidence: bool = False) -> str:
    """What identifies the rubric: its text and the layout around it; behind a "+" what is said of evidence."""
    plain = f"{prompts.load('rubric').hash}-{LAYOUT}"
    if further(dimensions):
        plain = f"{short_hash(instructions(dimensions))}-{LAYOUT}"
    return f"{plain}+{prompts.load('rubric_observed').hash}" if evidence else plain


def requests(
    pair: JudgedPair, settings: Settings, secret: bytes, twins: int = 0, stage: str = "judge"
) -> dict[Key, Request]:
    """The question to every judge in every order that is asked, keyed by (judge, order).

    Nothing in it depends on the file's name: the same turn in a larger sample is the same question, and is not paid for
    again. `twins` counts the turns before this one that are its equals to the letter; each gets votes of its own.
    """
    chosen = settings.judge
    budget = chosen.score_max_tokens or chosen.max_tokens or DEFAULT_TOKENS
    form = verdict_schema(chosen.dimensions) if chosen.structured_output else None
    shown = {order: _messages(pair, order, settings, secret) for order in orders(pair.item, settings)}
    same = pair.opponent == pair.challenger  # then both orders are the very same question, asked twice on purpose
    return {
        (judge, order): Request(
            stage=stage,
            item=pair.item,
            model=judge,
            messages=messages,
            max_tokens=chosen.thinking_max_tokens if judge in chosen.thinking_models else budget,
            temperature=chosen.temperature,
            parameters=chosen.parameters,
            response_format=form,
            occurrence=2 * twins + (place if same else 0),
        )
        for place, (order, messages) in enumerate(shown.items())
        for judge in chosen.asked_models
    }


def owed_votes(item: str, settings: Settings) -> list[Key]:
    """Every vote that the full panel casts on `item`, judge by judge."""
    return [(judge, order) for judge in settings.judge.models for order in orders(item, settings)]


def orders(item: str, settings: Settings) -> tuple[Order, ...]:
    """The orders in which a judge sees the two replies of `item`; "alternate" takes one by a hash of the item."""
    both: tuple[Order, ...] = ("king_first", "challenger_first")
    odd = hashlib.sha256(item.encode("utf-8", "surrogatepass")).digest()[0] & 1
    return {"both": both, "king_first": both[:1]}.get(settings.judge.orders, both[odd : odd + 1])


def asking(question: Request, attempt: int, dimensions: Sequence[str] = DIMENSIONS) -> Request:
    """`question`, or a repeated asking of it, which reminds of the form: the same words would bring the same reply."""
    others = "".join(f', "{name}": 1|2|0' for name in further(dimensions))
    form = prompts.load("verdict_again").text.replace("}", others + "}")
    return question.again(attempt, form) if attempt else question


def _messages(pair: JudgedPair, order: Order, settings: Settings, secret: bytes) -> list[dict[str, str]]:
    window = settings.generate.max_model_len
    conversation = [message.model_copy(update={"content": visible(message.content)}) for message in pair.history]
    if history_tokens(conversation) > window:
        conversation = fit(conversation, window)
    texts = [visible(text) for text in (pair.opponent, pair.challenger)]
    for place, text in enumerate(texts):
        if estimate_tokens(text) > window // REPLY_SHARE:
            texts[place] = fit([Message(role="assistant", content=text)], window // REPLY_SHARE)[0].content
    mark = _mark(pair, secret)
    rendered = "\n".join(f"--- {message.role} {mark} ---\n{message.content}" for message in conversation)
    parts, replies = [fence.fence("CONVERSATION", rendered, mark)], list(zip(texts, pair.observed, strict=True))
    for number, (reply, observed) in enumerate(replies if order == "king_first" else replies[::-1], start=1):
        parts.append(fence.fence(f"REPLY {number}", reply, mark))
        if pair.has_evidence:
            parts.append(fence.fence(f"OBSERVED {number}", visible(observed), mark))
    addition = f"\n{prompts.load('rubric_observed').render()}" if pair.has_evidence else ""
    system = instructions(settings.judge.dimensions) + addition
    return [{"role": "system", "content": system}, {"role": "user", "content": "\n\n".join(parts)}]


def _mark(pair: JudgedPair, secret: bytes) -> str:
    """A nonce that stands in none of the texts. The challenger's prompt has another: its writer cannot know this."""
    texts = [pair.opponent, pair.challenger, *pair.observed, *(message.content for message in pair.history)]
    content = fingerprint(pair)
    marks = (fence.nonce(secret, f"judge:{number}:{content}") for number in count())
    return next(mark for mark in marks if not any(mark in text for text in texts))


# The screen (`[judge] strategy`) asks one vote a turn, and the rest where the turn can still be worth keeping.
# Round one asks one judge in one order, drawn by a keyed hash of the turn, so that no property of a turn decides who
# sees it: the gate rests on these votes alone, each an unbiased draw of what the full panel would have said. Round two
# asks a second opinion where the first vote gives at least `defeat_min` points, then all other votes where the two
# together reach `final_min`: such a turn has the very score that the full panel gives. The others stop, and are named
# as stopped. At a mean of 60 that asks 51 to 60 % fewer votes and finds 82 to 94 % of the final ones (bench/screen.py).


def first_vote(item: str, settings: Settings) -> Key:
    votes = owed_votes(item, settings)
    key = str(settings.duel.seed).encode()
    digest = hashlib.blake2b(item.encode("utf-8", "surrogatepass"), key=key, digest_size=8).digest()
    return votes[int.from_bytes(digest) % len(votes)]


def second_vote(item: str, settings: Settings) -> Key | None:
    """The second opinion: another judge in the other order, if possible; None where the first is the only vote."""
    votes, first = owed_votes(item, settings), first_vote(item, settings)
    place = votes.index(first)
    others = [*votes[place + 1 :], *votes[:place]]
    return max(others, key=lambda key: (key[0] != first[0]) + (key[1] != first[1]), default=None)


def next_votes(item: str, votes: Sequence[Vote], settings: Settings) -> list[Key]:
    """The votes to ask for next; [] once the turn is stopped or nothing is left to ask.

    `votes` are those cast so far; one that did not parse is among them and is not asked again here.
    """
    first, second = first_vote(item, settings), second_vote(item, settings)
    cast = {(vote.judge, vote.order): vote for vote in votes}
    said = [vote_points(cast[key], settings) for key in (first, second) if key in cast and cast[key].parsed]
    if first not in cast:
        return [first]
    if not cast[first].parsed or said[0] < settings.report.defeat_min:
        return []
    if second is not None and second not in cast:
        return [second]
    if sum(said) < len(said) * settings.report.final_min:
        return []
    return [key for key in owed_votes(item, settings) if key not in cast]


def stopped(item: str, votes: Sequence[Vote], settings: Settings) -> bool:
    """True when votes were left unasked because those that were cast are too low."""
    unasked = {(vote.judge, vote.order) for vote in votes} < set(owed_votes(item, settings))
    return unasked and any(vote.parsed for vote in votes) and not next_votes(item, votes, settings)


def vote_points(vote: Vote, settings: Settings) -> float:
    asked, keys = settings.judge.dimensions, settings.judge.metric_keys
    said = dict(zip(asked, vote.on(asked) or [0.0] * len(asked), strict=True))
    return 100 * sum(said[name] for name in keys) / len(keys)
