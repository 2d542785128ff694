"""Which group goes to which split, and what is said of it, each worked out by hand."""

from __future__ import annotations

import pytest

from duel.errors import UserError
from duel.exports import splits
from duel.exports.example import Division, Dropped, ExportError
from duel.records import Message
from tests.exports.conftest import example
from tests.exports.test_splits import many


@pytest.mark.parametrize(
    ("tokens", "shares", "placed"),
    [
        ({"a": 50, "b": 30, "c": 20}, {"train": 0.5, "test": 0.5}, {"train": {"a"}, "test": {"b", "c"}}),
        ({"a": 90, "b": 10}, {"train": 0.9, "test": 0.1}, {"train": {"a"}, "test": {"b"}}),
        ({"a": 60, "b": 60}, {"train": 0.7, "test": 0.3}, {"train": {"a"}, "test": {"b"}}),  # the second finds no room
        ({"a": 98, "b": 1, "c": 1}, {"train": 0.98, "test": 0.02}, {"train": {"a"}, "test": {"b", "c"}}),
    ],
)
def test_groups_go_where_there_is_room_for_them(
    tokens: dict[str, int], shares: dict[str, float], placed: dict[str, set[str]]
) -> None:
    for seed in range(6):
        found = splits.place(tokens, shares, seed)
        sides = {split: {group for group in found if found[group] == split} for split in shares}
        assert sides in (placed, dict(zip(placed, reversed(placed.values()), strict=True)))
        if len(set(shares.values())) > 1:
            assert sides == placed


def test_of_several_groups_larger_than_a_split_the_largest_is_named_and_where_it_lies() -> None:
    placed = {"a": "test", "b": "train", "c": "train"}
    [large, *_] = splits._notes({"a": 30, "b": 60, "c": 10}, placed, {"train": 0.8, "test": 0.2}, "repo")
    assert "2 of 3 repositories; the largest, b, holds 60% and lies in train" in large


@pytest.mark.parametrize(("repositories", "groups"), [(3, 1), (4, 4)])
def test_an_issue_of_three_repositories_ties_them_and_of_four_is_a_template(repositories: int, groups: int) -> None:
    task = (Message(role="user", content="word " * 13), example().messages[-1])
    examples = [example(id=str(n), repo=f"o/r{n}", instance_id=f"i{n}", messages=task) for n in range(repositories)]
    assert len(set(splits.groups_of(examples, "repo"))) == groups


def test_a_split_that_would_stay_empty_gets_the_smallest_group_of_the_one_with_most() -> None:
    shares = {"train": 0.98, "validation": 0.01, "test": 0.01}
    assert splits.place({"a": 40, "c": 30, "b": 30}, shares, 0) == {"a": "train", "b": "validation", "c": "test"}
    assert splits.place({"a": 40, "b": 31, "c": 29}, shares, 0) == {"a": "train", "c": "validation", "b": "test"}


def test_the_same_seed_places_the_same_groups_and_the_weights_are_the_room_that_is_left() -> None:
    tokens = {f"g{number:02}": 1 for number in range(100)}
    drawn = [splits.place(tokens, {"train": 0.9, "test": 0.1}, seed) for seed in range(8)]
    assert all(list(one.values()).count("test") == 10 for one in drawn)
    assert drawn[0] == splits.place(tokens, {"train": 0.9, "test": 0.1}, 0) != drawn[1]
    early = sum(one[f"g{number:02}"] == "test" for one in drawn for number in range(10))
    assert early < 20  # of 80: a tenth of the room is a tenth of the draws


def test_a_group_that_fits_exactly_may_go_to_any_split_of_its_size() -> None:
    shares = {"train": 0.6, "validation": 0.2, "test": 0.2}
    drawn = [splits.place({"a": 60, "b": 20, "c": 20}, shares, seed) for seed in range(12)]
    assert {one["a"] for one in drawn} == {"train"} and {one["b"] for one in drawn} == {"validation", "test"}


def test_a_seed_parts_the_groups_as_it_did_for_those_who_published_with_it() -> None:
    placed = splits.place({f"g{number}": 1 for number in range(8)}, {"train": 0.5, "test": 0.5}, 0)
    assert "".join(split[1] for split in placed.values()) == "rerreree"


