"""The steps between what was read and what is written: what is left out, each with its reason, paired, or rewritten."""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

from duel import chat_tokens, placement, turn
from duel.audit.contamination import Benchmarks
from duel.audit.licenses import refused
from duel.audit.secrets import scrub
from duel.conversation import dialogue
from duel.conversation.values import rewritten
from duel.errors import ItemError, UserError
from duel.exports import recovery
from duel.exports.example import Dropped, Example, Step, text_only
from duel.records import Message
from duel.settings import Settings

# Why an example is left out: (slug, detail); None where it stays.
Refusal = Callable[[Example], tuple[str, str] | None]

FILTERS = ("error-recovery", "success")
PAIR_FORMATS = frozenset({"dpo", "kto", "reward"})


def kept_where(verdict: Refusal) -> Step:
    def step(examples: Sequence[Example]) -> Iterator[Example | Dropped]:
        for example in examples:
            try:
                reason = verdict(example)
            except ItemError as error:
                reason = (error.reason, error.what)
            yield example if reason is None else example.dropped(*reason)

    return step


def clean(settings: Settings, benchmarks: Benchmarks) -> Step:
    """What the audit keeps out of every bucket goes, and what benchmarks and licenses refuse by now."""

    def verdict(example: Example) -> tuple[str, str] | None:
        if (kept_out := placement.obstacle(example.audit, settings)) is not None:
            who = "opponent" if example.bucket == "defeat" else "challenger"
            return kept_out.slug, kept_out.reason.replace("challenger", who, 1)
        if why := benchmarks.reason(example.instance_id, example.repo, example.base_commit, example.task()):
            return "contaminated", why
        return ("license", why) if (why := refused(example.license, settings)) else None

    return kept_where(verdict)


def unchecked(benchmarks: Benchmarks) -> list[str]:
    """A line for each reason why lists could not be had: instances of these benchmarks may be in the set."""
    by_reason: dict[str, list[str]] = {}
    for name, why in sorted(benchmarks.unchecked.items()):
        by_reason.setdefault(why, []).append(name)
    return [f"not checked for contamination by {', '.join(names)}: {why}" for why, names in by_reason.items()]


def filters_of(text: str) -> dict[str, Step]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in [name for name in names if name not in FILTERS]:
        raise UserError("unknown filter", where="--filter", value=name, hint=f"known: {', '.join(FILTERS)}")
    return {name: kept_where(partial(_filtered, by=name)) for name in names}


def _filtered(example: Example, by: str) -> tuple[str, str] | None:
    if by == "error-recovery":
        spans = recovery.examine(example).spans
        return None if spans else ("no-error-recovery", "no error was followed by its success")
    outcome, evidence = recovery.outcome_of(example)
    return None if outcome == "success" else (f"outcome-{outcome}", evidence)


def unique(examples: Sequence[Example]) -> Iterable[Example | Dropped]:
    first: dict[bytes, str] = {}

    def verdict(example: Example) -> tuple[str, str] | None:
        parts = [message.model_dump_json() for message in (*example.messages, *example.native)]
        parts += [example.rejected, *example.others, *(message.content for message in example.lost)]
        digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()
        original = first.setdefault(digest, example.id)
        return None if original == example.id else ("duplicate", f"the same as {original}")

    return kept_where(verdict)(examples)


