"""Pairs with a known truth: each flaw is one, controls are none, and a judge's figures are what it said."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from duel import offline, turn
from duel.judging.known_truth import KnownPair, by_construction, by_execution, draw, judge_table
from duel.records import Answer, Candidate, Message, Observed


@pytest.fixture(scope="module")
def pairs() -> list[KnownPair]:
    rows = pq.read_table(offline.SAMPLE / "trajectories.parquet").to_pylist()
    return [
        pair
        for number, row in enumerate(rows)
        for pair in by_construction(row["instance_id"], [Message(**m) for m in row["messages"]], f"@{number}")
    ]


def test_the_bundled_sample_yields_every_kind(pairs: list[KnownPair]) -> None:
    kinds = Counter(pair.kind for pair in pairs)
    flaws = ["repeats", "no-such-file", "wrong-flag", "edits-nothing", "broken-quote", "early-submit", "two-blocks"]
    assert all(kinds[kind] >= 15 for kind in flaws), kinds
    assert kinds["control-same"] == kinds["control-blanks"] == kinds["two-blocks"]
    assert len({pair.id for pair in pairs}) == len(pairs)


def test_a_flaw_is_the_only_difference_and_controls_have_none(pairs: list[KnownPair]) -> None:
    for pair in pairs:
        if pair.control:
            assert pair.better.strip() == pair.worse.strip()
        else:
            assert pair.better != pair.worse
            assert turn.thought(pair.better) == turn.thought(pair.worse)


def test_broken_commands_do_fail_when_they_are_run(pairs: list[KnownPair], tmp_path: Path) -> None:
    said = re.compile(r"unrecognized option|unknown option|invalid option|unexpected EOF|syntax error|ambiguous")
    broken = draw([pair for pair in pairs if pair.kind in ("wrong-flag", "broken-quote")], 12)
    assert len(broken) == 24
    for pair in broken:
        command = turn.command(pair.worse)
        if ">" in command or re.search(r"\b(rm|mv|cp)\b", command):
            continue
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=5, check=False
        )
        assert said.search(done.stderr), (command, done.stderr)


def test_few_pairs_come_from_many_pull_requests(pairs: list[KnownPair]) -> None:
    few = draw(pairs, 20, seed=3)
    repeats = [pair for pair in few if pair.kind == "repeats"]
    assert len(repeats) == 20
    assert len({pair.instance_id for pair in repeats}) == 20
    assert few == draw(pairs, 20, seed=3)


def executed(king: Observed, challenger: Observed, commands: tuple[str, str] = ("cat a", "cat b")) -> KnownPair | None:
    texts = [f"```bash\n{command}\n```" for command in commands]
    return by_execution(
        "item",
        Answer(
            instance_id="i",
            king=texts[0],
            challenger=texts[1],
            messages=[Message(role="user", content="u")],
            candidates=[
                Candidate(id="king-1", side="king", observed=king, chosen=True),
                Candidate(id="challenger-1", side="challenger", observed=challenger, chosen=True),
            ],
        ),
    )


def test_what_ran_tells_the_better_side() -> None:
    good = Observed(ran=True, exit=0, printed="Observation: a\n")
    missing = Observed(ran=True, exit=1, printed="Observation: cat: b: No such file or directory\n")
    found = executed(good, missing)
    assert found and (found.kind, "cat a" in found.better) == ("executed-fails", True)
    found = executed(missing, good)
    assert found and "cat b" in found.better
    edit = Observed(ran=True, exit=0, printed="Observation: ", changed="+x")
    found = executed(Observed(ran=True, exit=0, printed="Observation: "), edit, ("sed -i s/a/b/ x", "sed -i s/c/d/ x"))
    assert found and (found.kind, "s/c/d/" in found.better) == ("executed-edits-nothing", True)
    assert executed(good, good) is None
    assert executed(good, Observed(why_not="unfaithful")) is None


def test_a_judges_figures_are_what_it_said() -> None:
    def pair(name: str, kind: str = "repeats") -> KnownPair:
        return KnownPair(name, kind, name, [], "a", "b")

    said = {
        ("j", "one"): (1.0, 1.0),
        ("j", "two"): (1.0, 0.0),
        ("j", "three"): (0.0, 0.5),
        ("j", "four"): (1.0, None),
        ("j", "same"): (0.5, 0.5),
        ("j", "gone"): (1.0, 1.0),
    }
    pairs = [pair("one"), pair("two"), pair("three"), pair("four"), pair("same", "control-same")]
    rows = {row["kind"]: row for row in judge_table(pairs, said, {("j", "one"): 0.5})}
    row = rows["repeats"]
    counts = tuple(row[name] for name in ("pairs", "right", "drawn", "wrong", "flips", "unparsed"))
    assert counts == (4, 1, 1, 1, 1, 1)
    assert (row["accuracy"], row["pull_requests"], row["cost"], row["known_a_dollar"]) == (0.5, 3, 0.5, 3.0)
    low, high = row["interval"]
    assert 0.0 < low < 0.5 < high < 1.0
    assert rows["control-same"]["right"] == 1
    assert rows["all"] == row | {"kind": "all"}
    [nothing] = judge_table([pair("same", "control-same")], {("j", "same"): (None, 0.5)}, {})
    assert nothing["accuracy"] is None and nothing["interval"] is None
