"""What is left out before anything is written, each with its reason: leaks, contamination, licenses, copies, excess."""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import Any

from duel import chat_tokens, placement
from duel.audit.contamination import Benchmarks
from duel.audit.licenses import refused
from duel.audit.secrets import scrub
from duel.errors import ItemError, UserError
from duel.exports import recovery
from duel.exports.example import Dropped, Example
from duel.exports.handover import Step
from duel.records import Message
from duel.settings import Settings

# Why an example is left out: (slug, detail); None where it stays.
Verdict = Callable[[Example], tuple[str, str] | None]

BALANCED_BY: dict[str, Callable[[Example], str]] = {name: attrgetter(name) for name in ("style", "repo", "license")}


def kept_where(verdict: Verdict) -> Step:
    """A step that asks `verdict` of each example."""

    def step(examples: list[Example]) -> tuple[list[Example], list[Dropped]]:
        kept, dropped = [], []
        for example in examples:
            try:
                reason = verdict(example)
            except ItemError as error:
                reason = (error.reason, error.what)
            if reason is None:
                kept.append(example)
            else:
                dropped.append(Dropped(example.id, example.instance_id, *reason))
        return kept, dropped

    return step


def clean(settings: Settings, benchmarks: Benchmarks) -> Step:
    """What the audit keeps out of every bucket goes, and what benchmarks and licenses refuse by now."""

    def verdict(example: Example) -> tuple[str, str] | None:
        kept_out = placement.obstacle(example.audit, settings)
        if kept_out is not None:
            return kept_out.slug, kept_out.reason
        task = next((message.content for message in example.messages if message.role == "user"), "")
        if contaminated := benchmarks.reason(example.instance_id, example.repo, example.base_commit, task):
            return "contaminated", contaminated
        license_refused = refused(example.license, settings)
        return ("license", license_refused) if license_refused else None

    return kept_where(verdict)


def unchecked(benchmarks: Benchmarks) -> list[str]:
    """A line for each reason why lists could not be had: instances of these benchmarks may be in the set."""
    by_reason: dict[str, list[str]] = {}
    for name, why in sorted(benchmarks.unchecked.items()):
        by_reason.setdefault(why, []).append(name)
    return [f"not checked for contamination by {', '.join(names)}: {why}" for why, names in by_reason.items()]


def with_recovery(example: Example) -> tuple[str, str] | None:
    """`--filter error-recovery`: an error and a later success on the same target."""
    return None if recovery.examine(example).spans else ("no-error-recovery", "no error was followed by its success")


def successful(example: Example) -> tuple[str, str] | None:
    """`--filter success`: tests showed that the run solved its issue."""
    outcome, evidence = recovery.outcome_of(example)
    return None if outcome == "success" else (f"outcome-{outcome}", evidence)


FILTERS: dict[str, Verdict] = {"error-recovery": with_recovery, "success": successful}


def filters_of(text: str) -> dict[str, Verdict]:
    """The filters of a comma-separated list. Raises UserError for an unknown one."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in [name for name in names if name not in FILTERS]:
        raise UserError("unknown filter", where="--filter", value=name, hint=f"known: {', '.join(FILTERS)}")
    return {name: FILTERS[name] for name in names}


def within(max_tokens: int) -> Step:
    """Examples of at most `max_tokens` estimated tokens."""
    return kept_where(
        lambda example: None if example.tokens <= max_tokens else ("too-long", f"{example.tokens} estimated tokens")
    )


def unique(examples: list[Example]) -> tuple[list[Example], list[Dropped]]:
    """Exact copies go; the first stays."""
    first: dict[bytes, str] = {}

    def verdict(example: Example) -> tuple[str, str] | None:
        original = first.setdefault(_digest(example), example.id)
        return None if original == example.id else ("duplicate", f"the same as {original}")

    return kept_where(verdict)(examples)


def at_most_per_repo(limit: int, seed: int) -> Step:
    """At most `limit` examples of one repository, drawn with `seed`."""
    return lambda examples: _capped(examples, BALANCED_BY["repo"], limit, seed, "over-max-per-repo")


def balanced(by: str, seed: int) -> Step:
    """No style (or repository, or license) holds more than an even share of what there is, drawn with `seed`."""
    key = BALANCED_BY[by]

    def step(examples: list[Example]) -> tuple[list[Example], list[Dropped]]:
        share = -(-len(examples) // max(1, len({key(example) for example in examples})))
        return _capped(examples, key, share, seed, f"over-even-share-of-{by}")

    return step


@dataclass
class Scrubber:
    """Replaces secrets in everything that is written, and counts them by kind."""

    key: bytes = field(default=b"", repr=False)
    """The workspace's secret, without which a placeholder tells only the kind."""
    counts: Counter[str] = field(default_factory=Counter)

    def step(self, examples: list[Example]) -> tuple[list[Example], list[Dropped]]:
        """All examples without secrets; none is dropped."""
        return [rewritten(example, self._text) for example in examples], []

    def _text(self, text: str) -> str:
        scrubbed = _scrubbed(text, self.key)
        self.counts.update(scrubbed.counts)
        return scrubbed.text


# Histories share their system prompts and tasks; what only one of them holds is not kept.
_scrubbed = lru_cache(maxsize=1024)(scrub)


@dataclass
class TokenBreaker:
    """Breaks control tokens of chat templates, which a trainer's tokenizer would take for a switch of role."""

    family: str = "all"
    """Of `chat_tokens.FAMILIES`, or "all"."""
    broken: int = 0

    def step(self, examples: list[Example]) -> tuple[list[Example], list[Dropped]]:
        """All examples with these tokens as plain characters; none is dropped."""
        return [rewritten(example, self._text) for example in examples], []

    def _text(self, text: str) -> str:
        family = "" if self.family == "all" else self.family
        # Tags of tool calls are how some agents act: the formats read them.
        found = [token for token in chat_tokens.tokens(text, family) if "tool" not in token.lower()]
        self.broken += len(found)
        for token in found:
            text = text.replace(token, chat_tokens.broken(token, family))
        return text


def rewritten(example: Example, change: Callable[[str], str]) -> Example:
    """`example` with `change` made to each text in its messages, tool calls and losing turns."""

    def value(part: Any) -> Any:
        if isinstance(part, str):
            return change(part)
        if isinstance(part, Mapping):
            return {key: value(inner) for key, inner in part.items()}
        return [value(inner) for inner in part] if isinstance(part, list) else part

    def message(said: Message) -> Message:
        return Message.model_validate(value(said.model_dump()))

    return example.mapped(message, change)


def _capped(
    examples: Sequence[Example], key: Callable[[Example], str], limit: int, seed: int, reason: str
) -> tuple[list[Example], list[Dropped]]:
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(key(example), []).append(example)
    chosen: set[str] = set()
    for name, group in sorted(groups.items()):
        drawn = random.Random(f"{seed}/{reason}/{name}").sample(group, min(len(group), limit))
        chosen.update(example.id for example in drawn)
    return kept_where(lambda e: None if e.id in chosen else (reason, f"{key(e)}: {len(groups[key(e)])} were there"))(
        list(examples)
    )


def _digest(example: Example) -> bytes:
    parts = [message.model_dump_json() for message in (*example.messages, *example.native)]
    parts += [example.rejected, *example.others, *(message.content for message in example.lost)]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()