def at_most(by: str, seed: int, limit: int = 0) -> Step:
    """At most `limit` examples of one style, repository or license, drawn with `seed`; 0: an even share each."""
    reason = f"over-max-per-{by}" if limit else f"over-even-share-of-{by}"

    def step(examples: Sequence[Example]) -> Iterator[Example | Dropped]:
        groups: dict[str, list[Example]] = {}
        for example in examples:
            groups.setdefault(getattr(example, by), []).append(example)
        most = limit or -(-len(examples) // max(1, len(groups)))
        chosen: set[str] = set()
        for name, group in sorted(groups.items()):
            drawn = random.Random(f"{seed}/{reason}/{name}").sample(group, min(len(group), most))
            chosen.update(example.id for example in drawn)
        for example in examples:
            name = getattr(example, by)
            there = f"{name}: {len(groups[name])} were there"
            yield example if example.id in chosen else example.dropped(reason, there)

    return step


def in_pairs(limit: int = 0) -> Step:
    """A step: each resolved run takes the nearest failed run of its pull request; no run is used twice.

    `limit` bounds the pairs of one pull request; 0: none. A failed run that stands in a pair is counted as `paired`.
    """

    def opening_of(example: Example) -> tuple[Message, ...]:
        first = next(place for place, message in enumerate(example.messages) if message.role == "assistant")
        return example.messages[:first]

    def step(examples: Sequence[Example]) -> Iterator[Example | Dropped]:
        groups: dict[str, list[Example]] = {}
        for example in examples:
            try:
                groups.setdefault(example.instance_id, []).extend(text_only(example))
            except ItemError as error:
                yield example.dropped(error.reason, error.what)
        for group in groups.values():
            runs = {one.id: one for one in group}
            near = sorted(
                (abs(won.tokens - lost.tokens), won.id, lost.id)
                for won in group
                for lost in group
                if won.resolved and lost.resolved is False and opening_of(won) == opening_of(lost)
            )
            paired: set[str] = set()
            for _, won, lost in near:
                if not paired & {won, lost} and not 0 < limit <= len(paired) // 2:
                    paired |= {won, lost}
                    opening = len(opening_of(runs[won]))
                    rest = runs[lost].messages[opening:]
                    yield replace(runs[won], opening=opening, lost=rest, rejected=rest[-1].content)
                    yield runs[lost].dropped("paired", f"the failed side of {won}")
            outcomes = {one.resolved for one in group}
            for one in [one for one in group if one.id not in paired]:
                alone = "no-failed-run" if one.resolved else "no-resolved-run"
                reason = "no-partner" if (not one.resolved) in outcomes - {None} else alone
                yield one.dropped("outcome-unknown" if one.resolved is None else reason)

    return step


# Histories share their system prompts and tasks; what only one of them holds is not kept.
_scrubbed = lru_cache(maxsize=1024)(scrub)


@dataclass
class Rewriter:
    """A step that rewrites every text of an example; `change` gives the new text, and what it changed in it."""

    change: Callable[[str], tuple[str, Iterable[str] | Mapping[str, int]]]
    counts: Counter[str] = field(default_factory=Counter)

    def step(self, examples: Sequence[Example]) -> Iterator[Example]:
        def changed(text: str) -> str:
            text, counts = self.change(text)
            self.counts.update(counts)
            return text

        value = partial(rewritten, change=changed, keys=False)
        for example in examples:
            yield example.mapped(lambda said: Message.model_validate(value(said.model_dump())), value)


def scrubber(key: bytes = b"") -> Rewriter:
    """`key`: the workspace's secret, without which a placeholder tells only the kind."""
    return Rewriter(partial(_scrubbed, key=key))


def token_breaker(family: str = "all") -> Rewriter:
    """Breaks control tokens of chat templates, which a trainer's tokenizer would take for a switch of role.

    `family`: of `chat_tokens.FAMILIES`, or "all".
    """

    def change(text: str) -> tuple[str, list[str]]:
        # Tags of tool calls are how some agents act: the formats read them.
        found = [token for token in chat_tokens.tokens(text, family) if "tool" not in token.lower()]
        for token in found:
            text = text.replace(token, chat_tokens.broken(token, family))
        return text, found

    return Rewriter(change)


def in_think_blocks(examples: Sequence[Example]) -> Iterator[Example]:
    """A step that moves every agent turn's thought into a think block, history and losing turns included."""

    def text(said: str) -> str:
        block, thought = turn.BLOCK.search(said), turn.thought(said)
        if not block or not thought or "<think>" in thought:
            return said
        return f"<think>\n{thought}\n</think>\n\n{said[block.start() :]}"

    def moved(message: Message) -> Message:
        if message.role != "assistant":
            return message
        said = message.content.strip()
        called = f"<think>\n{said}\n</think>" if said else ""
        return message.model_copy(update={"content": called if dialogue.calls_in(message) else text(message.content)})

    return (example.mapped(moved, text) for example in examples)
