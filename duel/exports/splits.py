"""Splits by group, never by row: a repository (or a pull request) lies in one split, under whatever name.

Rows of one repository share files and often the fix itself: a neighbor's random split by row leaked 10 % of its set.
"""

import hashlib
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from duel.audit.contamination import canonical_id, canonical_repo, issue_part, repo_of
from duel.audit.duplicates import Groups, near_duplicates
from duel.errors import UserError
from duel.exports.example import Division, Dropped, Example, ExportError

GROUP_NAMES = {"repo": "repositories", "pr": "pull requests"}
_NAMES = {1: ("train",), 2: ("train", "test"), 3: ("train", "validation", "test")}
# An issue text that more repositories than this share is a template of a harness.
_TEMPLATE = 3
_LEAST_WORDS = 13
# A split that misses what was asked for by more than this share of all tokens is named.
_TOLERANCE = 0.05


def shares_of(text: str) -> dict[str, float]:
    """`80/10/10` as {train: 0.8, validation: 0.1, test: 0.1}; two parts are train and test. Raises UserError."""
    hint = "write percentages that add up to 100: 80/10/10 (train, validation, test), 90/10 (train, test) or 100"
    try:
        numbers = [float(part) for part in text.split("/")]
    except ValueError:
        raise UserError("the split is not made of numbers", where="--split", value=text, hint=hint) from None
    if len(numbers) not in _NAMES or not all(0 <= number <= 100 for number in numbers):
        raise UserError("the split must have one to three parts of 0 to 100", where="--split", value=text, hint=hint)
    if abs(sum(numbers) - 100) > 1e-6:
        raise UserError(f"the split adds up to {sum(numbers):g}, not to 100", where="--split", value=text, hint=hint)
    named = dict(zip(_NAMES[len(numbers)], numbers, strict=True))
    return {name: number / 100 for name, number in named.items() if number}


def groups_of(examples: Sequence[Example], by: str) -> list[str]:
    """For each example the name of the group that must stay whole.

    What shares a repository (`by` "repo": under its present address, in any case) or a pull request ("pr") is one
    group, and so is what shares a base commit or an issue text: a fork, a copy under another id, a mirror.
    """
    owners, ties = [], []
    repos: dict[str, set[str]] = {}
    for example in examples:
        repo, commit = canonical_repo(example.repo), example.base_commit.lower()
        pull = canonical_id(example.instance_id) or example.id
        owners.append((repo or repo_of(example.instance_id) or pull) if by == "repo" else pull)
        words = re.findall(r"\w+", issue_part(example.task()).casefold())
        own = [f"=commit {commit}"] if re.fullmatch(r"[0-9a-f]{12,64}", commit) else []
        if len(words) >= _LEAST_WORDS:
            own.append(f"=issue {hashlib.sha256(' '.join(words).encode()).hexdigest()}")
        ties.append(own)
        for key in own:
            repos.setdefault(key, set()).add(repo)
    find = united(
        (owner, key) for owner, own in zip(owners, ties, strict=True) for key in own if len(repos[key]) <= _TEMPLATE
    )
    return [find(owner) for owner in owners]


def united(ties: Iterable[tuple[str, str]]) -> Callable[[str], str]:
    """The group of a key, by the least of its keys; one that begins with "=" names a group where no other does."""
    pairs = list(ties)
    names = sorted({name for pair in pairs for name in pair}, key=lambda name: (name.startswith("="), name))
    groups, places = Groups(len(names)), {name: place for place, name in enumerate(names)}
    for one, other in pairs:
        groups.join(places[one], places[other])
    return lambda key: names[groups.find(places[key])] if key in places else key


def divide(examples: list[Example], shares: Mapping[str, float], by: str, seed: int) -> Division:
    """Every group into one split. Raises UserError where there are fewer groups than splits.

    The largest groups are placed first, each in a split that still has room for it, drawn with `seed` and weighted by
    that room; where none has room, the split that misses most takes it.
    """
    names = groups_of(examples, by)
    tokens = Counter[str]()
    for name, example in zip(names, examples, strict=True):
        tokens[name] += example.tokens
    if len(tokens) < len(shares):
        raise UserError(
            f"{len(shares)} splits need at least {len(shares)} {GROUP_NAMES[by]}",
            where="--split",
            value=f"{len(tokens)} found: {', '.join(sorted(tokens)[:5])}",
            hint="--group pr splits by pull request, --split 100 does not split" if by == "repo" else "--split 100",
        )
    placed = place(tokens, shares, seed)
    parts: dict[str, list[Example]] = {split: [] for split in shares}
    for name, example in zip(names, examples, strict=True):
        parts[placed[name]].append(example)
    named = {example.id: name for name, example in zip(names, examples, strict=True)}
    return Division({**parts}, by, _notes(tokens, placed, shares, by), named=named)


