"""The draw: fair, repeatable, and the same in whatever order the work is done."""

from __future__ import annotations

import statistics
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duel.audit.contamination import Benchmarks
from duel.history import history_tokens
from duel.records import Message
from duel.sections import DuelSection, SampleSection
from duel.settings import Settings
from duel.sources.admission import choose, mismatch
from duel.sources.parquet_tables import LocalTable
from duel.sources.rollouts import read
from duel.sources.sampling import chance, draw_files, fill, prompts, shuffled
from tests.sources.tables import dataset, rollout, write_rollouts


def silent(line: str) -> None:
    pass


def draw(rows: dict[str, int], wanted: int, seed: int) -> list[str]:
    return list(draw_files(list(rows), wanted, seed, rows.__getitem__))


def test_files_are_drawn_in_proportion_to_their_rows() -> None:
    rows = {f"f{n}": 10_000 for n in range(29)} | {"short": 1_000}
    draws = Counter(name for seed in range(3000) for name in draw(rows, 3, seed))
    per_file = 3 * 3000 * 10_000 / 291_000
    assert draws["short"] == pytest.approx(per_file / 10, abs=4 * (per_file / 10) ** 0.5)
    assert draws["f7"] == pytest.approx(per_file, abs=4 * per_file**0.5)


def test_equal_files_cost_no_look_beyond_the_drawn_ones() -> None:
    looked: list[str] = []

    def rows(name: str) -> int:
        looked.append(name)
        return 10_000

    drawn = list(draw_files([f"f{n}" for n in range(1230)], 20, 0, rows))
    assert set(looked) == set(drawn)
    assert len(drawn) == len(set(drawn)) == 20


@given(st.dictionaries(st.text(max_size=5), st.integers(0, 50), max_size=8), st.integers(1, 10), st.integers(0, 9))
def test_no_file_is_drawn_twice_and_none_without_rows(rows: dict[str, int], wanted: int, seed: int) -> None:
    drawn = draw(rows, wanted, seed)
    assert len(drawn) == len(set(drawn)) == min(wanted, sum(count > 0 for count in rows.values()))
    assert all(rows[name] for name in drawn)
    assert drawn == draw(dict(reversed(rows.items())), wanted, seed)


def test_a_name_keeps_its_place_when_others_are_added() -> None:
    names = [f"o__r-{n}" for n in range(50)]
    more = shuffled(3, "pull request", [*names, *(f"new-{n}" for n in range(50))])
    assert [name for name in more if name in names] == shuffled(3, "pull request", names)


@given(st.lists(st.one_of(st.integers(), st.text())))
def test_chance_is_below_one(parts: list[object]) -> None:
    assert 0 <= chance(*parts) < 1
    assert chance(*parts) == chance(*parts)


def test_chance_is_uniform() -> None:
    tenths = Counter(int(chance(0, "rollout", n) * 10) for n in range(10_000))
    assert all(count == pytest.approx(1000, abs=120) for count in tenths.values())
    assert chance(0, "x", 1) == 0.6975479323344371  # the same on every machine and every version


TALK = st.lists(
    st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text(max_size=30)), min_size=1, max_size=12
)


@settings(max_examples=40, deadline=None)
@given(st.lists(TALK, min_size=1, max_size=4), st.integers(1, 4), st.integers(1, 6), st.integers(0, 80))
def test_eligible_turns_follow_the_settings(
    tmp_path_factory: pytest.TempPathFactory, talks: list[list[tuple[str, str]]], low: int, high: int, most: int
) -> None:
    rows = [rollout("o__r-1", messages=[{"role": role, "content": text} for role, text in talk]) for talk in talks]
    path = write_rollouts(tmp_path_factory.mktemp("runs") / "x.parquet", rows)
    sample = SampleSection(min_turn=low, max_turn=high, max_history_tokens=most)
    for talk, found in zip(talks, read(path, "", sample), strict=True):
        wanted = []
        for index, (role, text) in enumerate(talk):
            history = [Message(role=role, content=text) for role, text in talk[:index]]  # type: ignore[arg-type]
            number = 1 + sum(message.role == "assistant" for message in history)
            ends_well = bool(history) and history[-1].role == "user" and role == "assistant" and bool(text)
            if ends_well and low <= number <= high and (not most or history_tokens(history) <= most):
                wanted.append((number, index))
        assert found.turns() == wanted
        assert found.eligible == len(wanted)
        assert found.said() == talk


@pytest.mark.parametrize(
    ("task", "commit", "statement", "reason"),
    [
        ("Fix it.\n\n- Base commit: abc1234def\n", "abc1234def", "Fix it.", ""),
        ("Fix it.\n\n- Base commit: abc1234def\n", "ABC1234", "Fix  it.\r\n", ""),
        ("Fix it.\n\n- Base commit: abc1234def\n", "0" * 40, "Fix it.", "base-commit-differs"),
        ("Fix it.", "0" * 40, "Fix it.", ""),
        ("    Fix\n    it.", "", "Fix it.", ""),
        ("Fix it.", "", "Break it.", "issue-differs"),
        ("Fix it.", "", "", ""),
    ],
)
def test_a_join_is_checked_by_commit_and_issue(task: str, commit: str, statement: str, reason: str) -> None:
    assert mismatch(task, commit, statement) == reason


@pytest.mark.parametrize("per_instance", [1, 3])
def test_the_recorded_probability_is_the_one_that_turns_are_drawn_with(tmp_path: Path, per_instance: int) -> None:
    """Weighting each drawn turn by 1 / probability counts the eligible turns of all files (Horvitz and Thompson).

    With three rollouts of a pull request only two of the second's are taken until there are five turns.
    """
    paths = dataset(tmp_path, files=5, pulls_per_file=4, rollouts=3)
    for path in paths.values():  # no pull request straddles: the second file of one is not in the probability
        rows = [row for row in pq.read_table(path).to_pylist() if "rollout 9" not in str(row["messages"])]
        write_rollouts(path, rows)
    table = LocalTable("runs", paths)
    sample = SampleSection(max_turn=4)
    eligible = sum(len(rollout.turns()) for path in paths.values() for rollout in read(path, "", sample))
    estimates = []
    for seed in range(60):  # 2.7 % either way; a factor that is missing moves the sum by a fifth and more
        settings = Settings(sample=SampleSection(seed=seed, files=2, n=5, max_turn=4, per_instance=per_instance))
        pool = fill(settings, table, silent)
        choice = choose(pool, settings.model_copy(update={"duel": DuelSection(mode=1)}), None, Benchmarks())
        drawn = prompts(choice.turns, pool, len(choice.looked_at))
        estimates.append(sum(1 / (prompt.source.probability or 0) for prompt in drawn))
    mean = statistics.mean(estimates)
    assert mean == pytest.approx(eligible, abs=3 * statistics.stdev(estimates) / 60**0.5)
