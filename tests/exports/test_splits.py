"""Groups stay whole, tokens are balanced, copies do not cross, and every message says what came out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duel.errors import UserError
from duel.exports import quality, splits
from duel.exports.example import Division, Dropped, Example, ExportError, Handover, Loaded
from duel.records import Message
from tests.exports.conftest import example


def many(sizes: dict[str, int], words: int = 40) -> list[Example]:
    """`sizes[repo]` examples of each repository, each with words of its own."""
    return [
        example(f"{repo}{n}", id=f"{repo}-{n}", repo=repo, instance_id=f"{repo}-{n}", rejected=f"{repo} {n} " * words)
        for repo, count in sizes.items()
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("80/10/10", {"train": 0.8, "validation": 0.1, "test": 0.1}),
        ("90/10", {"train": 0.9, "test": 0.1}),
        ("100", {"train": 1.0}),
        ("90/0/10", {"train": 0.9, "test": 0.1}),
        ("33.4/33.3/33.3", {"train": 0.334, "validation": 0.333, "test": 0.333}),
    ],
)
def test_shares(text: str, shares: dict[str, float]) -> None:
    assert splits.shares_of(text) == pytest.approx(shares)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("80/10", "adds up to 90"),
        ("80/19", "adds up to 99"),
        ("a/b", "not made of numbers"),
        ("120/-20", "0 to 100"),
        ("25/25/25/25", "one to three"),
    ],
)
def test_a_split_that_does_not_add_up_is_refused(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        splits.shares_of(text)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=3, max_size=14), st.integers(0, 5))
def test_no_group_lies_in_two_splits_and_none_is_empty(counts: list[int], seed: int) -> None:
    examples = many({f"acme/r{i}": count for i, count in enumerate(counts)}, words=2)
    division = splits.divide(examples, splits.shares_of("80/10/10"), "repo", seed)
    splits.check(division)
    assert "none in two splits" in division.notes[0]
    assert all(division.parts.values())
    assert sorted(e.id for part in division.parts.values() for e in part) == sorted(e.id for e in examples)


def test_many_small_groups_come_out_as_asked_in_tokens() -> None:
    examples = many({f"acme/r{i}": 1 + i % 4 for i in range(80)})
    division = splits.divide(examples, splits.shares_of("80/10/10"), "repo", 0)
    total = sum(e.tokens for e in examples)
    shares = {split: sum(e.tokens for e in part) / total for split, part in division.parts.items()}
    assert shares == pytest.approx({"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.02)
    assert division.notes == []


def test_the_seed_decides_which_groups_are_held_out() -> None:
    examples = many({f"acme/r{i}": 2 for i in range(30)})

    def held_out(seed: int) -> set[str]:
        return {e.repo for e in splits.divide(examples, splits.shares_of("80/20"), "repo", seed).parts["test"]}

    assert held_out(1) == held_out(1) != held_out(2)


def test_a_repository_larger_than_a_split_is_told_with_the_shares_that_came_out() -> None:
    division = splits.divide(many({"acme/huge": 30, "acme/a": 2, "acme/b": 2}), splits.shares_of("50/25/25"), "repo", 0)
    assert len(division.parts["train"]) == 30
    assert (
        "1 of 3 repositories; the largest, acme/huge, holds 89% and lies in train (--max-per-repo" in division.notes[0]
    )
    assert "became train 89" in division.notes[1]


def test_fewer_repositories_than_splits_is_an_error_that_tells_the_way_out() -> None:
    with pytest.raises(UserError, match="3 splits need at least 3 repositories") as caught:
        splits.divide(many({"acme/a": 5, "acme/b": 5}), splits.shares_of("80/10/10"), "repo", 0)
    assert "--group pr" in str(caught.value)
    assert splits.divide(many({"acme/a": 5}), splits.shares_of("80/10/10"), "pr", 0)


ISSUE = "The total of a basket is wrong whenever a member of the loyalty program has two discounts at the same time."


@pytest.mark.parametrize(
    "other",
    [
        {"repo": "Acme/Shop"},
        {"repo": "https://github.com/acme/shop.git"},
        {"repo": "", "instance_id": "acme__shop-9"},
        {"repo": "somebody/shop", "base_commit": "ab" * 20},
        {"repo": "mirror/of-shop", "task": f"<issue>\n{ISSUE.upper()}\n</issue> Use bash."},
        {"repo": "swesmith/acme__shop.abababab"},
    ],
    ids=lambda other: str(other)[:50],
)
@pytest.mark.parametrize("by", ["repo", "pr"])
def test_a_pull_request_under_another_name_never_crosses_the_splits(other: dict[str, str], by: str) -> None:
    fields = {"instance_id": "acme__shop-9", "base_commit": "ab" * 20, "task": ISSUE} | other

    def made(name: str, repo: str, instance_id: str, base_commit: str, task: str) -> Example:
        messages = (Message(role="user", content=task), Message(role="assistant", content=f"I look at {name}."))
        return example(id=name, repo=repo, instance_id=instance_id, base_commit=base_commit, messages=messages)

    first = made("first", "acme/shop", "acme__shop-9", "ab" * 20, ISSUE)
    second = made("second", fields["repo"], fields["instance_id"], fields["base_commit"], fields["task"])
    for seed in range(12):
        examples = [first, *many({f"o/r{n}": 3 for n in range(12)}), second]
        division = splits.divide(examples, splits.shares_of("50/50"), by, seed)
        splits.check(division)
        assert len({split for split, part in division.parts.items() for e in part if e in (first, second)}) == 1


def test_a_task_that_many_repositories_share_is_a_template_and_ties_nothing() -> None:
    messages = (Message(role="user", content=f"{ISSUE} This is a template."), Message(role="assistant", content="x"))
    examples = [example(id=f"e{n}", repo=f"o/r{n}", instance_id=f"o__r{n}-1", messages=messages) for n in range(8)]
    assert len(set(splits.groups_of(examples, "repo"))) == 8


def test_a_template_ties_nothing_when_the_copies_of_its_repositories_are_gone() -> None:
    """With one of four repositories out as a copy, three share the task: too few for a template, had it been new."""
    said = ["same words here " * 30, "same words here " * 30, "other words there " * 60, "third words again " * 60]
    examples = [
        example(
            id=f"e{n}", repo=f"o/r{n}", instance_id=f"o__r{n}-1", messages=(Message(role="user", content=ISSUE), turn)
        )
        for n, turn in enumerate(Message(role="assistant", content=text) for text in said)
    ]
    division = splits.divide(examples, splits.shares_of("50/50"), "repo", 0)
    assert len(splits.without_shared_copies(division, 0.85)) == 1
    splits.check(division)
    assert division.notes[0].startswith("3 repositories, none in two splits")


def test_a_repository_under_another_spelling_is_one_group_and_short_texts_or_commits_tie_nothing() -> None:
    def made(name: str, repo: str, task: str, base_commit: str = "") -> Example:
        messages = (Message(role="user", content=task), Message(role="assistant", content="x"))
        return example(id=name, repo=repo, instance_id=name, base_commit=base_commit, messages=messages)

    spelled = [
        made("one-1", "acme/shop", "first " * 20),
        made("two-2", "https://github.com/Acme/Shop.git", "next " * 20),
    ]
    assert len(set(splits.groups_of(spelled, "repo"))) == 1
    short = [made("one-1", "a/one", "Fix the failing test."), made("two-2", "b/two", "Fix the failing test.")]
    assert len(set(splits.groups_of(short, "repo"))) == 2
    shouted = [made("one-1", "a/one", "crash on save " * 9), made("two-2", "b/two", "CRASH on save " * 9)]
    assert len(set(splits.groups_of(shouted, "repo"))) == 1
    cut = [made("one-1", "a/one", "first " * 20, "abc"), made("two-2", "b/two", "next " * 20, "abc")]
    assert len(set(splits.groups_of(cut, "repo"))) == 2


def test_the_largest_groups_are_placed_first_so_that_the_shares_come_out() -> None:
    for seed in range(5):
        division = splits.divide(
            many({"o/large": 40, **{f"o/r{n}": 1 for n in range(40)}}), splits.shares_of("50/50"), "repo", seed
        )
        tokens = [sum(e.tokens for e in part) for part in division.parts.values()]
        assert max(tokens) / sum(tokens) < 0.55


def test_a_system_prompt_that_all_share_makes_no_copies() -> None:
    system = Message(role="system", content="The same long rules for every agent in this house, said at length. " * 200)
    one, two = (
        example(id=n, repo=n, messages=(system, Message(role="user", content=f"{n} " * 30), example().messages[-1]))
        for n in ("apple", "pear")
    )
    assert splits.without_shared_copies(Division({"train": [one], "test": [two]}, "repo"), 0.85) == []


def test_copies_stay_in_the_split_that_holds_most_of_them() -> None:
    shared = (Message(role="user", content="the very same task in two repositories " * 30),)
    tail = example().messages[-1:]
    one, two, three = (example(id=n, repo=n, messages=(*shared, *tail)) for n in "abc")
    division = Division({"train": [one, two], "test": [three, *many({"acme/x": 1})]}, "repo")
    dropped = splits.without_shared_copies(division, 0.85)
    assert [(d.id, d.reason) for d in dropped] == [("c", "near-duplicate-across-splits")]
    assert [e.id for e in division.parts["train"]] == ["a", "b"]


def test_a_split_of_nothing_but_copies_stops_the_export() -> None:
    shared = (Message(role="user", content="the very same task in two repositories " * 30), example().messages[-1])
    one, two, three = (example(id=n, repo=n, messages=shared) for n in "abc")
    with pytest.raises(ExportError, match="every example of test is a near-duplicate"):
        splits.without_shared_copies(Division({"train": [one, two], "test": [three]}, "repo"), 0.85)


def test_a_group_in_two_splits_stops_the_export() -> None:
    with pytest.raises(ExportError, match="lies in train and in test"):
        splits.check(Division({"train": many({"acme/a": 1}), "test": many({"acme/a": 1})}, "repo"))


def test_a_step_that_loses_a_turn_stops_the_export() -> None:
    with pytest.raises(ExportError, match="do not add up") as caught:
        Handover().through("careless", many({"acme/a": 3}), lambda examples: examples[1:])
    assert "3 in, 2 out, 0 dropped" in str(caught.value)
    with pytest.raises(ExportError):
        Handover().read(Loaded(found=2, examples=many({"acme/a": 1}), origin="final"))
    kept = Handover()
    kept.through("careful", many({"acme/a": 2}), lambda es: [es[0].dropped("old"), *es[1:]])
    assert kept.reasons() == {"old": 1}


def test_no_style_holds_more_than_an_even_share() -> None:
    styles = ["read"] * 12 + ["edit"] * 5 + ["run"] * 1
    examples = [example(f"t{n}", id=str(n), style=style) for n, style in enumerate(styles)]
    found = list(quality.at_most("style", seed=3)(examples))
    kept = [one for one in found if isinstance(one, Example)]
    assert [sum(e.style == s for e in kept) for s in ("read", "edit", "run")] == [6, 5, 1]
    assert {d.reason for d in found if isinstance(d, Dropped)} == {"over-even-share-of-style"}
    assert list(quality.at_most("style", seed=3)(examples)) == found


def test_at_most_so_many_of_one_repository() -> None:
    found = list(quality.at_most("repo", seed=0, limit=2)(many({"acme/a": 5, "acme/b": 1})))
    assert [e.repo for e in found if isinstance(e, Example)] == ["acme/a", "acme/a", "acme/b"]
    assert sum(isinstance(one, Dropped) for one in found) == 3


def test_secrets_go_from_every_message_call_and_rejected_turn() -> None:
    call = {
        "id": "1",
        "type": "function",
        "function": {"name": "bash", "arguments": {"command": "mail bo.fenn@orchard-tools.io"}},
    }
    talk = (
        Message(role="user", content="ask ann.blythe@orchard-tools.io"),
        Message.model_validate({"role": "assistant", "content": "", "tool_calls": [call]}),
    )
    scrubber = quality.scrubber()
    [clean] = scrubber.step([example(messages=talk, rejected="cc ann.blythe@orchard-tools.io")])
    assert "@orchard-tools.io" not in str(clean)
    assert scrubber.counts.total() == 3


@pytest.mark.parametrize(
    ("first", "second", "one"),
    [
        ({"repo": "Acme/Shop"}, {"repo": "acme/shop"}, True),
        ({"repo": "kennethreitz/requests"}, {"repo": "psf/requests"}, True),
        ({"repo": "a/one", "base_commit": "AB" * 20}, {"repo": "b/two", "base_commit": "ab" * 20}, True),
        ({"repo": "a/one", "base_commit": "abc"}, {"repo": "b/two", "base_commit": "abc"}, False),
        ({"repo": "a/one", "task": "word " * 13}, {"repo": "b/two", "task": "Word, " * 13}, True),
        ({"repo": "a/one", "task": "word " * 12}, {"repo": "b/two", "task": "word " * 12}, False),
        ({"repo": "a/one"}, {"repo": "b/two"}, False),
    ],
)
def test_each_tie_alone_makes_one_group(first: dict[str, str], second: dict[str, str], one: bool) -> None:
    def made(number: int, repo: str, base_commit: str = "", task: str = "") -> Example:
        said = (Message(role="user", content=task or f"task {number}"), Message(role="assistant", content="x"))
        return Example(id=str(number), instance_id=f"i{number}", repo=repo, base_commit=base_commit, messages=said)

    groups = splits.groups_of([made(1, **first), made(2, **second)], "repo")
    assert (groups[0] == groups[1]) is one