def without_shared_copies(division: Division, threshold: float) -> list[Dropped]:
    """Take near-duplicates out of all splits but the one that holds most of their tokens; returns what went.

    Compared is everything but the system prompt, which all of them share.
    """
    if len(division.parts) < 2:
        return []
    everything = [(split, example) for split, part in division.parts.items() for example in part]
    texts = (
        (example.id, "\n".join(message.content for message in example.messages if message.role != "system"))
        for _, example in everything
    )
    find = united(near_duplicates(texts, threshold).items())
    clusters: dict[str, list[tuple[str, Example]]] = {}
    for split, example in everything:
        clusters.setdefault(find(example.id), []).append((split, example))
    dropped: dict[str, Dropped] = {}
    for members in clusters.values():
        tokens = Counter[str]()
        for split, example in members:
            tokens[split] += example.tokens
        home = max(division.parts, key=tokens.__getitem__)
        for example in [example for split, example in members if split != home]:
            dropped[example.id] = example.dropped("near-duplicate-across-splits", f"a near-duplicate lies in {home}")
    for split, part in division.parts.items():
        division.parts[split] = [example for example in part if example.id not in dropped]
        if not division.parts[split]:
            what = f"every example of {split} is a near-duplicate of another split's"
            raise ExportError(what, where="--split", hint="another --seed, a larger share, or --split 100")
    return list(dropped.values())


def check(division: Division) -> None:
    """Note the groups, and that none lies in two splits. Raises ExportError where one does.

    They are those by which the set was divided: without its copies, a template may look like a tie.
    """
    every = [example for part in division.parts.values() for example in part]
    names = iter([division.named[one.id] for one in every] if division.named else groups_of(every, division.by))
    found = division.groups = {split: {next(names) for _ in part} for split, part in division.parts.items()}
    seen: dict[str, str] = {}
    for split, groups in found.items():
        for group in sorted(groups):
            if group in seen:
                raise ExportError(f"a group lies in {seen[group]} and in {split}", where="--split", value=group)
            seen[group] = split
    listed = ", ".join(f"{split} {len(groups):,}" for split, groups in found.items())
    if len(division.parts) > 1:
        division.notes.insert(0, f"{len(seen):,} {GROUP_NAMES[division.by]}, none in two splits: {listed}")


def place(tokens: Mapping[str, int], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """{group: split} for the tokens of each group, as `divide` describes it.

    Few, large groups can leave a split without any: it gets the smallest of the split that has most groups.
    """
    draw = random.Random(f"{seed}/split")
    total = sum(tokens.values())
    room = {split: share * total for split, share in shares.items()}
    placed: dict[str, str] = {}
    for group in sorted(tokens, key=lambda name: (-tokens[name], name)):
        fitting = [split for split in shares if room[split] >= tokens[group]]
        weights = [room[split] for split in fitting]
        split = draw.choices(fitting, weights)[0] if fitting else max(shares, key=lambda name: room[name])
        placed[group] = split
        room[split] -= tokens[group]
    for split in shares:
        if split not in placed.values():
            groups = list(placed.values())
            richest = max(shares, key=groups.count)
            smallest = min((g for g in placed if placed[g] == richest), key=lambda name: (tokens[name], name))
            placed[smallest] = split
    return placed


def _notes(tokens: Mapping[str, int], placed: Mapping[str, str], shares: Mapping[str, float], by: str) -> list[str]:
    total = sum(tokens.values())
    if len(shares) < 2:
        return []
    least = min(shares, key=lambda split: shares[split])
    large = sorted((g for g in tokens if tokens[g] > shares[least] * total), key=lambda g: (-tokens[g], g))
    notes = []
    if large:
        notes.append(
            f"larger than a whole {least} split ({shares[least]:.0%} of the tokens): {len(large):,} of {len(tokens):,}"
            f" {GROUP_NAMES[by]}; the largest, {large[0]}, holds {tokens[large[0]] / total:.0%} and lies in"
            f" {placed[large[0]]} (--max-per-repo N makes it smaller)"
        )
    got = {split: sum(tokens[g] for g in placed if placed[g] == split) / total for split in shares}
    if any(abs(got[split] - shares[split]) > _TOLERANCE for split in shares):
        became = " / ".join(f"{split} {share:.1%}" for split, share in got.items())
        notes.append(f"groups stay whole, so the shares of tokens became {became}")
    return notes
