"""What is left out before anything is written, each with its reason: leaks, contamination, licenses, copies, excess.

And runs in pairs: one that resolved its pull request against one that failed it, nearest in length first.
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import attrgetter

from duel import placement
from duel.audit.contamination import Benchmarks
from duel.audit.licenses import refused
from duel.errors import ItemError, UserError
from duel.exports import recovery
from duel.exports.example import Dropped, Example, text_only
from duel.exports.handover import Step
from duel.records import Message
from duel.settings import Settings

# Why an example is left out: (slug, detail); None where it stays.
Verdict = Callable[[Example], tuple[str, str] | None]

BALANCED_BY: dict[str, Callable[[Example], str]] = {name: attrgetter(name) for name in ("style", "repo", "license")}
PAIR_FORMATS = frozenset({"dpo", "kto", "reward"})


def kept_where(verdict: Verdict) -> Step:
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
        if (kept_out := placement.obstacle(example.audit, settings)) is not None:
            return kept_out.slug, kept_out.reason
        if why := benchmarks.reason(example.instance_id, example.repo, example.base_commit, example.task()):
            return "contaminated", why
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
    return None if recovery.examine(example).spans else ("no-error-recovery", "no error was followed by its success")


def successful(example: Example) -> tuple[str, str] | None:
    outcome, evidence = recovery.outcome_of(example)
    return None if outcome == "success" else (f"outcome-{outcome}", evidence)


FILTERS: dict[str, Verdict] = {"error-recovery": with_recovery, "success": successful}


def filters_of(text: str) -> dict[str, Verdict]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in [name for name in names if name not in FILTERS]:
        raise UserError("unknown filter", where="--filter", value=name, hint=f"known: {', '.join(FILTERS)}")
    return {name: FILTERS[name] for name in names}


def within(max_tokens: int) -> Step:
    return kept_where(
        lambda example: None if example.tokens <= max_tokens else ("too-long", f"{example.tokens} estimated tokens")
    )


def unique(examples: list[Example]) -> tuple[list[Example], list[Dropped]]:
    first: dict[bytes, str] = {}

    def verdict(example: Example) -> tuple[str, str] | None:
        parts = [message.model_dump_json() for message in (*example.messages, *example.native)]
        parts += [example.rejected, *example.others, *(message.content for message in example.lost)]
        digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()
        original = first.setdefault(digest, example.id)
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


def in_pairs(limit: int = 0) -> Step:
    """A step: each resolved run takes the nearest failed run of its pull request; no run is used twice.

    `limit` bounds the pairs of one pull request; 0: none. A failed run that stands in a pair is counted as `paired`.
    """

    def step(examples: list[Example]) -> tuple[list[Example], list[Dropped]]:
        kept, dropped = [], []
        groups: dict[str, list[Example]] = {}
        for example in examples:
            try:
                groups.setdefault(example.instance_id, []).extend(text_only(example))
            except ItemError as error:
                dropped.append(Dropped(example.id, example.instance_id, error.reason, error.what))
        for group in groups.values():
            runs = {one.id: one for one in group}
            near = sorted(
                (abs(won.tokens - lost.tokens), won.id, lost.id)
                for won in group
                for lost in group
                if won.resolved and lost.resolved is False and _opening(won) == _opening(lost)
            )
            paired: dict[str, str] = {}
            for _, won, lost in near:
                if not paired.keys() & {won, lost} and not 0 < limit <= len(paired) // 2:
                    paired |= {won: lost, lost: won}
                    opening = len(_opening(runs[won]))
                    rest = runs[lost].messages[opening:]
                    kept.append(replace(runs[won], opening=opening, lost=rest, rejected=rest[-1].content))
                    dropped.append(Dropped(lost, runs[lost].instance_id, "paired", f"the failed side of {won}"))
            outcomes = {one.resolved for one in group}
            for one in [one for one in group if one.id not in paired]:
                alone = "no-failed-run" if one.resolved else "no-resolved-run"
                reason = "no-partner" if (not one.resolved) in outcomes - {None} else alone
                reason = "outcome-unknown" if one.resolved is None else reason
                dropped.append(Dropped(one.id, one.instance_id, reason))
        return kept, dropped

    return step


def _opening(example: Example) -> tuple[Message, ...]:
    """What stands before the first turn: instructions and task."""
    first = next(place for place, message in enumerate(example.messages) if message.role == "assistant")
    return example.messages[:first]