def test_what_came_out_is_said_where_it_is_not_what_was_asked_for() -> None:
    shares = {"train": 0.8, "test": 0.2}
    assert splits._notes({"a": 80, "b": 20}, {"a": "train", "b": "test"}, shares, "repo") == [
        "larger than a whole test split (20% of the tokens): 1 of 2 repositories; the largest, a, holds 80% and lies in"
        " train (--max-per-repo N makes it smaller)"
    ]
    turned = splits._notes({"a": 80, "b": 20}, {"a": "test", "b": "train"}, {"train": 0.2, "test": 0.8}, "repo")
    assert turned[0].startswith("larger than a whole train split (20% of the tokens): 1 of 2")
    even = {f"g{number}": 10 for number in range(10)}
    placed = {name: "test" if name in ("g0", "g1") else "train" for name in even}
    assert splits._notes(even, placed, shares, "pr") == []
    off = splits._notes(even, placed | {"g1": "train"}, shares, "pr")
    assert off == ["groups stay whole, so the shares of tokens became train 90.0% / test 10.0%"]
    small = {f"g{number:02}": 1 for number in range(100)}
    near = splits._notes(small, {name: "test" if name < "g16" else "train" for name in small}, shares, "pr")
    assert near == []  # off by four in a hundred
    assert splits._notes({"a": 1}, {"a": "train"}, {"train": 1.0}, "repo") == []


def test_one_split_has_no_copies_to_part_and_the_check_counts_the_groups() -> None:
    whole = Division({"train": many({"acme/a": 2})}, "repo")
    assert splits.without_shared_copies(whole, 0.85) == [] and len(whole.parts["train"]) == 2
    splits.check(whole)
    assert whole.notes == []
    two = Division({"train": many({"acme/a": 2, "acme/b": 1}), "test": many({"acme/c": 1})}, "repo", ["other"])
    splits.check(two)
    assert two.notes == ["3 repositories, none in two splits: train 2, test 1", "other"]
    assert two.groups == {"train": {"acme/a", "acme/b"}, "test": {"acme/c"}}


def test_a_copy_that_goes_is_named_with_the_split_that_keeps_its_twin() -> None:
    shared = (Message(role="user", content="the very same task in two repositories " * 30), example().messages[-1])
    one, two, three = (example(id=n, repo=n, instance_id=f"i{n}", messages=shared) for n in "abc")
    division = Division({"train": [one], "test": [two, three]}, "repo")
    division.parts["train"] += many({"acme/x": 1})
    assert splits.without_shared_copies(division, 0.85) == [
        Dropped("a", "ia", "near-duplicate-across-splits", "a near-duplicate lies in test")
    ]


@pytest.mark.parametrize("text", ["100/0", "0/100", "33.3333334/33.3333333/33.3333333"])
def test_shares_at_the_edge_are_shares(text: str) -> None:
    assert sum(splits.shares_of(text).values()) == pytest.approx(1.0)


@pytest.mark.parametrize("text", ["99.9/0", "a/b", "120/-20", "25/25/25/25"])
def test_an_error_of_a_split_names_the_flag_what_was_given_and_how_it_is_written(text: str) -> None:
    with pytest.raises(UserError) as caught:
        splits.shares_of(text)
    assert caught.value.where == "--split" and "write percentages" in caught.value.hint
    assert caught.value.value == text


def test_too_few_groups_are_named_with_the_way_out() -> None:
    few = many({"acme/a": 1, "acme/b": 1})
    told = {"repo": "--group pr splits by pull request, --split 100 does not split", "pr": "--split 100"}
    for by, hint in told.items():
        with pytest.raises(UserError) as caught:
            splits.divide(few, {"train": 0.5, "validation": 0.25, "test": 0.25}, by, 0)
        assert (caught.value.where, caught.value.hint) == ("--split", hint)
    with pytest.raises(UserError) as caught:
        splits.divide(few, {"train": 0.5, "validation": 0.25, "test": 0.25}, "repo", 0)
    assert caught.value.value == "2 found: acme/a, acme/b"


def test_an_export_that_cannot_be_parted_names_the_flag_and_the_group() -> None:
    twice = many({"acme/a": 1})
    with pytest.raises(ExportError) as caught:
        splits.check(Division({"train": twice, "test": twice}, "repo"))
    assert (caught.value.where, caught.value.value) == ("--split", "acme/a")
    shared = (Message(role="user", content="the very same task in two repositories " * 30), example().messages[-1])
    copies = [example(id=n, repo=n, messages=shared) for n in "abc"]
    with pytest.raises(ExportError) as caught:
        splits.without_shared_copies(Division({"train": copies[:2], "test": copies[2:]}, "repo"), 0.85)
    assert caught.value.where == "--split" and "another --seed" in caught.value.hint


def test_an_issue_in_any_characters_and_a_conversation_without_a_task_have_their_groups() -> None:
    strange = (Message(role="user", content="\ud800 word " * 13), example().messages[-1])
    alone = (Message(role="assistant", content="I begin."),)
    examples = [
        example(id=n, repo=n, messages=said) for n, said in (("o/a", strange), ("o/b", strange), ("o/c", alone))
    ]
    groups = splits.groups_of(examples, "repo")
    assert groups[0] == groups[1] != groups[2] == "o/c"
